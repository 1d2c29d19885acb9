"""The smallest shift that a series can show within an hour, from its own calibration.

A shift by d standard deviations moves every score's mean; the evidence of that mean over the longest window that an hour fills
is to reach the threshold. It is the size that is seen in about every second case: chance adds to the evidence as often as it
takes from it.

Values that take few numbers (minutes, counts) can't all move by a fraction of a step. There a shift is so many of them that
move by a whole step that the mean moves by d: between two neighbouring values scores are interpolated.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from streamdrift.blocks.column import NUMBER, Floats
from streamdrift.detect.baseline import significant
from streamdrift.detect.calibration import STRETCH, UNIT, WINDOWS, Calibration
from streamdrift.detect.confirm import Scan
from streamdrift.detect.value_watch import ValueWatch

HOURS_PER_WEEK = 168
POINTS = 512
"""Quantiles that stand for a reference window: they tell a mean score to a thousandth."""
SHIFTS: Floats = np.geomspace(0.01, 20.0, 36)
SHARES: Floats = np.linspace(0.01, 1.0, 34)
REFINED = 12
"""Points tried between the last that is too small and the first that is large enough."""


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """What one series can show.

    Attributes
    ----------
    smallest
        In ``unit``: ``sd`` of the reference, in whichever direction takes more; or the ``share`` of events that has to become
        the most common category (of a constant: anything else). None where no shift shows within an hour.
    events_per_hour
        With a value, on the mean of the series' reference window.
    """

    series_id: str
    smallest: float | None
    unit: Literal["sd", "share"]
    events_per_hour: float


def sensitivity(series_id: str, watch: ValueWatch, own_per_week: float, threshold: float) -> Sensitivity:
    """Return what this series can show at this threshold, on the mean traffic of its reference window."""
    events = own_per_week * (1 - watch.reference.null_rate) / HOURS_PER_WEEK
    search = _Search(watch.calibration, int(np.searchsorted(WINDOWS * STRETCH, events, "right")), threshold)
    scores = _Scores(watch)
    if scores.constant or watch.reference.kind != NUMBER:
        return Sensitivity(series_id, search.least(scores.mixed, SHARES), "share", events)
    up, down = search.least(scores.moved, SHIFTS), search.least(lambda shifts: scores.moved(-shifts), SHIFTS)
    return Sensitivity(series_id, None if up is None or down is None else max(up, down), "sd", events)


class _Scores:
    """Mean scores of a reference window that was changed, relative to what they were."""

    def __init__(self, watch: ValueWatch) -> None:
        reference = watch.reference
        self._atoms, counts = np.unique(reference.ordered, return_counts=True)
        self._table = watch.table / UNIT
        self._scores = self._table[reference.rank(self._atoms)]
        self.constant = len(self._atoms) == 1
        self._sd, self._common = reference.sd, int(np.argmax(counts))
        self._still: Floats = (counts / reference.n) @ self._scores
        self._points, self._weights = self._atoms, counts / reference.n
        if len(self._atoms) > POINTS:
            places = ((np.arange(POINTS) + 0.5) * reference.n / POINTS).astype(np.int64)
            self._points, self._weights = reference.ordered[places], np.full(POINTS, 1 / POINTS)

    def moved(self, shifts: Floats) -> Floats:
        """(k, C) after each of k shifts, in sd; a value at the edge of the reference stays there."""
        places = self._points + shifts[:, None] * self._sd
        return self._means(places) - self._means(self._points[None, :])

    def mixed(self, shares: Floats) -> Floats:
        """(k, C) with each of k shares of the events changed to the most common value; of a constant, to any other."""
        target = self._table[-1] if self.constant else self._scores[self._common]
        means: Floats = shares[:, None] * (target - self._still)
        return means

    def _means(self, places: Floats) -> Floats:
        """(k, C) mean scores of the points at (k, points) places."""
        channels = range(self._table.shape[1])
        columns = [np.interp(places, self._atoms, self._scores[:, c]) @ self._weights for c in channels]
        means: Floats = np.stack(columns, axis=1)
        return means


class _Search:
    """Finds the least change whose evidence reaches the threshold in the windows that an hour fills."""

    def __init__(self, calibration: Calibration, usable: int, threshold: float) -> None:
        self._calibration, self._usable, self._threshold = calibration, usable, threshold

    def least(self, scores: Callable[[Floats], Floats], changes: Floats) -> float | None:
        """Return the least of the changes, refined between the last that is too small and the first that is enough."""
        first = self._first(scores(changes))
        if first is None:
            return None
        finer = np.linspace(changes[first - 1] if first else 0.0, changes[first], REFINED)
        found = self._first(scores(finer))
        return significant(float(finer[REFINED - 1 if found is None else found]))

    def _first(self, scores: Floats) -> int | None:
        if not self._usable:
            return None
        enough = np.flatnonzero(evidence(scores, self._calibration, self._usable) >= self._threshold)
        return int(enough[0]) if len(enough) else None


def evidence(scores: Floats, calibration: Calibration, usable: int) -> Floats:
    """(k,) most evidence over the first ``usable`` windows, of k mean scores (k, C) relative to the reference's."""
    found: Floats = Scan(calibration).of_shift(scores)[:, :usable].max(axis=(1, 2))
    return found
