"""The confirming scan: is what the detectors saw more than the series' own restlessness?

Each value becomes its mid-rank in the reference, and the rank four *scores*: normal score (location), its square (spread), two
cosines (shape). So units and tails don't matter, and ties are halved. Scores are summed per 16 events; at the end of
each such stretch, windows of 16 to 4,096 events back from now are compared with the reference.

Evidence of a window whose mean score lies d standard deviations off::

    T = E · ((1 + γe)·ln(1 + γe) - γe) / γ²        e = excess of d beyond the envelope, E = effective sample size

the rate function of a skewed sum (Bennett 1962); with γ → 0 it is E·e²/2, the Gaussian log-likelihood ratio. What a
reference of n events knows of the score's spread is uncertain too, so T counts as n/2·ln(1 + 2T/n), the ratio of Student's
test: next to nothing of it is lost with 5,000 events, and a tenth with 100. E and the envelope come from the reference window itself (``calibrate``): its autocorrelation, by an AR fit, and, where it
wanders more than that fit explains (a season, long memory), the range of window means that it visited.

Scores are integers (2⁻²⁰ units), so that sums are exact and any split of the events into blocks gives the same result.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from streamdrift.blocks.column import Bools, Floats, Ints
from streamdrift.detect.calibration import LONGEST, STRETCH, UNIT, WINDOWS, Calibration, rate

ONSET_NATS = 3.0
"""Log-likelihood that a change point may lack of the best one: twenty times less likely."""
_LENGTHS = (WINDOWS * (STRETCH * UNIT))[:, None]


LENT: Ints = np.zeros(0, np.int64)
LENT_SUMS: Ints = np.zeros((0, 1), np.int64)
"""In place of a state that is elsewhere."""
Bounds = tuple[Ints, Ints]
"""(S, C) sums from which, downwards and upwards, the evidence may reach the threshold."""
Judged = tuple[list[Floats], float, bool, bool]
"""A calibration's arrays in their order, the threshold, and whether rises and falls count."""
Told = tuple[Ints, Ints, Ints, int, int, int]
"""A scan's state: running sums and first event times as in ``Evidence``, the sum of the stretch that is not full yet, the time of its
first event, its number of events, and the number of full stretches."""


@dataclass(slots=True)
class Evidence:
    """What a scan saw at the ends of m stretches.

    Attributes
    ----------
    ends
        (m,) index, into the update's events, of each stretch's last event.
    stretch
        (m,) number of the stretch since the scan began, from 1.
    t
        (m, S, C) evidence; 0 for windows that reach back beyond the scan's beginning.
    sums
        (h, C) running sums at the end of stretches, the last m of them those of ``stretch``, with h > m.
    firsts
        (h-1,) event time of the first event of the stretches that ``sums`` has, from its second on.
    calibration
        What the sums are judged against.
    """

    ends: Ints
    stretch: Ints
    t: Floats
    sums: Ints
    firsts: Ints
    calibration: Calibration

    def onset(self, j: int, since: int, where: tuple[int, int], t: float, now: int) -> tuple[int, int, tuple[int, int]]:
        """Maximum-likelihood change point before the end of the j-th stretch, not before the end of stretch ``since``.

        Returns the number of stretches since then, the event time of the first event after it, and the earliest and latest such
        time whose log-likelihood lacks at most ``ONSET_NATS`` of the best one, which is scaled to the evidence ``t``. The mean
        before the change is taken as known: the reference's, or the edge of the window's envelope.

        Parameters
        ----------
        where
            Window and score that gave the evidence.
        now
            Event time of the j-th stretch's last event.
        """
        window, channel = where
        at = len(self.sums) - len(self.ends) + j
        k = np.arange(1, max(1, min(int(self.stretch[j]) - since, LONGEST, at)) + 1)
        means = (self.sums[at, channel] - self.sums[at - k, channel]) / (k * (STRETCH * UNIT))
        known = self.calibration
        d = (means - known.mean[channel]) / known.sd[channel]
        up = np.maximum(d - known.high[window, channel], 0.0)
        down = np.maximum(known.low[window, channel] - d, 0.0)
        likelihood = k * np.maximum(rate(up, known.skew_up[channel]), rate(down, known.skew_down[channel]))
        best = int(np.argmax(likelihood))
        near = k[likelihood >= likelihood[best] * (1 - min(1.0, ONSET_NATS / max(t, ONSET_NATS)))]
        # a stretch in which the change fell shows half of it, so the range takes in one more on either side
        first = at - int(near[-1])
        latest = int(self.firsts[at - int(near[0]) + 1]) if near[0] > 1 else now
        back = int(k[best])
        return back, int(self.firsts[at - back]), (int(self.firsts[first - (k[-1] > near[-1])]), latest)

    def of(self, channel: int) -> Evidence:
        """Return the evidence of one score alone."""
        only = slice(channel, channel + 1)
        return replace(self, t=self.t[:, :, only], sums=self.sums[:, only], calibration=self.calibration.of(channel))

    def mean(self, j: int, back: int, channel: int) -> float:
        """Mean score over the last ``back`` stretches up to the j-th."""
        at = len(self.sums) - len(self.ends) + j
        back = max(1, min(back, at))
        return int(self.sums[at, channel] - self.sums[at - back, channel]) / (back * STRETCH * UNIT)


class Scan:
    """Window sums of C integer scores, and their evidence against a calibration.

    Parameters
    ----------
    calibration
        Of C scores.
    up, down
        Directions that count.
    """

    def __init__(self, calibration: Calibration, *, up: bool = True, down: bool = True) -> None:
        self.calibration, self._up, self._down = calibration, up, down
        c = len(calibration.mean)
        self._history = np.zeros((1, c), np.int64)
        self._firsts = np.zeros(0, np.int64)
        self._partial = np.zeros(c, np.int64)
        self._partial_time = 0
        self._filled = 0
        self.stretches = 0

    def update(self, scores: Ints, times: Ints, bounds: Bounds | None = None) -> Evidence | None:
        """Take (n, C) scores and (n,) event times; return the evidence, None where no stretch ended.

        With ``bounds``, also None where no sum leaves them: most evidence is of no interest, and costs much more to compute.
        """
        if not len(scores):
            return None
        return self.update_sums(np.add.reduceat(scores, self.starts(len(scores)), axis=0), times, bounds)

    def starts(self, n: int) -> Ints:
        """Indices, into the next n events, of those that begin a stretch; and of the first, which may go on with one."""
        begun: Ints = np.arange(STRETCH - self._filled if self._filled else 0, n, STRETCH)
        return np.concatenate([[0], begun]) if self._filled else begun

    def update_sums(self, sums: Ints, times: Ints, bounds: Bounds | None = None) -> Evidence | None:
        """As ``update``, of the (n,) events at least one, whose scores are summed from each of ``starts`` on; changes the sums."""
        n, starts = len(times), self.starts(len(times))
        sums[0] += self._partial
        firsts = times[starts]
        if self._filled:
            firsts[0] = self._partial_time
        m = (self._filled + n) // STRETCH
        if m < len(starts):
            self._partial, self._partial_time = sums[-1], int(firsts[-1])
        else:
            self._partial = np.zeros_like(self._partial)
        ends = STRETCH - self._filled - 1 + STRETCH * np.arange(m)
        self._filled = (self._filled + n) % STRETCH
        return self._judge(sums[:m], firsts[:m], ends, bounds) if m else None

    def bounds(self, threshold: float) -> Bounds:
        """Return the sums, by window and score, from which on the evidence may reach a threshold.

        Evidence never falls with the distance from the mean. That is so but for roundings, and for them the bounds lie a little
        nearer.
        """
        shape = self.calibration.size.shape
        far = _LENGTHS * 64.0  # no score is larger

        def within(sums: Floats) -> Bools:
            shift = (sums / _LENGTHS - self.calibration.mean) / self.calibration.sd
            found: Bools = self._evidence(shift[None])[0] < threshold * (1 - 1e-9)
            return found

        start = np.broadcast_to(np.rint(self.calibration.mean * _LENGTHS), shape)
        found = []
        for sign in (-1.0, 1.0):
            inside, outside = start.copy(), sign * np.broadcast_to(far, shape)
            reached = ~within(outside)
            while (np.abs(outside - inside) > 1).any():
                middle = np.trunc((inside + outside) / 2)
                near = within(middle)
                inside, outside = np.where(near, middle, inside), np.where(near, outside, middle)
            found.append(np.where(reached, outside, sign * 2.0**62).astype(np.int64))
        return found[0], found[1]

    @property
    def boundary(self) -> int:
        """Number of the stretch, the first is 1, up to which values are that have come."""
        return self.stretches + bool(self._filled)

    @property
    def still(self) -> bool:
        """Whether every sum that a window can reach is the same: nothing but zeros came."""
        return not self._partial.any() and not (self._history[-1] - self._history[0]).any()

    def told(self) -> Told:
        """Return the state, for whoever goes on from it."""
        since = self._partial_time if self._filled else 0
        return self._history, self._firsts, self._partial, since, self._filled, self.stretches

    def adopt(self, told: Told) -> None:
        """Go on from a state."""
        self._history, self._firsts, self._partial, self._partial_time, self._filled, self.stretches = told

    def let_go(self) -> None:
        """Hold no state: it was told to whoever goes on from it, and will be adopted again."""
        self._history, self._firsts, self._partial = LENT_SUMS, LENT, LENT

    def judged(self, threshold: float) -> Judged:
        """Return what the compiled scan needs to know."""
        k = self.calibration
        normal = [k.mean, k.sd, k.size, k.low, k.high, k.skew_up, k.skew_down, k.n]
        return [np.ascontiguousarray(array, np.float64) for array in normal], threshold, self._up, self._down

    def recent(self, back: int) -> float:
        """Mean of the first score over the last ``back`` stretches; 0 before there is one."""
        back = min(back, len(self._history) - 1)
        return int(self._history[-1, 0] - self._history[-1 - back, 0]) / (back * STRETCH * UNIT) if back else 0.0

    def of_shift(self, shift: Floats) -> Floats:
        """(m, S, C) evidence of windows whose mean scores are (m, C) off the reference's."""
        m, c = shift.shape
        return self._evidence(np.broadcast_to((shift / self.calibration.sd)[:, None, :], (m, len(WINDOWS), c)))

    def skip(self, times: Ints) -> None:
        """As ``update`` with scores of 0 on a scan that is still and looks upwards only: no evidence can come of it."""
        n = len(times)
        ends = np.arange(STRETCH - self._filled - 1, n, STRETCH)
        firsts = times[np.concatenate([[0], ends + 1])[: len(ends) + 1].clip(max=n - 1)] if n else times
        if n and self._filled:
            firsts = firsts.copy()
            firsts[0] = self._partial_time
        m = len(ends)
        last = self._history[-1:]
        self._history = np.concatenate([self._history, np.repeat(last, m, axis=0)])[-(LONGEST + 1) :]
        self._firsts = np.concatenate([self._firsts, firsts[:m]])[-LONGEST:]
        self._filled = (self._filled + n) % STRETCH
        if self._filled and n:
            self._partial_time = int(firsts[m])
        self.stretches += m

    def _judge(self, sums: Ints, firsts: Ints, ends: Ints, bounds: Bounds | None) -> Evidence | None:
        m = len(sums)
        prefix = np.concatenate([self._history, self._history[-1] + np.cumsum(sums, axis=0)])
        times = np.concatenate([self._firsts, firsts])
        at = np.arange(len(prefix) - m, len(prefix))
        self._history, self._firsts = prefix[-(LONGEST + 1) :].copy(), times[-LONGEST:].copy()
        stretch = self.stretches + 1 + np.arange(m)
        self.stretches += m
        if bounds is not None and not _leaves(prefix, m, bounds):
            return None
        back = at[:, None] - WINDOWS
        spans = prefix[at][:, None, :] - prefix[np.maximum(back, 0)]
        t = self._evidence((spans / _LENGTHS - self.calibration.mean) / self.calibration.sd)
        t[back < 0] = 0.0
        return Evidence(ends, stretch, t, prefix, times, self.calibration)

    def _evidence(self, deviation: Floats) -> Floats:
        k = self.calibration
        t = np.zeros(deviation.shape)
        for wanted, excess, skew in (
            (self._up, deviation - k.high, k.skew_up),
            (self._down, k.low - deviation, k.skew_down),
        ):
            if wanted:
                excess = np.maximum(excess, 0.0)  # noqa: PLW2901
                gauss = k.size * excess * excess / 2
                # T is at most the Gaussian value, so only where that is of interest a logarithm is worth taking
                t = np.maximum(t, np.where(gauss < 2.0, gauss, 0.0))
                some = np.nonzero(gauss >= 2.0)
                if len(some[0]):
                    size, gamma = k.size[some[1], some[2]], skew[some[2]]
                    half = k.n[some[2]] / 2
                    t[some] = np.maximum(t[some], half * np.log1p(size * rate(excess[some], gamma) / half))
        return t


def _leaves(prefix: Ints, m: int, bounds: Bounds) -> bool:
    """Whether the sum of any window that ends with one of the last m stretches leaves its bounds."""
    for window, low, high in zip(WINDOWS.tolist(), *bounds, strict=True):
        first = max(len(prefix) - m, window)
        if first >= len(prefix):
            break  # it reaches back beyond the scan's beginning, and so do the longer ones
        spans = prefix[first:] - prefix[first - window : len(prefix) - window]
        if (spans <= low).any() or (spans >= high).any():
            return True
    return False
