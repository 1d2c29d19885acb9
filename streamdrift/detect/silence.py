"""Silence of whole models: an event of any model shows that time has passed for all of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from streamdrift.alerts import Alert
from streamdrift.blocks.block import Block, Coded
from streamdrift.blocks.column import Ints
from streamdrift.detect.traffic import Gap, Traffic
from streamdrift.ports import Partition

IDLE_AGE_MAX_MS = 86_400_000
"""A day: events that ended longer ago are no traffic that fell silent, but a recording."""


@dataclass(slots=True)
class _State:
    latest: int  # event time of the model's latest event
    seen: int = 0  # events of the model
    version: str | None = None
    silent: bool = False

    def gap(self, *, opens: bool, at: int) -> Gap:
        return Gap(opens, self.latest, at, self.seen, self.version)


class Silence:
    """Watches the latest event time of every model against the latest of all."""

    def __init__(self) -> None:
        self._states: dict[str, _State] = {}
        self._watermark = -1
        self._restored: set[str] = set()
        self.changed: set[str] = set()
        """Models that fell silent or came back since somebody last took note."""

    def of(self, model: str) -> _State | None:
        """Return what is known of a model."""
        return self._states.get(model)

    def restore(self, model: str, state: _State) -> None:
        """Go on with a model.

        That it fell silent was put away when it was told; so rows that were read before tell nothing new of that.
        """
        self._states[model] = state
        self._restored.add(model)
        self._watermark = max(self._watermark, state.latest)

    def forget(self, model: str) -> None:
        """Watch a model no longer."""
        self._states.pop(model, None)
        self._restored.discard(model)

    def update(self, blocks: list[Block], traffic: Mapping[str, Traffic]) -> list[tuple[int, Alert]]:
        """Take the blocks of a batch, after ``traffic`` took them; return alerts with their place in the batch."""
        clock = _Clock(blocks, self._watermark)
        mine = {block.model: block for block in blocks if block.model in traffic}
        for model, block in mine.items():
            self._states.setdefault(model, _State(int(block.time[0])))
        told: list[tuple[int, Alert]] = []
        for model, state in self._states.items():
            was_silent = state.silent
            watch = _Watch(traffic[model], state, clock, restored=model in self._restored)
            found = watch.run(mine.get(model))
            if found or state.silent != was_silent:
                self.changed.add(model)
            told += found
        self._watermark = clock.last
        return told

    def idle(self, now_ms: int, traffic: Mapping[str, Traffic]) -> list[Alert]:
        """Return the alerts of models silent for too long by the clock; an event would have told the same.

        Recorded events that are played have stopped long ago by the clock: of those it says nothing.
        """
        alerts = []
        for model, state in self._states.items():
            limit = traffic[model].silence_ms
            late = now_ms - state.latest - limit if limit is not None else -1
            if limit is not None and not state.silent and 0 < late < IDLE_AGE_MAX_MS:
                state.silent = True
                self.changed.add(model)
                block = _nothing(model, state.latest + limit)
                alert = traffic[model].silence(block, 0, state.gap(opens=True, at=state.latest + limit))
                alerts.append(replace(alert, position={}))
        return alerts


class _Watch:
    """One model over one batch."""

    def __init__(self, traffic: Traffic, state: _State, clock: _Clock, *, restored: bool) -> None:
        self._traffic, self._state, self._clock, self._restored = traffic, state, clock, restored
        self._told: list[tuple[int, Alert]] = []

    def run(self, block: Block | None) -> list[tuple[int, Alert]]:
        state, clock, limit = self._state, self._clock, self._traffic.silence_ms
        at = 0
        if block is not None:
            before, seen = state.latest, state.seen
            latest = np.maximum.accumulate(np.concatenate([[before], block.time]))
            long = np.diff(latest) > (limit if limit is not None else np.iinfo(np.int64).max)
            for row in np.flatnonzero(long | (state.silent & (np.diff(latest) > 0) & (latest[:-1] == before))).tolist():
                self._move(state, int(latest[row]), seen + row, block, row - 1)
                end = clock.after(int(block.order[row]))
                self._open(limit, at if row == 0 else clock.after(int(block.order[row - 1])), end)
                self._close(int(latest[row + 1]), block, row)
            self._move(state, int(latest[-1]), seen + len(block), block, len(block) - 1)
            at = clock.after(int(block.order[-1]))
        self._open(limit, at, len(clock.orders))
        return self._told

    @staticmethod
    def _move(state: _State, latest: int, seen: int, block: Block, row: int) -> None:
        state.latest, state.seen = latest, seen
        if row >= 0:
            state.version = block.versions.at(row)

    def _open(self, limit: int | None, begin: int, end: int) -> None:
        """Say so at the first event between ``begin`` and ``end`` which shows that the limit has passed."""
        state, clock = self._state, self._clock
        if limit is None or state.silent or begin >= end:
            return
        at = begin + int(np.searchsorted(clock.marks[begin:end], state.latest + limit, "right"))
        if self._restored:
            at = clock.unmuted(at, end)
        if at < end:
            state.silent = True
            block, row = clock.place(at)
            self._tell(block, row, state.gap(opens=True, at=state.latest + limit))

    def _close(self, now: int, block: Block, row: int) -> None:
        if self._state.silent:
            self._state.silent = False
            self._tell(block, row, self._state.gap(opens=False, at=now))

    def _tell(self, block: Block, row: int, gap: Gap) -> None:
        alert = self._traffic.silence(block, row, gap)
        if not block.muted[row]:
            self._told.append((int(block.order[row]), alert))


def _nothing(model: str, at: int) -> Block:
    """A block of one row that no event stands behind."""
    zero = np.zeros(1, np.int64)
    code = np.zeros(1, np.int32)
    return Block(
        model,
        {},
        "events",
        np.array([at], np.int64),
        code,
        (Partition(""),),
        zero,
        zero,
        zero + 1,
        zero,
        np.zeros(1, np.bool_),
        Coded(code - 1, ()),
        {},
    )


class _Clock:
    """Event time over a batch, across models: at each row, the latest time so far."""

    def __init__(self, blocks: list[Block], before: int) -> None:
        orders = np.concatenate([block.order for block in blocks])
        times = np.concatenate([block.time for block in blocks])
        which = np.repeat(np.arange(len(blocks)), [len(block) for block in blocks])
        rows = np.concatenate([np.arange(len(block)) for block in blocks])
        by_order = np.argsort(orders, kind="stable")
        self.orders: Ints = orders[by_order]
        self.marks: Ints = np.maximum.accumulate(np.maximum(times[by_order], before))
        self._muted = np.concatenate([block.muted for block in blocks])[by_order]
        self._which, self._rows, self._blocks = which[by_order], rows[by_order], blocks
        self.last = int(self.marks[-1])

    def after(self, order: int) -> int:
        """Index of the first row behind this place."""
        return int(np.searchsorted(self.orders, order, "right"))

    def unmuted(self, begin: int, end: int) -> int:
        """Index of the first row from ``begin`` on that was not read before; ``end`` where there is none before that."""
        rows = np.flatnonzero(~self._muted[begin:end])
        return begin + int(rows[0]) if len(rows) else end

    def place(self, at: int) -> tuple[Block, int]:
        """Block and row of the row with this index."""
        return self._blocks[int(self._which[at])], int(self._rows[at])
