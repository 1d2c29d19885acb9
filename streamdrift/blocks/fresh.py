"""Which rows were not seen before: a block may be delivered twice, and each source comes in the order of its offsets."""

from __future__ import annotations

import numpy as np

from streamdrift.blocks.block import Block
from streamdrift.ports import Partition


class Fresh:
    """Remembers, per source, the next offset."""

    def __init__(self) -> None:
        self._next: dict[Partition, int] = {}

    def told(self) -> dict[Partition, int]:
        """Return the next offset of each source."""
        return dict(self._next)

    def adopt(self, told: dict[Partition, int]) -> None:
        """Go on from there."""
        self._next = dict(told)

    def rows(self, block: Block) -> Block:
        """Return the rows that were not seen before."""
        keep = np.ones(len(block), np.bool_)
        for code, source in enumerate(block.sources):
            here = block.source == code
            if not here.any():
                continue
            offsets = block.offset[here]
            after = self._next.get(source, 0)
            if offsets[0] < after:
                keep[here] = offsets >= after
            self._next[source] = max(after, int(offsets.max()) + 1)
        return block if keep.all() else block.take(np.flatnonzero(keep))
