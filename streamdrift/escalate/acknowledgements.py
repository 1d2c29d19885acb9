"""Acknowledgements in the ledger: somebody knows of an incident, and perhaps that it is the new normal."""

from __future__ import annotations

from dataclasses import dataclass

from streamdrift.escalate.database import Database


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
        rows = self._database.execute(
            "SELECT incident_id, at, rebaseline, published FROM acknowledgements WHERE incident_id = ?", [incident_id]
        )
        return Acknowledgement(rows[0][0], rows[0][1], rows[0][2], bool(rows[0][3])) if rows else None

    def put(self, incident_id: str, at: float, order: bytes | None) -> Acknowledgement:
        """Record one; what was recorded before stays, and so does its order. Return what there is now."""
        self._database.execute(
            "INSERT INTO acknowledgements (incident_id, at, rebaseline) VALUES (?, ?, ?) ON CONFLICT (incident_id) "
            "DO UPDATE SET rebaseline = coalesce(rebaseline, excluded.rebaseline)",
            [incident_id, at, order],
        )
        found = self.get(incident_id)
        return Acknowledgement(incident_id, at, order) if found is None else found

    def published(self, incident_id: str) -> None:
        """Note that the order was written."""
        self._database.execute("UPDATE acknowledgements SET published = 1 WHERE incident_id = ?", [incident_id])
