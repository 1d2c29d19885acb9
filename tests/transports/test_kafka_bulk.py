"""Fetched batches in the compiled engine against kafka-python's own decoder: real responses of every compression, transactions."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator
from typing import Any

import kafka
import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition, codec
from kafka.consumer.fetcher import Fetcher
from kafka.protocol.consumer import IsolationLevel
from kafka.record.memory_records import MemoryRecords, MemoryRecordsBuilder
from structlog.testing import capture_logs

from streamdrift.kernels import compiled
from streamdrift.ports import Partition, Record
from streamdrift.records import Runs, ends
from streamdrift.settings import KafkaSettings
from streamdrift.transports.kafka import KafkaSource, bulk, open_admin
from streamdrift.transports.kafka.place import Place
from tests.transports.clock import RealClock

pytestmark = pytest.mark.skipif(not compiled(), reason="the compiled engine is not installed: no Rust compiler")
CLOCK = RealClock()
TP = TopicPartition("t", 0)
PLACE = Place(Partition("t", 0), 0, None, muted_before=7)
CODECS = [None, "gzip", "snappy", "lz4", "zstd"]


def needs_codec(name: str | None) -> None:
    if name is not None and not getattr(codec, f"has_{name}")():
        pytest.skip(f"the package that unpacks {name} is not installed")


def batch(first: int, n: int, *, compression: int = 0, magic: int = 2, **transaction: Any) -> bytes:
    rng = random.Random(first)
    builder = MemoryRecordsBuilder(magic, compression, 1 << 20, first, **transaction)
    for i in range(n):
        value = rng.choice([None, b"", b"x" * rng.randrange(300), b"%d" % i])
        key = rng.choice([None, b"", b"k%d" % i])
        headers = rng.choice([[], [], [("trace", b"1"), ("ü", None)], [("ce_id", b"")]]) if magic == 2 else []
        builder.append(timestamp=1_000_000 + rng.randrange(-5_000, 5_000), key=key, value=value, headers=headers)
    builder.close()
    return bytes(builder.buffer())


def taken(cls: Any, data: bytes, sizes: list[int | None], fetch_offset: int = 0, **options: Any) -> list[Any]:
    """What comes of it step by step: records, the next offset, whether there is more; and what was raised."""
    part = cls(fetch_offset, TP, MemoryRecords(data), None, None, **options)
    steps: list[Any] = []
    for size in sizes:
        if not part:
            break
        try:
            found = part.take(size)
        except Exception as e:  # noqa: BLE001 - whatever it is, it has to be the same
            steps.append((type(e).__name__, str(e)))
            break
        records = list(Runs(PLACE.runs([*found]))) if cls is bulk.BulkRecords else PLACE.records(found)
        assert len(found) == len(records)
        steps.append((records, part.next_fetch_offset, part.leader_epoch, bool(part), part.records_read > 0))
    return steps


def check(data: bytes, sizes: list[int | None], **options: Any) -> list[Any]:
    ours, theirs = (taken(cls, data, sizes, **options) for cls in (bulk.BulkRecords, Fetcher.PartitionRecords))
    assert ours == theirs
    return ours


@pytest.mark.parametrize("compression", range(5))
@pytest.mark.parametrize("sizes", [[None, None], [1] * 40, [7, 5, 100, 100], [1_000, 1]])
def test_batches_are_read_as_kafka_python_reads_them(compression: int, sizes: list[int | None]) -> None:
    needs_codec(CODECS[compression])
    data = batch(0, 5) + batch(5, 1, compression=compression) + batch(9, 20, compression=compression)
    for fetch_offset in (0, 3, 5, 8, 12, 28, 40):
        check(data, sizes, fetch_offset=fetch_offset)


def test_batches_of_older_brokers() -> None:
    check(batch(0, 5, magic=1) + batch(5, 5), [3, 3, 3, 3])
    ((records, *_), *_) = taken(bulk.BulkRecords, batch(0, 5, magic=0), [None])
    assert [record.timestamp_ms for record in records] == [bulk.NO_TIME] * 5


def test_aborted_transactions_are_passed_over() -> None:
    class Aborted:
        producer_id, first_offset = 4, 5

    marker = bytearray(batch(10, 1, transactional=True, producer_id=4, producer_epoch=0, base_sequence=0))
    data = (
        batch(0, 5)
        + batch(5, 5, transactional=True, producer_id=4, producer_epoch=0, base_sequence=0)
        + batch(11, 3, transactional=True, producer_id=5, producer_epoch=0, base_sequence=0)
        + bytes(marker)
    )
    for level in (IsolationLevel.READ_COMMITTED, IsolationLevel.READ_UNCOMMITTED):
        for size in (None, 4):
            check(data, [size] * 5, isolation_level=level, aborted_transactions=[Aborted()])


def resealed(data: bytes) -> bytes:
    """With a checksum that is right: what is wrong is inside."""
    from kafka.record.util import calc_crc32c

    return data[:17] + struct.pack(">I", calc_crc32c(data[21:])) + data[21:]


def test_damaged_batches_raise_what_kafka_python_raises_after_what_was_good() -> None:
    good, rng = batch(0, 5), random.Random(1)
    raised = 0
    for _ in range(2_000):
        bad = bytearray(batch(5, 6))
        for _ in range(rng.choice([1, 1, 3])):
            at = rng.randrange(21, len(bad))
            bad[at] = rng.choice([rng.randrange(256), bad[at] ^ 1, 0xFF])
        steps = check(good + resealed(bytes(bad)), [rng.choice([2, 5, 8, None]) for _ in range(9)])
        raised += isinstance(steps[-1][0], str)
    assert 200 < raised < 1_999
    bad = bytearray(batch(5, 6))
    bad[-1] ^= 1
    assert check(good + bytes(bad), [2, 8, 8])[-1][0] == "CorruptRecordError"
    check(good + batch(5, 6)[:-3], [2, 8, 8])


@pytest.fixture
def topic(kafka_settings: KafkaSettings, topic_prefix: str) -> str:
    name = f"{topic_prefix}events"
    admin = open_admin(kafka_settings, CLOCK)
    admin.create_topics({name: {"num_partitions": 1, "replication_factor": 1}}, wait_for_metadata=True)
    admin.close()
    return name


def responses(settings: KafkaSettings, topic: str, level: str, *, in_bulk: bool, at_most: int) -> Iterator[Any]:
    consumer = KafkaConsumer(
        bootstrap_servers=settings.bootstrap_servers,
        enable_auto_commit=False,
        isolation_level=level,
        auto_offset_reset="earliest",
        metrics_enabled=False,
    )
    tp = TopicPartition(topic, 0)
    consumer.assign([tp])
    consumer.seek(tp, 3)
    if in_bulk:
        assert bulk.install(consumer)
    end = consumer.end_offsets([tp])[tp]
    while consumer.position(tp) < end:
        for found in consumer.poll(500, max_records=at_most).values():
            records = PLACE.runs(found) if in_bulk else [PLACE.records(found)]
            assert 0 < sum(map(len, records)) <= at_most
            yield [record for part in records for record in part], consumer.position(tp)
    consumer.close()


@pytest.mark.broker
@pytest.mark.parametrize("compression", CODECS)
def test_real_responses_with_transactions(kafka_settings: KafkaSettings, topic: str, compression: str | None) -> None:
    needs_codec(compression)
    rng = random.Random(7)
    for number in range(2):
        producer = KafkaProducer(
            bootstrap_servers=kafka_settings.bootstrap_servers,
            compression_type=compression,
            linger_ms=20,
            **({} if number == 0 else {"transactional_id": f"{topic}-writer"}),
        )
        if number:
            producer.init_transactions()
        for step in range(6):
            if number:
                producer.begin_transaction()
            for i in range(rng.randrange(1, 60)):
                headers = rng.choice([[], [("trace", b"1")], [("a", b""), ("b", b"2")]])
                producer.send(topic, b'{"n":%d}' % i, rng.choice([None, b"key"]), headers, timestamp_ms=10_000 + i)
            producer.flush()
            if number:
                (producer.abort_transaction if step % 2 else producer.commit_transaction)()
        producer.close()
    seen: dict[str, int] = {}
    for level in ("read_committed", "read_uncommitted"):
        for at_most in (17, 10_000):
            ours, theirs = (
                list(responses(kafka_settings, topic, level, in_bulk=in_bulk, at_most=at_most))
                for in_bulk in (True, False)
            )
            assert [r for records, _ in ours for r in records] == [r for records, _ in theirs for r in records]
            assert ours[-1][1] == theirs[-1][1]
            seen[level] = sum(len(records) for records, _ in ours)
    assert seen["read_committed"] < seen["read_uncommitted"]


@pytest.mark.broker
def test_a_source_gives_the_same_records_in_bulk(kafka_settings: KafkaSettings, topic: str) -> None:
    producer = KafkaProducer(bootstrap_servers=kafka_settings.bootstrap_servers)
    for i in range(300):
        producer.send(topic, b"%d" % i, headers=[("ce_id", b"%d" % i)] if i % 7 == 0 else [])
    producer.close()

    def read(group: str, *, in_bulk: bool) -> list[Record]:
        source = KafkaSource(kafka_settings, topic, f"{topic}.{group}", clock=CLOCK, in_bulk=in_bulk)
        records: list[Record] = []
        while len(records) < 300:
            polled = source.poll(100, 0.5)
            assert len(polled) <= 100
            assert ends(polled) == ends(list(polled))
            assert isinstance(polled, Runs) == in_bulk
            records += polled
        source.close()
        return records

    assert read("bulk", in_bulk=True) == read("stock", in_bulk=False)


def test_another_version_of_kafka_python_decodes_itself_and_that_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka, "__version__", "3.0.99")
    with capture_logs() as logs:
        assert not bulk.install(object())
    assert [(line["version"], line["log_level"]) for line in logs] == [("3.0.99", "info")]
