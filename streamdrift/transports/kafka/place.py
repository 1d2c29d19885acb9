"""Where to begin in a partition that was just assigned, and its records from there on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from streamdrift.ports import Headers, Partition, Record


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


def _headers(headers: Iterable[tuple[str, bytes | None]]) -> Headers:
    return tuple((name, b"" if value is None else value) for name, value in headers)


def begin(consumer: Any, tp: Any, place: Place, restore_events_max: int, timeout_s: float) -> str | None:
    """Seek to where reading has to begin, and note it in ``place``; return a sentence where records are lost.

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
    start = max(first, (committed or 0) - restore_events_max)
    try:
        consumer.seek(tp, start)
    except ValueError:  # taken away this very moment
        return None
    place.offset, place.committed, place.muted_before = start, committed, committed or 0
    return lost
