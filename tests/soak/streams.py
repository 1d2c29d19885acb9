"""What the judge asks the broker: what is on a topic, who holds a transaction open; and the feed of the input."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import KafkaError

OPEN = ("Ongoing", "PrepareCommit", "PrepareAbort")
READ_S = 120.0
HEAD_START, TRICKLE = 0.2, 0.1
SETTLE_S = 30.0
"""Longer than a transaction may stay open: what a killed worker left is aborted by then."""


def read(bootstrap: str, topic: str, *, committed: bool = True) -> list[Any]:
    """Return every record of a topic, partition by partition; those of transactions that were committed, or all."""
    consumer = KafkaConsumer(
        bootstrap_servers=bootstrap.split(","),
        enable_auto_commit=False,
        isolation_level="read_committed" if committed else "read_uncommitted",
        reconnect_backoff_max_ms=1_000,
        max_partition_fetch_bytes=8_000_000,
    )
    try:
        partitions = [TopicPartition(topic, n) for n in sorted(consumer.partitions_for_topic(topic) or ())]
        consumer.assign(partitions)
        consumer.seek_to_beginning(*partitions)
        ends = consumer.end_offsets(partitions)
        found: dict[Any, list[Any]] = {tp: [] for tp in partitions}
        deadline = time.monotonic() + READ_S
        while any(consumer.position(tp) < ends[tp] for tp in partitions):
            for tp, records in consumer.poll(timeout_ms=500, max_records=5_000).items():
                found[tp] += records
            if time.monotonic() > deadline:
                raise TimeoutError(f"{topic} could not be read to its end {ends} in {READ_S:g} s")
        return [record for tp in partitions for record in found[tp]]
    finally:
        consumer.close(autocommit=False)


def length(bootstrap: str, topic: str) -> int:
    """Sum of a topic's end offsets."""
    consumer = KafkaConsumer(bootstrap_servers=bootstrap.split(","), reconnect_backoff_max_ms=1_000)
    try:
        partitions = [TopicPartition(topic, n) for n in sorted(consumer.partitions_for_topic(topic) or ())]
        return sum(consumer.end_offsets(partitions).values())
    finally:
        consumer.close(autocommit=False)


@contextmanager
def admin(bootstrap: str) -> Iterator[Any]:
    client = KafkaAdminClient(bootstrap_servers=bootstrap.split(","), reconnect_backoff_max_ms=1_000)
    try:
        yield client
    finally:
        client.close()


def transactions(bootstrap: str) -> list[Any]:
    """Every transactional id that the brokers know."""
    with admin(bootstrap) as client:
        return [one for listed in client.list_transactions().values() for one in listed]


def leader(bootstrap: str, topic: str) -> int:
    """Index of the broker that leads the first partition of a topic; -1 where nobody does."""
    with admin(bootstrap) as client:
        (found,) = client.describe_topics([topic])
        (led,) = (one["leader_id"] for one in found["partitions"] if one["partition_index"] == 0)
        return int(led) - 1 if led > 0 else -1


def hanging(bootstrap: str) -> list[str]:
    """Transactions that are open though everybody is gone, and stay so."""
    deadline = time.monotonic() + SETTLE_S
    while True:
        still = [one for one in transactions(bootstrap) if _state(one) in OPEN]
        if not still or time.monotonic() > deadline:
            return [f"{_id(one)} {_state(one)}" for one in still]
        time.sleep(1.0)


def _field(listing: Any, name: str) -> str:
    value = listing.get(name, "") if isinstance(listing, dict) else getattr(listing, name, "")
    return str(getattr(value, "value", value))


def _state(listing: Any) -> str:
    return _field(listing, "transaction_state") or _field(listing, "state")


def _id(listing: Any) -> str:
    return _field(listing, "transactional_id")


def producer(bootstrap: str) -> Any:
    """One that outlasts any fault of the brokers without losing the order."""
    return KafkaProducer(
        bootstrap_servers=bootstrap.split(","),
        acks="all",
        enable_idempotence=True,
        linger_ms=5,
        request_timeout_ms=10_000,
        delivery_timeout_ms=600_000,
        max_block_ms=600_000,
        reconnect_backoff_max_ms=1_000,
        retry_backoff_ms=100,
    )


def copy(bootstrap: str, records: Iterable[Any]) -> int:
    """Write records once more to the partition that they came from; return how many."""
    writer = producer(bootstrap)
    futures = [
        writer.send(record.topic, record.value, record.key, list(record.headers), record.partition)
        for record in records
    ]
    writer.flush(30)
    writer.close(10)
    return sum(1 for future in futures if future.succeeded())


def last_records(bootstrap: str, topic: str) -> dict[bytes, Any]:
    """The newest record of each key that has a value; of a compacted topic, what it means."""
    found: dict[bytes, Any] = {}
    for record in read(bootstrap, topic):
        found[record.key] = record
    return {key: record for key, record in found.items() if record.value is not None}


class Feed:
    """Writes the input at an even pace, in a thread of its own.

    It does not run ahead of the faults: what would be written before ``share`` of them struck comes as a trickle, so that
    there is always something to be committed.
    """

    def __init__(self, bootstrap: str, topic: str, messages: list[tuple[bytes, bytes]], seconds: float) -> None:
        self._bootstrap, self._topic, self._messages, self._seconds = bootstrap, topic, messages, seconds
        self.sent = 0
        self.share = 0.0
        self.failed = Counter[str]()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="feed", daemon=True)

    def start(self) -> None:
        self._thread.start()

    @property
    def done(self) -> bool:
        return not self._thread.is_alive()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(60)

    def _run(self) -> None:
        writer, n = producer(self._bootstrap), len(self._messages)
        last, credit = time.monotonic(), 0.0
        futures: list[Any] = []
        while self.sent < n and not self._stop.is_set():
            now = time.monotonic()
            ahead = self.sent > n * (HEAD_START + (1 - HEAD_START) * self.share)
            credit += (now - last) * n / max(self._seconds, 1e-3) * (TRICKLE if ahead else 1.0)
            last = now
            due = min(n, self.sent + int(credit))
            credit -= due - self.sent
            for key, value in self._messages[self.sent : due]:
                futures.append(writer.send(self._topic, value, key))
            self.sent = due
            if len(futures) > 10_000:
                futures = self._settled(futures)
            time.sleep(0.02)
        writer.flush(600)
        self._settled(futures)
        writer.close(10)

    def _settled(self, futures: list[Any]) -> list[Any]:
        for future in futures:
            if future.failed():
                self.failed[type(future.exception).__name__] += 1
        return [future for future in futures if not future.is_done]


def reachable(bootstrap: str) -> bool:
    try:
        transactions(bootstrap)
    except KafkaError:
        return False
    return True
