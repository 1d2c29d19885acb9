"""State as records of a compacted changelog: sealed, and in pieces where it is long.

A *blob* has a name of bytes. Its records have the name, a slash, and the number of the piece as keys. Their values, little-endian:

| bytes | |
|---|---|
| 3 | ``sds`` |
| 1 | 0 |
| 2 | version of the format |
| 2, 2 | number of this piece, from 0, and of all pieces |
| 4 | CRC-32 of the whole blob: pieces of two blobs are not taken for one |
| 8 | settings under which the blob means something; zeros for any |
| … | the piece |
| 4 | CRC-32 of all before it; stands at the end in every version |
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from streamdrift.errors import Fatal

VERSION = 3
"""Version of the format, and of what is in the blobs; what is newer is refused."""
PIECE_BYTES = 850_000
"""With key and header it stays below 900,000 bytes: a topic's default limit is 1 MiB, and so is a producer's."""
ANY = bytes(8)
"""Settings that don't matter."""
_HEADER = struct.Struct("<3scHHHI8s")


@dataclass(slots=True)
class Blob:
    """What a name stands for; ``damage`` says what is wrong with it, and then there is no payload."""

    payload: bytes = b""
    settings: bytes = ANY
    damage: str | None = None
    pieces: int = 1
    """Records that it may have: those up to the last one that was found."""


@dataclass(slots=True)
class _Pieces:
    found: dict[int, bytes] = field(default_factory=dict)
    count: int = 0
    checksum: int = 0
    settings: bytes = ANY
    damage: str | None = None
    last: int = 0


def seal(name: bytes, payload: bytes, settings: bytes = ANY) -> Iterator[tuple[bytes, bytes]]:
    """Yield the records of a blob, as key and value."""
    count = max(1, -(-len(payload) // PIECE_BYTES))
    checksum = zlib.crc32(payload)
    for number in range(count):
        head = _HEADER.pack(b"sds", b"\0", VERSION, number, count, checksum, settings)
        value = head + payload[number * PIECE_BYTES : (number + 1) * PIECE_BYTES]
        yield key(name, number), value + zlib.crc32(value).to_bytes(4, "little")


def key(name: bytes, number: int) -> bytes:
    """Key of a blob's piece."""
    return name + b"/%d" % number


def opened(records: Mapping[bytes, bytes]) -> dict[bytes, Blob]:
    """Return the blobs that these records have, by name; damaged ones are among them.

    Raises
    ------
    Fatal
        A newer release wrote one of them.
    """
    blobs: dict[bytes, _Pieces] = {}
    for place, value in records.items():
        name, _, number = place.rpartition(b"/")
        if not number.isdigit():
            continue  # nobody's: whoever needs it misses it
        pieces = blobs.setdefault(name, _Pieces())
        pieces.last = max(pieces.last, int(number))
        pieces.damage = _take(pieces, number, value) or pieces.damage
    return {name: _whole(pieces) for name, pieces in blobs.items()}


def _take(pieces: _Pieces, number: bytes, value: bytes) -> str | None:
    """Add a record to its blob; return what is wrong with it."""
    if len(value) < _HEADER.size + 4 or zlib.crc32(value[:-4]).to_bytes(4, "little") != value[-4:]:
        return "the checksum of a record doesn't fit"
    magic, _, version, own, count, checksum, settings = _HEADER.unpack_from(value)
    if magic != b"sds" or not version:
        return "a record is none of ours"
    if version > VERSION:
        raise Fatal(
            f"the state was written by a newer release (format {version}, and this one reads up to {VERSION}); run that release "
            "again, or empty the state topic to have state rebuilt from the log"
        )
    if number != b"%d" % own:
        return "a record stands under another's key"
    if pieces.found and (pieces.count, pieces.checksum) != (count, checksum):
        return "its records are of two states"
    pieces.found[own] = value[_HEADER.size : -4]
    pieces.count, pieces.checksum, pieces.settings = count, checksum, settings
    return None


def _whole(pieces: _Pieces) -> Blob:
    damage = pieces.damage
    if damage is None and len(pieces.found) != pieces.count:
        damage = f"{pieces.count - len(pieces.found)} of its {pieces.count} records are missing"
    payload = b"".join(piece for _, piece in sorted(pieces.found.items()))
    if damage is None and zlib.crc32(payload) != pieces.checksum:
        damage = "the checksum of all its records doesn't fit"
    if damage is not None:
        return Blob(damage=damage, pieces=pieces.last + 1)
    return Blob(payload, pieces.settings, pieces=pieces.last + 1)
