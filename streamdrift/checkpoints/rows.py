"""The assembler's counts: how many rows of a model it has seen, and of which features and dimensions.

They are small, and stand in every row. So they are put away at each commit, exactly as of then: a restart reads nothing twice.
Names of features and dimensions, which come seldom, have a record of their own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import structlog

from streamdrift.blocks.assemble import Assembler
from streamdrift.blocks.block import Block, Stream
from streamdrift.blocks.breadth import Breadth
from streamdrift.ports import Partition, Record, StateRecord
from streamdrift.records import Run, parts
from streamdrift.state import records
from streamdrift.state.codec import Specs
from streamdrift.state.records import Blob
from streamdrift.state.spec import Damaged
from streamdrift.telemetry import Metrics

Place = tuple[Stream, str]
"""Stream and model."""
Count = tuple[int, int, int]
"""Rows, features and dimensions."""
EVENTS, LABELS = b"assemble/events/", b"assemble/labels/"
"""Blobs of the assemble stage begin so, by what its input is."""
PLAIN = Specs(())
"""For numbers, texts, and lists and dicts of them."""


class RowCounts:
    """An assembler's counts, with the names of features and dimensions in the order in which they became known."""

    def __init__(self, assembler: Assembler) -> None:
        self._assembler = assembler
        self._names: dict[Place, tuple[list[str], list[str]]] = {}

    def now(self) -> dict[Place, Count]:
        """Return all counts."""
        found = {}
        for place, rows, breadth in self._assembler.counted():
            known = self._names.setdefault(place, ([], []))
            for names, told in zip(known, breadth.told(), strict=True):
                if len(told) > len(names):
                    names.extend(sorted(told.difference(names)))
            found[place] = rows, len(known[0]), len(known[1])
        return found

    def has(self, place: Place) -> bool:
        """Whether the rows of a model are counted."""
        return self._assembler.counts(place)

    def names(self, place: Place) -> tuple[list[str], list[str]]:
        """Return the names of a model's features and dimensions."""
        return self._names.get(place, ([], []))

    def learn(self, place: Place, names: tuple[list[str], list[str]]) -> None:
        """Take names, in the order in which they became known; those that are known already stay in front."""
        known = self._names.setdefault(place, ([], []))
        for mine, given in zip(known, names, strict=True):
            mine += [name for name in given if name not in set(mine)]

    def count_on(self, place: Place, count: Count) -> None:
        """Go on from a count."""
        rows, features, dimensions = count
        names, breadth = self.names(place), Breadth()
        breadth.adopt(names[0][:features], names[1][:dimensions])
        self._assembler.count_on(place, rows, breadth)

    def forget(self, place: Place) -> None:
        """Begin to count anew."""
        self._names.pop(place, None)
        self._assembler.forget(place)


class Names:
    """The records that tell names: which of them are to be written again, to one partition."""

    def __init__(self, counts: RowCounts, prefix: bytes) -> None:
        self._counts, self._prefix = counts, prefix + b"names/"
        self._written: dict[bytes, tuple[int, int]] = {}

    def due(self, places: Iterable[Place]) -> list[tuple[bytes, bytes]]:
        """Return the records of models whose names became more."""
        found: list[tuple[bytes, bytes]] = []
        for place in places:
            names = self._counts.names(place)
            stream, model = place
            blob = self._prefix + f"{stream}/{model}".encode("utf-8", "surrogatepass")
            size = len(names[0]), len(names[1])
            if self._written.get(blob, (0, 0)) != size:
                self._written[blob] = size
                found += records.seal(blob, PLAIN.encode((place, *names)))
        return found

    def take_up(self, blobs: Mapping[bytes, Blob]) -> None:
        """Go on with the names that these blobs have.

        Raises
        ------
        Damaged
            One of them is.
        """
        for name, blob in blobs.items():
            if name.startswith(self._prefix):
                place, *names = plain(blob)
                self._counts.learn(place, (names[0], names[1]))
                self._written[name] = len(names[0]), len(names[1])


class RowCheckpoints:
    """``ports.Stateful`` of the assemble stage."""

    def __init__(self, assembler: Assembler, topic_of_labels: str, metrics: Metrics) -> None:
        self._counts, self._labels, self._metrics = RowCounts(assembler), topic_of_labels, metrics
        self._names: dict[Partition, Names] = {}
        self._at: dict[Partition, int] = {}
        self._places: dict[Partition, set[Place]] = {}
        self._live: set[Place] = set()
        self._told: dict[Partition, bytes] = {}
        self._log = structlog.get_logger("streamdrift").bind(stage="assemble")

    def passed(self, taken: Sequence[Record], blocks: Iterable[Block]) -> None:
        """Note which records were taken, and what blocks came of them."""
        self._at |= {partition: end for partition, (_, end) in spans(taken).items()}
        for block in blocks:
            place = block.stream, block.model
            if not self._counts.has(place):
                continue
            self._live.add(place)
            for source in block.sources:
                self._places.setdefault(source, set()).add(place)

    def due(self, now_s: float) -> list[StateRecord]:
        """Return the counts of every partition that went on."""
        del now_s
        counts, found = self._counts.now(), []
        for partition, offset in self._at.items():
            places = sorted(self._places.get(partition, set()) & counts.keys())
            payload = PLAIN.encode((offset, [(*place, *counts[place]) for place in places]))
            if self._told.get(partition) != payload:
                self._told[partition] = payload
                prefix = self._prefix(partition)
                names = self._names.setdefault(partition, Names(self._counts, prefix))
                pieces = [*names.due(places), *records.seal(prefix + b"rows", payload)]
                found += [StateRecord(partition, key, value) for key, value in pieces]
        return found

    def restore(self, partition: Partition, found: Mapping[bytes, bytes]) -> int | None:
        """Go on with a partition's counts."""
        prefix = self._prefix(partition)
        blobs = records.opened({key: value for key, value in found.items() if key.startswith(prefix)})
        rows = blobs.pop(prefix + b"rows", None)
        if rows is None:
            return None
        try:
            self._names[partition] = Names(self._counts, prefix)
            self._names[partition].take_up(blobs)
            offset, counts = plain(rows)
        except Damaged as e:
            self._metrics.state_discarded.labels("damaged").inc()
            self._log.warning(
                "state discarded: events are counted again from the log", partition=partition.index, why=str(e)
            )
            return None
        now = self._counts.now()
        for stream, model, *count in counts:
            place = stream, model
            self._places.setdefault(partition, set()).add(place)
            # a model of several partitions is counted in one: the latest of what they say, unless we counted on
            if place not in self._live and count[0] > now.get(place, (0,))[0]:
                self._counts.count_on(place, (count[0], count[1], count[2]))
        self._at[partition] = offset
        return int(offset)

    def drop(self, partition: Partition) -> None:
        """Forget the counts of models that no other partition brought."""
        gone = self._places.pop(partition, set()).difference(*self._places.values())
        for place in gone:
            self._counts.forget(place)
        self._live -= gone
        self._at.pop(partition, None)
        self._told.pop(partition, None)
        self._names.pop(partition, None)

    def _prefix(self, partition: Partition) -> bytes:
        return LABELS if partition.name == self._labels else EVENTS


def plain(blob: Blob | None) -> Any:
    """Return what a blob of plain data says.

    Raises
    ------
    Damaged
        It is missing, or damaged.
    """
    if blob is None or blob.damage is not None:
        raise Damaged("a record is missing" if blob is None else blob.damage)
    return PLAIN.decode(blob.payload, None)


def spans(taken: Sequence[Record]) -> dict[Partition, tuple[int, int]]:
    """Return, by partition, the first offset of these records and the one behind the last."""
    found: dict[Partition, tuple[int, int]] = {}
    for part in parts(taken):
        for record in (part[0], part[-1]) if isinstance(part, Run) else part:
            first, _ = found.get(record.partition, (record.offset, 0))
            found[record.partition] = first, record.offset + 1
    return found
