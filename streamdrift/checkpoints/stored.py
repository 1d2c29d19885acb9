"""What of one group is on the changelog: its state, as blob 0, and apart from it what changes no more, as blobs 1, 2, …

A reference window is 60 kB and stays as it is for months; what a series gathers to learn from only grows. So both are written
once, and only what changes is written again. A blob that the state no longer speaks of is deleted in the same commit.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from streamdrift.detect.holdings import Holdings, Key
from streamdrift.detect.specs_traffic import SPECS
from streamdrift.state import records
from streamdrift.state.records import Blob
from streamdrift.state.spec import Damaged

Written = list[tuple[bytes, bytes | None]]
"""Keys and values of records; None deletes."""


class Stored:
    """One group's blobs.

    Parameters
    ----------
    pieces
        Number of records of each blob that is there.
    """

    def __init__(self, name: bytes, pieces: Mapping[int, int] | None = None) -> None:
        self.name = name
        self._pieces = dict(pieces or {})
        self._next = max(self._pieces, default=0) + 1
        self._apart: dict[int, tuple[object, int]] = {}  # by id, with the object so that no other gets it

    def put(self, bank: Holdings, key: Key) -> Written:
        """Return the records that bring the changelog to the group's present state."""
        found: Written = []
        used: dict[int, tuple[object, int]] = {}
        settings = bank.settings_hash(key)

        def apart(part: object) -> int:
            place = used.get(id(part)) or self._apart.get(id(part))
            if place is None:
                place = part, self._next
                self._next += 1
                found.extend(self._write(place[1], SPECS.encode(part), settings))
            used[id(part)] = place
            return place[1]

        state = bank.put_away(key, apart)
        found.extend(self._write(0, state, settings))
        self._apart = used
        spoken_of = {0, *(number for _, number in used.values())}
        for number in sorted(self._pieces.keys() - spoken_of):
            found.extend(self._delete(number))
        return found

    def take_up(self, bank: Holdings, blobs: Mapping[int, Blob]) -> Key:
        """Have the bank go on with the group.

        Raises
        ------
        Damaged
            A blob is damaged, or missing.
        ValueError
            The state doesn't fit the settings.
        """
        given = bank.given()
        parts: dict[int, Any] = {}

        def part(number: int) -> Any:
            if number not in parts:
                parts[number] = SPECS.decode(_payload(blobs, number), given)
            return parts[number]

        key = bank.take_up(_payload(blobs, 0), part, given)
        self._apart = {id(found): (found, number) for number, found in parts.items()}
        return key

    def delete(self) -> Written:
        """Return the records that delete all of it."""
        return [record for number in sorted(self._pieces) for record in self._delete(number)]

    def _blob(self, number: int) -> bytes:
        return self.name + b"/%d" % number

    def _write(self, number: int, payload: bytes, settings: bytes) -> Iterator[tuple[bytes, bytes | None]]:
        name, before, count = self._blob(number), self._pieces.get(number, 0), 0
        for record in records.seal(name, payload, settings):
            yield record
            count += 1
        for beyond in range(count, before):
            yield records.key(name, beyond), None
        self._pieces[number] = count

    def _delete(self, number: int) -> Iterator[tuple[bytes, None]]:
        for piece in range(self._pieces.pop(number)):
            yield records.key(self._blob(number), piece), None


def _payload(blobs: Mapping[int, Blob], number: int) -> bytes:
    blob = blobs.get(number)
    if blob is None:
        raise Damaged(f"its blob {number} is missing")
    if blob.damage is not None:
        raise Damaged(blob.damage)
    return blob.payload


def name_of(key: Key) -> bytes:
    """Name of a group on the changelog."""
    stream, model, segment = key
    return f"detect/{stream}/{len(model)}:{model}/{segment}".encode("utf-8", "surrogatepass")


def key_of(blob: bytes) -> tuple[Key, int] | None:
    """Return the group and the number of a blob; None where it is no group's.

    >>> key_of(name_of(("events", "a/b", "d=x/y")) + b"/3")
    (('events', 'a/b', 'd=x/y'), 3)
    >>> key_of(b"detect/partition")
    """
    name, _, number = blob.decode("utf-8", "surrogatepass").rpartition("/")
    found = re.match(r"detect/(events|labels)/(\d+):", name)
    if found is None or not number.isdigit():
        return None
    model_end = found.end() + int(found[2])
    return (found[1], name[found.end() : model_end], name[model_end + 1 :]), int(number)
