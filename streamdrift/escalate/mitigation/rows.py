"""Mitigations in the ledger."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import orjson
from sqlalchemy import ColumnElement, Select, func, or_, select

from streamdrift.alerts import Alert
from streamdrift.escalate.changes import Changes
from streamdrift.escalate.database import Database
from streamdrift.escalate.mitigation.offers import Past
from streamdrift.escalate.mitigation.states import RUNNING, Mitigation
from streamdrift.escalate.mitigation.versions import Known
from streamdrift.escalate.tables import incidents, mitigations, signals
from streamdrift.settings.mitigation import EXPIRY_MAX_S

DEPLOYMENTS_MAX, ALERTS_MAX = 200, 500
"""Of one model, looked at for its versions: the latest."""
_C = mitigations.c
_ROW = select(_C.body)
_ORDER = (_C.incident_id, _C.number)


class Mitigations:
    """Mitigations, by id."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, mitigation: Mitigation) -> None:
        """Write one as it is now."""
        values = {
            "incident_id": mitigation.incident_id,
            "number": mitigation.number,
            "model": mitigation.model,
            "action": mitigation.action,
            "state": mitigation.state,
            "sent_at": mitigation.sent_at,
            "due_at": mitigation.due_at,
            "body": orjson.dumps(asdict(mitigation)).decode(),
        }
        made = self._database.insert(mitigations).values(mitigation_id=mitigation.mitigation_id, **values)
        self._database.execute(made.on_conflict_do_update(index_elements=["mitigation_id"], set_=values))

    def get(self, mitigation_id: str) -> Mitigation | None:
        """Return one."""
        found = self._read(_ROW.where(_C.mitigation_id == mitigation_id))
        return found[0] if found else None

    def of(self, incident_id: str) -> list[Mitigation]:
        """Return those of an incident, in their order."""
        return self._read(_ROW.where(_C.incident_id == incident_id).order_by(_C.number))

    def all_in(self, states: Sequence[str]) -> list[Mitigation]:
        """Return all that are in some states."""
        return self._read(_ROW.where(_C.state.in_(states)).order_by(*_ORDER))

    def due(self, now: float, limit: int) -> list[Mitigation]:
        """Return those whose time has come, the earliest first."""
        return self._read(_ROW.where(is_due(now)).order_by(_C.due_at, *_ORDER).limit(limit))

    def past(self, incident_id: str, model: str) -> Past:
        """Return what was done before for an incident and its model."""
        running = self._read(_ROW.where(_C.model == model, _C.state.in_(sorted(RUNNING))).order_by(*_ORDER))
        sent = self._database.execute(
            select(_C.action, func.max(_C.sent_at))
            .where(_C.model == model, _C.sent_at.is_not(None))
            .group_by(_C.action)
        )
        going = next((one for one in running if one.is_running), None)
        return Past(self.of(incident_id), going, {str(action): float(at) for action, at in sent})

    def known(self, model: str, changes: Changes) -> Known:
        """Return what is known of a model's versions."""
        c = signals.c
        rows = self._database.execute(
            select(c.alert)
            .join(incidents, incidents.c.incident_id == c.incident_id)
            .where(incidents.c.model == model, c.alert.is_not(None))
            .order_by(c.sequence.desc())
            .limit(ALERTS_MAX)
        )
        left = self._read(
            _ROW.where(_C.model == model, _C.action == "roll_back", _C.state.in_(["sent", "verified", "kept"]))
        )
        return Known(
            changes.deployed(model, DEPLOYMENTS_MAX),
            [Alert.from_cloudevent(alert) for (alert,) in rows],
            {
                one.current: round((one.sent_at or one.proposed_at) * 1000)
                for one in left
                if one.current and one.sent_at
            },
        )

    def _read(self, asked: Select[Any]) -> list[Mitigation]:
        return [_mitigation(body) for (body,) in self._database.execute(asked)]


def is_due(now: float) -> ColumnElement[bool]:
    """Its time has come; or it is further off than any can be, as the clock was set back."""
    return or_(_C.due_at <= now, _C.due_at > now + EXPIRY_MAX_S + 1)


def _mitigation(body: str) -> Mitigation:
    found = orjson.loads(body)
    return Mitigation(**found | {"why": tuple(found["why"])})
