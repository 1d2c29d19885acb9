"""One series: a feature of a model in a segment. Learns its reference window, then watches.

What it says depends on its own events in order and on nothing else: not on how they were cut into blocks, nor on the clock.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from streamdrift import kernels
from streamdrift.alerts import Alert
from streamdrift.blocks.block import Block
from streamdrift.blocks.column import INFINITE, NULL, Column, Floats, Ints
from streamdrift.detect import explain
from streamdrift.detect.baseline import Reference
from streamdrift.detect.budget import Budget, budget, held_to
from streamdrift.detect.explain import Change, Identity
from streamdrift.detect.faults import ShareLane
from streamdrift.detect.learning import Learned, Learning, first_present
from streamdrift.detect.open_alerts import OpenAlerts
from streamdrift.detect.quiet import Quiet
from streamdrift.detect.rebaseline import Order, closing
from streamdrift.detect.rolling import Rolling
from streamdrift.detect.value_watch import ValueWatch, WatchSettings

Crowded = Literal["capped", "distinct"]
"""Texts that are too many to be categories: more than are told apart, or more than half of the reference's values."""


@dataclass(slots=True)
class Rows:
    """The rows of a block that a series is given.

    Attributes
    ----------
    share
        (n,) the segment's share of the model's traffic, as of each row.
    age
        (n,) events that the model had had since the segment's first, this one included.
    recorded
        Whether they are the recorded baseline: learned from, and not judged.
    """

    block: Block
    share: Floats
    age: Ints
    recorded: bool = False

    def of(self, rows: Ints) -> Rows:
        """Return these rows alone, without columns: a series is given its column beside them."""
        bare = replace(self.block, columns={}, dimensions={}, vectors={})
        return Rows(bare.take(rows), self.share[rows], self.age[rows], self.recorded)


@dataclass(frozen=True, slots=True)
class Known:
    """A reference window, and as how many independent values it counts."""

    reference: Reference
    worth: float


class Series:
    """State of one series. ``update`` takes the next rows, returns the alerts that they cause."""

    def __init__(
        self, identity: Identity, settings: WatchSettings, invalid_counts: Counter[str], states: Counter[str]
    ) -> None:
        self.identity, self._settings = identity, settings
        self._invalid_counts, self._states = invalid_counts, states
        self._asked = settings.policy
        self.seen = 0
        self.crowded: Crowded | None = None
        """Set at the end of learning, for whoever tells the operator."""
        self._learn_anew()

    def _learn_anew(self) -> None:
        reference = self._settings.reference
        self._learning: Learning | None = Learning(
            reference.events, reference.segment_events, reference.first_events, self._settings.categories_max
        )
        self._first_age = 0
        self._missing: ShareLane | None = None
        self._invalid: ShareLane | None = None
        self._values: ValueWatch | None = None
        self._rolling: Rolling | None = None
        self._kind: int | None = None
        self._early = False
        self._quiet: Quiet | None = None
        self._open = OpenAlerts(self._states)
        self._first_time = 0
        self.budget: Budget | None = None
        self.learned_at: int | None = None
        """Row of the last update at which the reference was complete, where that was in it."""
        self.known: Known | None = None

    @property
    def threshold(self) -> float:
        """Evidence that an alert asks for, in nats."""
        return self._settings.policy.threshold

    def let_go(self) -> None:
        """Count it out of the states that operators are told of."""
        self._states["held_back"] -= self.is_held_back

    def forget(self, block: Block, order: Order, share: float) -> list[Alert]:
        """Give up the reference before a block's first row, and learn anew; return the open alerts, resolved by that."""
        self.let_go()
        alerts = list(
            closing(
                ((lane, alert) for (lane, _), alert in self._open.opened.items()),
                self.identity,
                order,
                block,
                self.seen,
                share,
            )
        )
        self._learn_anew()
        return alerts

    @property
    def has_told(self) -> bool:
        """Whether an alert is open that was told."""
        return bool(self._open.opened)

    def withdraw(self, rows: Rows, row: int) -> list[Alert]:
        """Return the open alerts, resolved at a row: what it is a series of serves no longer. What it knows is kept."""
        self._look()
        for part in (self._missing, self._invalid, self._values, self._rolling):
            if part is not None:
                part.leave()
        time, share = int(rows.block.time[row]), float(rows.share[row])
        return [
            explain.alert(self.identity, explain.withdrawn(lane, told, time), rows.block, row, self.seen, share, told)
            for (lane, _), told in self._open.leave().items()
        ]

    @property
    def watch(self) -> ValueWatch | None:
        """What watches the clean values; None while learning, and where there were too few."""
        self._look()
        return self._values

    @property
    def is_held_back(self) -> bool:
        """Whether the reference window still is too short for what the series does, so that its values are not judged."""
        return self._learning is not None and self._kind is not None and self._values is None

    @property
    def drifts(self) -> bool | None:
        """Whether an alert that somebody was told of is open; None while it is learned what is normal."""
        return None if self._kind is None else bool(self._open.opened)

    @property
    def heat(self) -> float | None:
        """How far the current window is from the reference, 0 to 1; None while learning."""
        if self._kind is None:
            return None
        self._look()
        missing = self._missing.recent_rise if self._missing else 0.0
        return max(self._values.distance if self._values else 0.0, missing)

    def lend(self, rows: Block) -> Quiet | None:
        """Lend the state to the compiled watch; return it where it may be given these rows, in place of ``update``."""
        del rows
        quiet = self._quiet
        return quiet if quiet is not None and self._learning is None and quiet.lend() else None

    def took(self, taken: int, rows: int) -> None:
        """Note that the compiled watch took so many rows, of as many as it was given."""
        del rows
        self.seen += taken

    def update(self, rows: Rows, column: Column, taken: int | None = None) -> list[tuple[int, Alert]]:
        """Take the rows' values; return alerts, each with the row that decided it, in event order.

        Parameters
        ----------
        taken
            Rows that the compiled watch has taken before it stopped; None where it was not asked.
        """
        self.learned_at = None
        watched = taken or 0
        found: list[tuple[int, Alert]] = []
        if self._learning is not None:
            if not self._learning.rows:
                watched = first_present(column)
                if watched == len(column):
                    return []
                self._first_age = int(rows.age[watched]) - 1
                self._first_time = int(rows.block.time[watched])
            begin = watched
            ages, times = rows.age[begin:] - self._first_age, rows.block.time[begin:]
            for learned in self._learning.add(column.take(slice(begin, None)), ages, times):
                end = begin + learned.rows
                found += self._between(rows, column, watched, end)
                watched = end
                self._hold_to_budget(rows, end - 1, len(learned.missing))
                self._begin(learned)
                self.learned_at = end - 1 if learned.done else None
        return found + self._between(rows, column, watched, len(column), asked=taken is not None)

    def _between(
        self, rows: Rows, column: Column, begin: int, end: int, *, asked: bool = False
    ) -> list[tuple[int, Alert]]:
        """Watch the rows from ``begin`` to before ``end``, as far as it is known by now what is normal.

        ``asked`` says that the compiled watch has seen them, and stopped at the first.
        """
        if begin == end or self._kind is None or rows.recorded:
            self.seen += end - begin
            return []
        if self._quiet is None and self._rolling is None and (self._values is None or self._values.is_plain):
            ordinary = kernels.engine(self._settings.engine).ordinary
            if ordinary is not None:
                self._quiet = Quiet(ordinary, self._kind, self._missing, self._invalid, self._values)
        if self._quiet is not None and not asked:
            part = column if end - begin == len(column) else column.take(slice(begin, end))
            taken = self._quiet.advance(part, rows.block.time[begin:end])
            self.seen += taken
            begin += taken
        return self._watch(rows, column.take(slice(begin, end)), begin) if begin < end else []

    def come_home(self) -> None:
        """Have the state here, and not in the compiled watch."""
        self._look()

    def _look(self) -> None:
        """Have the state here, and not in the compiled watch."""
        if self._quiet is not None:
            self._quiet.home()

    def _hold_to_budget(self, rows: Rows, last: int, own: int) -> None:
        """Take the threshold that the false-alarm budget asks for, as of the last row that was learned from."""
        now, lanes = int(rows.block.time[last]), int(rows.block.breadth[last]) * (1 + self._rolls)
        counted = own, int(rows.age[last]) - self._first_age
        since = now if self.budget is None else self.budget.since
        self.budget = budget(self._asked, counted, now - self._first_time, lanes, since)
        self._settings = replace(self._settings, policy=held_to(self._asked, self.budget))

    @property
    def _rolls(self) -> bool:
        """Whether a rolling reference stands beside the first: raw detectors have no use for it."""
        return self._settings.reference.mode == "rolling" and self._asked.confirm == "on"

    def _begin(self, learned: Learned) -> None:
        settings = self._settings
        was_held_back = self.is_held_back
        self._look()
        self._quiet = None
        if learned.done:
            self._learning = None
        if not learned.first and self._early:
            if self._open.lanes or learned.reference is None:
                return  # it may be a drift that fills the window: what is known goes on to be what is normal
            self._kind = None
        self._early = learned.first
        if self._kind is None:
            self._kind = learned.kind
            if settings.anomalies.enabled:
                self._missing = ShareLane(learned.missing, settings.policy, notes=1)
                self._invalid = ShareLane(learned.invalid, settings.policy, notes=1)
        if learned.reference is not None and learned.calibration is not None and learned.values is not None:
            self._values = ValueWatch(learned.reference, learned.calibration, learned.clock, learned.values, settings)
            if self._rolls:
                self._rolling = Rolling(self._values, learned, settings, self._open.lanes)
            self.known = Known(learned.reference, learned.calibration.worth)
            self.crowded = _crowded(learned.reference, settings.categories_max)
        self._states["held_back"] += self.is_held_back - was_held_back

    def _watch(self, rows: Rows, column: Column, begin: int) -> list[tuple[int, Alert]]:
        """Look for faults, and at the values, in a column that begins at row ``begin``."""
        n = len(column)
        times = rows.block.time[begin : begin + n]
        kinds = column.kind_of_rows()
        clean = kinds == self._kind
        missing = kinds <= NULL
        invalid = ~(clean | missing)
        seen, self.seen = self.seen, self.seen + n
        found: list[tuple[int, Change]] = []
        if self._missing is not None and self._invalid is not None:
            found += [
                (verdict.end, explain.missing(self._missing, verdict))
                for verdict in self._missing.update(missing, times, kinds < NULL)
            ]
            found += [
                (verdict.end, explain.invalid(self._invalid, verdict))
                for verdict in self._invalid.update(invalid, times, invalid & (kinds != INFINITE))
            ]
        if invalid.any():
            self._count_invalid(kinds[invalid])
        if self._values is not None:
            places = np.flatnonzero(clean)
            read = self._values.reference.read(column, clean)
            if self._rolling is not None:
                found.sort(key=lambda pair: pair[0])
                found += self._rolling.update(read, times[clean], places, found)
            elif len(read):
                found += [(int(places[i]), change) for i, change in self._values.update(read, times[clean])]
        found.sort(key=lambda pair: pair[0])
        alerts = ((begin + row, self._alert(change, rows, begin + row, seen + row + 1)) for row, change in found)
        return [(row, alert) for row, alert in alerts if alert is not None]

    def _count_invalid(self, kinds: np.ndarray[tuple[int], np.dtype[np.uint8]]) -> None:
        infinite = int((kinds == INFINITE).sum())
        if infinite:
            self._invalid_counts["out_of_range"] += infinite
        if infinite < len(kinds):
            self._invalid_counts["wrong_type"] += len(kinds) - infinite

    def _alert(self, change: Change, rows: Rows, row: int, seen: int) -> Alert | None:
        """The change as an alert; None where an open one is what it was."""

        def make(change: Change, opened: Alert | None) -> Alert:
            alert = explain.alert(self.identity, change, rows.block, row, seen, float(rows.share[row]), opened)
            if self.budget is not None and change.threshold == self.budget.threshold:
                alert = replace(alert, expected_false_per_week=self.budget.expected_false_per_week)
            return alert

        if not change.lane:  # a flag by itself opens nothing
            return make(change, None)
        return self._open.take((change.lane, ""), change, int(rows.block.time[row]), self._settings.policy, make)


def _crowded(reference: Reference, categories_max: int) -> Crowded | None:
    if len(reference.categories) > categories_max:
        return "capped"
    return "distinct" if len(reference.categories) > reference.n // 2 else None
