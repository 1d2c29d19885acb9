"""Whether two batches are the same to the last bit, and an assembler of each engine fed alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from streamdrift.blocks.assemble import Assembler, Batch
from streamdrift.blocks.block import Block, Coded
from streamdrift.blocks.column import Column
from streamdrift.blocks.vectors import Vectors
from streamdrift.kernels import compiled
from streamdrift.kernels.decode import CompiledAssembler
from streamdrift.ports import Partition, Record
from streamdrift.settings import Settings

needs_compiled = pytest.mark.skipif(not compiled(), reason="the compiled engine is not installed: no Rust compiler")
EVENTS = Partition("inference-events", 3)


def records(values: Sequence[bytes | None], partition: Partition = EVENTS) -> list[Record]:
    return [Record(value, partition, i, 1_000 * i) for i, value in enumerate(values)]


def bits(array: Any) -> object:
    return None if array is None else (array.dtype.str, array.shape, array.tobytes())


def plain(value: Any) -> object:
    """All of it, with names, order, types and bits."""
    if isinstance(value, (Block, Column, Coded, Vectors)):
        return [(name, plain(getattr(value, name))) for name in type(value).__slots__]
    if isinstance(value, dict):
        return [(key, plain(v)) for key, v in value.items()]
    if isinstance(value, np.ndarray):
        return bits(value)
    if isinstance(value, tuple):
        return tuple(map(plain, value))
    return (type(value), repr(value)) if isinstance(value, (int, float)) else value


def assert_same(ours: Batch, theirs: Batch) -> None:
    assert ours.rejected == theirs.rejected
    assert (ours.events, ours.muted) == (theirs.events, theirs.muted)
    assert [block.model for block in ours.blocks] == [block.model for block in theirs.blocks]
    for mine, other in zip(ours.blocks, theirs.blocks, strict=True):
        for (name, got), (_, expected) in zip(plain(mine), plain(other), strict=True):  # type: ignore[call-overload]
            assert got == expected, f"{mine.model}: {name}"


def both(settings: Settings | None = None, *, labels: bool = False) -> tuple[CompiledAssembler, Assembler]:
    settings = settings or Settings()
    return CompiledAssembler(settings, labels=labels), Assembler(settings, labels=labels)


def check(
    given: Sequence[Record],
    settings: Settings | None = None,
    *,
    labels: bool = False,
    cuts: Sequence[int] = (),
) -> CompiledAssembler:
    """Feed both engines these records, in batches that end at ``cuts``; fail where anything differs."""
    ours, theirs = both(settings, labels=labels)
    for begin, end in zip([0, *cuts], [*cuts, len(given)], strict=True):
        added = ours.add_many(given[begin:end])
        assert added == theirs.add_many(given[begin:end])
        assert ours.pending == theirs.pending
        assert_same(ours.take(), theirs.take())
    return ours
