"""A topic's past: merged by time, bounded, the same at every reading, and nothing committed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from kafka import KafkaAdminClient, KafkaProducer

from streamdrift.errors import BrokerProblem
from streamdrift.ports import Record
from streamdrift.settings import KafkaSettings
from streamdrift.transports.kafka import KafkaHistory, bounds, history
from tests.broker import Broker
from tests.command import streamdrift
from tests.transports.clock import RealClock
from tests.tune.histories import ENVIRONMENT, shop, written

pytestmark = pytest.mark.broker
CLOCK = RealClock()
START = 1_700_000_000_000


@pytest.fixture
def topic(admin: KafkaAdminClient, topic_prefix: str) -> str:
    name = f"{topic_prefix}history"
    admin.create_topics({name: {"num_partitions": 4, "replication_factor": 1}}, wait_for_metadata=True)
    return name


def write(settings: KafkaSettings, topic: str, records: Sequence[tuple[int, int, bytes]]) -> None:
    """Write (partition, time, value)."""
    producer = KafkaProducer(bootstrap_servers=settings.bootstrap_servers)
    for partition, time_ms, value in records:
        producer.send(topic, value, partition=partition, timestamp_ms=time_ms)
    producer.flush()
    producer.close()


def read(
    settings: KafkaSettings, topic: str, since: int | None = None, until: int | None = None, size: int = 1_000
) -> list[Record]:
    source = KafkaHistory(settings, bounds(settings, CLOCK, topic, since, until), CLOCK)
    found: list[Record] = []
    while not source.exhausted():
        found += source.poll(size, 0.0)
    source.close()
    source.close()
    return found


def test_partitions_are_merged_by_time_whatever_the_fetches(
    kafka_settings: KafkaSettings, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # partition 3 has none, 0 has nearly all of the first half: with room for ten it has to be paused
    records = [(0 if i < 300 and i % 30 else i % 3, START + i * 1_000, b"%d" % i) for i in range(600)]
    write(kafka_settings, topic, records)
    found = read(kafka_settings, topic)
    assert [record.value for record in found] == [value for _, _, value in records]
    assert [record.timestamp_ms for record in found] == [time for _, time, _ in records]
    assert not any(record.replayed for record in found)
    monkeypatch.setattr(history, "BUFFERED_MAX", 10)
    assert read(kafka_settings, topic, size=7) == found


def test_times_bound_it(kafka_settings: KafkaSettings, topic: str) -> None:
    write(kafka_settings, topic, [(i % 4, START + i * 1_000, b"%d" % i) for i in range(100)])
    found = read(kafka_settings, topic, START + 20_000, START + 50_000)
    assert [int(record.value or b"") for record in found] == list(range(20, 50))
    assert len(read(kafka_settings, topic, START + 90_000)) == 10
    assert read(kafka_settings, topic, START + 10**9) == []
    assert read(kafka_settings, topic, None, START - 1) == []


def test_what_comes_after_the_bounds_were_taken_is_not_history(kafka_settings: KafkaSettings, topic: str) -> None:
    write(kafka_settings, topic, [(0, START, b"old")])
    taken = bounds(kafka_settings, CLOCK, topic, None, None)
    write(kafka_settings, topic, [(0, START + 1, b"new"), (1, START - 1, b"new")])
    source = KafkaHistory(kafka_settings, taken, CLOCK)
    assert [record.value for record in source.poll(10, 0.0)] == [b"old"]
    assert source.exhausted()
    source.close()


def test_transactions_leave_marks_that_are_no_records_and_aborted_ones_are_not_read(
    kafka_settings: KafkaSettings, topic: str
) -> None:
    producer = KafkaProducer(bootstrap_servers=kafka_settings.bootstrap_servers, transactional_id=topic)
    producer.init_transactions()
    for value, end in ((b"kept", producer.commit_transaction), (b"lost", producer.abort_transaction)):
        producer.begin_transaction()
        producer.send(topic, value, partition=0, timestamp_ms=START)
        producer.flush()
        end()
    producer.close()
    assert [record.value for record in read(kafka_settings, topic)] == [b"kept"]


def test_no_group_is_left_behind(kafka_settings: KafkaSettings, topic: str, admin: KafkaAdminClient) -> None:
    write(kafka_settings, topic, [(0, START, b"x")])
    before = groups(admin)
    assert len(read(kafka_settings, topic)) == 1
    assert groups(admin) == before


def groups(admin: KafkaAdminClient) -> set[str]:
    return {str(group) for group in admin.list_groups()}


def test_a_topic_that_is_not_there_is_named(kafka_settings: KafkaSettings, topic_prefix: str) -> None:
    with pytest.raises(BrokerProblem, match="nosuch"):
        bounds(kafka_settings, CLOCK, f"{topic_prefix}nosuch", None, None)


def test_tune_finds_in_a_topic_what_it_finds_in_a_file(
    kafka_settings: KafkaSettings, kafka_broker: Broker, topic: str, tmp_path: Path
) -> None:
    events = shop()
    path = written(tmp_path / "shop.ndjson", events)
    write(
        kafka_settings,
        topic,
        [(i % 4, event["occurred_at"], json.dumps(event).encode()) for i, event in enumerate(events)],
    )
    where = {**ENVIRONMENT, "STREAMDRIFT_KAFKA__BOOTSTRAP_SERVERS": kafka_broker.plaintext}
    told = [streamdrift("tune", *history, "--json", "-", settings=where) for history in ([path], ["--topic", topic])]
    assert [done.code for done in told] == [0, 0], told[1].said
    of_file, of_topic = (json.loads(done.out) for done in told)
    # how many events a model had is counted by partition, and so a few less are known of at the beginning
    expected = [found["models"][0].pop("expected_false_per_week") for found in (of_file, of_topic)]
    assert expected[0] == pytest.approx(expected[1], rel=0.05)
    assert of_topic == of_file
    assert of_file["replays"] == 3
    nothing = streamdrift("tune", "--topic", topic, "--last", "1", settings=where)
    assert (nothing.code, "no event that can be read" in nothing.said) == (3, True), nothing.said
