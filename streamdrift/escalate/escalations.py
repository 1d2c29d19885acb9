"""Steps in the ledger: who is to be told, and when, unless somebody has acknowledged until then."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, func, or_, select

from streamdrift.escalate.database import Database
from streamdrift.escalate.routing.tree import AFTER_S_MAX
from streamdrift.escalate.tables import escalations

_C = escalations.c


@dataclass(frozen=True, slots=True)
class Due:
    """One step.

    Attributes
    ----------
    number
        From 1, in the order of time.
    after_s
        Since the page.
    due_at
        In seconds since the epoch.
    at
        Event time of the page, milliseconds.
    on_call
        Names of lists whose people are called.
    """

    incident_id: str
    number: int
    after_s: float
    due_at: float
    at: int
    receivers: tuple[str, ...]
    on_call: tuple[str, ...]


class Escalations:
    """The steps of each incident's latest page that are not done."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def plan(self, incident_id: str, steps: Sequence[Due]) -> None:
        """Put an incident's steps in place of those it had."""
        self.drop(incident_id)
        for step in steps:
            self._database.execute(
                escalations.insert().values(
                    incident_id=incident_id,
                    number=step.number,
                    after_s=step.after_s,
                    due_at=step.due_at,
                    at=step.at,
                    receivers=json.dumps(step.receivers),
                    on_call=json.dumps(step.on_call),
                )
            )

    def drop(self, incident_id: str) -> None:
        """Forget an incident's steps: somebody knows, or it is over."""
        self._database.execute(escalations.delete().where(_C.incident_id == incident_id))

    def done(self, step: Due) -> None:
        """Forget one step."""
        self._database.execute(escalations.delete().where(_C.incident_id == step.incident_id, _C.number == step.number))

    def postpone(self, step: Due, due_at: float) -> None:
        """Let a step wait."""
        mine = (_C.incident_id == step.incident_id, _C.number == step.number)
        self._database.execute(escalations.update().where(*mine).values(due_at=due_at))

    def due(self, now: float, limit: int) -> list[Due]:
        """Return the steps whose time has come, the earliest first.

        One that seems to be further off than any can be was noted by a clock that has been set back since: it is due.
        """
        rows = self._database.execute(
            select(_C.incident_id, _C.number, _C.after_s, _C.due_at, _C.at, _C.receivers, _C.on_call)
            .where(come(now))
            .order_by(_C.due_at, _C.incident_id, _C.number)
            .limit(limit)
        )
        return [
            Due(str(i), number, after_s, due_at, at, tuple(json.loads(receivers)), tuple(json.loads(on_call)))
            for i, number, after_s, due_at, at, receivers, on_call in rows
        ]

    def of(self, incident_id: str) -> int:
        """Return how many steps an incident has left."""
        ((count,),) = self._database.execute(
            select(func.count()).select_from(escalations).where(_C.incident_id == incident_id)
        )
        return int(count)


def come(now: float) -> ColumnElement[bool]:
    """Its time has come."""
    return or_(_C.due_at <= now, _C.due_at > now + AFTER_S_MAX)
