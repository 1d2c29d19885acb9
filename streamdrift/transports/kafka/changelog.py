"""State of a stage on the compacted topic of state: written with its transactions, read back when a partition is assigned.

A record's key is the consumer group, the input's topic and the part of the stage that the state is of; it stands in the
partition with the number of the input's. Several groups and inputs share the topic.

What is read back ends at the high watermark, which a client that reads uncommitted records is told; the records themselves are
read committed. Having passed the watermark proves that every transaction below it was resolved, that of a predecessor
which was killed or is still alive, too. Numbers of records prove nothing: marks of transactions have offsets as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from kafka import TopicPartition
from kafka.errors import KafkaError

from streamdrift.errors import BrokerProblem, Retriable
from streamdrift.ports import Clock, Headers, Partition, Stateful, StateRecord
from streamdrift.settings import KafkaSettings
from streamdrift.telemetry import Metrics
from streamdrift.transports.kafka import bulk
from streamdrift.transports.kafka.client import open_consumer
from streamdrift.transports.kafka.explain import translate

POLL_MS = 200
POLL_RECORDS_MAX = 20_000
CLOSE_MS = 5_000
BETWEEN = b"\0"
"""Between group, topic and part; no name of a topic has it."""


class Changelog:
    """What a consumer group keeps on the topic of state.

    Parameters
    ----------
    topic, group
        Where, and whose.
    keyed
        Whether the input's keys matter: then it may not get more partitions, for keys go to others by that.
    in_bulk
        Whether the compiled engine decodes what was fetched.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        topic: str,
        group: str,
        clock: Clock,
        *,
        keyed: bool = False,
        in_bulk: bool = False,
    ) -> None:
        self.topic = topic
        self._settings, self._group, self._clock = settings, group, clock
        self._keyed, self._in_bulk = keyed, in_bulk
        self._noted: dict[Partition, bytes | None] = {}  # a count of partitions that is still to be written
        self._readers: dict[str, Any] = {}

    def records(self, states: Sequence[StateRecord]) -> Iterator[tuple[bytes | None, bytes, Headers, int]]:
        """Return what is to be written for these states: value, key, headers and partition."""
        for partition in {state.partition for state in states}:
            count = self._noted.pop(partition, None)
            if count is not None:
                yield count, self._prefix(partition)[: -len(BETWEEN)], (), partition.index
        for state in states:
            yield state.value, self._prefix(state.partition) + state.key, (), state.partition.index

    def _prefix(self, partition: Partition) -> bytes:
        return BETWEEN.join((self._group.encode(), partition.name.encode(), b""))

    def read(self, partition: Partition) -> dict[bytes, bytes]:
        """Return the state of one of the input's partitions, by the key that it was put away under.

        Raises
        ------
        Retriable
            The broker did not answer in time.
        BrokerProblem
            It refuses us; or the topics don't fit together, and the sentence says what to do.
        """
        try:
            found, noted = self._read(partition)
            partitions = len(self._reader("read_uncommitted").partitions_for_topic(partition.name) or ())
        except KafkaError as e:
            self.close()
            raise translate(e, self._settings, f"reading the state of {partition.name!r}") from None
        if self._keyed:
            self._require_same(partition, noted, b"%d" % partitions)
        return found

    def _read(self, partition: Partition) -> tuple[dict[bytes, bytes], bytes | None]:
        """Return the state, and how many partitions the input had when it was written."""
        tp, prefix = TopicPartition(self.topic, partition.index), self._prefix(partition)
        found: dict[bytes, bytes] = {}
        noted: bytes | None = None
        end = self._end(tp, partition)
        reader = self._reader("read_committed")
        reader.assign([tp])
        reader.seek_to_beginning(tp)
        patience = self._settings.request_timeout_s + self._settings.transaction_timeout_s
        deadline = self._clock.monotonic() + patience
        timeout_ms = self._settings.request_timeout_s * 1_000
        while (at := reader.position(tp, timeout_ms=timeout_ms)) is None or at < end:  # None: nobody said in time
            batches = reader.poll(timeout_ms=POLL_MS, max_records=POLL_RECORDS_MAX)
            for key, value in self._pairs(batches.get(tp, ())):
                if key == prefix[: -len(BETWEEN)]:
                    noted = value
                elif key is None or not key.startswith(prefix):
                    continue
                elif value is None:
                    found.pop(key[len(prefix) :], None)
                else:
                    found[key[len(prefix) :]] = value
            if batches:
                deadline = self._clock.monotonic() + patience
            elif self._clock.monotonic() > deadline:
                raise Retriable(
                    f"reading the state of {partition.name}/{partition.index}: nothing came in {patience:g} s"
                )
        reader.assign([])
        return found, noted

    def _end(self, tp: Any, partition: Partition) -> int:
        reader = self._reader("read_uncommitted")
        known = reader.partitions_for_topic(self.topic) or set()
        if partition.index not in known:
            raise BrokerProblem(
                f"topic {partition.name!r} has a partition {partition.index}, and {self.topic!r}, which keeps the state, has "
                f"{len(known)} partitions; give it as many as {partition.name!r} (kafka-topics.sh --alter), or begin anew with "
                "topics of the same number"
            )
        (end,) = reader.end_offsets([tp], timeout_ms=self._settings.request_timeout_s * 1_000).values()
        return int(end)

    def _pairs(self, batch: Any) -> Iterator[tuple[bytes | None, bytes | None]]:
        for record in batch:
            if isinstance(record, bulk.Fetched):
                yield from zip(record.keys or [None] * len(record), record.values, strict=True)
            else:
                yield record.key, record.value

    def _require_same(self, partition: Partition, noted: bytes | None, found: bytes) -> None:
        if noted is None or not noted.isdigit():  # not yet written, or damaged
            self._noted[partition] = found
        elif noted != found:
            raise BrokerProblem(
                f"topic {partition.name!r} had {noted.decode()} partitions when state was put away for group "
                f"{self._group!r}, and has {found.decode()} now: keys went to other partitions, away from their state. Make the "
                f"topic again with {noted.decode()}, or begin anew under another STREAMDRIFT_KAFKA__GROUP"
            )

    def _reader(self, isolation: str) -> Any:
        if isolation not in self._readers:
            self._readers[isolation] = open_consumer(self._settings, group_id=None, isolation_level=isolation)
            if self._in_bulk:
                bulk.install(self._readers[isolation])
        return self._readers[isolation]

    def close(self) -> None:
        """Let go of the connections; they are made again where needed."""
        while self._readers:
            with suppress(KafkaError):
                self._readers.popitem()[1].close(autocommit=False, timeout_ms=CLOSE_MS)


class Kept:
    """A stage's state, kept on a changelog; see ``place.Keeper``. ``alive`` is told that reading it goes on."""

    def __init__(
        self,
        stage: Stateful,
        name: str,
        changelog: Changelog,
        clock: Clock,
        metrics: Metrics,
        alive: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._stage, self._name, self._changelog = stage, name, changelog
        self._clock, self._metrics, self._alive = clock, metrics, alive

    def gained(self, partition: Partition) -> int | None:
        """Have the stage take up the partition's state; return the offset from which it must be read again."""
        began = self._clock.monotonic()
        self._alive(self._name)
        records: Mapping[bytes, bytes] = self._changelog.read(partition)
        self._alive(self._name)
        offset = self._stage.restore(partition, records)
        self._metrics.restores.labels(self._name).observe(self._clock.monotonic() - began)
        return offset

    def lost(self, partition: Partition) -> None:
        """Have the stage forget it."""
        self._stage.drop(partition)

    def close(self) -> None:
        """Let go of the connections."""
        self._changelog.close()
