"""How many series see an event of a model: what the false-alarm budget is shared by.

It counts what was seen so far, row by row, so that a row's number is the same however the events are cut into batches, and
goes along with it to where no other segment's columns are known.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from streamdrift.blocks.column import Ints

NAMES_MAX = 4_096
"""Features of one model that are told apart; further ones are not watched."""

DIMENSIONS_MAX = 64
"""Dimensions of one model that are told apart; what learns a model's shares has a place for each in every row."""

ALL_NAMES_MAX = 500_000
"""Names of all models; about 100 bytes each."""

EMBEDDING_SERIES = 7
"""Series that watch one embedding (``detect.embedding.MEASURES``)."""


@dataclass(slots=True)
class Room:
    """Names that several models may still come to have between them."""

    left: int = ALL_NAMES_MAX


class Breadth:
    """Features and dimensions of one model, as far as they were seen.

    Parameters
    ----------
    room
        Shared with the other models; of its own without.
    at_once
        Most features, and dimensions, that one event may have: so many are told apart at least.
    """

    def __init__(self, room: Room | None = None, at_once: tuple[int, int] = (0, 0)) -> None:
        self._features: set[str] = set()
        self._dimensions: set[str] = set()
        self._room = Room() if room is None else room
        self.features_max, self.dimensions_max = max(NAMES_MAX, at_once[0]), max(DIMENSIONS_MAX, at_once[1])

    def has_feature(self, name: str) -> bool:
        """Whether a feature that was seen is told apart from others."""
        return name in self._features or self._has_room(self._features, self.features_max)

    def has_dimension(self, name: str) -> bool:
        """Whether a dimension that was seen is."""
        return name in self._dimensions or self._has_room(self._dimensions, self.dimensions_max)

    def _has_room(self, known: set[str], names_max: int) -> bool:
        return len(known) < names_max and self._room.left > 0

    def give_back(self) -> None:
        """The model is forgotten, and others may have its names."""
        self.adopt((), ())

    def told(self) -> tuple[set[str], set[str]]:
        """Return the features and the dimensions."""
        return self._features, self._dimensions

    def adopt(self, features: Iterable[str], dimensions: Iterable[str]) -> None:
        """Go on from there."""
        self._room.left += len(self._features) + len(self._dimensions)
        self._features, self._dimensions = set(features), set(dimensions)
        self._room.left -= len(self._features) + len(self._dimensions)

    def of(self, features: Sequence[Collection[str]], dimensions: Sequence[Collection[str]]) -> Ints:
        """Take the names that n rows have; return, for each, features × (1 + dimensions) as of then.

        Examples
        --------
        >>> Breadth().of([{"x"}, {"x", "y"}, {"y"}], [{}, {}, {"origin"}]).tolist()
        [1, 2, 4]
        """
        known = np.maximum(self._counts(self._features, self.features_max, features), 1)
        return known * (1 + self._counts(self._dimensions, self.dimensions_max, dimensions))

    def of_first(self, rows: int, features: Iterable[tuple[int, str]], dimensions: Iterable[tuple[int, str]]) -> Ints:
        """Return the same, of n rows of which only the first row of each name is told, rising.

        Examples
        --------
        >>> Breadth().of_first(3, [(0, "x"), (1, "y")], [(2, "origin")]).tolist()
        [1, 2, 4]
        """
        known = np.maximum(self._steps(self._features, self.features_max, rows, features), 1)
        return known * (1 + self._steps(self._dimensions, self.dimensions_max, rows, dimensions))

    def _counts(self, known: set[str], names_max: int, rows: Sequence[Collection[str]]) -> Ints:
        """(n,) how many names were known by then; in nearly every batch none is new."""
        if not self._has_room(known, names_max) or known.issuperset(name for row in rows for name in row):
            return np.full(len(rows), len(known), np.int64)
        return np.fromiter((self._learn(known, names_max, row) for row in rows), np.int64, len(rows))

    def _learn(self, known: set[str], names_max: int, names: Iterable[str]) -> int:
        for name in names:
            if name not in known and self._has_room(known, names_max):
                known.add(name)
                self._room.left -= 1
        return len(known)

    def _steps(self, known: set[str], names_max: int, rows: int, first: Iterable[tuple[int, str]]) -> Ints:
        """(n,) how many names were known by then."""
        counts = np.empty(rows, np.int64)
        begin = 0
        for row, name in first:
            before = len(known)
            if self._learn(known, names_max, (name,)) > before:
                counts[begin:row] = before
                begin = row
        counts[begin:] = len(known)
        return counts


def of_embeddings(names: Iterable[str]) -> list[str]:
    """Return a name for each series that embeddings are watched by."""
    return [f"embedding.{name}.{number}" for name in names for number in range(EMBEDDING_SERIES)]
