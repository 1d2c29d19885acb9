"""Values far outside all of the reference: a wrong unit, a sentinel that stands for "unknown", outliers.

Far is beyond the reference's own range by more than three times its width, on either side: weather does not get there. How often an honest series does that is what the
second half of the reference did against the range of its first. Such values are faults, not data: they are counted and named
here, and are not shown to the detectors, which see what stands behind them.
"""

from __future__ import annotations

import numpy as np

from streamdrift.blocks.column import Bools, Floats, Ints
from streamdrift.detect import explain, units
from streamdrift.detect.baseline import LARGEST, Reference
from streamdrift.detect.explain import Change
from streamdrift.detect.faults import ShareLane
from streamdrift.detect.policy import Verdict
from streamdrift.settings import PolicySettings

NAMED_BY = 64
"""Latest values that a fault is named by."""
EVENTS_MIN = 5
WIDTHS = 3.0
SAME = 0.8
"""Share of equal values from which they are a sentinel."""
MANY = 0.5
"""Share of all values from which they are no outliers any more."""


class FarOut:
    """The lane of one numeric series."""

    def __init__(self, reference: Reference, values: Floats, policy: PolicySettings) -> None:
        self._reference = reference
        self.range = _beyond(values)
        half = len(values) // 2
        low, high = _beyond(values[:half])
        self.lane = ShareLane((values[half:] < low) | (values[half:] > high), policy, events_min=EVENTS_MIN)
        self._latest: Floats = np.empty(0)

    def update(self, values: Floats, times: Ints) -> tuple[Bools, list[tuple[int, Change]]]:
        """Take (n,) values; return which are far out, and changes with the index of the value that decided each."""
        low, high = self.range
        far: Bools = (values < low) | (values > high)
        before, places = self._latest, np.flatnonzero(far)
        if len(places):
            self._latest = np.concatenate([before, values[places]])[-NAMED_BY:]
        found = []
        for verdict in self.lane.update(far, times):
            known = np.concatenate([before, values[places[places <= verdict.end]]])
            count = max(1, self.lane.events(verdict))
            found.append((verdict.end, self._change(verdict, known[-min(count, NAMED_BY) :])))
        return far, found

    def _change(self, verdict: Verdict, far: Floats) -> Change:
        share = self.lane.current(verdict)
        distinct, counts = np.unique(far, return_counts=True)
        low, high = self.range
        facts: dict[str, float] = {"low": low, "high": high}
        if len(far) >= EVENTS_MIN and counts.max(initial=0) >= SAME * len(far):
            reason, facts["value"] = "out_of_range", float(distinct[counts.argmax()])
        elif (factor := units.factor(far, self._reference, low, high)) is not None:
            reason, facts["factor"] = "unit_change", factor
        else:
            reason = "out_of_range" if share >= MANY else "outliers"
        return explain.far_out(reason, self.lane, verdict, self._reference, facts)


def _beyond(values: Floats) -> tuple[float, float]:
    """Bounds outside which a value is far out."""
    low, high = float(values.min()), float(values.max())
    margin = WIDTHS * (high - low) or abs(low) or 1.0
    return max(low - margin, -LARGEST), min(high + margin, LARGEST)
