"""One embedding of a group: its vectors to series.

``norm``            from the first vector on; it also tells what is missing and invalid, so that one fault is told once
``projection_0``…   the first four numbers of the sketch (``blocks.vectors``)
``distance``        of the direction to the centroid of the first ones, root mean square over the sketch
``cluster``         which of eight centroids of the first ones is nearest, as a category; ``0`` was the largest

The dimension is what most of the first 64 vectors have; vectors of another are invalid from then on. Centroids are those
of the up to 1,000 vectors behind these. They only cut the space: what is normal for distance and cluster is learnt afterwards, by
their series, on vectors that had no part in it.

Sketches are integers below 2²³, and so are centroids: sums of squares over 16 of them stay below 2⁵³, so that every distance is exact and
every comparison of two the same on any machine and for any cut into blocks.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from streamdrift.blocks.column import ABSENT, NUMBER, OTHER, TEXT, Bools, Bytes, Codes, Column, Floats, Ints
from streamdrift.blocks.vectors import UNIT, WIDTH, Vectors

DECIDING = 64
LEARN_MAX = 1_000
PROJECTIONS = 4
CLUSTERS = 8
ROUNDS_MAX = 30
"""Of k-means: it has settled long before, or it is as good as it will be for cutting the space."""
MEASURES = ("norm", *(f"projection_{j}" for j in range(PROJECTIONS)), "distance", "cluster")


def features(name: str) -> list[str]:
    """Return the names of an embedding's series; the first tells its faults."""
    return [f"embedding.{name}.{measure}" for measure in MEASURES]


class Embedding:
    """State of one embedding. ``update`` takes the next vectors, returns the columns of its series.

    Parameters
    ----------
    reference_events
        Vectors that centroids are learnt from, up to ``LEARN_MAX``.
    """

    def __init__(self, name: str, reference_events: int) -> None:
        self._features = features(name)
        self._wanted = min(reference_events, LEARN_MAX)
        self._early: list[int] = []
        self._dimension: int | None = None
        self._gathered: list[Codes] = []
        self._count = 0
        self._centroids: Centroids | None = None

    def update(self, vectors: Vectors, n: int) -> dict[str, Column]:
        """Take the vectors of a block of n rows; return the columns that have a value, by feature."""
        valid = vectors.kinds == NUMBER
        decided = self._decide(vectors.dimension, valid)
        right = decided & (vectors.dimension == self._dimension) & valid
        norm, *projections, distance, cluster = self._features
        kinds = np.where(decided & valid & ~right, OTHER, vectors.kinds).astype(np.uint8)
        columns = {norm: _spread(n, vectors.rows, np.where(kinds == NUMBER, vectors.norm, np.nan), kinds)}
        rows, sketch = vectors.rows[right], vectors.sketch[right]
        if not len(rows):
            return columns
        for j, feature in enumerate(projections[: self._dimension]):
            columns[feature] = _spread(n, rows, sketch[:, j] / UNIT)
        begin = self._learn(sketch)
        if self._centroids is not None and begin < len(rows):
            rows, points = rows[begin:], sketch[begin:].astype(np.float64)
            columns[distance] = _spread(n, rows, self._centroids.distance(points))
            columns[cluster] = _category(n, rows, self._centroids.nearest(points))
        return columns

    def awaited(self, vectors: Vectors) -> list[str]:
        """The series that it may come to make of these vectors."""
        norm, *projections, distance, cluster = self._features
        known = self._dimension is None or vectors.dimension == self._dimension
        usable = bool(np.any((vectors.kinds == NUMBER) & known))
        return [norm, *projections[: self._dimension], distance, cluster] if usable else [norm]

    def _decide(self, dimensions: Codes, valid: Bools) -> Bools:
        """(m,) the vectors that come when the dimension is known."""
        if self._dimension is not None:
            return np.ones(len(valid), np.bool_)
        places = np.flatnonzero(valid)[: DECIDING - len(self._early)]
        self._early += dimensions[places].tolist()
        if len(self._early) < DECIDING:
            return np.zeros(len(valid), np.bool_)
        self._dimension = Counter(self._early).most_common(1)[0][0]  # of two as common, the one seen first
        decided: Bools = np.arange(len(valid)) > places[-1]
        return decided

    def _learn(self, sketch: Codes) -> int:
        """Gather sketches for the centroids; return how many of these went there."""
        if self._centroids is not None:
            return 0
        used = sketch[: self._wanted - self._count]
        self._gathered.append(used)
        self._count += len(used)
        if self._count == self._wanted:
            points = np.concatenate(self._gathered).astype(np.float64)
            self._centroids = Centroids(_mean(points), k_means(points), min(self._dimension or WIDTH, WIDTH))
            self._gathered = []
        return len(used)


@dataclass(frozen=True, slots=True)
class Centroids:
    """What the first vectors leave: (16,) their centroid, (k, 16) those of their clusters, integers as sketches are.

    ``width`` numbers of a sketch are in use.
    """

    overall: Floats
    clusters: Floats
    width: int

    def distance(self, points: Floats) -> Floats:
        """(r,) distance of (r, 16) sketches to the centroid of all, in lengths of a unit vector."""
        off = points - self.overall
        distances: Floats = np.sqrt((off * off).sum(axis=1) / self.width) / UNIT
        return distances

    def nearest(self, points: Floats) -> Ints:
        """(r,) index of the nearest cluster's centroid, the first of several."""
        return nearest(points, self.clusters)


def nearest(points: Floats, centres: Floats) -> Ints:
    """(r,) index of the nearest of (k, 16) centres: |c|² - 2p·c is least."""
    index: Ints = ((centres * centres).sum(axis=1) - 2 * (points @ centres.T)).argmin(axis=1)
    return index


def k_means(points: Floats) -> Floats:
    """(k, 16) centres of up to eight clusters of (m, 16) points, the largest first; whole numbers in, whole numbers out.

    Lloyd's algorithm from seeds as k-means++ takes them (Arthur & Vassilvitskii 2007), with a fixed sequence where that
    draws: the same points in the same order give the same centres.
    """
    centres = _seeds(points)
    for _ in range(ROUNDS_MAX):
        owner = nearest(points, centres)
        moved = np.stack([_mean(points[owner == k]) if (owner == k).any() else c for k, c in enumerate(centres)])
        if (moved == centres).all():
            break
        centres = moved
    sizes = np.bincount(nearest(points, centres), minlength=len(centres))
    return centres[np.argsort(-sizes, kind="stable")]


def _seeds(points: Floats) -> Floats:
    centres = points[nearest(_mean(points)[None, :], points)]
    for draw in range(1, CLUSTERS):
        off = points[:, None, :] - centres
        squares = (off * off).sum(axis=2).min(axis=1).astype(np.int64)
        total = int(squares.sum())  # 1,000 squares below 2⁵²
        if not total:
            break
        quantile = draw * 40_503 % 65_536  # multiples of the golden ratio: spread evenly, however many there are
        at = int(np.searchsorted(np.cumsum(squares), total * quantile >> 16, "right"))
        centres = np.concatenate([centres, points[at : at + 1]])
    return centres


def _mean(points: Floats) -> Floats:
    rounded: Floats = np.rint(points.sum(axis=0) / len(points))
    return rounded


def _spread(n: int, rows: Ints, numbers: Floats, kinds: Bytes | None = None) -> Column:
    """A column of n rows with these numbers in some of them."""
    if len(rows) == n:
        return Column(numbers, kinds)
    column = Column(np.full(n, np.nan), np.full(n, ABSENT, np.uint8))
    column.numbers[rows] = numbers
    column.kind_of_rows()[rows] = NUMBER if kinds is None else kinds
    return column


def _category(n: int, rows: Ints, index: Ints) -> Column:
    codes = np.full(n, -1, np.int32)
    codes[rows] = index
    kinds = np.where(codes < 0, ABSENT, TEXT).astype(np.uint8)
    return Column(np.full(n, np.nan), kinds, codes, tuple(str(k) for k in range(CLUSTERS)))
