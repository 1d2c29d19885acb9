"""The confirming scan: is what the detectors saw more than the series' own restlessness?

Each value becomes its mid-rank in the reference, and the rank four *scores*: normal score (location), its square (spread), two
cosines (shape). So units and tails don't matter, and ties are halved. Scores are summed per 16 events; at the end of
each such stretch, windows of 16 to 4,096 events back from now are compared with the reference.

Evidence of a window whose mean score lies d standard deviations off::

    T = E · ((1 + γe)·ln(1 + γe) - γe) / γ²        e = excess of d beyond the envelope, E = effective sample size

the rate function of a skewed sum (Bennett 1962); with γ → 0 it is E·e²/2, the Gaussian log-likelihood ratio. E and the
envelope come from the reference window itself (``calibrate``): its autocorrelation, by an AR fit, and, where it
wanders more than that fit explains (a season, long memory), the range of window means that it visited.

Scores are integers (2⁻²⁰ units), so that sums are exact and any split of the events into blocks gives the same result.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from statistics import NormalDist

import numpy as np

from streamdrift.blocks.column import Bools, Floats, Ints
from streamdrift.detect.dependence import autoregression, inflation, inflation_error

STRETCH = 16
"""Events per sum."""
WINDOWS: Ints = np.array([1, 2, 3, 4, 6, 8, 11, 16, 23, 32, 45, 64, 91, 128, 181, 256])
"""Window lengths that are scanned, in stretches."""
LONGEST = int(WINDOWS[-1])
UNIT = 1 << 20
"""One, as an integer score."""
_LENGTHS = (WINDOWS * (STRETCH * UNIT))[:, None]
WEIGHTS = np.array([1.0, 1.0, 0.85, 0.85])
"""Share of the sample size that each score may claim: four scores are four chances of a false alarm."""
WEIGHTS_DEPENDENT = np.array([1.0, 0.9, 0.7, 0.7])
INDEPENDENT_MAX = 1.5  # long-run variance, relative to independence, up to which a series counts as independent
SIZE_MIN = 10.0  # least effective sample size of a window that may speak for a dependent series
DEPARTURE = 3.0  # first score of a value beyond all of the reference
LEVEL = 3.2905  # standard normal quantile .9995: how far the reference may wander before it counts as restless


@lru_cache(maxsize=8)
def score_table(n: int) -> Ints:
    """(2n+1, 4) integer scores by twice the mid-rank in a reference of n values."""
    u = (np.arange(2 * n + 1) / 2 + 0.5) / (n + 1)
    normal = NormalDist()
    z = np.clip([normal.inv_cdf(p) for p in u.tolist()], -3, 3)
    scores = np.stack([z, z * z, math.sqrt(2) * np.cos(3 * np.pi * u), math.sqrt(2) * np.cos(4 * np.pi * u)], axis=1)
    table: Ints = np.rint(scores * UNIT).astype(np.int64)
    return table


@dataclass(slots=True)
class Calibration:
    """What is normal for C scores of a series, over S windows.

    Attributes
    ----------
    mean, sd
        (C,) of the scores in the reference.
    size
        (S, C) effective sample size of each window; 0 where it may not speak.
    low, high
        (S, C) envelope of window means, in sd.
    skew_up, skew_down
        (C,) skewness of a sum in either direction, at least 0; ``inf`` closes the direction.
    """

    mean: Floats
    sd: Floats
    size: Floats
    low: Floats
    high: Floats
    skew_up: Floats
    skew_down: Floats

    def of(self, channel: int) -> Calibration:
        """Return the calibration of one score alone."""
        only = slice(channel, channel + 1)
        return Calibration(
            self.mean[only],
            self.sd[only],
            self.size[:, only],
            self.low[:, only],
            self.high[:, only],
            self.skew_up[only],
            self.skew_down[only],
        )


def joined(parts: Sequence[Calibration]) -> Calibration:
    """Return one calibration of all the parts' scores, in order."""
    return Calibration(
        *(
            np.concatenate([getattr(part, name) for part in parts], axis=-1)
            for name in ("mean", "sd", "size", "low", "high", "skew_up", "skew_down")
        ),
    )


def unjudged(count: int) -> Calibration:
    """Return the calibration of scores that are summed, and never give evidence."""
    per_window, per_score = np.zeros((len(WINDOWS), count)), np.zeros(count)
    return Calibration(per_score, np.ones(count), per_window, per_window, per_window, per_score, per_score)


def calibrate(scores: Ints) -> Calibration:
    """Return the calibration of (n, C) integer scores of the reference window in event order."""
    found = _calibrate(scores, None)
    restless: Bools = np.any(found[1] > 0, axis=1)  # a window that one score can't be trusted at, none can
    return _calibrate(scores, restless)[0] if restless.any() else found[0]


def _calibrate(scores: Ints, forced: Bools | None) -> tuple[Calibration, Floats]:
    n, c = scores.shape
    values = scores / UNIT
    mean, sd = values.mean(axis=0), values.std(axis=0)
    flat = sd < 1e-9
    sd[flat] = 1.0
    size, low, high = np.zeros((3, len(WINDOWS), c))
    restless = np.zeros((len(WINDOWS), c))
    skew_up, skew_down = np.zeros((2, c))
    if flat[0]:  # a constant: any departure is as rare as half an event in the reference, and counts as Poisson
        rarity = math.sqrt(0.5 / (n + 1))
        sd[0], size[:, 0] = DEPARTURE * rarity, WINDOWS * STRETCH
        skew_up[0] = skew_down[0] = 1 / rarity
    for i in np.flatnonzero(~flat).tolist():
        one = _one_score((values[:, i] - mean[i]) / sd[i], i, forced)
        size[:, i], low[:, i], high[:, i], restless[:, i], skew_up[i], skew_down[i] = one
    return Calibration(mean, sd, size, low, high, skew_up, skew_down), restless


def _one_score(
    z: Floats,
    score: int,
    forced: Bools | None,
) -> tuple[Floats, Floats, Floats, Floats, float, float]:
    n = len(z)
    phi, acf = autoregression(z)
    lengths = WINDOWS * STRETCH
    spans = np.array([*lengths.tolist(), min(n, int(lengths[-1])), max(int(lengths[-1]), n)])
    factors = np.maximum(inflation(phi, acf, spans), 1.0) * inflation_error(phi, acf, n)
    dependent = float(factors[-1]) > INDEPENDENT_MAX
    sums = np.concatenate([[0.0], np.cumsum(z)])
    skew_up, skew_down = _skews(z, sums, float(factors[int(np.searchsorted(lengths, 64))]), dependent=dependent)
    size, low, high, restless = np.zeros((4, len(WINDOWS)))
    envelope: tuple[float, float] | None = None
    for s, w in enumerate(lengths.tolist()):
        factor, own, mode = float(factors[s]), float(factors[-2]), False
        if 4 * w <= n:
            wander = _wander(sums, w)
            dof = max(1.0, 1.5 * n / w)
            mode = wander > factor * _chi2_quantile(dof) or (forced is not None and bool(forced[s]))
            if mode and w >= 64:
                means = _means(sums, w)
                envelope = float(means.min()), float(means.max())
                factor, own = _roughness(sums, w, n), 0.0
                low[s], high[s] = envelope
            elif mode:
                factor = 1.2 * wander
        if not mode and envelope is not None:  # too long to be judged by itself: what shorter windows showed holds
            (low[s], high[s]), factor, own = envelope, 4 * max(factor, 1.0), 0.0
        restless[s] = mode
        silent = dependent and w / factor < SIZE_MIN and not mode
        weights = WEIGHTS_DEPENDENT if dependent or envelope is not None or forced is not None else WEIGHTS
        size[s] = 0.0 if silent else weights[score] / (factor / w + own / n)
    return size, low, high, restless, skew_up, skew_down


def _means(sums: Floats, w: int) -> Floats:
    """Means of windows of w values, an eighth of w apart."""
    step = max(1, w // 8)
    ends = sums[w::step]
    return (ends - sums[:-w:step][: len(ends)]) / w


def _wander(sums: Floats, w: int) -> float:
    """Variance of a window's mean about the reference mean, relative to that of independent values."""
    return float(w * np.mean(_means(sums, w) ** 2))


def _roughness(sums: Floats, w: int, n: int) -> float:
    """Variance left between adjacent windows once slow wandering is taken out, with its own error added."""
    differences = (sums[2 * w :] - 2 * sums[w:-w] + sums[: -2 * w]) / w
    return max(1.0, float(w * 0.5 * np.mean(differences**2)) * (1 + 2 * math.sqrt(2 / (1.5 * n / w))))


def _skews(z: Floats, sums: Floats, factor_64: float, *, dependent: bool) -> tuple[float, float]:
    skew = float(np.mean(z**3))
    up, down = max(skew, 0.0), max(-skew, 0.0)
    if dependent and len(z) >= 128:  # dependence adds skewness to sums: measure it on windows of 64, with its error
        means = (sums[64::16] - sums[:-64:16]) / 64
        means = means - means.mean()
        spread = float(np.mean(means**2))
        scale = math.sqrt(64 / min(factor_64, 64.0))
        measured = float(np.mean(means**3)) / max(spread, 1e-12) ** 1.5 * scale
        error = math.sqrt(6 / (1.5 * len(z) / 64)) * scale
        up, down = max(1.5 * up, measured + error), max(1.5 * down, -measured + error)
    return up, down


def _chi2_quantile(dof: float) -> float:
    """.9995 quantile of chi-squared over its degrees of freedom (Wilson & Hilferty 1931)."""
    return (1 - 2 / (9 * dof) + LEVEL * math.sqrt(2 / (9 * dof))) ** 3


def share_calibration(hits: int, n: int, flags: Ints | None = None) -> Calibration:
    """Calibration of a share of events that had ``hits`` in n reference events.

    ``flags``, the (n, 1) scores of the reference, lets its own dependence speak where there are enough hits. A share
    of 0 is taken as half an event in n. The skewness of a rare event makes T the Poisson log-likelihood ratio.
    """
    p = (hits + 0.5) / (n + 1)
    sd = math.sqrt(p * (1 - p))
    if flags is not None and min(hits, n - hits) >= 20:
        found = calibrate(flags)
        shape = (len(WINDOWS), 1)
        if found.size.shape == shape and found.size.any():
            return found
    lengths = (WINDOWS * STRETCH)[:, None].astype(np.float64)
    skew = (1 - 2 * p) / sd
    zeros = np.zeros((len(WINDOWS), 1))
    return Calibration(
        np.array([p]),
        np.array([sd]),
        1 / (1 / lengths + 1 / n) if hits else lengths.copy(),
        zeros,
        zeros.copy(),
        np.array([max(skew, 0.0)]),
        np.array([max(-skew, 0.0)]),
    )


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

    def onset(self, j: int, since: int, channel: int, window: int) -> tuple[int, int]:
        """Maximum-likelihood change point before the end of the j-th stretch, not before the end of stretch ``since``.

        Returns the number of stretches since then, and the event time of the first event after it. The mean before
        the change is taken as known: the reference's, or the edge of the window's envelope.
        """
        at = len(self.sums) - len(self.ends) + j
        k = np.arange(1, max(1, min(int(self.stretch[j]) - since, LONGEST, at)) + 1)
        means = (self.sums[at, channel] - self.sums[at - k, channel]) / (k * (STRETCH * UNIT))
        d = (means - self.calibration.mean[channel]) / self.calibration.sd[channel]
        excess = np.maximum(
            np.maximum(d - self.calibration.high[window, channel], self.calibration.low[window, channel] - d),
            0.0,
        )
        back = int(k[int(np.argmax(k * excess * excess))])
        return back, int(self.firsts[at - back])

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

    def update(self, scores: Ints, times: Ints) -> Evidence | None:
        """Take (n, C) scores and (n,) event times; return the evidence, None where no stretch ended."""
        n = len(scores)
        if not n:
            return None
        starts = np.arange(STRETCH - self._filled, n, STRETCH)
        if self._filled or not len(starts) or starts[0] != 0:
            starts = np.concatenate([[0], starts])
        sums = np.add.reduceat(scores, starts, axis=0)
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
        return self._judge(sums[:m], firsts[:m], ends) if m else None

    @property
    def still(self) -> bool:
        """Whether every sum that a window can reach is the same: nothing but zeros came."""
        return not self._partial.any() and not (self._history[-1] - self._history[0]).any()

    def recent(self, back: int) -> float:
        """Mean of the first score over the last ``back`` stretches; 0 before there is one."""
        back = min(back, len(self._history) - 1)
        return int(self._history[-1, 0] - self._history[-1 - back, 0]) / (back * STRETCH * UNIT) if back else 0.0

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

    def _judge(self, sums: Ints, firsts: Ints, ends: Ints) -> Evidence:
        m = len(sums)
        prefix = np.concatenate([self._history, self._history[-1] + np.cumsum(sums, axis=0)])
        times = np.concatenate([self._firsts, firsts])
        at = np.arange(len(prefix) - m, len(prefix))
        back = at[:, None] - WINDOWS
        spans = (prefix[at][:, None, :] - prefix[np.maximum(back, 0)]) / _LENGTHS
        t = self._evidence((spans - self.calibration.mean) / self.calibration.sd)
        t[back < 0] = 0.0
        self._history, self._firsts = prefix[-(LONGEST + 1) :].copy(), times[-LONGEST:].copy()
        stretch = self.stretches + 1 + np.arange(m)
        self.stretches += m
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
                    t[some] = np.maximum(t[some], size * rate(excess[some], gamma))
        return t


def rate(excess: Floats, skew: Floats) -> Floats:
    """Bennett's rate function: evidence per effective event of a mean ``excess`` sd off, under this skewness."""
    y = skew * excess
    small = y < 0.02
    with np.errstate(divide="ignore", invalid="ignore"):
        exact = ((1 + y) * np.log1p(y) - y) / (skew * skew)
    return np.where(small, excess * excess / 2 * (1 - y / 3), exact)
