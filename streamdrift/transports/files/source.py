"""Recorded events from files, in the order in which the files were named."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from streamdrift.ports import Partition, Record
from streamdrift.records import Run
from streamdrift.transports.files.lines import line_lists
from streamdrift.transports.files.streams import FAULTS, damage, pieces, readable
from streamdrift.transports.files.tables import csv_rows, parquet_rows

LINE_MS = 1_000
"""A record's own time is its line number, in seconds from the epoch."""


class FileSource:
    """NDJSON (``.gz`` and ``.zst`` too), CSV and Parquet by their suffix, ``-`` for NDJSON on standard input.

    Each file is a partition, its line numbers (from 1) are the offsets. All files are tried when the source is made;
    one that turns out damaged on the way gives all that was good before it, then ``InputProblem``.

    Parameters
    ----------
    line_bytes_max
        A longer line is cut to one byte more, and so rejected by the decoder; it is never read whole into memory.

    Raises
    ------
    InputProblem
        A file is missing or can't be read.
    """

    def __init__(self, paths: Sequence[str], line_bytes_max: int = 1_000_000) -> None:
        for path in paths:
            readable(path)
        self._batches = self._read(paths, line_bytes_max)
        self._waiting: Sequence[Record] = []
        self._at = 0
        self._exhausted = False

    def poll(self, records_max: int, timeout_s: float) -> Sequence[Record]:
        """Return the next records; from standard input, what is there, and waits only for the first."""
        del timeout_s
        if self._at >= len(self._waiting):
            self._refill()
        taken = self._waiting[self._at : self._at + records_max]
        self._at += len(taken)
        return taken

    def _refill(self) -> None:
        self._waiting, self._at = next(self._batches, []), 0
        self._exhausted = not self._waiting

    def commit(self, done: Mapping[Partition, int]) -> None:
        """A file is read from its start each time."""

    def lag(self) -> Mapping[Partition, int]:
        """How much is left is not known before it is read."""
        return {}

    def exhausted(self) -> bool:
        """Tell whether the last file was read to its end."""
        return self._exhausted

    def close(self) -> None:
        """Close the file that is open; a second call does nothing."""
        self._batches.close()
        self._waiting, self._at, self._exhausted = [], 0, True

    @staticmethod
    def _read(paths: Sequence[str], line_bytes_max: int) -> Any:
        for path in paths:
            yield from _records(path, line_bytes_max)


def _records(path: str, line_bytes_max: int) -> Iterator[Sequence[Record]]:
    """Yield one file's records, none of the sequences empty."""
    bare = path.removesuffix(".gz").removesuffix(".zst")
    if path.endswith(".parquet"):
        yield from _numbered(Partition(path), parquet_rows(path))
        return
    reached = 0
    try:
        with pieces(path) as read:
            batches = (
                _numbered(Partition(path), csv_rows(read, path, line_bytes_max))
                if bare.endswith(".csv")
                else _counted(Partition(path), line_lists(read, line_bytes_max))
            )
            for batch in batches:
                reached = batch[-1].offset
                yield batch
    except FAULTS as e:
        raise damage(path, e, f"line {reached}") from None


def _counted(partition: Partition, lists: Iterator[list[bytes]]) -> Iterator[Sequence[Record]]:
    first = 1
    for lines in lists:
        numbers = np.arange(first, first + len(lines))
        yield Run(lines, partition, numbers, numbers * LINE_MS)
        first += len(lines)


def _numbered(partition: Partition, lists: Iterator[list[tuple[int, bytes]]]) -> Iterator[Sequence[Record]]:
    for rows in lists:
        yield [Record(value, partition, n, n * LINE_MS) for n, value in rows]
