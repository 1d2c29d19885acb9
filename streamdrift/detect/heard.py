"""What was heard of a model, and how far its sources were read; see ``silence``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from streamdrift.blocks.block import Block
from streamdrift.blocks.column import Bools, Ints
from streamdrift.blocks.marks import Mark
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
                last_event(block, row, before.seen)
                for row in rows[np.argsort(block.time[rows], kind="stable")].tolist()
            ]
            left += [pair for pair in pairwise([before, *inside, after]) if pair[1].at - pair[0].at > limit]
        self.waiting = left[:GAPS_MAX]
        return found


def last_event(block: Block, row: int, seen: int) -> LastEvent:
    """Return the event in a row of a block, of so many that were seen."""
    source = block.sources[int(block.source[row])]
    return LastEvent(int(block.time[row]), seen, block.versions.at(row), source, int(block.offset[row]))


class Rows:
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
