"""The rolling reference beside the fixed one: what changed against the recent past, and what crept away step by step.

The first reference window of a series stays. The rolling one is renewed from the latest ``reference.events`` clean values, each
``reference.renew_events`` of them; before the first renewal, the first is both. So a sudden change shows against both, a slow
one against the first alone, and traffic that wandered off long ago is no news any more. Nothing is learned in silently:

- what an open alert tells in which the rolling reference has a part is kept out, from its estimated onset to its end, and
  renewal waits for that;
- it also waits while windows hold half of the evidence that an alert asks for, against the rolling reference: a change that is still proving itself must not
  become the reference that it is to be judged by;
- nor is anything learned while a data fault of the series is open.

An alert that the first reference has open alone does not hold renewal up: the rolling one would stay behind what drifts on, and
in the end open a second alert about the drift that was told.

Renewal falls on the ends of stretches, counted from the first value watched, so that both scans end theirs together, and
batches change nothing. After it, windows begin anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import numpy as np

from streamdrift.blocks.column import TEXT, Bools, Floats, Ints
from streamdrift.detect import baseline
from streamdrift.detect.baseline import Reference
from streamdrift.detect.calibration import INDEPENDENT_MAX, STRETCH
from streamdrift.detect.explain import Change
from streamdrift.detect.learning import SIZE_MIN, Learned, calibrated
from streamdrift.detect.policy import Lane
from streamdrift.detect.side_by_side import FIRST, ROLLING, SEEN, SideBySide
from streamdrift.detect.value_watch import Judged, ValueWatch, WatchSettings

AGAIN = 256
"""Values after which a renewal that had to wait is looked at again."""
UNSEEN = "unseen at first"
"""Categories that the first reference lacks, in the rolling one."""

Found = list[tuple[int, Change]]
"""Changes with the row that decided each."""


class Rolling:
    """Watches the values of a series against both references.

    Parameters
    ----------
    first
        Watches them against the first reference, and looks for faults.
    faults
        Lanes of data faults that are open.
    """

    def __init__(self, first: ValueWatch, learned: Learned, settings: WatchSettings, faults: set[str]) -> None:
        self._first = first
        self._settings = replace(settings, anomalies=settings.anomalies.model_copy(update={"enabled": False}))
        self._events = settings.reference.events
        self._every = -(-settings.reference.renew_events // STRETCH) * STRETCH
        values, times = cast("Floats", learned.values), cast("Ints", learned.times)
        self._kept, self._kept_times = values[-self._events :].copy(), times[-self._events :].copy()
        self._watch: ValueWatch | None = None
        self._places: Floats | None = None
        self._lane = Lane(settings.policy)
        self._shared = SideBySide()
        self._faults = faults
        self._since: int | None = None
        self._wait = self._every
        self.renewals = 0

    @property
    def window(self) -> Reference:
        """The rolling reference; the first before it was renewed."""
        return (self._watch or self._first).reference

    @property
    def kept(self) -> Floats:
        """(k,) values that are kept for the next renewal."""
        return self._kept

    def leave(self) -> None:
        """As of the watch against the first reference, for what is beside it."""
        self._shared = SideBySide()
        self._faults.clear()
        if self._watch is not None:
            self._watch.leave()

    def update(self, raw: Floats, times: Ints, rows: Ints, faults: Found) -> Found:
        """Take (n,) values, their event times and rows, and the changes of the series' other lanes in row order.

        Returns the changes of the values, with the row that decided each.
        """
        if not len(raw):
            self._free_of_faults(rows, faults)
            return []
        changes = self._first.update(raw, times)
        judged = self._first.judged
        near = np.arange(len(raw)) if judged.near is None else judged.near
        own = [(int(rows[i]), change) for i, change in changes if change.lane != FIRST]
        learned = self._free_of_faults(rows[near], sorted([*faults, *own], key=lambda pair: pair[0]))
        shifts = [(int(np.searchsorted(near, i)), change) for i, change in changes if change.lane == FIRST]
        told = self._side_by_side(raw[near], times[near], learned, shifts)
        return own + [(int(rows[near[i]]), change) for i, change in told]

    def _free_of_faults(self, rows: Ints, faults: Found) -> Bools:
        """(k,) whether no data fault was open at each of these rows."""
        free: Bools = np.full(len(rows), not self._faults)
        for row, change in faults:
            if change.step == "opens":
                self._faults.add(change.lane)
            elif change.step == "resolves":
                self._faults.discard(change.lane)
            free[rows >= row] = not self._faults
        return free

    def _side_by_side(self, values: Floats, times: Ints, free: Bools, shifts: Found) -> Found:
        """As ``update``, for the values that the scan was shown; in pieces that end where a renewal is due."""
        found: Found = []
        begin, n = 0, len(values)
        while begin < n:
            end = min(n, begin + self._wait)
            piece = slice(begin, end)
            self._since = int(times[begin]) if self._since is None else self._since
            rolled: Found = []
            if self._watch is not None:
                read = values[piece] if self._places is None else self._places[values[piece].astype(np.int64)]
                rolled = [(begin + i, change) for i, change in self._watch.update(read, times[piece])]
            mine = [(i, FIRST, change) for i, change in shifts if begin <= i < end]
            changes = sorted([*mine, *((i, ROLLING, change) for i, change in rolled)], key=lambda item: item[0])
            start = begin
            for i, lane, change in changes:
                self._keep(values, times, free, slice(start, i + 1))
                start = i + 1
                told = self._take(lane, change, (i, begin), int(times[i]))
                found += [] if told is None else [(i, told)]
            self._keep(values, times, free, slice(start, end))
            self._wait -= end - begin
            if not self._wait:
                renewed = bool(free[end - 1]) and self._renew(self._evidence(ROLLING, end - 1, begin))
                self._wait = self._every if renewed else AGAIN
            begin = end
        return found

    def _take(self, lane: str, change: Change, at: tuple[int, int], now: int) -> Change | None:
        """What is told of a lane's change; values since the onset of what has news for the rolling reference are let go."""
        other = ROLLING if lane == FIRST else FIRST
        also = self._watch is None or self._evidence(other, *at) >= SEEN * self._settings.policy.threshold
        was_open = self._shared.rolling_is_open
        told = self._shared.take(lane, change, now, also=also, since=cast("int", self._since))
        if self._shared.rolling_is_open and not was_open:
            left = max(0, len(self._kept) - change.back * STRETCH)
            self._kept, self._kept_times = self._kept[:left], self._kept_times[:left]
        return told

    def _evidence(self, lane: str, i: int, begin: int) -> float:
        """A lane's evidence at the i-th value, in a piece from the value ``begin`` on."""
        if lane == FIRST or self._watch is None:  # before a renewal, the first reference is the recent past as well
            return _peak(self._first.judged, i)
        return _peak(self._watch.judged, i - begin)

    def _keep(self, values: Floats, times: Ints, free: Bools, piece: slice) -> None:
        """Keep what may be learned of a piece: nothing of what is open."""
        if self._shared.rolling_is_open:
            return
        kept = free[piece]
        self._kept = np.concatenate([self._kept, values[piece][kept]])[-self._events :]
        self._kept_times = np.concatenate([self._kept_times, times[piece][kept]])[-self._events :]

    def _renew(self, evidence: float) -> bool:
        """Learn the rolling reference anew; return False where that has to wait."""
        first, settings = self._first.reference, self._settings
        if self._shared.rolling_is_open or evidence >= SEEN * settings.policy.threshold:
            return False
        if len(self._kept) < min(first.n, self._events):
            return False
        texts: Sequence[str] = [*first.categories, UNSEEN]
        reference, values = baseline.build(first.kind, self._kept, list(texts), first.null_rate)
        calibration, clock = calibrated(reference, values, self._kept_times)
        full = len(values) >= self._events
        if not full and calibration.worth < SIZE_MIN:
            return False
        reference.is_short = not full and reference.n > INDEPENDENT_MAX * calibration.worth
        self._lane.begin_anew()
        self._watch = ValueWatch(reference, calibration, clock, values, settings, self._lane)
        if first.kind == TEXT:
            self._places = np.array([reference.categories.get(t, len(reference.categories)) for t in texts], np.float64)
        self._since = None
        self.renewals += 1
        return True


def _peak(judged: Judged, end: int) -> float:
    """The evidence at the stretch that ended with this value; 0 where none did."""
    j = int(np.searchsorted(judged.ends, end))
    return float(judged.peaks[j]) if j < len(judged.ends) and judged.ends[j] == end else 0.0
