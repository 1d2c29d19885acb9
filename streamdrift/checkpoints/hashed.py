"""What is put away of one partition, in short: a hash of each group of series, and of each series in it.

Two partitions whose hashes are the same will say the same of all that may come. Where reading would begin is no part of it: that
hangs on where blocks lie on their topic, and on what was put away when.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

from streamdrift.checkpoints.groups import NAMES, PARTITION
from streamdrift.checkpoints.rows import PLAIN, plain
from streamdrift.checkpoints.stored import Stored, key_of, name_of
from streamdrift.detect.bank import Bank
from streamdrift.detect.holdings import Key
from streamdrift.state import records
from streamdrift.state.records import Blob
from streamdrift.state.spec import Damaged

OTHER_SETTINGS = "it was put away under other settings"


@dataclass(frozen=True, slots=True)
class Hashed:
    """One group of series, or what a stage knows of a model or a partition beside.

    Attributes
    ----------
    what
        ``series``; ``rows``, the count of a model's rows and the names that it has; ``limits``, the models beyond a limit.
    hash
        32 hex digits; None where there is a ``problem``, in words.
    series
        The hash of each series, by feature.
    """

    what: str
    stream: str = ""
    model: str = ""
    segment: str = ""
    hash: str | None = None
    series: Mapping[str, str] = field(default_factory=dict)
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """What one partition has; ``offset`` is where reading begins after a restart, None where that isn't known."""

    offset: int | None
    hashed: list[Hashed]


def of_groups(found: Mapping[bytes, bytes], bank: Bank) -> Part:
    """Return what a stage with a bank has put away of a partition.

    Parameters
    ----------
    found
        The records of the changelog, by key.
    bank
        An empty one, which is full afterwards.

    Raises
    ------
    Fatal
        A newer release wrote them.
    """
    blobs = records.opened({key: value for key, value in found.items() if key.startswith(NAMES)})
    groups: dict[Key, dict[int, Blob]] = {}
    for name, blob in blobs.items():
        if (place := key_of(name)) is not None:
            groups.setdefault(place[0], {})[place[1]] = blob
    wrong = {key: why for key, group in groups.items() if (why := _take_up(bank, key, group)) is not None}
    hashed = [_group(bank, key, wrong.get(key)) for key in sorted(groups)]
    try:
        offset, expected, overflown, *_ = plain(blobs.get(PARTITION))
    except Damaged as e:
        return Part(None, [*hashed, Hashed("limits", problem=f"what belongs to the partition: {e}")] if blobs else [])
    missing = expected - len(groups)
    problem = f"{missing} of {expected} groups are missing" if missing > 0 else None
    limits = Hashed("limits", hash=None if problem else digest(overflown), problem=problem)
    return Part(int(offset), [*hashed, limits])


def of_rows(found: Mapping[bytes, bytes], prefix: bytes) -> Part:
    """Return what the assemble stage has put away of a partition, by the model that it is of."""
    blobs = records.opened({key: value for key, value in found.items() if key.startswith(prefix)})
    if not blobs:
        return Part(None, [])
    try:
        offset, counts = plain(blobs.pop(prefix + b"rows", None))
        names = {tuple(place): rest for place, *rest in map(plain, blobs.values())}
    except Damaged as e:
        return Part(None, [Hashed("rows", problem=str(e))])
    return Part(int(offset), list(_counted(counts, names)))


def digest(value: Any) -> str:
    """32 hex digits of plain data."""
    return blake2b(PLAIN.encode(value), digest_size=16).hexdigest()


def _take_up(bank: Bank, key: Key, blobs: Mapping[int, Blob]) -> str | None:
    """Have the bank take a group up; return why it can't."""
    if any(blob.damage is None and blob.settings != bank.settings_hash(key) for blob in blobs.values()):
        return OTHER_SETTINGS
    try:
        Stored(name_of(key)).take_up(bank, blobs)
    except ValueError as e:
        return f"it is damaged: {e}"
    return None


def _group(bank: Bank, key: Key, problem: str | None) -> Hashed:
    stream, model, segment = key
    if problem is not None:
        return Hashed("series", stream, model, segment, problem=problem)
    return Hashed("series", stream, model, segment, bank.state_hash(key, followed=True), bank.series_hashes(key))


def _counted(counts: list[Any], names: Mapping[tuple[str, ...], Any]) -> Iterator[Hashed]:
    for stream, model, *count in sorted(counts):
        # names that became known together stand in an order that hangs on what was taken together
        known = [sorted(part) for part in names.get((stream, model), ())]
        yield Hashed("rows", stream, model, hash=digest([*count, *known]))
