"""Silences in the ledger: somebody's word that alerts are expected, until a time and up to a size."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import ColumnElement, func, or_, select

from streamdrift.escalate.database import Database
from streamdrift.escalate.routing.matchers import parsed
from streamdrift.escalate.routing.quiet import Silence
from streamdrift.escalate.tables import silences

SILENCES_MAX = 1_000
"""That are not over: each page is held against all of them."""

_C = silences.c
_SELECTED = select(
    _C.silence_id, _C.match, _C.starts_at, _C.ends_at, _C.comment, _C.author, _C.up_to, _C.ended_at
).order_by(_C.starts_at, _C.silence_id)


class Silences:
    """Reads and writes silences."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, silence: Silence, now: float) -> bool:
        """Take one in, within the caller's transaction; False where there are too many."""
        ((count,),) = self._database.execute(select(func.count()).select_from(silences).where(_lasts(now)))
        if count >= SILENCES_MAX:
            return False
        self._database.execute(
            silences.insert().values(
                silence_id=silence.silence_id,
                match=json.dumps([str(matcher) for matcher in silence.match]),
                starts_at=silence.starts_at,
                ends_at=silence.ends_at,
                up_to=silence.up_to,
                comment=silence.comment,
                author=silence.author,
            )
        )
        return True

    def lasting(self, now: float) -> list[Silence]:
        """Return those that are not over, the earliest first; some may not have begun."""
        return [_silence(row) for row in self._database.execute(_SELECTED.where(_lasts(now)))]

    def all(self) -> list[Silence]:
        """Return every one that is kept, the earliest first."""
        return [_silence(row) for row in self._database.execute(_SELECTED)]

    def beginning_with(self, text: str) -> list[Silence]:
        """Return those whose id begins with a text; two at most."""
        begins = func.substr(_C.silence_id, 1, len(text)) == text
        return [_silence(row) for row in self._database.execute(_SELECTED.where(begins).limit(2))]

    def end(self, silence_id: str, now: float) -> None:
        """End one that lasts."""
        mine = (_C.silence_id == silence_id, _lasts(now))
        self._database.execute(silences.update().where(*mine).values(ended_at=now))

    def prune(self, before: float) -> None:
        """Forget those that were over before a time."""
        over = or_(_C.ends_at < before, _C.ended_at < before)
        self._database.execute(silences.delete().where(over))


def _lasts(now: float) -> ColumnElement[bool]:
    return _C.ended_at.is_(None) & (_C.ends_at > now)


def _silence(row: tuple[Any, ...]) -> Silence:
    silence_id, match, *rest = row
    return Silence(silence_id, tuple(parsed(text) for text in json.loads(match)), *rest)
