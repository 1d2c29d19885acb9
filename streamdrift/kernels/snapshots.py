"""Snapshots: the state of a kernel as bytes, the same from both engines, for either of them.

All numbers are little-endian.

| bytes | |
|---|---|
| 3 | ``sdk`` |
| 1 | the kernel: ``A``, ``P``, ``K`` |
| 2 | version of the format |
| 2 | 0 |
| … | settings, which must be those of the kernel that goes on, and state |
| 4 | CRC-32 of all before it; stands at the end in every version |
"""

from __future__ import annotations

import struct
import zlib
from typing import Any

VERSION = 1
"""Version of the format; what is newer is refused."""
KINDS = {b"A": "adwin", b"P": "page_hinkley", b"K": "ks"}
HEADER = struct.Struct("<3scHxx")
AGAIN = "rebuild the state by reading the events again"


def seal(kind: bytes, payload: bytes) -> bytes:
    """Put the header before a payload, and the checksum behind it."""
    sealed = HEADER.pack(b"sdk", kind, VERSION) + payload
    return sealed + zlib.crc32(sealed).to_bytes(4, "little")


def opened(kind: bytes, state: bytes) -> Payload:
    """Return the payload of a snapshot of this kernel.

    Raises
    ------
    ValueError
        It is damaged, of another kernel, or of a newer format.
    """
    if len(state) < HEADER.size + 4 or zlib.crc32(state[:-4]).to_bytes(4, "little") != state[-4:]:
        raise damaged()
    magic, found, version = HEADER.unpack_from(state)
    if magic != b"sdk" or version == 0:
        raise damaged()
    if found != kind:
        raise ValueError(f"this is a snapshot of {KINDS.get(found, 'another kernel')}, not of {KINDS[kind]}; {AGAIN}")
    if version > VERSION:
        raise ValueError(
            f"the snapshot has format {version}, and this release reads up to {VERSION}: "
            f"it was written by a newer one; {AGAIN}"
        )
    return Payload(state[HEADER.size : -4])


def damaged() -> ValueError:
    """What is raised of bytes that no kernel wrote so."""
    return ValueError(f"the snapshot is damaged: its checksum or its length doesn't fit; {AGAIN}")


class Payload:
    """Takes numbers from the front."""

    def __init__(self, payload: bytes) -> None:
        self._payload, self._position = payload, 0

    def take(self, form: str) -> tuple[Any, ...]:
        """Return the next numbers, in the notation of ``struct``."""
        try:
            numbers = struct.unpack_from(f"<{form}", self._payload, self._position)
        except struct.error:
            raise damaged() from None
        self._position += struct.calcsize(f"<{form}")
        return numbers

    def settings(self, form: str, *own: float) -> None:
        """Take the settings that the snapshot was made with, which must be the kernel's own."""
        if self.take(form) != own:
            raise ValueError(f"the snapshot was made with other settings, or another reference; {AGAIN}")

    def end(self) -> None:
        """Nothing may be left over."""
        if self._position != len(self._payload):
            raise damaged()
