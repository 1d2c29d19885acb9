"""The evidence policy of one lane: when its alert opens, and when it is resolved.

Opens where the evidence of any window reaches the threshold, and the candidate rule agrees. Then the windows begin anew. It is
resolved when a window four times as long as the one that gave the evidence (and at least ``resolve_events`` long) has
filled again and shows less than a quarter of the threshold: hysteresis, and no data is no recovery.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from streamdrift.blocks.column import Ints
from streamdrift.detect.calibration import STRETCH, WINDOWS
from streamdrift.detect.confirm import Evidence
from streamdrift.settings import PolicySettings

LONGER = 4
"""Steps in ``WINDOWS`` by which the window that must calm down is longer than the one that gave the evidence: four times. A
change at the threshold then shows 64 nats in it, and can't be taken for recovered by chance."""
CALM = 0.25
"""Share of the threshold below which a window counts as recovered."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The lane's alert opens (``opens``) or is resolved, at the end of the j-th stretch of an update.

    Attributes
    ----------
    end
        Index, into the update's events, of the event that decided it.
    t
        The evidence then.
    channel, window
        Score and window that gave it.
    back, onset
        Stretches since the estimated change point, and its event time in milliseconds.
    """

    opens: bool
    j: int
    end: int
    t: float
    channel: int
    window: int
    back: int
    onset: int


class Lane:
    """One alert's life.

    Parameters
    ----------
    settings
        Threshold, hysteresis, cooldown.
    """

    def __init__(self, settings: PolicySettings) -> None:
        self._threshold = settings.threshold
        self._cooldown_ms = round(settings.alert_cooldown_s * 1000)
        self._resolve_window = int(np.searchsorted(WINDOWS * STRETCH, settings.resolve_events))
        self._resolve_window = min(self._resolve_window, len(WINDOWS) - 1)
        self._start = 0
        self._opened: int | None = None  # index of the window that must calm down
        self._quiet_until = -1
        self.reached = 0
        """Stretches at whose end some window had the evidence, whether or not an alert could open."""

    @property
    def is_open(self) -> bool:
        """Whether an alert is firing."""
        return self._opened is not None

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
            verdict = (
                self._opening(evidence, j, stretch, peaks[j])
                if self._opened is None
                else self._resolution(evidence, j, stretch, float(peaks[j, self._opened]))
            )
            if verdict is None or (verdict.opens and not self._may_open(verdict, int(times[verdict.end]), allowed)):
                continue
            self._start = stretch
            if verdict.opens:
                self._opened = min(max(verdict.window + LONGER, self._resolve_window), len(WINDOWS) - 1)
            else:
                self._opened = None
                self._quiet_until = int(times[verdict.end]) + self._cooldown_ms
            verdicts.append(verdict)
        return verdicts

    def _may_open(self, verdict: Verdict, time: int, allowed: Callable[[Verdict], bool]) -> bool:
        return time >= self._quiet_until and allowed(verdict)

    def _opening(
        self, evidence: Evidence, j: int, stretch: int, peaks: np.ndarray[tuple[int], np.dtype[np.float64]]
    ) -> Verdict | None:
        if peaks.max() < self._threshold:
            return None
        reachable = evidence.t[j, stretch - self._start >= WINDOWS]
        if not reachable.size or reachable.max() < self._threshold:
            return None
        # a large shift shows in every score: the first that proves it alone names it (location, spread, shape)
        channel = int(np.argmax(reachable.max(axis=0) >= self._threshold))
        window = int(reachable[:, channel].argmax())
        back, onset = evidence.onset(j, self._start, channel, window)
        t = float(reachable[window, channel])
        return Verdict(True, j, int(evidence.ends[j]), t, channel, window, back, onset)

    def _resolution(self, evidence: Evidence, j: int, stretch: int, peak: float) -> Verdict | None:
        window = self._opened or 0
        if int(WINDOWS[window]) > stretch - self._start or peak >= CALM * self._threshold:
            return None
        back = int(WINDOWS[window])
        at = len(evidence.firsts) - len(evidence.ends) + j + 1 - back
        return Verdict(False, j, int(evidence.ends[j]), peak, 0, window, back, int(evidence.firsts[max(0, at)]))
