"""Blocks of one batch where a model has several: in which of them rows of different models belong together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import accumulate

from streamdrift.blocks.block import Block


def turns(blocks: Iterable[Block]) -> Iterator[list[Block]]:
    """Yield the blocks as they would be, had the batch been cut wherever all rows of some blocks come before those of the rest.

    A batch in which no model has a second block stays whole.
    """
    found = list(blocks)
    places = [(block.stream, block.model, str(block.segment)) for block in found]
    if len(set(places)) == len(places):
        yield found
        return
    latest = list(accumulate((int(block.order.max()) for block in found), max))
    earliest = list(accumulate((int(block.order.min()) for block in reversed(found)), min))[::-1]
    begin = 0
    for at in range(1, len(found)):
        if latest[at - 1] < earliest[at]:
            yield found[begin:at]
            begin = at
    yield found[begin:]
