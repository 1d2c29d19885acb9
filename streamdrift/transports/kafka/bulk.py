"""Fetched record batches to columns, in the compiled engine: kafka-python makes two objects and seven calls of each record.

The seam is the class that kafka-python's fetcher reads a partition's part of a response with. It is private, so it is used with
versions alone whose decoder this was compared with; with others kafka-python decodes as ever, and a log line says so.
Checksums, decompression, transactions and positions stay kafka-python's; so does whatever a batch is wrong in.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import kafka
import numpy as np
import numpy.typing as npt
import structlog
from kafka.consumer.fetcher import Fetcher
from kafka.errors import CorruptRecordError
from kafka.protocol.consumer import IsolationLevel

from streamdrift.kernels import compiled
from streamdrift.ports import Headers

VERSIONS = frozenset({"3.0.12"})
"""Of kafka-python, whose decoder gave the same in tests/transports/test_kafka_bulk.py."""

NO_TIME = -1
"""Of records in the format of Kafka 0.9, which have none."""

_Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Fetched:
    """n records. As an iterable it is a single thing, for so kafka-python collects what is taken: it counts n, and keeps one."""

    offsets: _Ints
    times: _Ints
    values: list[bytes | None]
    keys: list[bytes | None] | None
    headers: list[Headers] | None

    def __len__(self) -> int:
        return len(self.values)

    def __iter__(self) -> Iterator[Fetched]:
        yield self

    def cut(self, begin: int, end: int | None) -> Fetched:
        """Return some of the records."""
        if begin == 0 and (end is None or end >= len(self)):
            return self
        return Fetched(
            self.offsets[begin:end],
            self.times[begin:end],
            self.values[begin:end],
            None if self.keys is None else self.keys[begin:end],
            None if self.headers is None else self.headers[begin:end],
        )


def joined(parts: list[Fetched]) -> Fetched:
    """Return the records of all parts, of which there is one at least."""
    if len(parts) == 1:
        return parts[0]
    keyed = any(part.keys is not None for part in parts)
    headed = any(part.headers is not None for part in parts)
    return Fetched(
        np.concatenate([part.offsets for part in parts]),
        np.concatenate([part.times for part in parts]),
        [value for part in parts for value in part.values],
        [key for part in parts for key in part.keys or [None] * len(part)] if keyed else None,
        [headers for part in parts for headers in part.headers or [()] * len(part)] if headed else None,
    )


def install(consumer: Any) -> bool:
    """Let a consumer's ``poll`` give ``Fetched`` instead of records; false where it can't be."""
    log = structlog.get_logger("streamdrift.kafka")
    if not compiled():
        return False
    if kafka.__version__ not in VERSIONS:
        log.info(
            "kafka-python decodes the records itself, which is slower",
            version=kafka.__version__,
            known=sorted(VERSIONS),
        )
        return False
    consumer._fetcher.PartitionRecords = BulkRecords  # noqa: SLF001 - there is no public seam
    return True


class BulkRecords(Fetcher.PartitionRecords):  # type: ignore[misc] # kafka-python's classes are untyped
    """A partition's part of a fetch response, whose records are taken many at a time."""

    def __init__(self, fetch_offset: int, tp: Any, records: Any, *args: Any, **options: Any) -> None:
        super().__init__(fetch_offset, tp, records, *args, **options)
        self._batches, self._ended = records, False
        self._last: Any = None  # batch; it may end behind its last record
        self._rest: Fetched | None = None
        self._reached = False  # the offset that was asked for
        self._next_inline_exception: Exception | None = None
        self._read = import_module("streamdrift.kernels._compiled").read_batch

    def take(self, n: int | None = None) -> Fetched | list[Any]:
        """Return up to n records; what is wrong with a batch is raised when those before it were taken."""
        if self._rest is None:
            self._maybe_raise_next_inline_exception()
        parts: list[Fetched] = []
        room = n
        try:
            while (room is None or room > 0) and (part := self._next()) is not None:
                taken = part.cut(0, room)
                if len(taken) < len(part):
                    self._rest = part.cut(len(taken), None)
                room = None if room is None else room - len(taken)
                if len(taken):
                    self.next_fetch_offset = int(taken.offsets[-1]) + 1
                    parts.append(taken)
        except Exception as e:
            self._ended = True
            if not parts:
                raise
            self._next_inline_exception = e
        return joined(parts) if parts else []

    def _next(self) -> Fetched | None:
        """Return what is left of the batch at hand, or the next one that is to be read; None at the end."""
        if self._rest is not None:
            rest, self._rest = self._rest, None
            return rest
        if self._next_inline_exception is not None:
            return None  # it waits for those before it to be used
        while not self._ended and (batch := self._batches.next_batch()) is not None:
            if self.check_crcs and not batch.validate_crc():
                raise _corrupt("Record batch", self.topic_partition, batch.base_offset)
            self._last = batch
            if batch.magic == 2 and self._is_passed_over(batch):
                self.next_fetch_offset = batch.next_offset
                continue
            return self._from_place(self._decoded(batch))
        if not self._ended and self._last is not None and self._last.magic == 2:
            self.next_fetch_offset = self._last.next_offset
        self._ended = True
        self.drain()
        return None

    def _is_passed_over(self, batch: Any) -> bool:
        """Whether a batch is a mark of a transaction, or was aborted; as ``Fetcher.PartitionRecords`` finds it."""
        self.leader_epoch = batch.leader_epoch
        if self.isolation_level == IsolationLevel.READ_COMMITTED and batch.has_producer_id():
            self._consume_aborted_transactions_up_to(batch.last_offset)
            if self._contains_abort_marker(batch):
                self.aborted_producer_ids.discard(batch.producer_id)
            elif self._is_batch_aborted(batch):
                return True
        return bool(batch.is_control_batch)

    def _decoded(self, batch: Any) -> Fetched:
        if batch.magic == 2:
            batch._maybe_uncompress()  # noqa: SLF001 - as its iterator does
            append_time = batch.max_timestamp if batch.timestamp_type == batch.LOG_APPEND_TIME else None
            found = self._read(
                batch._buffer,  # noqa: SLF001
                batch._pos,  # noqa: SLF001
                batch.records_count,
                batch.base_offset,
                batch.first_timestamp,
                append_time,
            )
            if found is not None:
                self.records_read += len(found[0])
                self.bytes_read += len(batch._buffer)  # noqa: SLF001
                return Fetched(*found)
        return self._stock(batch)

    def _stock(self, batch: Any) -> Fetched:
        """Read a batch as kafka-python does: what it raises comes when the records before it were taken."""
        records: list[Any] = []
        fault: Exception | None = None
        try:
            for record in batch:
                if self.check_crcs and not record.validate_crc():
                    fault = _corrupt("Record", self.topic_partition, record.offset)
                    break
                records.append(record)
        except Exception as e:  # noqa: BLE001 - whatever it is, it is handed on
            fault = e
        if fault is not None:
            if not records:
                raise fault
            self._next_inline_exception, self._ended = fault, True
        self.records_read += len(records)
        self.bytes_read += sum(record.size_in_bytes for record in records)
        return Fetched(
            np.array([record.offset for record in records], np.int64),
            np.array([NO_TIME if record.timestamp is None else record.timestamp for record in records], np.int64),
            [record.value for record in records],
            [record.key for record in records],
            [tuple((name, b"" if value is None else value) for name, value in record.headers) for record in records],
        )

    def _from_place(self, fetched: Fetched) -> Fetched:
        """Leave out what stands in a batch before the offset that was asked for."""
        if self._reached or not len(fetched):
            return fetched
        later = np.flatnonzero(fetched.offsets >= self.fetch_offset)
        self._reached = bool(len(later))
        if not self._reached:
            self.next_fetch_offset = int(fetched.offsets[-1]) + 1
        return fetched.cut(int(later[0]) if self._reached else len(fetched), None)


def _corrupt(what: str, tp: Any, offset: int) -> Exception:
    fault: Exception = CorruptRecordError(f"{what} for partition {tp} at offset {offset} failed crc check")
    return fault
