"""Streams in memory, with Kafka's rules: for the embedded pipeline and for tests, with faults written in the input.

Deterministic: a keyed record goes to the partition that a stable hash of its key names, one without a key to the next
in turn; polls take from the partitions in order.

Examples
--------
>>> broker = MemoryBroker(partitions=2)
>>> sink, source = MemorySink(broker), MemorySource(broker, "events", "detect")
>>> sink.send("events", b"one", key=b"a")
>>> sink.flush(1.0)
>>> [record.value for record in source.poll(10, 0.0)]
[b'one']
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from zlib import crc32

from streamdrift.errors import BrokerProblem, StreamdriftError
from streamdrift.ports import Headers, Partition, Record

Log = list[Record]


@dataclass(slots=True)
class _Scripted:
    """Faults to come, first in, first out; None is one call that goes well."""

    polls: deque[StreamdriftError | None] = field(default_factory=deque)
    commits: deque[StreamdriftError | None] = field(default_factory=deque)
    flushes: deque[StreamdriftError | None] = field(default_factory=deque)
    redelivered: int = 0


class MemoryBroker:
    """Topics, made when first named, and the offsets of consumer groups.

    Parameters
    ----------
    partitions
        Of each topic.
    message_bytes_max
        Larger messages are refused, as a broker does.
    """

    def __init__(self, partitions: int = 1, message_bytes_max: int = 1_048_588) -> None:
        self._n, self.message_bytes_max = partitions, message_bytes_max
        self._topics: dict[str, list[Log]] = {}
        self._turn: dict[str, int] = {}
        self._committed: dict[tuple[str, Partition], int] = {}
        self.scripted = _Scripted()

    def logs(self, topic: str) -> list[Log]:
        """Return the partitions of a topic, each a list of records by offset."""
        if topic not in self._topics:
            self._topics[topic] = [[] for _ in range(self._n)]
        return self._topics[topic]

    def records(self, topic: str) -> list[Record]:
        """Return all records of a topic, partition by partition."""
        return [record for log in self.logs(topic) for record in log]

    def append(
        self,
        topic: str,
        value: bytes | None,
        key: bytes | None = None,
        headers: Headers = (),
        timestamp_ms: int = 0,
        index: int | None = None,
    ) -> Record:
        """Write one record; without a timestamp it has its offset's second."""
        logs = self.logs(topic)
        if index is not None:
            pass
        elif key is None:
            index = self._turn.get(topic, 0) % self._n
            self._turn[topic] = index + 1
        else:
            index = crc32(key) % self._n
        offset = len(logs[index])
        record = Record(value, Partition(topic, index), offset, timestamp_ms or offset * 1_000, key, headers)
        logs[index].append(record)
        return record

    def committed(self, group: str, partition: Partition) -> int | None:
        """Return a group's next offset; None where it never committed one."""
        return self._committed.get((group, partition))

    def commit(self, group: str, done: Mapping[Partition, int]) -> None:
        """Set a group's next offsets."""
        self._committed.update({(group, partition): offset for partition, offset in done.items()})

    def fail_next_poll(self, error: StreamdriftError, after: int = 0) -> None:
        """Make a poll raise, after so many that don't; no record is lost by it."""
        self.scripted.polls.extend([*[None] * after, error])

    def fail_next_commit(self, error: StreamdriftError, after: int = 0) -> None:
        """Make a commit raise and not take place, after so many that do."""
        self.scripted.commits.extend([*[None] * after, error])

    def fail_next_flush(self, error: StreamdriftError, after: int = 0) -> None:
        """Make a flush raise with nothing written, after so many that don't; the messages wait for the next one."""
        self.scripted.flushes.extend([*[None] * after, error])

    def deliver_again(self, records: int) -> None:
        """Make the next poll begin so many records before where it would: a duplicate delivery."""
        self.scripted.redelivered = records


class MemorySource:
    """One consumer that has all partitions of its group; see ``ports.Source``.

    Parameters
    ----------
    restore_events_max
        Records before the committed offset that are read again, marked ``replayed``; 0 for none.
    """

    def __init__(self, broker: MemoryBroker, topic: str, group: str, restore_events_max: int = 0) -> None:
        self._broker, self._topic, self._group = broker, topic, group
        self._muted_before = [
            broker.committed(group, Partition(topic, index)) or 0 for index in range(len(broker.logs(topic)))
        ]
        self._next = [max(0, offset - restore_events_max) for offset in self._muted_before]

    def poll(self, records_max: int, timeout_s: float) -> Sequence[Record]:
        """Return the next records at once: waiting brings none."""
        del timeout_s
        _raise_scripted(self._broker.scripted.polls)
        self._step_back()
        taken: list[Record] = []
        for index, log in enumerate(self._broker.logs(self._topic)):
            batch = log[self._next[index] : self._next[index] + records_max - len(taken)]
            self._next[index] += len(batch)
            muted_before = self._muted_before[index]
            taken += [replace(record, replayed=True) if record.offset < muted_before else record for record in batch]
        return taken

    def _step_back(self) -> None:
        back, self._broker.scripted.redelivered = self._broker.scripted.redelivered, 0
        if back:
            self._next = [max(0, offset - back) for offset in self._next]

    def commit(self, done: Mapping[Partition, int]) -> None:
        """Record that everything before these offsets is done."""
        _raise_scripted(self._broker.scripted.commits)
        self._broker.commit(self._group, done)

    def lag(self) -> Mapping[Partition, int]:
        """Records of each partition that are not yet polled."""
        return {
            Partition(self._topic, index): len(log) - self._next[index]
            for index, log in enumerate(self._broker.logs(self._topic))
        }

    def nothing_left(self, partitions: Collection[Partition]) -> Collection[Partition]:
        """Of which of these everything was polled."""
        lags = self.lag()
        return [partition for partition in partitions if lags.get(partition) == 0]

    def exhausted(self) -> bool:
        """More can be appended at any time."""
        return False

    def close(self) -> None:
        """Nothing to let go of."""


class MemorySink:
    """Writes to the broker when flushed; see ``ports.Sink``."""

    def __init__(self, broker: MemoryBroker) -> None:
        self._broker = broker
        self._pending: list[tuple[str, bytes | None, bytes | None, Headers, int | None]] = []

    def send(self, topic: str, value: bytes | None, key: bytes | None = None, headers: Headers = ()) -> None:
        """Hand over one message."""
        self._pending.append((topic, value, key, headers, None))

    def broadcast(self, topic: str, value: bytes) -> None:
        """Hand over one message for every partition."""
        self._pending += [(topic, value, None, (), index) for index in range(len(self._broker.logs(topic)))]

    def flush(self, timeout_s: float) -> None:
        """Write what was handed over, in order.

        Raises
        ------
        BrokerProblem
            A message is larger than the broker takes; those before it are written.
        """
        del timeout_s
        _raise_scripted(self._broker.scripted.flushes)
        while self._pending:
            topic, value, key, headers, index = self._pending[0]
            if len(value or b"") > self._broker.message_bytes_max:
                raise BrokerProblem(
                    f"writing a message of {len(value or b'')} bytes to topic {topic!r}: the broker in memory takes "
                    f"{self._broker.message_bytes_max}; raise message_bytes_max"
                )
            self._broker.append(topic, value, key, headers, index=index)
            self._pending.pop(0)

    def close(self) -> None:
        """What was not flushed is gone."""
        self._pending.clear()


def _raise_scripted(faults: deque[StreamdriftError | None]) -> None:
    fault = faults.popleft() if faults else None
    if fault is not None:
        raise fault
