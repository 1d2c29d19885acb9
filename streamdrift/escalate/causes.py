"""Confirmed causes in the ledger: what a person said it was, one for each incident."""

from __future__ import annotations

from typing import Any

from sqlalchemy import exists, select

from streamdrift.escalate.database import Database
from streamdrift.escalate.postmortem.record import Cause
from streamdrift.escalate.tables import causes, incidents, past

_C = causes.c


class Causes:
    """Causes, by incident."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, incident_id: str) -> Cause | None:
        """Return what was confirmed of an incident; None where nothing was."""
        rows = self._database.execute(
            select(_C.at, _C.body, _C.change_id, _C.kind, _C.seq).where(_C.incident_id == incident_id)
        )
        return cause_in(incident_id, *rows[0]) if rows else None

    def put(self, cause: Cause) -> None:
        """Note what was confirmed; it stands for what was before."""
        values = {
            "at": cause.at,
            "change_id": cause.change_id,
            "kind": cause.kind,
            "body": cause.text,
            "seq": cause.seq,
        }
        made = self._database.insert(causes).values(incident_id=cause.incident_id, **values)
        self._database.execute(made.on_conflict_do_update(index_elements=["incident_id"], set_=values))

    def prune(self) -> None:
        """Forget those of incidents of which nothing else is kept."""
        here = exists().where(incidents.c.incident_id == _C.incident_id)
        noted = exists().where(past.c.incident_id == _C.incident_id)
        self._database.execute(causes.delete().where(~here, ~noted))


def cause_in(incident_id: str, at: Any, body: Any, change_id: Any, kind: Any, seq: Any) -> Cause:
    """Read a row."""
    return Cause(incident_id, int(at), str(body), change_id, kind, seq)
