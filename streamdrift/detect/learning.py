"""Learning: gathers a series' first values until there are enough for its reference window.

The kind of the feature is what most of its first 64 values are; values of other kinds are invalid from the beginning.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from streamdrift.blocks.column import ABSENT, BOOLEAN, NULL, NUMBER, TEXT, Bools, Bytes, Column, Floats
from streamdrift.detect import baseline
from streamdrift.detect.baseline import Reference

KIND_VALUES = 64
"""Values that decide what kind a feature is."""
ROWS_PER_VALUE = 4
"""Rows, per value asked for, after which a mostly empty feature has to do with the values that came."""
VALUES_MIN = 100
"""Least values for a reference; a feature with fewer has only its missing and invalid values watched."""


@dataclass(slots=True)
class Learned:
    """What learning ends with.

    Attributes
    ----------
    reference
        None where there were too few values.
    values
        (n,) the reference's values in event order.
    missing, invalid
        (rows,) flags of the rows that were gathered.
    consumed
        Rows of the last column that were still used for learning.
    """

    kind: int
    reference: Reference | None
    values: Floats
    missing: Bools
    invalid: Bools
    consumed: int


class Learning:
    """Gathers columns. ``rows`` counts from the first row that has the feature at all."""

    def __init__(self, values_wanted: int, categories_max: int) -> None:
        self._wanted, self._categories_max = values_wanted, categories_max
        self._kinds: list[Bytes] = []
        self._numbers: list[Floats] = []
        self._texts: dict[str, int] = {}
        self.rows = 0
        self._present = 0

    def add(self, column: Column) -> Learned | None:
        """Take a column; return the result once there is enough."""
        kinds = column.kind_of_rows()
        self._kinds.append(kinds)
        self._numbers.append(self._coded(column))
        self.rows += len(column)
        self._present += int((kinds > NULL).sum())
        if self._present < min(self._wanted, KIND_VALUES) and self.rows < self._wanted * ROWS_PER_VALUE:
            return None
        if self.rows < self._wanted:
            return None
        return self._finish(len(column))

    def _coded(self, column: Column) -> Floats:
        """The numbers, with texts as indices into the series' own list of them."""
        if column.codes is None:
            return column.numbers
        own = np.zeros(len(column.texts) + 1)
        codes, first = np.unique(column.codes, return_index=True)
        for code in codes[
            np.argsort(first)
        ].tolist():  # in order of appearance: what is told apart must not hang on blocks
            own[code] = self._code(column.texts[code]) if code >= 0 else 0.0
        return np.where(column.codes >= 0, own[column.codes], column.numbers)

    def _code(self, text: str) -> int:
        if text in self._texts or len(self._texts) < self._categories_max:
            return self._texts.setdefault(text, len(self._texts))
        return self._categories_max

    def _finish(self, last: int) -> Learned | None:
        kinds = np.concatenate(self._kinds)
        bound = self._wanted * ROWS_PER_VALUE
        early = kinds[:bound]
        kind = _majority(early[early > NULL][:KIND_VALUES])
        clean = kinds == kind
        counted = np.cumsum(clean)
        if counted[-1] >= self._wanted:
            end = int(np.searchsorted(counted, self._wanted)) + 1
        elif self.rows >= bound:
            end = bound
        else:
            self._kinds, self._numbers = [kinds], [np.concatenate(self._numbers)]
            return None
        end = min(end, bound)
        kinds, clean = kinds[:end], clean[:end]
        missing = kinds <= NULL
        values = np.concatenate(self._numbers)[:end][clean]
        reference = None
        if len(values) >= min(VALUES_MIN, self._wanted):
            texts = [*self._texts, "other"]
            reference, values = baseline.build(kind, values, texts, float(missing.mean()))
        return Learned(kind, reference, values, missing, ~clean & ~missing, last - (self.rows - end))


def _majority(kinds: Bytes) -> int:
    counts = {kind: int((kinds == kind).sum()) for kind in (NUMBER, TEXT, BOOLEAN)}
    return max(counts, key=lambda kind: counts[kind])


def first_present(column: Column) -> int:
    """Index of the first row that has the feature's key; the number of rows where none has."""
    if column.kinds is None:
        return 0
    present = np.flatnonzero(column.kinds != ABSENT)
    return int(present[0]) if len(present) else len(column)
