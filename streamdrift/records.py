"""Records column by column: what a transport reads in bulk, so that nothing is made of a record until somebody asks for it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import overload

import numpy as np
import numpy.typing as npt

from streamdrift.ports import Headers, Partition, Record


@dataclass(frozen=True, slots=True, eq=False)
class Run(Sequence[Record]):
    """n records of one partition, in order.

    Attributes
    ----------
    values
        The raw bytes.
    offsets, times
        (n,) as ``Record.offset`` and ``Record.timestamp_ms``.
    keys, headers
        None where no record has any.
    """

    values: Sequence[bytes | None]
    partition: Partition
    offsets: npt.NDArray[np.int64]
    times: npt.NDArray[np.int64]
    replayed: bool = False
    keys: list[bytes | None] | None = None
    headers: list[Headers] | None = None

    def __len__(self) -> int:
        return len(self.values)

    def __iter__(self) -> Iterator[Record]:
        return map(self.__getitem__, range(len(self)))

    @overload
    def __getitem__(self, index: int) -> Record: ...

    @overload
    def __getitem__(self, index: slice) -> Run: ...

    def __getitem__(self, index: int | slice) -> Record | Run:
        if isinstance(index, slice):
            return Run(
                self.values[index],
                self.partition,
                self.offsets[index],
                self.times[index],
                self.replayed,
                None if self.keys is None else self.keys[index],
                None if self.headers is None else self.headers[index],
            )
        return Record(
            self.values[index],
            self.partition,
            int(self.offsets[index]),
            int(self.times[index]),
            None if self.keys is None else self.keys[index],
            () if self.headers is None else self.headers[index],
            self.replayed,
        )


class Runs(Sequence[Record]):
    """Runs one after the other, none of them empty."""

    def __init__(self, runs: Iterable[Run]) -> None:
        self.runs = tuple(run for run in runs if len(run))
        self._begins = [0, *accumulate(map(len, self.runs))]

    def __len__(self) -> int:
        return self._begins[-1]

    def __iter__(self) -> Iterator[Record]:
        for run in self.runs:
            yield from run

    @overload
    def __getitem__(self, index: int) -> Record: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Record]: ...

    def __getitem__(self, index: int | slice) -> Record | Sequence[Record]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        at = range(len(self))[index]
        nth = bisect_right(self._begins, at) - 1
        return self.runs[nth][at - self._begins[nth]]


def parts(records: Sequence[Record]) -> Sequence[Sequence[Record]]:
    """Return the records in pieces that an assembler takes at once."""
    return records.runs if isinstance(records, Runs) else (records,)


def as_of(records: Sequence[Record], partition: Partition) -> Sequence[Record]:
    """Return the records as replayed ones of another partition."""
    if isinstance(records, Run):
        return replace(records, partition=partition, replayed=True)
    return [replace(record, partition=partition, replayed=True) for record in records]


def ends(records: Sequence[Record]) -> dict[Partition, int]:
    """Return the next offset of each partition, as far as the records go that were not replayed."""
    found: dict[Partition, int] = {}
    for part in parts(records):
        last = part[-1:] if isinstance(part, Run) else part
        found |= {record.partition: record.offset + 1 for record in last if not record.replayed}
    return found
