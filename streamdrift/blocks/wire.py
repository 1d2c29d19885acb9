"""A block as bytes, for the exchange topic: a JSON head that says what follows, then little-endian arrays, then a checksum.

Layout: ``b"SDB1"``, length of the head (uint32), head, arrays in the head's order, CRC-32 of all of it (uint32).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from streamdrift.blocks.block import Block, Coded
from streamdrift.blocks.column import ABSENT, Column
from streamdrift.blocks.vectors import WIDTH, Vectors
from streamdrift.errors import Rejected
from streamdrift.ports import Partition

MAGIC = b"SDB1"
BYTES_MAX = 900_000
"""Largest message; a topic's default limit is 1 MiB."""


def key(block: Block) -> bytes:
    """Message key: rows of one model and segment stay on one partition, in order."""
    segment = "".join(f"{dimension}={value}" for dimension, value in block.segment.items())
    return f"{block.model}\0{segment}".encode("utf-8", "surrogatepass")


def encode(block: Block, bytes_max: int = BYTES_MAX) -> Iterator[bytes]:
    """Yield the block as messages of at most ``bytes_max`` bytes each, halving its rows as often as that takes.

    Raises
    ------
    Rejected
        ``too_large`` where one row alone is over it.
    """
    message = _encode(block)
    if len(message) <= bytes_max:
        yield message
    elif len(block) == 1:
        raise Rejected("too_large", f"one row of {block.model} takes {len(message)} bytes as a block")
    else:
        half = len(block) // 2
        yield from encode(_without_absent(block.take(slice(0, half))), bytes_max)
        yield from encode(_without_absent(block.take(slice(half, None))), bytes_max)


def _without_absent(block: Block) -> Block:
    """The block without the columns and dimensions that none of its rows has a value in: that says the same, in less."""
    there = {name: c for name, c in block.columns.items() if c.kinds is None or (c.kinds != ABSENT).any()}
    held = {name: coded for name, coded in block.dimensions.items() if (coded.codes >= 0).any()}
    return replace(block, columns=there, dimensions=held)


def _encode(block: Block) -> bytes:
    arrays: list[npt.NDArray[Any]] = [block.time, block.offset, block.model_row, block.order, block.source]
    head: dict[str, Any] = {
        "n": len(block),
        "model": block.model,
        "segment": block.segment,
        "stream": block.stream,
        "breadth": _runs(block.breadth),
        "sources": [[p.name, p.index] for p in block.sources],
        "versions": _head(block.versions, arrays),
        "dimensions": {name: _head(coded, arrays) for name, coded in block.dimensions.items()},
        "columns": {},
        "vectors": {},
        **({"facts": block.facts} if block.facts else {}),
        **({} if block.ids is None else {"ids": True}),
    }
    for name, column in block.columns.items():
        arrays.append(column.numbers)
        texts: list[str] | None = None
        if column.kinds is not None:
            arrays.append(column.kinds)
        if column.codes is not None:
            texts = _head(Coded(column.codes, column.texts), arrays)
        head["columns"][name] = [column.kinds is not None, texts]
    for name, vectors in block.vectors.items():
        head["vectors"][name] = len(vectors)
        arrays += [vectors.rows.astype(np.int32), vectors.kinds, vectors.dimension, vectors.norm, vectors.sketch]
    if block.ids is not None:
        arrays.append(block.ids)
    head["dtypes"] = [array.dtype.newbyteorder("<").str for array in arrays]
    text = orjson.dumps(head)
    body = b"".join(
        [MAGIC, struct.pack("<I", len(text)), text, *(a.astype(a.dtype.newbyteorder("<")).tobytes() for a in arrays)],
    )
    return body + struct.pack("<I", zlib.crc32(body))


def _runs(values: npt.NDArray[np.int64]) -> list[list[int]]:
    """Each value with how often it stands in a row: it changes a few times in the life of a model."""
    starts = np.flatnonzero(np.diff(values, prepend=values[0] - 1))
    counts = np.diff(starts, append=len(values))
    return [[value, count] for value, count in zip(values[starts].tolist(), counts.tolist(), strict=True)]


def _breadth(head: dict[str, Any]) -> npt.NDArray[np.int64]:
    """(n,) from its runs; a block of an earlier release has none, and counts as a single series."""
    runs = np.array(head.get("breadth", [[1, head["n"]]]), np.int64).reshape(-1, 2)
    return np.repeat(runs[:, 0], runs[:, 1])


def _head(coded: Coded, arrays: list[npt.NDArray[Any]]) -> list[str]:
    """Append the codes, and return the texts that these rows use: a segment needs but few of its batch's."""
    used, codes = np.unique(coded.codes, return_inverse=True)
    none = int(len(used) > 0 and used[0] < 0)
    arrays.append((codes - none).astype(np.int32))
    return [coded.values[code] for code in used[none:].tolist()]


def decode(message: bytes | None, *, muted: bool) -> Block:
    """Return the block. ``muted`` says whether all of it was detected on before.

    Raises
    ------
    Rejected
        ``damaged_block`` or ``newer_block``: the message is not one of ours, or a later release wrote it.
    """
    if message is None or len(message) < 12 or message[:3] != MAGIC[:3]:
        raise Rejected("damaged_block", "the message is not a streamdrift block")
    if message[:4] != MAGIC:
        raise Rejected("newer_block", f"block format {message[3:4]!r} is unknown here; upgrade this worker")
    if struct.unpack("<I", message[-4:])[0] != zlib.crc32(message[:-4]):
        raise Rejected("damaged_block", "the checksum does not match")
    length = struct.unpack("<I", message[4:8])[0]
    head = orjson.loads(message[8 : 8 + length])
    reader = _Reader(message, 8 + length, head["n"], head["dtypes"])
    time, offset, model_row, order, source = (reader.next() for _ in range(5))
    versions = Coded(reader.next(), tuple(head["versions"]))
    dimensions = {name: Coded(reader.next(), tuple(texts)) for name, texts in head["dimensions"].items()}
    return Block(
        head["model"],
        head["segment"],
        head["stream"],
        time,
        source,
        tuple(Partition(name, index) for name, index in head["sources"]),
        offset,
        model_row,
        _breadth(head),
        order,
        np.full(head["n"], muted),
        versions,
        {name: reader.column(*meta) for name, meta in head["columns"].items()},
        dimensions,
        {name: reader.vectors(m) for name, m in head.get("vectors", {}).items()},
        tuple(head.get("facts", ())),
        reader.next() if head.get("ids") else None,
    )


class _Reader:
    """Arrays one after the other, each of n values unless it says otherwise."""

    def __init__(self, message: bytes, position: int, n: int, dtypes: list[str]) -> None:
        self._message, self._position, self._n, self._dtypes = message, position, n, iter(dtypes)

    def next(self, count: int | None = None) -> npt.NDArray[Any]:
        dtype = np.dtype(next(self._dtypes))
        array = np.frombuffer(self._message, dtype, self._n if count is None else count, self._position)
        self._position += array.nbytes
        return array.astype(dtype.newbyteorder("="))

    def column(self, has_kinds: bool, texts: list[str] | None) -> Column:
        numbers = self.next()
        kinds = self.next() if has_kinds else None
        if texts is None:
            return Column(numbers, kinds)
        return Column(numbers, kinds, self.next(), tuple(texts))

    def vectors(self, m: int) -> Vectors:
        rows, kinds, dimension, norm = (self.next(m) for _ in range(4))
        return Vectors(rows.astype(np.int64), kinds, dimension, norm, self.next(m * WIDTH).reshape(m, WIDTH))
