"""Records column by column: what a transport reads in bulk, so that nothing is made of a record until somebody asks for it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import overload

import numpy as np
import numpy.typing as npt

from streamdrift.ports import Partition, Record


@dataclass(frozen=True, slots=True, eq=False)
class Run(Sequence[Record]):
    """n records of one partition, none of which has a key or headers.

    Attributes
    ----------
    values
        The raw bytes.
    offsets, times
        (n,) as ``Record.offset`` and ``Record.timestamp_ms``.
    """

    values: list[bytes]
    partition: Partition
    offsets: npt.NDArray[np.int64]
    times: npt.NDArray[np.int64]
    replayed: bool = False

    def __len__(self) -> int:
        return len(self.values)

    @overload
    def __getitem__(self, index: int) -> Record: ...

    @overload
    def __getitem__(self, index: slice) -> Run: ...

    def __getitem__(self, index: int | slice) -> Record | Run:
        if isinstance(index, slice):
            return replace(self, values=self.values[index], offsets=self.offsets[index], times=self.times[index])
        offset, time = int(self.offsets[index]), int(self.times[index])
        return Record(self.values[index], self.partition, offset, time, replayed=self.replayed)


def as_of(records: Iterable[Record], partition: Partition) -> Sequence[Record]:
    """Return the records as replayed ones of another partition."""
    if isinstance(records, Run):
        return replace(records, partition=partition, replayed=True)
    return [replace(record, partition=partition, replayed=True) for record in records]


def ends(records: Iterable[Record]) -> dict[Partition, int]:
    """Return the next offset of each partition, as far as the records go that were not replayed."""
    if isinstance(records, Run):
        return {} if records.replayed or not len(records) else {records.partition: int(records.offsets[-1]) + 1}
    return {record.partition: record.offset + 1 for record in records if not record.replayed}
