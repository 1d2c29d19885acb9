"""Acknowledgements in the ledger: somebody knows of an incident, and perhaps that it is the new normal."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import func, select

from streamdrift.escalate.database import Database
from streamdrift.escalate.tables import acknowledgements


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """What was acknowledged of one incident.

    Attributes
    ----------
    at
        When first, in seconds since the epoch.
    order
        The change event by which its references are learned anew; None where it is not the new normal.
    published
        Whether that order is known to have been written.
    """

    incident_id: str
    at: float
    order: bytes | None = None
    published: bool = False


class Acknowledgements:
    """One for each incident at most, gone with it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, incident_id: str) -> Acknowledgement | None:
        """Return that of an incident; None where nobody acknowledged it."""
        c = acknowledgements.c
        rows = self._database.execute(
            select(c.incident_id, c.at, c.rebaseline, c.published).where(c.incident_id == incident_id)
        )
        return Acknowledgement(rows[0][0], rows[0][1], rows[0][2], bool(rows[0][3])) if rows else None

    def put(self, incident_id: str, at: float, order: bytes | None) -> Acknowledgement:
        """Record one; what was recorded before stays, and so does its order. Return what there is now."""
        put = self._database.insert(acknowledgements).values(
            incident_id=incident_id, at=at, rebaseline=order, published=False
        )
        kept = func.coalesce(acknowledgements.c.rebaseline, put.excluded.rebaseline)
        self._database.execute(put.on_conflict_do_update(index_elements=["incident_id"], set_={"rebaseline": kept}))
        found = self.get(incident_id)
        return Acknowledgement(incident_id, at, order) if found is None else found

    def published(self, incident_id: str) -> None:
        """Note that the order was written."""
        mine = acknowledgements.c.incident_id == incident_id
        self._database.execute(acknowledgements.update().where(mine).values(published=True))
