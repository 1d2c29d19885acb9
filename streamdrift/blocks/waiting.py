"""Predictions in the order in which they came: the youngest in memory, older ones spilled.

Where one of them is makes no difference to what anybody is told.
"""

from __future__ import annotations

import struct
from itertools import islice
from typing import NamedTuple

from streamdrift.ports import Spill

PARTS = 4
"""Once memory is full, this part of it is spilled at once: writing one by one would cost as much as reading them."""


BYTES_EACH = 1_024
"""Bytes that the predictions in memory may take, for each of them that there may be: one may have thousands of probabilities."""

_HEAD = struct.Struct("<q?I")


class Kept(NamedTuple):
    """A prediction that waits for its label, or has it.

    Attributes
    ----------
    time
        Event time of the prediction, milliseconds since the epoch.
    stub
        What a label is compared with.
    muted
        Whether it was read before, and only rebuilds state.
    answer
        The label that came; empty while there is none.
    """

    time: int
    stub: bytes
    muted: bool
    answer: bytes = b""

    def packed(self) -> bytes:
        """As bytes: a hundred thousand objects would be gone through by each garbage collection."""
        return _HEAD.pack(self.time, self.muted, len(self.stub)) + self.stub + self.answer

    @classmethod
    def unpacked(cls, value: bytes) -> Kept:
        """Take back what ``packed`` gave."""
        time, muted, size = _HEAD.unpack_from(value)
        end = _HEAD.size + size
        return cls(time, value[_HEAD.size : end], muted, value[end:])


class Waiting:
    """A bounded map from key to prediction.

    Parameters
    ----------
    memory_max
        Predictions in memory at most.
    spill
        Takes those beyond.
    """

    def __init__(self, memory_max: int, spill: Spill) -> None:
        self._memory_max, self._spill = memory_max, spill
        self._young: dict[bytes, bytes] = {}
        self._spilled = self._bytes = 0

    def __len__(self) -> int:
        return len(self._young) + self._spilled

    def get(self, key: bytes) -> Kept | None:
        """Return the prediction of this key; None where it is not kept."""
        found = self._young.get(key)
        if found is None and self._spilled:
            found = self._spill.get(key)
        return None if found is None else Kept.unpacked(found)

    def add(self, key: bytes, kept: Kept) -> None:
        """Keep one whose key is not kept yet, as the youngest."""
        self._put(key, kept)
        while len(self._young) > self._memory_max or (
            len(self._young) > 1 and self._bytes > BYTES_EACH * self._memory_max
        ):
            self._make_room()

    def replace(self, key: bytes, kept: Kept) -> None:
        """Put another in the place of one that is kept: its age stays."""
        if key in self._young:
            self._put(key, kept)
        else:
            self._spill.replace(key, kept.packed())

    def pop_oldest(self) -> tuple[bytes, Kept]:
        """Remove the oldest and return it."""
        if self._spilled:
            self._spilled -= 1
            key, value = self._spill.pop_oldest()
        else:
            key = next(iter(self._young))
            value = self._young.pop(key)
            self._bytes -= len(value)
        return key, Kept.unpacked(value)

    def _put(self, key: bytes, kept: Kept) -> None:
        value = kept.packed()
        self._bytes += len(value) - len(self._young.get(key, b""))
        self._young[key] = value

    def _make_room(self) -> None:
        oldest = list(islice(self._young.items(), max(1, min(self._memory_max, len(self._young)) // PARTS)))
        self._spill.append(oldest)
        for key, value in oldest:
            del self._young[key]
            self._bytes -= len(value)
        self._spilled += len(oldest)
