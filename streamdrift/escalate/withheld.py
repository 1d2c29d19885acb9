"""Pages withheld, in the ledger: what a silence, a window or another incident keeps from being told."""

from __future__ import annotations

from sqlalchemy import ColumnElement, func, or_, select

from streamdrift.escalate.database import Database
from streamdrift.escalate.tables import withheld

CHECK_S = 10.0
"""How often it is asked whether what withholds a page is over."""

_C = withheld.c


class Withheld:
    """One for each incident at most: its latest page stands for those before."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, incident_id: str, at: int, why: str, now: float) -> None:
        """Note that an incident's page is withheld; ``at`` is the page's event time."""
        values = {"at": at, "why": why, "checked_at": now}
        made = self._database.insert(withheld).values(incident_id=incident_id, **values)
        self._database.execute(made.on_conflict_do_update(index_elements=["incident_id"], set_=values))

    def drop(self, incident_id: str) -> None:
        """Forget it: it is told, or over."""
        self._database.execute(withheld.delete().where(_C.incident_id == incident_id))

    def get(self, incident_id: str) -> tuple[int, str] | None:
        """Return a withheld page's event time, and why; None where none is withheld."""
        rows = self._database.execute(select(_C.at, _C.why).where(_C.incident_id == incident_id))
        return (int(rows[0][0]), str(rows[0][1])) if rows else None

    def due(self, now: float, limit: int) -> list[tuple[str, int, str]]:
        """Return id, event time and reason of those to be looked at again, the longest waiting first."""
        order = (_C.checked_at, _C.incident_id)
        rows = self._database.execute(
            select(_C.incident_id, _C.at, _C.why).where(waited(now)).order_by(*order).limit(limit)
        )
        return [(str(incident_id), int(at), str(why)) for incident_id, at, why in rows]

    def count(self) -> int:
        """Return how many there are."""
        ((count,),) = self._database.execute(select(func.count()).select_from(withheld))
        return int(count)


def waited(now: float) -> ColumnElement[bool]:
    """It was looked at long enough ago; or, so it seems, in a time to come: the clock was set back."""
    return or_(_C.checked_at <= now - CHECK_S, _C.checked_at > now + CHECK_S)
