"""Upstream changes in the ledger: what was deployed, altered or retrained, and when."""

from __future__ import annotations

from dataclasses import asdict
from itertools import islice

import orjson
from sqlalchemy import func, select

from streamdrift.escalate.database import Database
from streamdrift.escalate.suspects import AFTER_MS, LOOKED_BACK_MS
from streamdrift.escalate.tables import changes
from streamdrift.events.change import Change

CHANGES_MAX = 10_000
"""Changes that are kept; over it the oldest goes."""


class Changes:
    """Changes, by id."""

    def __init__(self, database: Database, changes_max: int = CHANGES_MAX) -> None:
        self._database, self._max = database, changes_max

    def put(self, change: Change) -> bool | None:
        """Note a change; return whether it was not known, None where another, the oldest, had to go for it."""
        known = select(changes.c.at).where(changes.c.change_id == change.change_id)
        if self._database.execute(known):
            return False
        body = orjson.dumps(asdict(change), option=orjson.OPT_SORT_KEYS).decode()
        self._database.execute(changes.insert().values(change_id=change.change_id, at=change.time, body=body))
        ((count,),) = self._database.execute(select(func.count()).select_from(changes))
        if count <= self._max:
            return True
        oldest = select(changes.c.change_id).order_by(changes.c.at, changes.c.change_id).limit(1).scalar_subquery()
        self._database.execute(changes.delete().where(changes.c.change_id == oldest))
        return None

    def before(self, onset_at: int) -> list[Change]:
        """Return the changes that may have to do with an onset, those a week before it too, in their order."""
        span = (changes.c.at >= onset_at - 2 * LOOKED_BACK_MS, changes.c.at <= onset_at + LOOKED_BACK_MS + AFTER_MS)
        rows = self._database.execute(select(changes.c.body).where(*span).order_by(changes.c.at, changes.c.change_id))
        return [_change(body) for (body,) in rows]

    def deployed(self, model: str, limit: int) -> list[Change]:
        """Return the deployments of a model that name a version, in their order: the latest, where there are more."""
        alike = changes.c.body.contains('"kind":"deployment"', autoescape=True)  # no quote in a text stands so
        latest = select(changes.c.body).where(alike).order_by(changes.c.at.desc(), changes.c.change_id.desc())
        found = (_change(body) for (body,) in self._database.execute(latest))
        mine = (c for c in found if c.kind == "deployment" and c.version and model in c.models)
        return list(islice(mine, limit))[::-1]

    def known_since(self) -> int | None:
        """Event time of the oldest change that is known; None of none."""
        ((oldest,),) = self._database.execute(select(func.min(changes.c.at)))
        return None if oldest is None else int(oldest)

    def prune(self, before_ms: int) -> None:
        """Forget changes that are older."""
        self._database.execute(changes.delete().where(changes.c.at < before_ms))


def _change(body: str) -> Change:
    found = orjson.loads(body)
    lists = {name: tuple(found[name]) for name in ("models", "features", "reads") if found.get(name) is not None}
    return Change(**found | lists)
