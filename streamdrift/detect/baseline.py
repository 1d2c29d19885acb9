"""The reference window: the first clean values of a series, and everything that is read off them.

A categorical value becomes its place in the order of the reference shares (most common first, names break ties); a category
that the reference lacks stands behind the last. So one code path serves numbers, booleans and categories.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from streamdrift.blocks.column import NUMBER, TEXT, Bools, Column, Floats, Ints
from streamdrift.kernels import Ordinary

BINS = 20
TOP_CATEGORIES = 15
QUANTILES = (1, 5, 25, 50, 75, 95, 99)
"""Per cent."""
SD_MIN = 1e-9  # relative to the mean: below it a series counts as constant
SQUARE_MAX = 1e140  # values up to here can be squared and added up in any number
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
    is_short
        Whether it is shorter than asked for, and the series depends on its past: what it shows then wakes nobody.
    """

    __slots__ = ("_below", "_distinct", "categories", "is_short", "kind", "mean", "n", "null_rate", "sd")

    def __init__(
        self, kind: int, values: Floats, mean: float, sd: float, null_rate: float, categories: dict[str, int]
    ) -> None:
        self.kind, self.n, self.mean, self.sd = kind, len(values), mean, sd
        self.null_rate, self.categories = null_rate, categories
        self.is_short = False
        distinct, counts = np.unique(values, return_counts=True)
        self._distinct = np.append(distinct, math.inf)  # infinity, which no value equals, saves a bounds check
        self._below = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)

    @property
    def ordered(self) -> Floats:
        """(n,) the values, sorted; made anew each time."""
        return np.repeat(self._distinct[:-1], np.diff(self._below))

    def standardise(self, values: Floats) -> Floats:
        """(n,) distance from the reference mean in reference standard deviations, within ±10."""
        return np.clip((values - self.mean) / self.sd, -Z_MAX, Z_MAX)

    def rank(self, values: Floats) -> Ints:
        """(n,) twice the mid-rank of each value, 0 to 2n: below all, among, above all. Ties are halved."""
        place = np.searchsorted(self._distinct, values)
        among = self._distinct[place] == values
        rank: Ints = self._below[place].astype(np.int64) + self._below[place + among]
        return rank

    def read(self, column: Column, clean: Bools) -> Floats:
        """(k,) the clean values of a column as this reference counts them."""
        if self.kind != TEXT:
            return column.numbers[clean]
        if column.codes is None:
            return np.empty(0)
        return self.places(column.texts)[column.codes[clean]]

    def places(self, texts: tuple[str, ...]) -> Floats:
        """(t,) the places of some categories; those that it lacks stand behind the last."""
        unseen = len(self.categories)
        return np.array([self.categories.get(text, unseen) for text in texts], np.float64)

    def compared(self, ordinary: Ordinary) -> dict[str, Any]:
        """Return what the compiled watch ranks and standardises by; from here on both look into the same memory."""
        ordered = ordinary.ordered(self._distinct, self._below)
        self._distinct, below = ordered.arrays
        self._below = _once(self.n) if below is None else below
        return {"ordered": ordered, "mean": self.mean, "sd": self.sd}

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
            low, high = low - max(1.0, abs(low)) / 2, high + max(1.0, abs(high)) / 2
        return np.linspace(low, high, BINS + 1)

    def _shares(self, values: Floats) -> dict[str, float]:
        names = list(self.categories) if self.kind == TEXT else ["false", "true"]
        counts = np.bincount(values.astype(np.int64), minlength=len(names) + 1) / max(1, len(values))
        shares = {name: significant(float(counts[i])) for i, name in enumerate(names[:TOP_CATEGORIES])}
        if len(names) > TOP_CATEGORIES:
            shares["other"] = significant(float(counts[TOP_CATEGORIES : len(names)].sum()))
        if self.kind == TEXT:
            shares["unseen"] = significant(float(counts[len(names) :].sum()))
        return shares


@lru_cache(maxsize=256)
def _once(n: int) -> npt.NDArray[np.int32]:
    """Values below each of n that are there once: the same for all references of n such values."""
    below = np.arange(n + 1, dtype=np.int32)
    below.flags.writeable = False
    return below


def build(kind: int, values: Floats, texts: list[str], null_rate: float) -> tuple[Reference, Floats]:
    """Return the reference of these clean values (text: codes into ``texts``), and the values as it counts them."""
    categories: dict[str, int] = {}
    if kind == TEXT:
        counts = np.bincount(values.astype(np.int64), minlength=len(texts))
        order = sorted((code for code in range(len(texts)) if counts[code]), key=lambda c: (-counts[c], texts[c]))
        categories = {texts[code]: place for place, code in enumerate(order)}
        places = np.zeros(len(texts))
        places[order] = np.arange(len(order))
        values = places[values.astype(np.int64)]
    mean, sd = moments(values)
    if sd <= SD_MIN * max(1.0, abs(mean)):
        sd = max(1.0, abs(mean))  # a constant has no scale of its own: judge a change by its size
    return Reference(kind, values, mean, sd, null_rate, categories), values


def moments(values: Floats) -> tuple[float, float]:
    """Mean and standard deviation of (n,) finite values, finite also near the end of a double's range."""
    size = float(np.abs(values).max(initial=0.0))
    if size < SQUARE_MAX:
        return float(values.mean()), float(values.std())
    scaled = values / size
    return float(scaled.mean()) * size, float(scaled.std()) * size


def distance(ordered: Floats, values: Floats) -> float:
    """KS distance of (m,) sorted values to (n,) others, exact under ties."""
    points = np.concatenate([ordered, values])
    then = np.searchsorted(ordered, points, "right") / len(ordered)
    now = np.searchsorted(np.sort(values), points, "right") / max(1, len(values))
    return float(np.abs(then - now).max())


def significant(value: float) -> float:
    """Six significant digits: an alert is read by people, and stays small."""
    return float(f"{value:.6g}")
