"""How many series see an event of a model: what the false-alarm budget is shared by.

It counts what was seen so far, row by row, so that a row's number is the same however the events are cut into batches, and
goes along with it to where no other segment's columns are known.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

import numpy as np

from streamdrift.blocks.column import Ints

NAMES_MAX = 4_096
"""Features, or dimensions, of one model that are told apart; further ones leave the count as it is."""

EMBEDDING_SERIES = 7
"""Series that watch one embedding (``detect.embedding.MEASURES``)."""


class Breadth:
    """Features and dimensions of one model, as far as they were seen."""

    def __init__(self) -> None:
        self._features: set[str] = set()
        self._dimensions: set[str] = set()

    def told(self) -> tuple[set[str], set[str]]:
        """Return the features and the dimensions."""
        return self._features, self._dimensions

    def adopt(self, features: Iterable[str], dimensions: Iterable[str]) -> None:
        """Go on from there."""
        self._features, self._dimensions = set(features), set(dimensions)

    def of(self, features: Sequence[Collection[str]], dimensions: Sequence[Collection[str]]) -> Ints:
        """Take the names that n rows have; return, for each, features × (1 + dimensions) as of then.

        Examples
        --------
        >>> Breadth().of([{"x"}, {"x", "y"}, {"y"}], [{}, {}, {"origin"}]).tolist()
        [1, 2, 4]
        """
        return np.maximum(_counts(self._features, features), 1) * (1 + _counts(self._dimensions, dimensions))

    def of_first(self, rows: int, features: Iterable[tuple[int, str]], dimensions: Iterable[tuple[int, str]]) -> Ints:
        """Return the same, of n rows of which only the first row of each name is told, rising.

        Examples
        --------
        >>> Breadth().of_first(3, [(0, "x"), (1, "y")], [(2, "origin")]).tolist()
        [1, 2, 4]
        """
        known = np.maximum(_steps(self._features, rows, features), 1)
        return known * (1 + _steps(self._dimensions, rows, dimensions))


def of_embeddings(names: Iterable[str]) -> list[str]:
    """Return a name for each series that embeddings are watched by."""
    return [f"embedding.{name}.{number}" for name in names for number in range(EMBEDDING_SERIES)]


def _counts(known: set[str], rows: Sequence[Collection[str]]) -> Ints:
    """(n,) how many names were known by then; in nearly every batch none is new."""
    if len(known) >= NAMES_MAX or known.issuperset(name for row in rows for name in row):
        return np.full(len(rows), len(known), np.int64)
    return np.fromiter((_learn(known, row) for row in rows), np.int64, len(rows))


def _learn(known: set[str], names: Iterable[str]) -> int:
    for name in names:
        if len(known) < NAMES_MAX:
            known.add(name)
    return len(known)


def _steps(known: set[str], rows: int, first: Iterable[tuple[int, str]]) -> Ints:
    """(n,) how many names were known by then."""
    counts = np.empty(rows, np.int64)
    begin = 0
    for row, name in first:
        if name not in known and len(known) < NAMES_MAX:
            counts[begin:row] = len(known)
            begin = row
            known.add(name)
    counts[begin:] = len(known)
    return counts
