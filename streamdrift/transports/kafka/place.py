"""Where to begin in a partition that was just assigned, and its records from there on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from streamdrift.ports import Headers, Partition, Record
from streamdrift.records import Run
from streamdrift.transports.kafka.bulk import Fetched


@dataclass(slots=True)
class Place:
    """One assigned partition.

    Attributes
    ----------
    offset
        Where reading began; None until that is known.
    committed
        The group's offset; None without one.
    muted_before
        Records below this offset only rebuild state.
    end
        Next offset to be written, as of the assignment.
    """

    partition: Partition
    offset: int | None = None
    committed: int | None = None
    muted_before: int = 0
    end: int = 0

    def records(self, batch: Iterable[Any]) -> list[Record]:
        """kafka-python's records as ours."""
        partition, muted_before = self.partition, self.muted_before
        return [
            Record(
                record.value,
                partition,
                record.offset,
                record.timestamp,
                record.key,
                _headers(record.headers) if record.headers else (),
                record.offset < muted_before,
            )
            for record in batch
        ]

    def runs(self, batch: Iterable[Fetched]) -> list[Run]:
        """Records that were fetched in bulk as ours, those apart that only rebuild state."""
        runs = []
        for fetched in batch:
            muted = fetched.offsets < self.muted_before
            changes = (np.flatnonzero(np.diff(muted)) + 1).tolist()
            for begin, end in zip([0, *changes], [*changes, len(fetched)], strict=True):
                part, replayed = fetched.cut(begin, end), bool(muted[begin])
                runs.append(
                    Run(part.values, self.partition, part.offsets, part.times, replayed, part.keys, part.headers)
                )
        return runs


class Keeper(Protocol):
    """Who keeps state of partitions for as long as they are ours."""

    def gained(self, partition: Partition) -> int | None:
        """Take up a partition's state; return the offset from which it must be read again, None where there is no state."""
        ...

    def lost(self, partition: Partition) -> None:
        """Forget it: the partition went to another worker."""
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...


def _headers(headers: Iterable[tuple[str, bytes | None]]) -> Headers:
    return tuple((name, b"" if value is None else value) for name, value in headers)


def begin(
    consumer: Any,
    tp: Any,
    place: Place,
    restore_events_max: int,
    timeout_s: float,
    keeper: Keeper | None = None,
) -> str | None:
    """Seek to where reading has to begin, and note it in ``place``; return a sentence where records or state are lost.

    Parameters
    ----------
    keeper
        Takes up the partition's state, where it is kept.

    Raises
    ------
    kafka.errors.KafkaError
        The broker did not say; to be tried again.
    """
    timeout_ms = timeout_s * 1_000
    committed = consumer.committed(tp, timeout_ms=timeout_ms)
    first = consumer.beginning_offsets([tp], timeout_ms=timeout_ms)[tp]
    place.end = consumer.end_offsets([tp], timeout_ms=timeout_ms)[tp]
    lost = None
    if committed is not None and committed > place.end:
        lost = (
            f"offset {committed} was committed, but the log ends at {place.end}: it was made anew; read from its start"
        )
        committed = None
    elif committed is not None and committed < first:
        lost = f"records {committed} to {first - 1} were deleted before they were read; raise the topic's retention.ms"
    start = (committed or 0) - restore_events_max
    if keeper is not None:
        resumed = keeper.gained(place.partition)
        if resumed is not None and resumed > (committed or 0):  # a transaction has both, so somebody moved the offsets
            keeper.lost(place.partition)
            lost = (
                f"the state is of offset {resumed}, and {'none' if committed is None else committed} is committed: were "
                "the group's offsets set back? The state begins anew"
            )
        elif resumed is not None:
            start = resumed
            if resumed < first:
                lost = (
                    f"records {resumed} to {first - 1}, which the state lacks, were deleted before they were read again; "
                    "raise the topic's retention.ms"
                )
    start = max(first, start)
    try:
        consumer.seek(tp, start)
    except ValueError:  # taken away this very moment
        return None
    place.offset, place.committed, place.muted_before = start, committed, committed or 0
    return lost
