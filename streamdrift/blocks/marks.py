"""Clocks of the input's partitions, and how they go over the exchange: to all of its partitions, behind all that they are about.

Layout: ``b"SDM1"``, JSON, CRC-32 of all before it (uint32, little-endian).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import orjson

from streamdrift.blocks.block import Block
from streamdrift.errors import Rejected
from streamdrift.ports import Partition

MAGIC = b"SDM1"


@dataclass(frozen=True, slots=True)
class Mark:
    """The clock of a source, a partition of the input.

    Attributes
    ----------
    latest
        The second latest event time that was read of it, milliseconds: one event whose time is wrong moves no clock. -1 where that
        isn't known.
    waited
        Milliseconds since something was read, all of which it had nothing more.
    first
        The latest, where it is read here; it does not go over the exchange.
    """

    latest: int
    waited: int = 0
    first: int = -1


@dataclass(frozen=True, slots=True)
class Marks:
    """Clocks of several sources.

    Attributes
    ----------
    at
        When they were taken, by the wall clock, milliseconds.
    log
        The partition of the exchange that they came by; None without one.
    muted
        Whether what follows from them was told before.
    """

    at: int
    sources: Mapping[Partition, Mark]
    log: Partition | None = None
    muted: bool = False


class Latest:
    """The clock of each partition of the input, as far as it was read."""

    def __init__(self) -> None:
        self._times: dict[Partition, tuple[int, int]] = {}  # the second latest, and the latest

    def note(self, blocks: Iterable[Block]) -> None:
        """Take the events of these blocks."""
        for block in blocks:
            if block.stream == "events":
                for code, source in enumerate(block.sources):
                    times = block.time[block.source == code]
                    if len(times):
                        top = np.partition(np.concatenate([times, self._times.get(source, (-1, -1))]), -2)
                        self._times[source] = int(top[-2]), int(top[-1])

    def drop(self, source: Partition) -> None:
        """Another worker reads it now."""
        self._times.pop(source, None)

    def marks(self, at: int, waited: Mapping[Partition, int]) -> Marks:
        """Return the clocks of these partitions."""
        return Marks(at, {p: Mark(self._times.get(p, (-1, -1))[0], waited_ms) for p, waited_ms in waited.items()})


def is_marks(message: bytes | None) -> bool:
    """Whether a message of the exchange is clocks, no block."""
    return message is not None and message[:3] == MAGIC[:3]


def encode(marks: Marks) -> bytes:
    """Return the message."""
    sources = [[p.name, p.index, mark.latest, mark.waited] for p, mark in marks.sources.items()]
    body = MAGIC + orjson.dumps({"at": marks.at, "sources": sources})
    return body + struct.pack("<I", zlib.crc32(body))


def decode(message: bytes, log: Partition, *, muted: bool) -> Marks:
    """Return the clocks.

    Raises
    ------
    Rejected
        ``damaged_block`` or ``newer_block``, as of a block.
    """
    if message[:4] != MAGIC:
        raise Rejected("newer_block", f"the format {message[3:4]!r} of clocks is unknown here; upgrade this worker")
    if len(message) < 8 or struct.unpack("<I", message[-4:])[0] != zlib.crc32(message[:-4]):
        raise Rejected("damaged_block", "the checksum does not match")
    found = orjson.loads(message[4:-4])
    sources = {Partition(name, index): Mark(latest, waited) for name, index, latest, waited in found["sources"]}
    return Marks(found["at"], sources, log, muted)
