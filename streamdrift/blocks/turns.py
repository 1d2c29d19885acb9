"""Batches cut by event order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from streamdrift.blocks.block import Block


def turns(blocks: Iterable[Block]) -> Iterator[list[Block]]:
    """Yield the blocks as they would be, had the batch been cut where a model has a second block.

    A batch in which none has one stays whole.
    """
    rest = list(blocks)
    for order in _seconds(rest):
        early, rest = cut(rest, order)
        yield early
    yield rest


def cut(blocks: Iterable[Block], order: int) -> tuple[list[Block], list[Block]]:
    """Return the rows before this place in the batch, and those from there on."""
    early, late = [], []
    for block in blocks:
        before = block.order < order
        if before.any():
            early.append(block if before.all() else block.take(np.flatnonzero(before)))
        if not before.all():
            late.append(block.take(np.flatnonzero(~before)) if before.any() else block)
    return early, late


def _seconds(blocks: list[Block]) -> list[int]:
    """Places in the batch at which a block begins whose model had one since the place before."""
    places = [(block.stream, block.model, str(block.segment)) for block in blocks]
    if len(set(places)) == len(places):
        return []
    found: list[int] = []
    since: set[tuple[str, str, str]] = set()
    firsts = [int(block.order[0]) for block in blocks]
    for i in sorted(range(len(blocks)), key=firsts.__getitem__):
        if places[i] in since:
            found.append(firsts[i])
            since = {places[j] for j in range(len(blocks)) if firsts[j] <= firsts[i] <= int(blocks[j].order[-1])}
        since.add(places[i])
    return found
