"""How many events a model has had since a group of its series began."""

from __future__ import annotations

import numpy as np

from streamdrift.blocks.block import Block
from streamdrift.blocks.column import Ints
from streamdrift.ports import Partition


class Age:
    """Events that a model has had since a group's first, by what the assemblers counted.

    Each assembler counts for itself, and one that starts anew begins at 1, so what counts is how far the count of a source
    partition rose; of several partitions, the one that tells most.
    """

    def __init__(self) -> None:
        self._of: dict[Partition, tuple[int, int]] = {}  # last count of the assembler, and events by then
        self._age = self._before = 0

    def rejoin(self) -> None:
        """What comes next is counted by others: it adds to what was counted so far."""
        self._of, self._before = {}, self._age

    def of(self, block: Block) -> Ints:
        """(n,) the age at each row."""
        ages = np.zeros(len(block), np.int64)
        for code in np.unique(block.source).tolist():
            here = block.source == code
            counts = block.model_row[here]
            last, age = self._of.get(block.sources[code], (int(counts[0]) - 1, self._before))
            rises = np.diff(counts, prepend=last)
            ages[here] = age + np.cumsum(np.where(rises > 0, rises, counts))
            self._of[block.sources[code]] = int(counts[-1]), int(ages[here][-1])
        ages = np.maximum.accumulate(np.maximum(ages, self._age))
        self._age = int(ages[-1])
        return ages
