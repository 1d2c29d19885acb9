"""Silence of whole models: no event for longer than ever, as far as everything that could have brought one was read.

A model's events come from one or several *sources*, the partitions of the input. Each source has a clock of its own: the second latest
event time that was read of it, of any model (one that is wrong moves nothing), and what passed since then while it was seen to have nothing more. A model is silent at a time once
the clocks of all sources that it is known from have passed that time, so that a source which is read late makes nobody
silent. Where blocks come over the exchange, clocks come as *marks* in the same partition, behind all that they are about (``blocks.marks``).

What is told hangs on the model's own events alone: neither on which event of another showed it, nor on when.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np

from streamdrift.alerts import Alert
from streamdrift.blocks.block import Block, Coded
from streamdrift.blocks.column import Bools, Ints
from streamdrift.blocks.marks import Mark, Marks
from streamdrift.detect.heard import GAPS_MAX, LastEvent, Model, Rows, last_event
from streamdrift.detect.traffic import Gap, Traffic
from streamdrift.ports import Partition


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
        rows = Rows(blocks, marks)
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

    def __init__(self, traffic: Traffic, found: Model, rows: Rows, *, restored: bool) -> None:
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
            found.last = last_event(self._block, latest, seen)
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
        found, first = self._found, last_event(block, row, seen + row + 1)
        if not found.silent:
            if len(found.waiting) < GAPS_MAX:
                found.waiting.append((replace(found.last), first))
            return
        found.silent = False
        if not block.muted[row]:
            self._told.append((int(block.order[row]), _closed(self._traffic, found.last, first)))


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
