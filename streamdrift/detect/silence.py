"""Silence of whole models: no event for longer than ever, as far as everything that could have brought one was read.

A model's events come from one or several *sources*, the partitions of the input. Each source has a clock of its own: the latest event time
that was read of it, of any model, and what passed since then while it was seen to have nothing more. A model is silent at a time once
the clocks of all sources that it is known from have passed that time, so that a source which is read late makes nobody
silent. Where blocks come over the exchange, clocks come as *marks* in the same partition, behind all that they are about (``blocks.marks``).

What is told hangs on the model's own events alone: neither on which event of another showed it, nor on when.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np

from streamdrift.alerts import Alert
from streamdrift.blocks.block import Block, Coded
from streamdrift.blocks.column import Bools, Ints
from streamdrift.blocks.marks import Mark, Marks
from streamdrift.detect.traffic import Gap, Traffic
from streamdrift.ports import Partition

DAY_MS = 86_400_000
"""A source that stands for as long is none of the model's any more; and events that ended so long ago by the clock are a
recording, no traffic that fell silent."""
GAPS_MAX = 16
"""Gaps of one model that wait for a source which is behind; further ones are not told."""


@dataclass(slots=True)
class LastEvent:
    """A model's latest event, and what stood before it.

    Attributes
    ----------
    at
        Its event time.
    seen
        Events of the model, this one included.
    source, offset
        Where it stands; None where that isn't known.
    """

    at: int
    seen: int = 0
    version: str | None = None
    source: Partition | None = None
    offset: int = 0


@dataclass(slots=True)
class Model:
    """What is known of a model.

    Attributes
    ----------
    silent
        Whether it was told so, and nothing came since.
    read
        How far its sources had come when its latest event was read: beyond it, where the model's events are late, or where another's
        has a time that is wrong. Only what comes after that counts.
    sources
        The latest event time of the model's own events, by source.
    waiting
        Gaps that its own events ended before all sources were read so far.
    """

    last: LastEvent
    silent: bool = False
    read: int = -1
    sources: dict[Partition, int] = field(default_factory=dict)
    waiting: list[tuple[LastEvent, LastEvent]] = field(default_factory=list)

    @property
    def since(self) -> int:
        """The time from which a silence is counted next: of the first gap that waits, or of now."""
        return self.waiting[0][0].at if self.waiting else max(self.last.at, self.read)

    def clock(self, marks: Mapping[Partition, Mark], now_ms: int) -> int:
        """The time up to which all of the model's sources are known, by their marks and its own events."""
        return min((self._clock(source, marks.get(source), now_ms) for source in self.sources), default=-1)

    def _clock(self, source: Partition, mark: Mark | None, now_ms: int) -> int:
        own = self.sources[source]
        if mark is None:
            return own
        latest = max(own, mark.latest)
        return latest + (mark.waited if now_ms - latest < DAY_MS else 0)

    def came(self, block: Block) -> None:
        """Note from which sources events came; forget those from which none came for a day."""
        for code, source in enumerate(block.sources):
            times = block.time[block.source == code]
            if len(times):
                self.sources[source] = max(int(times.max()), self.sources.get(source, -1))
        if len(self.sources) > 1:
            since = max(self.sources.values()) - DAY_MS
            self.sources = {source: at for source, at in self.sources.items() if at >= since}

    def fill(self, block: Block, begin: int, end: int, limit: int) -> bool:
        """Shorten the gaps that wait by those of a block's rows that fell into them; return whether any did."""
        left: list[tuple[LastEvent, LastEvent]] = []
        found = False
        for before, after in self.waiting:
            rows = begin + np.flatnonzero((block.time[begin:end] > before.at) & (block.time[begin:end] < after.at))
            found |= len(rows) > 0
            inside = [
                _last_event(block, row, before.seen)
                for row in rows[np.argsort(block.time[rows], kind="stable")].tolist()
            ]
            left += [pair for pair in pairwise([before, *inside, after]) if pair[1].at - pair[0].at > limit]
        self.waiting = left[:GAPS_MAX]
        return found


class Silence:
    """Watches the latest event time of every model against the clocks of its sources."""

    def __init__(self) -> None:
        self._models: dict[str, Model] = {}
        self._marks: dict[Partition | None, dict[Partition, Mark]] = {}
        self._restored: set[str] = set()
        self.changed: set[str] = set()
        """Models that fell silent or came back since somebody last took note."""

    def of(self, model: str) -> Model | None:
        """Return what is known of a model."""
        return self._models.get(model)

    def restore(self, model: str, found: Model) -> None:
        """Go on with a model.

        That it fell silent was put away when it was told; so what was read before tells nothing new of that.
        """
        self._models[model] = found
        self._restored.add(model)

    def forget(self, model: str) -> None:
        """Watch a model no longer."""
        self._models.pop(model, None)
        self._restored.discard(model)

    def update(
        self, blocks: list[Block], traffic: Mapping[str, Traffic], log: Partition | None = None
    ) -> list[tuple[int, Alert]]:
        """Take the blocks of a batch, after ``traffic`` took them; return alerts with their place in the batch.

        Parameters
        ----------
        log
            The partition of the exchange that they came by. None: they are all that was read, in order, and each event shows
            that time has passed for the other models of its source as well.
        """
        marks = self._marks.setdefault(log, {})
        rows = _Rows(blocks, marks)
        mine = {block.model: block for block in blocks if block.model in traffic}
        for model, block in mine.items():
            self._models.setdefault(model, Model(LastEvent(int(block.time[0])))).came(block)
        told: list[tuple[int, Alert]] = []
        for model in self._models if log is None else mine:
            found = self._models[model]
            before = found.silent, len(found.waiting)
            alerts = _Watch(traffic[model], found, rows, restored=model in self._restored).run(mine.get(model))
            if alerts or before != (found.silent, len(found.waiting)):
                self.changed.add(model)
            told += alerts
        if log is None:
            marks |= rows.marks()
        return told

    def mark(self, marks: Marks, models: Iterable[str], traffic: Mapping[str, Traffic]) -> list[Alert]:
        """Take the clocks of some sources; return the alerts of models that are silent by these.

        Parameters
        ----------
        models
            Those whose events up to these clocks were all seen.
        """
        known = self._marks.setdefault(marks.log, {})
        for source, mark in marks.sources.items():
            before = known.get(source, mark)
            known[source] = Mark(max(mark.latest, before.latest), mark.waited, before.first)
        told: list[Alert] = []
        for model in models:
            found = self._models.get(model)
            if found is None or model not in traffic or found.sources.keys().isdisjoint(marks.sources):
                continue
            if marks.muted and model in self._restored:
                continue
            alerts = _said(traffic[model], found, found.clock(known, marks.at))
            if alerts:
                self.changed.add(model)
            told += [] if marks.muted else alerts
        return told

    def left(self, log: Partition) -> None:
        """Forget what a partition of the exchange said of sources."""
        self._marks.pop(log, None)

    def models(self) -> list[str]:
        """Those that are watched."""
        return list(self._models)


def _said(traffic: Traffic, found: Model, clock: int) -> list[Alert]:
    """What is to be said of a model when its sources have come to ``clock``: gaps that waited, and that it is silent."""
    limit = traffic.silence_ms
    if limit is None:
        return []
    alerts: list[Alert] = []
    while found.waiting and clock > found.waiting[0][0].at + limit:
        before, after = found.waiting.pop(0)
        alerts += [_opened(traffic, before, limit), _closed(traffic, before, after)]
    if not found.silent and clock > found.since + limit:
        found.silent = True
        alerts.append(_opened(traffic, found.last, limit))
    return alerts


def _opened(traffic: Traffic, last: LastEvent, limit: int) -> Alert:
    return _alert(
        traffic, last, last, Gap(opens=True, since=last.at, at=last.at + limit, seen=last.seen, version=last.version)
    )


def _closed(traffic: Traffic, last: LastEvent, first: LastEvent) -> Alert:
    gap = Gap(opens=False, since=last.at, at=first.at, seen=last.seen, version=last.version)
    return _alert(traffic, last, first, gap)


def _alert(traffic: Traffic, last: LastEvent, told: LastEvent, gap: Gap) -> Alert:
    """An alert of a gap after ``last``; its position is that of ``told``, the model's event at the end of the gap that it is about."""
    alert = traffic.silence(_nothing(traffic.model, gap.at, last.seen), gap)
    return replace(alert, position={} if told.source is None else dict(told.source.position(told.offset)))


class _Watch:
    """One model over one batch."""

    def __init__(self, traffic: Traffic, found: Model, rows: _Rows, *, restored: bool) -> None:
        self._traffic, self._found, self._rows = traffic, found, rows
        self._clocks = rows.clocks(found)
        self._restored = restored
        self._block: Block | None = None
        self._ends: Ints = np.zeros(0, np.int64)
        self._filled = 0
        self._told: list[tuple[int, Alert]] = []

    def run(self, block: Block | None) -> list[tuple[int, Alert]]:
        found, rows = self._found, self._rows
        begin = 0
        if block is not None:
            seen = found.last.seen
            self._block, self._ends = block, np.searchsorted(rows.orders, block.order, "right")
            latest = np.maximum.accumulate(np.concatenate([[found.last.at], block.time]))
            later = np.diff(latest) > 0
            places = np.maximum.accumulate(np.where(later, np.arange(len(block)), -1))
            row = -1
            while (row := self._next(row + 1, latest, later)) < len(block):
                if row:
                    self._move(row - 1, int(places[row - 1]), seen + row)
                self._open(begin, begin := int(self._ends[row]))
                self._close(block, row, seen)
            self._move(len(block) - 1, int(places[-1]), seen + len(block))
        self._open(begin, len(rows))
        return self._told

    def _next(self, row: int, latest: Ints, later: Bools) -> int:
        """The first event from ``row`` on that ends a silence; their number where none does."""
        limit = self._traffic.silence_ms
        if self._found.silent:
            ending = later[row:]
        elif limit is None or row == len(later):
            return len(later)
        else:
            at_rows = self._clocks[self._ends[row:] - 1]
            read = self._clocks[self._ends[row - 1] - 1] if row else self._found.read
            due = np.maximum(latest[row:-1], np.concatenate([[read], at_rows[:-1]])) + limit
            ending = later[row:] & ((latest[row + 1 :] > latest[row:-1] + limit) | (at_rows > due))
        return row + (int(np.argmax(ending)) if ending.any() else len(ending))

    def _move(self, last: int, latest: int, seen: int) -> None:
        """Note that all rows to the ``last`` were taken, and which of these is the latest; -1 where it came before."""
        found = self._found
        if latest >= 0 and self._block is not None:
            found.last = _last_event(self._block, latest, seen)
        found.last.seen, found.read = seen, int(self._clocks[self._ends[last] - 1])

    def _open(self, begin: int, end: int) -> None:
        """Say what is to be said at the first rows between ``begin`` and ``end`` whose clocks show it."""
        found, limit = self._found, self._traffic.silence_ms
        while limit is not None and begin < end and (found.waiting or not found.silent):
            shown = begin + int(np.searchsorted(self._clocks[begin:end], found.since + limit, "right"))
            if found.waiting and self._fill(shown, limit):
                continue
            begin = self._rows.unmuted(shown, end) if self._restored else shown
            if begin < end:
                alerts = _said(self._traffic, found, int(self._clocks[begin]))
                if not self._rows.muted[begin]:
                    self._told += [(int(self._rows.orders[begin]), alert) for alert in alerts]

    def _fill(self, end: int, limit: int) -> bool:
        """Fill the gaps that wait by the model's rows before ``end``; return whether that changed any."""
        if self._block is None:
            return False
        first, self._filled = self._filled, int(np.searchsorted(self._ends, end, "right"))
        return self._found.fill(self._block, first, self._filled, limit)

    def _close(self, block: Block, row: int, seen: int) -> None:
        """An event ends a silence; or a gap that is as long, but which another source may still fill."""
        found, first = self._found, _last_event(block, row, seen + row + 1)
        if not found.silent:
            if len(found.waiting) < GAPS_MAX:
                found.waiting.append((replace(found.last), first))
            return
        found.silent = False
        if not block.muted[row]:
            self._told.append((int(block.order[row]), _closed(self._traffic, found.last, first)))


def _last_event(block: Block, row: int, seen: int) -> LastEvent:
    source = block.sources[int(block.source[row])]
    return LastEvent(int(block.time[row]), seen, block.versions.at(row), source, int(block.offset[row]))


def _nothing(model: str, at: int, seen: int) -> Block:
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
        zero + seen,
        zero + 1,
        zero,
        np.zeros(1, np.bool_),
        Coded(code - 1, ()),
        {},
    )


class _Rows:
    """The rows of a batch in order, across models, and the clocks of their sources at each."""

    def __init__(self, blocks: list[Block], marks: Mapping[Partition, Mark]) -> None:
        index: dict[Partition, int] = {}
        for block in blocks:
            for source in block.sources:
                index.setdefault(source, len(index))
        which = [np.array([index[source] for source in block.sources], np.int64)[block.source] for block in blocks]
        orders: Ints = np.concatenate([block.order for block in blocks])
        by_order = np.argsort(orders, kind="stable")
        self.orders: Ints = orders[by_order]
        self.muted: Bools = np.concatenate([block.muted for block in blocks])[by_order]
        self._times: Ints = np.concatenate([block.time for block in blocks])[by_order]
        self._which, self._index = np.concatenate(which)[by_order], index
        self._before = marks
        self._known: dict[Partition, tuple[Ints, Ints]] = {}

    def __len__(self) -> int:
        return len(self.orders)

    def clocks(self, found: Model) -> Ints:
        """(n,) the time up to which all of a model's sources are known, at each row."""
        clocks = [self._clock(source, found.sources[source]) for source in found.sources]
        return np.minimum.reduce(clocks) if clocks else np.full(len(self), -1, np.int64)

    def _clock(self, source: Partition, own: int) -> Ints:
        if source in self._index:
            return self._of(source)[1]
        mark = self._before.get(source)
        return np.full(len(self), own if mark is None else max(own, mark.latest), np.int64)

    def _of(self, source: Partition) -> tuple[Ints, Ints]:
        """(n,) the latest and the second latest event time of a source, up to each row."""
        known = self._known.get(source)
        if known is None:
            before = self._before.get(source, Mark(-1))
            times = np.where(self._which == self._index[source], self._times, -1)
            first = np.maximum.accumulate(np.concatenate([[before.first], times]))
            second = np.maximum.accumulate(np.maximum(np.minimum(times, first[:-1]), before.latest))
            known = self._known[source] = first[1:], second
        return known

    def marks(self) -> dict[Partition, Mark]:
        """The clocks at the end of the batch."""
        ends = {source: self._of(source) for source in self._index}
        return {source: Mark(int(second[-1]), 0, int(first[-1])) for source, (first, second) in ends.items()}

    def unmuted(self, begin: int, end: int) -> int:
        """Index of the first row from ``begin`` on that was not read before; ``end`` where there is none before that."""
        rows = np.flatnonzero(~self.muted[begin:end])
        return begin + int(rows[0]) if len(rows) else end
