"""A told difference between two model versions, for as long as it stands.

It ends with evidence alone:

- *alike*: of as many further values as the new version's reference has, the difference from the old version's reference
  is well below what would be told, and below half of what was;
- *withdrawn*: the new version has had no event for so many rows of the model and segment that by its rate until then there would have
  been twenty (``withdrawal``): others serve in its place;
- an order to learn anew accepts it (``versions.Versions.forget``).

That it lasts is no recovery. A version that was withdrawn and serves again is told again, after as many values.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from streamdrift.alerts import Alert
from streamdrift.blocks.block import Block
from streamdrift.blocks.column import NULL, NUMBER, Column, Floats, Ints
from streamdrift.detect.baseline import Reference, distance, significant
from streamdrift.detect.explain import MATERIAL, Change
from streamdrift.detect.series import Known
from streamdrift.detect.withdrawal import quiet_rows

ALIKE = 0.6
"""Of the least effect that is told: a difference below that is over."""

Tell = Callable[[int, Change, Alert | None], Alert]
"""Makes an alert of a row, what it says, and the alert that it ends."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Of a window from the old version's reference.

    Attributes
    ----------
    beyond
        The effect, less what chance makes of it on average where there are many categories.
    evidence
        Nats, of what is beyond chance.
    """

    effect: float
    unit: str
    beyond: float
    evidence: float


class Standing:
    """What became of a difference that was told.

    Parameters
    ----------
    alert
        That told it.
    then, now
        The old version's reference, and the new one's.
    row
        Number of the row that it was told at, of all rows of the model and segment.
    per_event
        Rows per event of the new version until then.
    """

    def __init__(self, alert: Alert, then: Known, now: Known, row: int, per_event: float) -> None:
        self.alert: Alert | None = alert
        self.is_over = False
        self._told, self._then, self._now = alert, then, now
        self._quiet_rows = quiet_rows(per_event)
        self._last, self._last_time = row, alert.detected_at
        self._begin()

    def _begin(self) -> None:
        self._values = np.empty(0)
        self._since = 0

    def update(
        self, block: Block, column: Column, mine: Ints, whole: tuple[int, int], tell: Tell
    ) -> list[tuple[int, Alert]]:
        """Take the version's rows of a block; return alerts with the row that decided each.

        Parameters
        ----------
        mine
            (k,) the version's rows, those behind the row that told the difference.
        whole
            Number of the block's first row, and how many of its rows count.
        """
        first, n = whole
        places = first + mine
        before = np.concatenate([[self._last], places])
        gaps = np.flatnonzero(np.append(places, first + n) - before > self._quiet_rows)
        found: list[tuple[int, Alert]] = []
        begin = 0
        for gap in [*gaps.tolist(), None]:
            found += self._gather(block, column, mine[begin:gap], tell)
            begin = gap or begin
            if gap is not None and not self.is_over:
                found += self.withdrawn(int(before[gap]) + self._quiet_rows - first, tell)
        self._last = int(before[-1])
        return found

    def withdrawn(self, row: int, tell: Tell) -> list[tuple[int, Alert]]:
        """The version no longer serves, as of a row."""
        self._begin()
        if self.alert is None:
            return []
        change = self._change("resolves", self._last_time, _told(self._told), {"n": 0, "ended": "withdrawn"})
        opened, self.alert = self.alert, None
        return [(row, tell(row, change, opened))]

    def _gather(self, block: Block, column: Column, mine: Ints, tell: Tell) -> list[tuple[int, Alert]]:
        if self.is_over or not len(mine):
            return []
        self._last_time = int(block.time[mine[-1]])
        column = column.take(mine)
        kinds, reference = column.kind_of_rows(), self._then.reference
        clean = kinds == reference.kind
        values = np.full(len(mine), np.nan)  # of another type than the old version's
        values[clean] = reference.read(column, clean)
        present = np.flatnonzero(kinds > NULL)
        found: list[tuple[int, Alert]] = []
        wanted = self._now.reference.n
        while len(present) and not self.is_over:
            if not len(self._values):
                self._since = int(block.time[mine[present[0]]])
            used = present[: wanted - len(self._values)]
            present = present[len(used) :]
            self._values = np.concatenate([self._values, values[used]])
            if len(self._values) == wanted:
                found += self._judge(int(mine[used[-1]]), tell)
                self._begin()
        return found

    def _judge(self, row: int, tell: Tell) -> list[tuple[int, Alert]]:
        """A window is full: is the difference over, or, of a version that serves again, there again?"""
        values = self._values[~np.isnan(self._values)]
        seen = difference(self._then, values, self._now.worth, len(self._values))
        least, reference = MATERIAL[seen.unit], self._then.reference
        if self.alert is None:
            if seen.effect < least or seen.evidence < self._told.threshold:
                self.is_over = True
                return []
            current = {"n": len(values), **reference.describe(values)}
            self.alert = self._told = tell(row, self._change("opens", self._since, seen, current), None)
            return [(row, self.alert)]
        if seen.beyond >= ALIKE * least or (
            seen.unit == self._told.effect_unit and 2 * seen.effect >= self._told.effect_size
        ):
            return []
        self.is_over = True
        current = {"n": len(values), "ended": "alike", **reference.describe(values)}
        return [(row, tell(row, self._change("resolves", self._since, seen, current), self.alert))]

    def _change(
        self, step: Literal["opens", "resolves"], onset: int, seen: Difference, current: dict[str, object]
    ) -> Change:
        told = self._told
        return Change(
            step, "", told.kind, told.reason, told.detectors, significant(seen.evidence), told.threshold,
            significant(seen.effect), seen.unit, 0, onset, told.reference, current,
        )  # fmt: skip


def _told(alert: Alert) -> Difference:
    return Difference(alert.effect_size, alert.effect_unit, alert.effect_size, alert.statistic)


def difference(then: Known, values: Floats, worth: float, n: int) -> Difference:
    """Measure n values, those of them that have the reference's type given as it counts them, by the bounds of ``versions``.

    ``worth`` is the number of independent values that they count for.
    """
    old = then.reference
    size = then.worth * worth / (then.worth + worth)
    if 2 * len(values) < n:
        return Difference(1.0, "share", 1.0, 2 * size)
    if old.kind == NUMBER:
        effect = distance(old.ordered, values)
        return Difference(effect, "ks", effect, 2 * effect * effect * size - math.log(2))
    before, now = _shares(old, old.ordered), _shares(old, values)
    effect, cells = float(np.abs(before - now).sum()) / 2, int(np.count_nonzero(before + now))
    by_chance = math.sqrt(max(cells - 1, 1) / size) / 2
    beyond = max(effect - by_chance, 0.0)
    return Difference(effect, "share", beyond, 2 * beyond * beyond * size)


def _shares(reference: Reference, values: Floats) -> Floats:
    counts = np.bincount(values.astype(np.int64), minlength=max(len(reference.categories), 2) + 1)
    shares: Floats = counts.astype(np.float64) / max(1, len(values))
    return shares
