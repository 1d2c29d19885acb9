"""Pages over the rate limit, in the ledger: gathered until they are told together, and kept until all of them are over."""

from __future__ import annotations

import json
from dataclasses import dataclass

from sqlalchemy import ColumnElement, exists, func, or_, select

from streamdrift.escalate.database import Database
from streamdrift.escalate.tables import gathered, incidents

WAITING = ""
"""Stands for the summary that there isn't yet."""

_C = gathered.c


@dataclass(frozen=True, slots=True)
class Held:
    """One page that one receiver is not told by itself.

    Attributes
    ----------
    at
        Event time, milliseconds.
    since
        Seconds since the epoch.
    preface
        What the page would have begun with.
    on_call
        Names of the lists whose people it would have called.
    """

    receiver: str
    incident_id: str
    dedup_key: str
    at: int
    since: float
    preface: str
    on_call: tuple[str, ...]


class Gathered:
    """Pages by receiver, incident and summary."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, held: Held) -> None:
        """Gather a page; it stands for an earlier one of its incident, and waits since then."""
        values = {
            "dedup_key": held.dedup_key,
            "at": held.at,
            "preface": held.preface,
            "on_call": json.dumps(held.on_call),
        }
        key = {"receiver": held.receiver, "incident_id": held.incident_id, "summary_id": WAITING}
        made = self._database.insert(gathered).values(since=held.since, **key, **values)
        self._database.execute(made.on_conflict_do_update(index_elements=[*key], set_=values))

    def waiting(self, receiver: str) -> list[Held]:
        """Return what waits for a receiver's summary, the longest waiting first."""
        rows = self._database.execute(
            select(_C.receiver, _C.incident_id, _C.dedup_key, _C.at, _C.since, _C.preface, _C.on_call)
            .where(_C.receiver == receiver, _C.summary_id == WAITING)
            .order_by(_C.since, _C.at, _C.incident_id)
        )
        return [
            Held(receiver, incident_id, key, at, since, preface, tuple(json.loads(lists)))
            for receiver, incident_id, key, at, since, preface, lists in rows
        ]

    def since(self) -> dict[str, float]:
        """Return since when pages wait, by receiver."""
        rows = self._database.execute(
            select(_C.receiver, func.min(_C.since)).where(_C.summary_id == WAITING).group_by(_C.receiver)
        )
        return {str(receiver): float(since) for receiver, since in rows}

    def drop(self, incident_id: str, receiver: str | None = None) -> None:
        """Forget what waits of an incident, for one receiver or for all."""
        mine = [_C.incident_id == incident_id, _C.summary_id == WAITING]
        mine += [] if receiver is None else [_C.receiver == receiver]
        self._database.execute(gathered.delete().where(*mine))

    def summed_up(self, receiver: str, summary_id: str) -> None:
        """Note that what waits for a receiver is in a summary."""
        mine = (_C.receiver == receiver, _C.summary_id == WAITING)
        self._database.execute(gathered.update().where(*mine).values(summary_id=summary_id))

    def over(self) -> list[tuple[str, str]]:
        """Return receiver and id of the summaries of which no incident is open any more."""
        rows = self._database.execute(select(_C.receiver, _C.summary_id).where(is_over()).distinct())
        return sorted((str(receiver), str(summary_id)) for receiver, summary_id in rows)

    def of(self, receiver: str, summary_id: str) -> list[str]:
        """Return the ids of a summary's incidents."""
        mine = (_C.receiver == receiver, _C.summary_id == summary_id)
        rows = self._database.execute(select(_C.incident_id).where(*mine).order_by(_C.since, _C.at, _C.incident_id))
        return [str(incident_id) for (incident_id,) in rows]

    def done(self, receiver: str, summary_id: str) -> None:
        """Forget a summary."""
        mine = (_C.receiver == receiver, _C.summary_id == summary_id)
        self._database.execute(gathered.delete().where(*mine))


def is_over() -> ColumnElement[bool]:
    """It is in a summary of which no incident goes on."""
    other = gathered.alias("other")
    goes_on = exists().where(
        other.c.summary_id == _C.summary_id,
        other.c.receiver == _C.receiver,
        incidents.c.incident_id == other.c.incident_id,
        incidents.c.status != "resolved",
    )
    return (_C.summary_id != WAITING) & ~goes_on


def has_waited(now: float, patience_s: float) -> ColumnElement[bool]:
    """It waits for a summary, and for long enough; or since a time to come: the clock was set back."""
    return (_C.summary_id == WAITING) & or_(_C.since <= now - patience_s, _C.since > now)
