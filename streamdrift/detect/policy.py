"""The evidence policy of one lane: when its alert opens, is looked at again, and is resolved.

Opens where the evidence of any window reaches the threshold, and the candidate rule agrees. Then the windows begin anew. It is
resolved when a window four times as long as the one that gave the evidence (and at least ``resolve_events`` long) has
filled again and shows less than a quarter of the threshold: hysteresis, and no data is no recovery.

While it is open it is looked at again after 1, 2, 4, … stretches, then each 256, or each 16 for a fault: whoever reads it
may have to be told that it grew.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, cast

import numpy as np

from streamdrift.blocks.column import Floats, Ints
from streamdrift.detect.calibration import LONGEST, STRETCH, WINDOWS
from streamdrift.detect.confirm import Evidence
from streamdrift.settings import PolicySettings

LONGER = 4
"""Steps in ``WINDOWS`` by which the window that must calm down is longer than the one that gave the evidence: four times. A
change at the threshold then shows 64 nats in it, and can't be taken for recovered by chance."""
RECENT, RECENT_FAULT = 32, 16
"""Stretches by which an open alert is looked at again: what it is now, not what it was on the way."""
CALM = 0.25
"""Share of the threshold below which a window counts as recovered."""


Step = Literal["opens", "looks", "resolves"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What happens to the lane's alert at the end of the j-th stretch of an update.

    Attributes
    ----------
    step
        It opens, is open and to be looked at again, or is resolved.
    end
        Index, into the update's events, of the event that decided it.
    t
        The evidence then.
    channel, window
        Score and window that gave it.
    back
        Stretches that tell how large the change is: those that are all after the change point, later on the latest ones.
    since, onset
        Stretches since the estimated change point, and its event time in milliseconds.
    onset_range
        Earliest and latest event time that the evidence leaves for the change point; None where it is not estimated.
    """

    step: Step
    j: int
    end: int
    t: float
    channel: int
    window: int
    back: int
    since: int
    onset: int
    onset_range: tuple[int, int] | None = None


class Lane:
    """One alert's life.

    Parameters
    ----------
    settings
        Threshold, hysteresis, cooldown.
    is_fault
        Then an open alert is looked at more often.
    """

    def __init__(self, settings: PolicySettings, *, is_fault: bool = False) -> None:
        self._threshold = settings.threshold
        self._cooldown_ms = round(settings.alert_cooldown_s * 1000)
        self._resolve_window = int(np.searchsorted(WINDOWS * STRETCH, settings.resolve_events))
        self._resolve_window = min(self._resolve_window, len(WINDOWS) - 1)
        self._start = 0
        self._opened: Verdict | None = None
        self._calm_window = 0  # index of the window that must calm down
        self._quiet_until = -1
        self._look_each, self._recent = (RECENT_FAULT, RECENT_FAULT) if is_fault else (LONGEST, RECENT)
        self.reached = 0
        """Stretches at whose end some window had the evidence, whether or not an alert could open."""

    @property
    def is_open(self) -> bool:
        """Whether an alert is firing."""
        return self._opened is not None

    def begin_anew(self) -> None:
        """The scan has a new reference and begins anew; no alert is open, and what was told before still counts."""
        self._start = 0

    def leave(self, boundary: int) -> None:
        """No alert is open any more, and only stretches after the first ``boundary`` ones count for another."""
        self._opened, self._start = None, boundary

    def judge(self, evidence: Evidence, times: Ints, allowed: Callable[[Verdict], bool]) -> list[Verdict]:
        """Return what the evidence of one update changes, in event order.

        Parameters
        ----------
        evidence
            Of m stretches.
        times
            (n,) event times of the update's events.
        allowed
            Asked before an alert opens; the answer may depend on the verdict alone.
        """
        peaks = evidence.t.max(axis=2)
        if self._opened is None and peaks.max() < self._threshold:
            return []
        self.reached += int((peaks.max(axis=1) >= self._threshold).sum())
        verdicts = []
        for j, stretch in enumerate(evidence.stretch.tolist()):
            now = int(times[evidence.ends[j]])
            verdict = (
                self._opening(evidence, j, stretch, peaks[j], now)
                if self._opened is None
                else self._continuing(evidence, j, stretch, peaks[j])
            )
            if verdict is None or (verdict.step == "opens" and not (now >= self._quiet_until and allowed(verdict))):
                continue
            self._take(verdict, stretch, now)
            verdicts.append(verdict)
        return verdicts

    def _take(self, verdict: Verdict, stretch: int, now: int) -> None:
        if verdict.step == "looks":
            return
        self._start = stretch
        if verdict.step == "opens":
            self._opened = verdict
            self._calm_window = min(max(verdict.window + LONGER, self._resolve_window), len(WINDOWS) - 1)
        else:
            self._opened = None
            self._quiet_until = now + self._cooldown_ms

    def _opening(self, evidence: Evidence, j: int, stretch: int, peaks: Floats, now: int) -> Verdict | None:
        if peaks.max() < self._threshold:
            return None
        reachable = evidence.t[j, stretch - self._start >= WINDOWS]
        if not reachable.size or reachable.max() < self._threshold:
            return None
        # a large shift shows in every score: the first that proves it alone names it (location, spread, shape)
        channel = int(np.argmax(reachable.max(axis=0) >= self._threshold))
        window = int(reachable[:, channel].argmax())
        t = float(reachable[window, channel])
        back, onset, within = evidence.onset(j, self._start, (window, channel), t, now)
        size = max(1, back - 1)  # the change fell into the oldest stretch: some of it is what was before
        return Verdict("opens", j, int(evidence.ends[j]), t, channel, window, size, back, onset, within)

    def _continuing(self, evidence: Evidence, j: int, stretch: int, peaks: Floats) -> Verdict | None:
        opened = cast("Verdict", self._opened)
        length, age = int(WINDOWS[self._calm_window]), stretch - self._start
        if length <= age and peaks[self._calm_window] < CALM * self._threshold:
            onset = int(evidence.firsts[max(0, len(evidence.firsts) - len(evidence.ends) + j + 1 - length)])
            peak = float(peaks[self._calm_window])
            return Verdict("resolves", j, int(evidence.ends[j]), peak, 0, self._calm_window, length, length, onset)
        if age & (age - 1) if age < self._look_each else age % self._look_each:
            return None
        back = min(age, self._recent)
        window = int(np.searchsorted(WINDOWS, back, "right")) - 1
        t = float(evidence.t[j, window, opened.channel])
        if t < self._threshold:
            return None
        since = opened.since + age
        return replace(opened, step="looks", j=j, end=int(evidence.ends[j]), t=t, window=window, back=back, since=since)
