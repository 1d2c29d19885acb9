"""The timeline in the ledger: what happened to an incident, in order, never changed afterwards."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import orjson
from sqlalchemy import func, select

from streamdrift.escalate.database import Database
from streamdrift.escalate.tables import timeline

Kind = Literal[
    "detected",
    "grew",
    "shrank",
    "paged",
    "delivered",
    "undelivered",
    "acknowledged",
    "silenced",
    "suspect",
    "mitigation_proposed",
    "mitigation_approved",
    "mitigation_refused",
    "mitigation_sent",
    "mitigation_verified",
    "mitigation_kept",
    "mitigation_reverting",
    "mitigation_reverted",
    "mitigation_expired",
    "mitigation_failed",
    "recovered",
    "resolved",
    "reopened",
    "note",
]
KINDS: tuple[str, ...] = get_args(Kind)
TEXT_LENGTH_MAX = 2_000
"""Characters of an entry's text; longer ones are cut."""
ENTRIES_MAX = 2_000
"""Entries of one incident; further ones are left out, which ``add`` says."""
GROWTH_MAX = 1_500
"""From so many entries on, those of ``ONGOING`` are left out: what became of it must find room."""
ONGOING: frozenset[Kind] = frozenset({"grew", "shrank"})


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that happened.

    Attributes
    ----------
    at
        When, in milliseconds since the epoch.
    text
        A sentence.
    detail
        The same for machines, in JSON terms.
    """

    incident_id: str
    seq: int
    at: int
    kind: Kind
    text: str
    detail: dict[str, Any] = field(default_factory=dict)

    @property
    def entry_id(self) -> str:
        """What a post-mortem cites.

        >>> Entry("c0ffee", 3, 0, "note", "a sentence").entry_id
        'c0ffee#3'
        """
        return f"{self.incident_id}#{self.seq}"


class Timeline:
    """Entries, by incident and number."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(
        self, incident_id: str, at: int, kind: Kind, text: str, detail: dict[str, Any] | None = None
    ) -> Entry | None:
        """Add an entry, within the caller's transaction; None where the incident has too many."""
        column = timeline.c.seq
        ((last,),) = self._database.execute(select(func.max(column)).where(timeline.c.incident_id == incident_id))
        if (last or 0) >= (GROWTH_MAX if kind in ONGOING else ENTRIES_MAX):
            return None
        entry = Entry(incident_id, (last or 0) + 1, at, kind, text[:TEXT_LENGTH_MAX], detail or {})
        self._database.execute(
            timeline.insert().values(
                incident_id=incident_id,
                seq=entry.seq,
                at=at,
                kind=kind,
                text=entry.text,
                detail=orjson.dumps(entry.detail, option=orjson.OPT_SORT_KEYS).decode(),
            )
        )
        return entry

    def entries(self, incident_id: str) -> list[Entry]:
        """Return those of one incident, in the order in which they were added."""
        c = timeline.c
        found = self._database.execute(
            select(c.incident_id, c.seq, c.at, c.kind, c.text, c.detail)
            .where(c.incident_id == incident_id)
            .order_by(c.seq)
        )
        return [Entry(i, seq, at, kind, said, orjson.loads(detail)) for i, seq, at, kind, said, detail in found]
