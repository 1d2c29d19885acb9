"""Shares of events that should be rare: missing values, invalid ones, categories never seen.

Each is a 0/1 score per event, scanned against the share that the reference window had, upwards only.
"""

from __future__ import annotations

import numpy as np

from streamdrift.blocks.column import Bools, Ints
from streamdrift.detect.calibration import LONGEST, STRETCH, UNIT, share_calibration
from streamdrift.detect.confirm import Evidence, Judged, Scan
from streamdrift.detect.policy import Lane, Verdict
from streamdrift.settings import PolicySettings


class ShareLane:
    """Scan and alert of one share.

    Parameters
    ----------
    flags
        (n,) the reference window's events, in order.
    notes
        Number of 0/1 facts that go along with each event, not judged, whose shares an alert wants to tell.
    events_min
        Events of the kind that a window must have before an alert opens.
    """

    def __init__(self, flags: Bools, policy: PolicySettings, notes: int = 0, events_min: int = 1) -> None:
        self.n, self.hits = len(flags), int(flags.sum())
        self.scan = Scan(share_calibration(self.hits, self.n, _scores(flags), notes), down=False)
        self._lane = Lane(policy, is_fault=True)
        self._events_min = events_min
        self.threshold = policy.threshold
        self.evidence: Evidence | None = None

    @property
    def share(self) -> float:
        """Share in the reference window."""
        return self.hits / self.n if self.n else 0.0

    @property
    def recent_rise(self) -> float:
        """Share of the last 256 events above the reference's; for show, not for judgement."""
        return max(0.0, self.scan.recent(16) - self.share)

    @property
    def is_open(self) -> bool:
        """Whether an alert is firing."""
        return self._lane.is_open

    def leave(self) -> None:
        """No alert is open any more, and what came until now counts for none."""
        self._lane.leave(self.scan.boundary)

    def judged(self) -> Judged:
        """Return what the compiled scan needs to know."""
        return self.scan.judged(self.threshold)

    def update(self, flags: Bools, times: Ints, *notes: Bools) -> list[Verdict]:
        """Take (n,) events, with their notes; return what opens or is resolved."""
        if not self._lane.is_open and not flags.any() and self.scan.still:
            self.scan.skip(times)  # nothing there, nothing in any window: the usual case, at no cost
            return []
        self.evidence = self.scan.update(_scores(flags, *notes), times)
        verdicts = [] if self.evidence is None else self._lane.judge(self.evidence, times, self._enough)
        if not verdicts:
            self.evidence = None  # only verdicts ask for it, and it is as large as the block
        return verdicts

    def current(self, verdict: Verdict, note: int = 0) -> float:
        """Share of the events since the change point (a resolved alert: of the window that calmed down).

        ``note`` 1 and up is the share of that note.
        """
        return self.evidence.mean(verdict.j, verdict.back, note) if self.evidence else 0.0

    def events(self, verdict: Verdict) -> int:
        """Events of the kind since the change point, as far as the scan reaches back."""
        back = min(verdict.since, LONGEST)
        return round(self.evidence.mean(verdict.j, back, 0) * back * STRETCH) if self.evidence else 0

    def _enough(self, verdict: Verdict) -> bool:
        return self.events(verdict) >= self._events_min


def _scores(*flags: Bools) -> Ints:
    return np.where(np.stack(flags, axis=1), UNIT, 0).astype(np.int64)
