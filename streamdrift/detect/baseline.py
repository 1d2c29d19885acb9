"""The reference window: the first clean values of a series, and everything that is read off them.

A categorical value becomes its place in a fixed order, by name; a category that the reference lacks stands behind the last. So one
code path serves numbers, booleans and categories. The order must not hang on the shares: what came often in the reference by
chance would be first, and come less often from then on, which of a hundred categories looks like a change of all of them.

Rare categories, those that the reference lacks, and those that are not told apart are ranked as one: of a long tail each window
has others. What share that makes is counted as Good and Turing have it: each sixty-fourth of the reference is held against
the categories that the rest of it has.

References
----------
I. J. Good: The population frequencies of species and the estimation of population parameters. Biometrika 40, 1953.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from streamdrift.blocks.column import NUMBER, TEXT, Bools, Codes, Column, Floats, Ints
from streamdrift.kernels import Ordinary

BINS = 20
TOP_CATEGORIES = 15
OTHER = "other"
"""All further categories, in an alert; in a series, all that are not told apart."""
QUANTILES = (1, 5, 25, 50, 75, 95, 99)
"""Per cent."""
PARTS = 64
"""Parts of the reference window, in event order, that a category is looked for in: what comes in one burst is not usual."""
RARE = 1
"""Parts in which a category may come and still be rare."""
SD_MIN = 1e-12  # relative to the largest value: below it a series counts as constant, for doubles say no more
SQUARE_MIN, SQUARE_MAX = 1e-140, 1e140  # values of such a size can be squared and added up in any number
LARGEST = float(np.finfo(np.float64).max)
Z_MAX = 10.0  # a wild value is far off with or without this bound; without it, it would blind a detector of means


class Reference:
    """n clean values of one series, kept as distinct values with counts.

    Parameters
    ----------
    kind
        ``NUMBER``, ``BOOLEAN`` or ``TEXT``.
    values
        (n,) the values; categories as their place in the order of shares.
    mean, sd
        Of the values; a constant has a scale of its own (``build``).
    null_rate
        Share of the rows of that time without a value.
    categories
        For text: the place of each category.
    tail
        For text: how its rare categories are ranked.
    is_short
        Whether it is shorter than asked for, and the series depends on its past: what it shows then wakes nobody.
    """

    __slots__ = ("_counted", "_ranked", "_tail", "categories", "is_short", "kind", "mean", "n", "null_rate", "sd")

    def __init__(
        self,
        kind: int,
        values: Floats,
        mean: float,
        sd: float,
        null_rate: float,
        categories: dict[str, int],
        tail: Tail | None = None,
    ) -> None:
        self.kind, self.n, self.mean, self.sd = kind, len(values), mean, sd
        self.null_rate, self.categories, self._tail = null_rate, categories, tail
        self.is_short = False
        self._counted = self._ranked = _counted(values)
        if tail is not None:
            self._ranked = _counted(tail.held_out(values))

    @property
    def ordered(self) -> Floats:
        """(n,) the values, sorted; made anew each time."""
        distinct, below = self._counted
        return np.repeat(distinct[:-1], np.diff(below))

    @property
    def judged(self) -> Floats:
        """(n,) the values as others are compared with them, sorted; made anew each time."""
        distinct, below = self._ranked
        return np.repeat(distinct[:-1], np.diff(below))

    @property
    def is_constant(self) -> bool:
        """Whether it has one value alone, as far as values are told apart."""
        return len(self._ranked[0]) == 2

    @property
    def many(self) -> frozenset[float]:
        """Places that stand for many categories at once."""
        return frozenset() if self._tail is None else frozenset({float(len(self.categories)), self._tail.unknown})

    def pooled(self, values: Floats) -> Floats:
        """(n,) values as they are compared: rare categories, and those that it lacks, are one."""
        return values if self._tail is None else np.minimum(values, self._tail.first)

    def held_out(self, values: Floats) -> Floats:
        """(n,) of the reference's own values: as ``pooled`` would have each, had the part that it is in not been seen."""
        return values if self._tail is None else self._tail.held_out(values)

    def off(self, mean: float) -> float:
        """Distance of a mean from that of the reference, in its standard deviations."""
        return apart(mean, self.mean, self.sd)

    def standardise(self, values: Floats) -> Floats:
        """(n,) distance from the reference mean in reference standard deviations, within ±10."""
        with np.errstate(over="ignore"):  # what is beyond a double is beyond the bounds
            return np.clip((values - self.mean) / self.sd, -Z_MAX, Z_MAX)

    def rank(self, values: Floats) -> Ints:
        """(n,) twice the mid-rank of each value, 0 to 2n: below all, among, above all. Ties are halved."""
        distinct, below = self._ranked
        values = self.pooled(values)
        place = np.searchsorted(distinct, values)
        among = distinct[place] == values
        rank: Ints = below[place].astype(np.int64) + below[place + among]
        return rank

    def read(self, column: Column, clean: Bools) -> Floats:
        """(k,) the clean values of a column as this reference counts them."""
        if self.kind != TEXT:
            return column.numbers[clean]
        if column.codes is None:
            return np.empty(0)
        return self.places(column.texts)[column.codes[clean]]

    def places(self, texts: tuple[str, ...]) -> Floats:
        """(t,) the places of some categories; those that it lacks stand behind the last, or are what it doesn't tell apart."""
        unknown = float(len(self.categories)) if self._tail is None else self._tail.unknown
        return np.array([self.categories.get(text, unknown) for text in texts], np.float64)

    def compared(self, ordinary: Ordinary) -> dict[str, Any]:
        """Return what the compiled watch ranks and standardises by; from here on both look into the same memory."""
        ordered = ordinary.ordered(*self._ranked)
        distinct, below = ordered.arrays
        self._ranked = distinct, _once(self.n) if below is None else below
        if self._tail is None:
            self._counted = self._ranked
        tail = math.inf if self._tail is None else self._tail.first
        return {"ordered": ordered, "tail": tail, "mean": self.mean, "sd": self.sd}

    def summary(self) -> dict[str, Any]:
        """The ``reference`` of an alert."""
        short = {"short": True} if self.is_short else {}
        return {"n": self.n, **short, "null_rate": significant(self.null_rate), **self.describe(self.ordered)}

    def describe(self, values: Floats) -> dict[str, Any]:
        """Mean, sd, quantiles and histogram on the reference's own bins, or category shares, of some values."""
        if self.kind == NUMBER:
            edges = self.edges()
            counts = np.histogram(values, np.concatenate([[-np.inf], edges, [np.inf]]))[0]
            mean, sd = moments(values)
            quantiles = (
                np.quantile(values, [q / 100 for q in QUANTILES], method="nearest").tolist() if len(values) else []
            )
            return {
                "mean": significant(mean),
                "sd": significant(sd),
                "quantiles": {str(q): significant(value) for q, value in zip(QUANTILES, quantiles, strict=False)},
                "histogram": {"edges": [significant(edge) for edge in edges.tolist()], "counts": counts.tolist()},
            }
        return {"mean": None, "sd": None, "categories": self._shares(values)}

    def edges(self) -> Floats:
        """(21,) equal bins over the middle 99 % of the reference; two outer ones are open."""
        low, high = np.quantile(self.ordered, [0.005, 0.995], method="nearest").tolist()
        if high <= low:
            half = max(1.0, abs(low)) / 2
            low, high = max(low - half, -LARGEST), min(high + half, LARGEST)
        # halves, for the width of a range may be more than a double can tell
        return (
            np.linspace(low, high, BINS + 1) if high - low < math.inf else np.linspace(low / 2, high / 2, BINS + 1) * 2
        )

    def _shares(self, values: Floats) -> dict[str, float]:
        names, size = self._by_share() if self.kind == TEXT else ["false", "true"], max(1, len(values))
        counts = np.bincount(values.astype(np.int64), minlength=len(names) + 1)
        of = self.categories if self.kind == TEXT else {"false": 0, "true": 1}
        shares = {name: significant(float(counts[of[name]]) / size) for name in names[:TOP_CATEGORIES]}
        if len(names) > TOP_CATEGORIES:
            rest = sum(int(counts[of[name]]) for name in names[TOP_CATEGORIES:]) / size
            shares[OTHER] = significant(shares.get(OTHER, 0.0) + rest)
        if self.kind == TEXT:
            shares["unseen"] = significant(float(counts[len(names) :].sum()) / size)
        return shares

    def _by_share(self) -> list[str]:
        """Categories, most common first; names break ties."""
        counts = np.bincount(self.ordered.astype(np.int64), minlength=len(self.categories))
        return sorted(self.categories, key=lambda name: (-int(counts[self.categories[name]]), name))


@dataclass(frozen=True, slots=True)
class Tail:
    """The rare categories of a reference.

    Attributes
    ----------
    first
        Place from which on categories are rare; those that the reference lacks are behind them.
    unknown
        Place of a category that it does not know by name.
    held
        (k,) place of each category, had one of the parts in which it came not been seen.
    """

    first: float
    unknown: float
    held: Floats

    def held_out(self, values: Floats) -> Floats:
        """As ``Reference.held_out``."""
        return self.held[values.astype(np.int64)]


def _counted(values: Floats) -> tuple[Floats, Codes]:
    """Distinct values, and how many are below each; infinity, which no value equals, saves a bounds check."""
    distinct, counts = np.unique(values, return_counts=True)
    return np.append(distinct, math.inf), np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)


@lru_cache(maxsize=256)
def _once(n: int) -> npt.NDArray[np.int32]:
    """Values below each of n that are there once: the same for all references of n such values."""
    below = np.arange(n + 1, dtype=np.int32)
    below.flags.writeable = False
    return below


def build(
    kind: int, values: Floats, texts: list[str], null_rate: float, unknown: str | None = None
) -> tuple[Reference, Floats]:
    """Return the reference of these clean values (text: codes into ``texts``), and the values as it counts them.

    ``unknown`` is the text that stands for all that are not told apart.
    """
    categories: dict[str, int] = {}
    tail = None
    if kind == TEXT:
        codes = values.astype(np.int64)
        came = np.zeros((len(texts), PARTS), np.bool_)
        came[codes, np.arange(len(codes)) * PARTS // max(1, len(codes))] = True
        parts = dict(zip(texts, came.sum(axis=1).tolist(), strict=True))
        parts = {text: n for text, n in sorted(parts.items()) if n}
        usual = [text for text, n in parts.items() if n > RARE and text != unknown]
        order = [*usual, *(text for text in parts if text not in set(usual))]
        categories = {text: place for place, text in enumerate(order)}
        values = np.array([categories.get(text, 0) for text in texts], np.float64)[codes]
        first = float(len(usual))
        held = [float(i) if text != unknown and parts[text] > RARE + 1 else first for i, text in enumerate(order)]
        tail = Tail(first, float(categories.get(unknown or "", len(order))), np.array(held))
    mean, sd = moments(values if tail is None else tail.held_out(values))
    if sd <= SD_MIN * float(np.abs(values).max(initial=0.0)):
        sd = abs(mean) or 1.0  # a constant has no scale of its own: judge a change by its size
    return Reference(kind, values, mean, sd, null_rate, categories, tail), values


def moments(values: Floats) -> tuple[float, float]:
    """Mean and standard deviation of (n,) finite values, finite and not lost also near the ends of a double's range."""
    size = float(np.abs(values).max(initial=0.0))
    if SQUARE_MIN < size < SQUARE_MAX or not size:
        return float(values.mean()), float(values.std())
    exponent, below = (
        math.frexp(size)[1],
        math.nextafter(1.0, 0.0),
    )  # rounding must not lift them to 1, twice the range's end
    scaled = np.ldexp(values, -exponent)
    mean, sd = (math.ldexp(float(np.clip(of, -below, below)), exponent) for of in (scaled.mean(), scaled.std()))
    return mean, sd


def apart(now: float, then: float, sd: float) -> float:
    """Distance of two means in standard deviations, also where it is itself beyond a double."""
    between = now - then
    return between / sd if math.isfinite(between) else now / sd - then / sd


def distance(ordered: Floats, values: Floats) -> float:
    """KS distance of (m,) sorted values to (n,) others, exact under ties."""
    points = np.concatenate([ordered, values])
    then = np.searchsorted(ordered, points, "right") / len(ordered)
    now = np.searchsorted(np.sort(values), points, "right") / max(1, len(values))
    return float(np.abs(then - now).max())


def significant(value: float) -> float:
    """Six significant digits: an alert is read by people, and stays small."""
    return float(f"{value:.6g}")
