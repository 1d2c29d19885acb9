"""Objectives in the ledger: what was counted, which slices were, and how each objective stands."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any

import orjson
from sqlalchemy import func, select

from streamdrift.alerts import digest
from streamdrift.escalate.database import Database
from streamdrift.escalate.tables import slo_counts, slo_slices, slo_standings
from streamdrift.slo.counts import MINUTE_MS, Counts, Fresh, Key, merged

SLICES_S = 2 * 86_400.0
"""So long it is known that a slice was taken; that one comes again later, at an offset that is not done, means a topic made anew."""


@dataclass(frozen=True, slots=True)
class State:
    """How an objective stands, and what was told of it.

    Attributes
    ----------
    period_ms, title
        Of the objective.
    now
        End of the latest minute that was counted.
    firing
        Long windows of the pairs that fire, milliseconds.
    opened, latest
        The alert that opened, and the latest of it, as messages; None where nothing fires.
    fresh
        Of a freshness objective: latest event, and minutes of the clock that are counted.
    """

    objective: str
    model: str
    title: str = ""
    period_ms: int = 0
    now: int = 0
    left: float = 1.0
    burn: float = 0.0
    spent_in_s: float | None = None
    nearly_spent: bool = False
    firing: tuple[int, ...] = ()
    opened: str | None = None
    latest: str | None = None
    fresh: tuple[int, int] = (0, 0)


class Objectives:
    """Counts by indicator, states by objective."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def has(self, slice_id: str) -> bool:
        """Whether a slice was taken."""
        return bool(self._database.execute(select(slo_slices.c.at).where(slo_slices.c.slice_id == slice_id)))

    def took(self, slice_id: str, now: float) -> None:
        """Note that a slice is taken."""
        self._database.execute(slo_slices.insert().values(slice_id=slice_id, at=now))

    def counts(self, key: str) -> Counts:
        """Return what was counted of an indicator."""
        c, indicator = slo_counts.c, digest(key)
        rows = self._database.execute(select(c.width, c.at, c.good, c.total).where(c.indicator == indicator))
        found = dict(merged((int(width), int(at), int(good), int(total)) for width, at, good, total in rows))
        return Counts(found, max((at + width for width, at in found if width == MINUTE_MS), default=0))

    def put(self, key: str, counts: Counts, gone: Iterable[Key]) -> None:
        """Write what changed, and forget what went."""
        indicator = digest(key)
        for width, at in sorted(counts.changed):
            found = counts.buckets[width, at]
            values = {"good": found.good, "total": found.total}
            made = self._database.insert(slo_counts).values(indicator=indicator, width=width, at=at, **values)
            self._database.execute(made.on_conflict_do_update(index_elements=["indicator", "width", "at"], set_=values))
        counts.changed.clear()
        c = slo_counts.c
        for width, at in gone:
            here = (c.indicator == indicator, c.width == width, c.at == at)
            self._database.execute(slo_counts.delete().where(*here))

    def states(self, model: str | None = None) -> list[State]:
        """Return how the objectives of a model stand, or all, by name."""
        c = slo_standings.c
        mine = select(c.state).order_by(c.objective)
        rows = self._database.execute(mine if model is None else mine.where(c.model == model))
        return [_state(body) for (body,) in rows]

    def state(self, objective: str, model: str) -> State:
        """Return how one stands; a new one where it is not known, or was another model's."""
        c = slo_standings.c
        rows = self._database.execute(select(c.state).where(c.objective == objective))
        found = _state(rows[0][0]) if rows else None
        return found if found is not None and found.model == model else State(objective, model)

    def save(self, state: State) -> None:
        """Write how one stands."""
        body = orjson.dumps(asdict(state), option=orjson.OPT_SORT_KEYS).decode()
        values = {"model": state.model, "state": body}
        made = self._database.insert(slo_standings).values(objective=state.objective, **values)
        self._database.execute(made.on_conflict_do_update(index_elements=["objective"], set_=values))

    def drop(self, objective: str) -> None:
        """Forget how one stands."""
        self._database.execute(slo_standings.delete().where(slo_standings.c.objective == objective))

    def prune(self, now: float, keys: Iterable[str] | None = None) -> None:
        """Forget slices that were taken long ago; with ``keys``, also what was counted of other indicators."""
        self._database.execute(slo_slices.delete().where(slo_slices.c.at < now - SLICES_S))
        if keys is not None:
            kept = [digest(key) for key in keys]
            self._database.execute(slo_counts.delete().where(slo_counts.c.indicator.not_in(kept)))

    def size(self) -> int:
        """Return how many counts are kept."""
        ((count,),) = self._database.execute(select(func.count()).select_from(slo_counts))
        return int(count)


def _state(body: str) -> State:
    found: dict[str, Any] = orjson.loads(body)
    known = {name: value for name, value in found.items() if name in State.__dataclass_fields__}
    latest, counted = known["fresh"]
    return State(**known | {"firing": tuple(known["firing"]), "fresh": (latest, counted)})


def fresh_of(state: State) -> Fresh:
    """Return the freshness that a state has."""
    return Fresh(*state.fresh)


def with_fresh(state: State, fresh: Fresh) -> State:
    """Return a state with this freshness."""
    return replace(state, fresh=(fresh.latest, fresh.counted))
