"""The incidents table: each open incident as the policy left it."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from sqlalchemy import ColumnElement, func, select

from streamdrift.alerts import Alert
from streamdrift.escalate.announcements import Announcements
from streamdrift.escalate.database import Database
from streamdrift.escalate.incident import Incident, Reach
from streamdrift.escalate.tables import incidents, signals

_PLAIN = ("model", "status", "severity", "opened_at", "updated_at", "onset_at", "pages", "reopened", "resolved_at")
"""Fields that are columns of the same name."""
_FIXED = frozenset({"model", "opened_at"})
_SELECTED = select(incidents.c.incident_id, incidents.c.paged, *(incidents.c[name] for name in _PLAIN))
_OPEN = incidents.c.status != "resolved"


class Incidents:
    """Reads and writes incidents; only what changed is written."""

    def __init__(self, database: Database, announcements: Announcements) -> None:
        self._database, self._announcements = database, announcements

    def opened(self, model: str) -> list[Incident]:
        """Return the incidents of one model that go on, in the order in which they opened."""
        order = (incidents.c.opened_at, incidents.c.incident_id)
        rows = self._database.execute(_SELECTED.where(incidents.c.model == model, _OPEN).order_by(*order))
        return [self._incident(row) for row in rows]

    def alarmed(self) -> set[str]:
        """Return the models with an incident that goes on."""
        return {str(model) for (model,) in self._database.execute(select(incidents.c.model).where(_OPEN).distinct())}

    def all_opened(self, limit: int) -> list[Incident]:
        """Return incidents that go on, of any model, the latest first."""
        order = (incidents.c.opened_at.desc(), incidents.c.incident_id)
        return [
            self._incident(row) for row in self._database.execute(_SELECTED.where(_OPEN).order_by(*order).limit(limit))
        ]

    def ended(self, model: str, since: int, until: int, limit: int) -> list[str]:
        """Return the ids of the incidents of one model that ended since a time and had opened until another, latest first."""
        c = incidents.c
        over = (c.model == model, c.status == "resolved", c.resolved_at >= since, c.opened_at <= until)
        order = (c.resolved_at.desc(), c.incident_id)
        rows = self._database.execute(select(c.incident_id).where(*over).order_by(*order).limit(limit))
        return [str(incident_id) for (incident_id,) in rows]

    def get(self, incident_id: str) -> Incident | None:
        """Return one incident, open or resolved."""
        rows = self._database.execute(_SELECTED.where(incidents.c.incident_id == incident_id))
        return self._incident(rows[0]) if rows else None

    def beginning_with(self, text: str) -> list[str]:
        """Return the ids that begin with a text; two at most."""
        begins = func.substr(incidents.c.incident_id, 1, len(text)) == text
        rows = self._database.execute(select(incidents.c.incident_id).where(begins).limit(2))
        return [str(incident_id) for (incident_id,) in rows]

    def latest_open(self) -> str | None:
        """Return the id of the open incident that was told of last; None where none is open."""
        order = (incidents.c.updated_at.desc(), incidents.c.incident_id)
        rows = self._database.execute(select(incidents.c.incident_id).where(_OPEN).order_by(*order).limit(1))
        return str(rows[0][0]) if rows else None

    def all_open(self) -> list[Incident]:
        """Return every incident that goes on, in the order in which they opened."""
        rows = self._database.execute(_SELECTED.where(_OPEN).order_by(incidents.c.opened_at, incidents.c.incident_id))
        return [self._incident(row) for row in rows]

    def latest(self, resolved_max: int | None) -> list[Incident]:
        """Return the incidents that go on, and of the others those that ended last; None for all of them."""
        going = [self._incident(row) for row in self._database.execute(_SELECTED.where(_OPEN))]
        order = (incidents.c.resolved_at.desc(), incidents.c.incident_id)
        over = self._database.execute(_SELECTED.where(~_OPEN).order_by(*order).limit(resolved_max))
        return [*going, *(self._incident(row) for row in over)]

    def count(self) -> int:
        """Return how many are kept."""
        ((count,),) = self._database.execute(select(func.count()).select_from(incidents))
        return int(count)

    def going(self, model: str) -> int:
        """Return how many incidents of a model go on."""
        ((count,),) = self._database.execute(
            select(func.count()).select_from(incidents).where(incidents.c.model == model, _OPEN)
        )
        return int(count)

    def all(self) -> list[Incident]:
        """Return every incident that is kept, in the order in which they opened."""
        rows = self._database.execute(_SELECTED.order_by(incidents.c.opened_at, incidents.c.incident_id))
        return [self._incident(row) for row in rows]

    def _incident(self, row: tuple[Any, ...]) -> Incident:
        incident_id, paged, *plain = row
        c = signals.c
        held = self._database.execute(
            select(c.series_id, c.reason, c.state, c.alert).where(c.incident_id == incident_id).order_by(c.sequence)
        )
        return Incident(
            incident_id,
            alerts=tuple(Alert.from_cloudevent(alert) for _, _, state, alert in held if state != "beyond"),
            resolved=frozenset((series_id, reason) for series_id, reason, state, _ in held if state == "resolved"),
            beyond=frozenset(series_id for series_id, _, state, _ in held if state == "beyond"),
            paged=None if paged is None else Reach(**json.loads(paged)),
            **dict(zip(_PLAIN, plain, strict=True)),
        )

    def save(self, incident: Incident, before: Incident | None, now: float) -> None:
        """Write an incident over what it was before (None: it is new), and that there is something to say of it."""
        values: dict[str, Any] = {name: getattr(incident, name) for name in _PLAIN}
        values |= {
            "paged": None if incident.paged is None else json.dumps(asdict(incident.paged)),
            "recorded_at": now,
        }
        put = self._database.insert(incidents).values(incident_id=incident.incident_id, **values)
        changing = {name: value for name, value in values.items() if name not in _FIXED}
        self._database.execute(put.on_conflict_do_update(index_elements=["incident_id"], set_=changing))
        old, new = _signals(before), _signals(incident)
        for key in old.keys() - new.keys():
            self._database.execute(signals.delete().where(*_at(incident.incident_id, key)))
        for key, (state, alert) in new.items():
            if old.get(key) != (state, alert):
                self._put(incident.incident_id, key, state, alert, old.get(key, ("", None))[1])
        self._announcements.changed(incident, before, now)

    def _put(
        self, incident_id: str, key: tuple[str, str], state: str, alert: Alert | None, before: Alert | None
    ) -> None:
        """Write one signal; a new alert goes to the end of its incident, an update stays in place, as in memory."""
        here = _at(incident_id, key)
        values = {"state": state, "alert": None if alert is None else alert.to_cloudevent()}
        if alert is not None and before is not None and alert.opening_id == before.opening_id:
            self._database.execute(signals.update().where(*here).values(**values))
            return
        self._database.execute(signals.delete().where(*here))
        series_id, reason = key
        self._database.execute(
            signals.insert().values(incident_id=incident_id, series_id=series_id, reason=reason, **values)
        )


def _at(incident_id: str, key: tuple[str, str]) -> tuple[ColumnElement[bool], ...]:
    series_id, reason = key
    return (signals.c.incident_id == incident_id, signals.c.series_id == series_id, signals.c.reason == reason)


def _signals(incident: Incident | None) -> dict[tuple[str, str], tuple[str, Alert | None]]:
    """State and alert by series and reason; a series beyond the alerts kept has no reason."""
    if incident is None:
        return {}
    found: dict[tuple[str, str], tuple[str, Alert | None]] = {
        (alert.series_id, alert.reason): ("resolved" if incident.is_over(alert) else "firing", alert)
        for alert in incident.alerts
    }
    found.update({(series_id, ""): ("beyond", None) for series_id in incident.beyond})
    return found
