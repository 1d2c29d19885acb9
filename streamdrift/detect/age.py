"""How many events a model has had since a group of its series began."""

from __future__ import annotations

import numpy as np

from streamdrift.blocks.block import Block
from streamdrift.blocks.column import Ints
from streamdrift.ports import Partition


class Age:
    """Events that a model has had since a group's first, by what the assemblers counted.

    Each assembler counts for itself, and one that starts anew begins at 1, so what counts is how far the count of a source
    partition rose; of several partitions, the one that tells most. A partition that is new here goes on from the count before
    it: one assembler counts the rows of all its partitions together.
    """

    def __init__(self) -> None:
        self._of: dict[Partition, tuple[int, int]] = {}  # last count of the assembler, and events by then
        self._last = (0, 0)
        self._age = self._joined_at = 0

    def rejoin(self) -> None:
        """What comes next is counted by others: it adds to what was counted so far."""
        self._of, self._last, self._joined_at = {}, (0, 0), self._age

    def of(self, block: Block) -> Ints:
        """(n,) the age at each row."""
        code = int(block.source[0])
        if (block.source == code).all():  # the usual case, at no cost
            ages = self._on(block.sources[code], block.model_row, block.model_row[:0], block.model_row[:0])
        else:
            ages = np.zeros(len(block), np.int64)
            codes, first = np.unique(block.source, return_index=True)
            for code, row in sorted(zip(codes.tolist(), first.tolist(), strict=True), key=lambda pair: pair[1]):
                here = block.source == code
                ages[here] = self._on(block.sources[code], block.model_row[here], block.model_row[:row], ages[:row])
        self._last = int(block.model_row[-1]), int(ages[-1])
        ages = np.maximum.accumulate(np.maximum(ages, self._age))
        self._age = int(ages[-1])
        return ages

    def passed(self, block: Block) -> None:
        """As ``of``, where nobody asks for the age at each row: an assembler's counts rise from row to row."""
        source, first, last = int(block.source[0]), int(block.model_row[0]), int(block.model_row[-1])
        if not ((block.source == source).all() and self.went_on(block.sources[source], first, last)):
            self.of(block)

    def went_on(self, source: Partition, first: int, last: int) -> bool:
        """Note rows of one source, of which the first and the last were counted as these; False where ``of`` has to be asked."""
        known = self._of.get(source)
        if known is None or first <= known[0]:
            return False
        age = known[1] + last - known[0]
        self._of[source] = self._last = last, age
        self._age = max(self._age, age)
        return True

    def _on(self, source: Partition, counts: Ints, counts_before: Ints, ages_before: Ints) -> Ints:
        """(n,) the age at each row of a source partition, by what was counted then."""
        known = self._of.get(source)
        if known is None:
            known = self._before(int(counts[0]), counts_before, ages_before)
        rises = counts.copy()
        rises[1:] -= counts[:-1]
        rises[0] -= known[0]
        if rises.min() <= 0:
            rises = np.where(rises > 0, rises, counts)
        ages: Ints = known[1] + np.cumsum(rises)
        self._of[source] = int(counts[-1]), int(ages[-1])
        return ages

    def _before(self, count: int, counts: Ints, ages: Ints) -> tuple[int, int]:
        """Count and age at the row before a partition's first."""
        last = (int(counts[-1]), int(ages[-1])) if len(counts) else self._last
        return last if 0 < last[0] < count else (count - 1, self._joined_at)
