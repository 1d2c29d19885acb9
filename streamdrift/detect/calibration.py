"""What is normal for a score: its mean, spread and skewness, and how far sums over windows may go by themselves.

Everything comes from the reference window: an autoregressive fit gives each window its effective sample size; where the
reference wanders more than the fit explains (a season, long memory), the range of window means that it visited becomes an
envelope, and only what lies beyond it counts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from statistics import NormalDist

import numpy as np

from streamdrift.blocks.column import Bools, Floats, Ints
from streamdrift.detect.breathing import breathing
from streamdrift.detect.dependence import autoregression, inflation, inflation_error

STRETCH = 16
"""Events per sum."""
WINDOWS: Ints = np.array([1, 2, 3, 4, 6, 8, 11, 16, 23, 32, 45, 64, 91, 128, 181, 256])
"""Window lengths that are scanned, in stretches."""
LONGEST = int(WINDOWS[-1])
UNIT = 1 << 20
"""One, as an integer score."""
WEIGHTS = np.array([1.0, 1.0, 0.85, 0.85])
"""Share of the sample size that each score may claim: four scores are four chances of a false alarm."""
WEIGHTS_DEPENDENT = np.array([1.0, 0.9, 0.7, 0.7])
INDEPENDENT_MAX = 1.5  # long-run variance, relative to independence, up to which a series counts as independent
MEASURED_MIN = 20.0  # windows that the reference must have of a length whose variance is taken as measured
HITS_MIN = 3  # events of a rare kind from which its own dependence is looked at: they like to come in bursts
SPELLS = 4  # times the longest spell of the reference from which one is of another kind
PROVEN = 64.0  # nats that the longest window must be able to show, or it is left to spells
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
    n
        (C,) events of the reference, from which the spread is known (Student's degrees of freedom).
    worth
        Independent events that the reference is worth, by the score that depends most on its past.
    """

    mean: Floats
    sd: Floats
    size: Floats
    low: Floats
    high: Floats
    skew_up: Floats
    skew_down: Floats
    n: Floats
    worth: float = 0.0

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
            self.n[only],
            self.worth,
        )


def joined(parts: Sequence[Calibration]) -> Calibration:
    """Return one calibration of all the parts' scores, in order."""
    mean, sd, size, low, high, skew_up, skew_down, n = (
        np.concatenate([getattr(part, name) for part in parts], axis=-1)
        for name in ("mean", "sd", "size", "low", "high", "skew_up", "skew_down", "n")
    )
    return Calibration(mean, sd, size, low, high, skew_up, skew_down, n)


def _unjudged(count: int) -> Calibration:
    """Return the calibration of scores that are summed, and never give evidence."""
    per_window, per_score = np.zeros((len(WINDOWS), count)), np.zeros(count)
    ones = np.ones(count)
    return Calibration(per_score, ones, per_window, per_window, per_window, per_score, per_score, ones)


def calibrate(scores: Ints, parameters: int = 0, day_events: float = 1.0) -> Calibration:
    """Return the calibration of (n, C) integer scores of the reference window in event order.

    Parameters
    ----------
    parameters, day_events
        Numbers fitted per score to take a course over the day out, and events per day: what the reference knows of a single
        hour is by so much less certain than what it knows of the mean.
    """
    unsure = 1 + parameters * np.maximum(0.0, 1 - WINDOWS * STRETCH / day_events)
    found = _calibrate(scores, None, unsure)
    restless: Bools = np.any(found[1] > 0, axis=1)  # a window that one score can't be trusted at, none can
    return _compact(_calibrate(scores, restless, unsure)[0] if restless.any() else found[0])


def _compact(found: Calibration) -> Calibration:
    """Return the same in as little memory as it takes: it is held for each series."""
    nothing = _nothing(len(found.mean))
    low, high = (array.copy() if array.any() else nothing for array in (found.low, found.high))
    skew_up, skew_down = found.skew_up.copy(), found.skew_down.copy()
    return Calibration(found.mean, found.sd, found.size.copy(), low, high, skew_up, skew_down, found.n, found.worth)


@lru_cache(maxsize=8)
def _nothing(c: int) -> Floats:
    nothing = np.zeros((len(WINDOWS), c))
    nothing.flags.writeable = False
    return nothing


def _calibrate(scores: Ints, forced: Bools | None, unsure: Floats) -> tuple[Calibration, Floats]:
    n, c = scores.shape
    values = scores / UNIT
    mean, sd = values.mean(axis=0), values.std(axis=0)
    flat = sd < 1e-9
    sd[flat] = 1.0
    size, low, high, restless = np.zeros((4, len(WINDOWS), c))
    skew_up, skew_down = np.zeros((2, c))
    worth = float(n)
    if flat[0]:  # a constant: any departure is as rare as half an event in the reference, and counts as Poisson
        rarity = math.sqrt(0.5 / (n + 1))
        sd[0], size[:, 0] = DEPARTURE * rarity, 1 / (1 / (WINDOWS * STRETCH) + 1 / n)
        skew_up[0] = skew_down[0] = 1 / rarity
    for i in np.flatnonzero(~flat).tolist():
        one = _one_score((values[:, i] - mean[i]) / sd[i], i, forced, unsure)
        size[:, i], low[:, i], high[:, i] = one.size, one.low, one.high
        restless[:, i], skew_up[i], skew_down[i] = one.restless, one.skew_up, one.skew_down
        worth = min(worth, n / one.inflation)
    if c == len(WEIGHTS) and not flat[:2].any():
        z, squares = ((values[:, i] - mean[i]) / sd[i] for i in (0, 1))
        size[:, 0] *= breathing(z, squares, WINDOWS * STRETCH)
    return Calibration(mean, sd, size, low, high, skew_up, skew_down, np.full(c, float(n)), worth), restless


@dataclass(slots=True)
class _Score:
    """What ``Calibration`` holds, of one score; (S,) each."""

    size: Floats
    low: Floats
    high: Floats
    restless: Floats
    skew_up: float
    skew_down: float
    inflation: float


def _one_score(
    z: Floats,
    score: int,
    forced: Bools | None,
    unsure: Floats,
) -> _Score:
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
    floor = 1.0
    for s, w in enumerate(lengths.tolist()):
        factor, own, mode = float(factors[s]), float(factors[-2]), False
        if 4 * w <= n:
            wander = _wander(sums, w)
            dof = max(1.0, 1.5 * n / w)
            if dof >= MEASURED_MIN:  # long weak memory (a variance that breathes) escapes a fit of few lags
                floor = max(floor, wander * (1 - math.sqrt(2 / dof)))
            elif n < lengths[-1]:  # and a short reference can't know better than what it did
                floor = max(floor, wander)
            mode = wander > factor * _chi2_quantile(dof) or (forced is not None and bool(forced[s]))
            if mode and w >= 64:
                means = _means(sums, w)
                envelope = float(means.min()), float(means.max())
                factor, own = _roughness(sums, w, n), 0.0
                low[s], high[s] = envelope
            elif mode:
                factor = 1.2 * wander
        if not mode:
            factor, own = max(factor, floor), max(own, floor)
        if not mode and envelope is not None:  # too long to be judged by itself: what shorter windows showed holds
            (low[s], high[s]), factor, own = envelope, 4 * max(factor, 1.0), 0.0
        restless[s] = mode
        silent = dependent and w / factor < SIZE_MIN and not mode
        weights = WEIGHTS_DEPENDENT if dependent or envelope is not None or forced is not None else WEIGHTS
        size[s] = 0.0 if silent else weights[score] / (factor / w + unsure[s] * own / n)
    return _Score(size, low, high, restless, skew_up, skew_down, max(float(factors[-1]), floor))


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


def share_calibration(
    hits: int, n: int, flags: Ints | None = None, notes: int = 0, *, rise: bool = True
) -> Calibration:
    """Calibration of a share of events that had ``hits`` in n reference events.

    ``flags``, the (n, 1) scores of the reference, lets its own dependence speak where there are enough hits; where it comes in spells
    so long that no window could prove anything, only a spell is told that is far longer than any, of hits (``rise``) or of none. A share
    of 0 is taken as half an event in n. The skewness of a rare event makes T the Poisson log-likelihood ratio. So many
    ``notes`` are scores that are summed and not judged.
    """
    if flags is not None and min(hits, n - hits) >= HITS_MIN:
        return joined([_with_spells(calibrate(flags), flags[:, 0] > 0, rise=rise), _unjudged(notes)])
    return _by_chance(hits, n, notes)


@lru_cache(maxsize=1024)
def _by_chance(hits: int, n: int, notes: int) -> Calibration:
    """As above, of independent events: the same for thousands of series, in which nothing is missing."""
    p = (hits + 0.5) / (n + 1)
    sd = math.sqrt(p * (1 - p))
    lengths = (WINDOWS * STRETCH)[:, None].astype(np.float64)
    skew = (1 - 2 * p) / sd
    zeros = np.zeros((len(WINDOWS), 1))
    own = Calibration(
        np.array([p]),
        np.array([sd]),
        1 / (1 / lengths + 1 / n),
        zeros,
        zeros.copy(),
        np.array([max(skew, 0.0)]),
        np.array([max(-skew, 0.0)]),
        np.array([float(n)]),
        float(n),
    )
    return joined([own, _unjudged(notes)])


def _with_spells(found: Calibration, flags: Bools, *, rise: bool) -> Calibration:
    """Let the longest window be filled by one spell, where it can't prove that by the size of a sample.

    Spells that end at random are ``SPELLS`` times as long as the longest of some ten once in e¹² of them. A window counts as filled, or
    as empty, but for a tenth of what is not, or is, in the reference.
    """
    mean, sd = float(found.mean[0]), float(found.sd[0])
    size, low, high = found.size.copy(), found.low.copy(), found.high.copy()
    bound, skew, room = (high, found.skew_up, 1 - mean) if rise else (low, found.skew_down, mean)
    most = np.array([max(0.0, room / sd - abs(float(bound[-1, 0])))])
    edges = np.flatnonzero(np.concatenate([[True], flags[1:] != flags[:-1], [True]]))
    longest = int(np.diff(edges)[flags[edges[:-1]] == rise].max())
    if float(size[-1, 0] * rate(most, float(skew[0]))[0]) >= PROVEN or SPELLS * longest > LONGEST * STRETCH:
        return found
    bound[-1, 0] = (0.9 if rise else -0.9) * room / sd
    size[-1, 0] = 8 * PROVEN / float(rate(np.array([0.1 * room / sd]), float(skew[0]))[0])
    return replace(found, size=size, low=low, high=high)


def rate(excess: Floats, skew: Floats | float) -> Floats:
    """Bennett's rate function: evidence per effective event of a mean ``excess`` sd off, under this skewness."""
    y = skew * excess
    small = y < 0.02
    with np.errstate(divide="ignore", invalid="ignore"):
        exact = ((1 + y) * np.log1p(y) - y) / np.square(skew)
    return np.where(small, excess * excess / 2 * (1 - y / 3), exact)
