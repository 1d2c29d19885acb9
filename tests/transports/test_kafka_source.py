"""What the consumer group does to a source: rebalances, lost rights, logs that changed under it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest
from kafka import ConsumerGroupMetadata, KafkaAdminClient, OffsetAndMetadata, TopicPartition
from kafka.admin import ACL, ACLOperation, ACLPermissionType, ResourcePattern, ResourceType
from kafka.structs import MemberState
from pydantic import SecretStr

from streamdrift.errors import BrokerProblem, Retriable
from streamdrift.ports import Partition, Record
from streamdrift.settings import KafkaSettings
from streamdrift.transports.kafka import KafkaSink, KafkaSource
from tests.broker import LIMITED, Broker
from tests.transports.clock import RealClock

pytestmark = pytest.mark.broker
CLOCK = RealClock()


@pytest.fixture
def topic(admin: KafkaAdminClient, topic_prefix: str) -> str:
    name = f"{topic_prefix}events"
    admin.create_topics({name: {"num_partitions": 4, "replication_factor": 1}}, wait_for_metadata=True)
    return name


def write(settings: KafkaSettings, topic: str, values: range) -> None:
    sink = KafkaSink(settings, CLOCK)
    for i in values:
        sink.send(topic, b"%d" % i, b"key-%d" % (i % 40))
    sink.flush(20.0)
    sink.close()


def poll_until(enough: Callable[[], bool], *sources: KafkaSource, fresh: int = 0) -> list[list[Record]]:
    """Poll all of them side by side, as their workers would, until so many fresh records came and it is enough."""
    found: list[list[Record]] = [[] for _ in sources]

    def done() -> bool:
        return sum(not record.replayed for records in found for record in records) >= fresh and enough()

    deadline = time.monotonic() + 30

    def work(source: KafkaSource, records: list[Record]) -> None:
        while not done() and time.monotonic() < deadline:
            records.extend(source.poll(1_000, 0.2))

    threads = [threading.Thread(target=work, args=pair) for pair in zip(sources, found, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert done(), "it did not come about within 30 s"
    return found


def test_one_poll_gathers_what_comes_within_the_time_that_it_is_given(
    kafka_settings: KafkaSettings, topic: str
) -> None:
    source = KafkaSource(kafka_settings, topic, topic, clock=CLOCK, in_bulk=True, gather_s=5.0)
    poll_until(lambda: len(source.lag()) == 4, source)
    sink = KafkaSink(kafka_settings, CLOCK)

    def drip() -> None:
        for i in range(40):
            sink.send(topic, b"%d" % i, b"key-%d" % i)
            sink.flush(10)
            time.sleep(0.02)

    writer = threading.Thread(target=drip)
    writer.start()
    records = list(source.poll(1_000, 10.0))
    writer.join()
    assert len({record.value for record in records}) > 10, "by one poll, though they came one by one"
    records += source.poll(1_000, 5.0)
    assert sorted(int(record.value or b"") for record in records) == list(range(40))
    for partition in {record.partition for record in records}:  # each partition's in order, although it came bit by bit
        offsets = [record.offset for record in records if record.partition == partition]
        assert offsets == list(range(len(offsets)))
    write(kafka_settings, topic, range(40))
    assert len(source.poll(10, 3.0)) == 10  # and no more than was asked for
    assert source._wait_ms(0.05) == 50  # nor longer than that: a settled group needs no long polls
    assert len(source.poll(1_000, 0.05)) <= 30
    source.close()
    sink.close()


def test_two_workers_share_the_partitions_and_one_takes_over(kafka_settings: KafkaSettings, topic: str) -> None:
    write(kafka_settings, topic, range(200))
    first = KafkaSource(kafka_settings, topic, topic, clock=CLOCK, in_bulk=True)
    seen: list[Record] = []
    while len(seen) < 200:
        seen += first.poll(1_000, 0.5)
    first.commit({p: max(r.offset for r in seen if r.partition == p) + 1 for p in {r.partition for r in seen}})
    second = KafkaSource(kafka_settings, topic, topic, clock=CLOCK, restore_events_max=5, in_bulk=True)
    restored = poll_until(lambda: len(second.lag()) == 2 and len(first.lag()) == 2, first, second)
    assert not restored[0]
    assert all(record.replayed for record in restored[1])
    write(kafka_settings, topic, range(200, 300))
    both = poll_until(lambda: True, first, second, fresh=100)
    fresh = [[record for record in records if not record.replayed] for records in both]
    assert all(fresh)
    assert not {r.partition for r in fresh[0]} & {r.partition for r in fresh[1]}
    assert sorted(int(r.value or b"") for records in fresh for r in records) == list(range(200, 300))
    second.close()  # uncommitted: its records come again, to the first
    (again,) = poll_until(lambda: len(first.lag()) == 4, first, fresh=len(fresh[1]))
    assert {r.value for r in fresh[1]} <= {r.value for r in again if not r.replayed}
    first.close()


def test_what_another_worker_took_over_is_not_committed(kafka_settings: KafkaSettings, topic: str) -> None:
    write(kafka_settings, topic, range(40))
    source = KafkaSource(kafka_settings, topic, topic, clock=CLOCK)
    records: list[Record] = []
    while len(records) < 40:
        records += source.poll(1_000, 0.5)
    elsewhere = Partition(topic, 99)
    source.commit({elsewhere: 7, records[0].partition: 1})
    tp = TopicPartition(topic, records[0].partition.index)
    assert source._consumer.committed(tp) == 1
    source._places[tp].committed = 5  # as if another worker had gone on to 5 in between
    source.commit({records[0].partition: 3})
    assert source._consumer.committed(tp) == 1
    source.close()
    source.close()


def test_a_topic_with_nothing_new_does_not_hold_up_the_other(
    kafka_settings: KafkaSettings, admin: KafkaAdminClient, topic_prefix: str
) -> None:
    topic, labels = f"{topic_prefix}large", f"{topic_prefix}labels"
    for name in (topic, labels):
        admin.create_topics({name: {"num_partitions": 1, "replication_factor": 1}}, wait_for_metadata=True)
    sink, n = KafkaSink(kafka_settings, CLOCK), 600
    for _ in range(n):
        sink.send(topic, b"x" * 100_000)  # fifteen fetches
    sink.flush(30.0)
    sink.close()
    source = KafkaSource(kafka_settings, topic, topic, clock=CLOCK, also=(labels,))
    count, waited = 0, 0.0
    while count < n:
        began = CLOCK.monotonic()
        found = len(source.poll(30, 0.5))
        waited += CLOCK.monotonic() - began if count else 0.0
        count += found
        CLOCK.sleep(0.03)  # work, during which what can be fetched is fetched; of records there are some left
    assert waited < 4  # half a second for each of fifteen fetches, if they wait for labels
    source.close()


@pytest.mark.parametrize("instance", [None, "static"])
def test_a_group_that_is_stuck_is_joined_anew(kafka_settings: KafkaSettings, topic: str, instance: str | None) -> None:
    write(kafka_settings, topic, range(40))
    faults: list[Exception] = []
    source = KafkaSource(kafka_settings, topic, topic, clock=CLOCK, on_error=faults.append, instance=instance)
    poll_until(lambda: len(source.lag()) == 4, source)
    coordinator = source._consumer._coordinator
    # the state that kafka-python is left in by its race: rebalancing for ever, and no wish to rejoin
    stuck = ConsumerGroupMetadata("g", -1, "", None, MemberState.REBALANCING)
    asked = coordinator.group_metadata
    coordinator.group_metadata = lambda: stuck
    poll_until(lambda: bool(faults), source)
    coordinator.group_metadata = asked
    assert "did not settle in 2.5 s; joining anew" in str(faults[0])
    records = poll_until(lambda: len(source.lag()) == 4, source, fresh=40)
    assert len(records[0]) == 40  # nothing was committed, so all of it comes again
    source.close()


def test_a_static_member_that_comes_back_moves_no_partition(kafka_settings: KafkaSettings, topic: str) -> None:
    write(kafka_settings, topic, range(40))
    first, second = (KafkaSource(kafka_settings, topic, topic, clock=CLOCK, instance=name) for name in ("a", "b"))
    poll_until(lambda: len(first.lag()) == 2 and len(second.lag()) == 2, first, second)
    before, kept = set(first.lag()), dict(second._places)
    first.close()
    again = KafkaSource(kafka_settings, topic, topic, clock=CLOCK, instance="a")
    poll_until(lambda: len(again.lag()) == 2 and len(second.lag()) == 2, again, second)
    assert set(again.lag()) == before
    assert all(
        second._places[tp] is place for tp, place in kept.items()
    )  # nothing of it was taken away, and given back
    again.close()
    second.close()


def test_a_member_whose_name_another_took_ends(kafka_settings: KafkaSettings, topic: str) -> None:
    """Were it to join again, the two would take the name from each other for ever."""
    first = KafkaSource(kafka_settings, topic, topic, clock=CLOCK, instance="a")
    poll_until(lambda: len(first.lag()) == 4, first)
    second = KafkaSource(kafka_settings, topic, topic, clock=CLOCK, instance="a")
    poll_until(lambda: len(second.lag()) == 4, second)
    first._consumer._coordinator.request_rejoin()
    with pytest.raises(BrokerProblem, match="another process began with the same name, and took over"):
        first.poll(10, 5.0)
    first.close()
    second.close()


def commit(settings: KafkaSettings, topic: str, offset: int) -> None:
    source = KafkaSource(settings, topic, topic, clock=CLOCK)
    poll_until(lambda: len(source.lag()) == 4, source)
    source._consumer.commit({TopicPartition(topic, i): OffsetAndMetadata(offset, "", -1) for i in range(4)})
    source.close()


def test_a_committed_offset_that_the_log_lost(
    admin: KafkaAdminClient, kafka_settings: KafkaSettings, topic: str
) -> None:
    write(kafka_settings, topic, range(200))
    commit(kafka_settings, topic, 3)
    admin.delete_records({TopicPartition(topic, i): 10 for i in range(4)})
    faults: list[Exception] = []
    source = KafkaSource(kafka_settings, topic, topic, clock=CLOCK, restore_events_max=100, on_error=faults.append)
    (records,) = poll_until(lambda: len(source.lag()) == 4, source, fresh=160)
    source.close()
    assert len(records) == 160
    assert not any(record.replayed for record in records)
    assert "records 3 to 9 were deleted before they were read; raise the topic's retention.ms" in str(faults[0])
    assert isinstance(faults[0], Retriable)


def test_a_committed_offset_beyond_the_end(kafka_settings: KafkaSettings, topic: str) -> None:
    write(kafka_settings, topic, range(40))
    commit(kafka_settings, topic, 1_000)
    faults: list[Exception] = []
    source = KafkaSource(kafka_settings, topic, topic, clock=CLOCK, restore_events_max=100, on_error=faults.append)
    (records,) = poll_until(lambda: len(source.lag()) == 4, source, fresh=40)
    source.close()
    assert len(records) == 40
    assert not any(record.replayed for record in records)
    assert "offset 1000 was committed, but the log ends at" in str(faults[0])


def test_a_broker_that_hangs_holds_nobody_for_long(
    kafka_broker: Broker, kafka_settings: KafkaSettings, topic: str
) -> None:
    hasty = kafka_settings.model_copy(update={"request_timeout_s": 2.0})
    write(hasty, topic, range(40))
    source = KafkaSource(hasty, topic, topic, clock=CLOCK)
    doomed = KafkaSource(hasty, topic, f"{topic}.other", clock=CLOCK)
    (records,) = poll_until(lambda: len(source.lag()) == 4, source, fresh=40)
    poll_until(lambda: len(doomed.lag()) == 4, doomed)
    done = {records[0].partition: records[0].offset + 1}

    def commit_in_vain() -> None:
        with pytest.raises(Retriable):
            source.commit(done)

    with kafka_broker.paused():
        for limit, action in (
            (2.0, lambda: source.poll(100, 0.5)),
            (0.5, source.lag),
            (4.0, commit_in_vain),
            (2.0, lambda: source.poll(100, 0.5)),
            (12.0, doomed.close),
        ):
            began = time.monotonic()
            action()
            assert time.monotonic() - began < limit
    write(hasty, topic, range(40, 50))
    (after,) = poll_until(lambda: True, source, fresh=10)
    assert {record.value for record in after} >= {b"%d" % i for i in range(40, 50)}
    source.commit({after[-1].partition: after[-1].offset + 1})
    source.close()


def test_no_right_to_the_group(admin: KafkaAdminClient, kafka_broker: Broker, topic: str) -> None:
    allowed = ACL(
        f"User:{LIMITED[0]}",
        "*",
        ACLOperation.READ,
        ACLPermissionType.ALLOW,
        ResourcePattern(ResourceType.TOPIC, topic),
    )
    admin.create_acls([allowed])
    settings = KafkaSettings(
        bootstrap_servers=kafka_broker.sasl,
        security_protocol="SASL_PLAINTEXT",
        sasl_mechanism="PLAIN",
        sasl_username=LIMITED[0],
        sasl_password=SecretStr(LIMITED[1]),
    )

    def read() -> None:
        source = KafkaSource(settings, topic, "secret-group", clock=CLOCK)
        try:
            for _ in range(20):
                source.poll(10, 0.5)
        finally:
            source.close()

    with pytest.raises(BrokerProblem, match="user 'limited' lacks READ on group 'secret-group'"):
        read()
    group = ResourcePattern(
        ResourceType.GROUP, "secret-group"
    )  # of one that nobody has joined the broker tells nothing
    admin.create_acls([ACL(f"User:{LIMITED[0]}", "*", ACLOperation.DESCRIBE, ACLPermissionType.ALLOW, group)])
    said = rf"reading topic '{topic}' as group 'secret-group' .*the user has no right to this consumer group"
    with pytest.raises(BrokerProblem, match=said):
        read()

    def publish() -> None:
        sink = KafkaSink(settings, CLOCK)
        try:
            sink.send(topic, b"1")
            sink.flush(10.0)
        finally:
            sink.close()

    with pytest.raises(BrokerProblem, match=rf"user 'limited' lacks WRITE on topic '{topic}'"):
        publish()
