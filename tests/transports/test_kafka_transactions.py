"""What the guards of transactions hold off, each brought about on a real broker."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, OffsetAndMetadata, TopicPartition, errors
from kafka.admin import ACL, ACLOperation, ACLPermissionType, ResourcePattern, ResourceType
from kafka.coordinator.assignors.range import RangePartitionAssignor
from pydantic import SecretStr

from streamdrift.errors import BrokerProblem, Retriable
from streamdrift.ports import Partition, Record, StateRecord
from streamdrift.settings import KafkaSettings
from streamdrift.telemetry import Metrics
from streamdrift.transports.kafka import Changelog, KafkaSink, KafkaSource, KafkaTransactions
from streamdrift.transports.kafka import producer as producers
from streamdrift.transports.kafka.explain import translate
from tests.broker import LIMITED, Broker
from tests.transports.clock import RealClock

pytestmark = pytest.mark.broker
CLOCK = RealClock()


@pytest.fixture
def topic(admin: KafkaAdminClient, topic_prefix: str) -> str:
    for name in ("in", "out", "state"):
        admin.create_topics(
            {topic_prefix + name: {"num_partitions": 2, "replication_factor": 1}}, wait_for_metadata=True
        )
    sink = KafkaSink(KafkaSettings(bootstrap_servers=admin.config["bootstrap_servers"][0]), CLOCK)
    for i in range(20):
        sink.send(f"{topic_prefix}in", b"%d" % i, b"key-%d" % i)
    sink.flush(20.0)
    sink.close()
    return topic_prefix


class Member:
    """A source and its transactions, as a worker has them."""

    def __init__(self, settings: KafkaSettings, topic: str, name: str = "a", **options: Any) -> None:
        self.metrics = Metrics()
        self.out, group = f"{topic}out", f"{topic}group"
        self.source = KafkaSource(settings, f"{topic}in", group, clock=CLOCK, **options)
        self.sink = KafkaTransactions(settings, self.source, topic + name, clock=CLOCK, metrics=self.metrics, stage="s")

    def poll(self, n: int) -> list[Record]:
        records: list[Record] = []
        for _ in range(60):
            records += self.source.poll(100, 0.2)
            if len(records) >= n:
                break
        assert len(records) == n
        return records

    def done(self, records: list[Record]) -> None:
        self.sink.send(self.out, b"%d records" % len(records), b"k")
        self.sink.consumed({p: max(r.offset for r in records if r.partition == p) + 1 for p in parts(records)})

    def committed(self) -> int:
        places = (TopicPartition(p.name, p.index) for p in self.source.lag())
        return sum(self.source._consumer.committed(tp, timeout_ms=10_000) or 0 for tp in places)

    def count(self, outcome: str) -> float | None:
        return self.metrics.registry.get_sample_value(
            "streamdrift_transactions_total", {"stage": "s", "outcome": outcome}
        )

    def close(self) -> None:
        self.sink.close()
        self.source.close()


def parts(records: list[Record]) -> set[Partition]:
    return {record.partition for record in records}


@pytest.fixture
def join(kafka_settings: KafkaSettings, topic: str) -> Iterator[Callable[..., Member]]:
    members: list[Member] = []

    def make(name: str = "a", settings: KafkaSettings = kafka_settings, **options: Any) -> Member:
        members.append(Member(settings, topic, name, **options))
        return members[-1]

    yield make
    for member in members:
        member.close()


def published(settings: KafkaSettings, topic: str) -> list[bytes]:
    consumer = KafkaConsumer(
        bootstrap_servers=settings.bootstrap_servers, enable_auto_commit=False, isolation_level="read_committed"
    )
    places = [TopicPartition(topic, i) for i in range(2)]
    consumer.assign(places)
    consumer.seek_to_beginning(*places)
    ends = consumer.end_offsets(places)
    values: list[bytes] = []
    while any(consumer.position(tp) < ends[tp] for tp in places):
        values += [record.value for batch in consumer.poll(timeout_ms=100).values() for record in batch]
    consumer.close()
    return values


def test_messages_and_offsets_come_together(join: Callable[..., Member], kafka_settings: KafkaSettings) -> None:
    member = join()
    member.done(member.poll(20))
    assert (member.committed(), published(kafka_settings, member.out)) == (0, [])
    member.sink.commit(())
    assert (member.committed(), published(kafka_settings, member.out)) == (20, [b"20 records"])
    member.sink.commit(())  # nothing to do
    member.sink.send(member.out, b"no record", b"k")  # offsets that stand already go with it
    member.sink.commit(())
    assert (member.committed(), len(published(kafka_settings, member.out))) == (20, 2)
    assert (member.count("committed"), member.count("failed")) == (2, None)


def test_who_has_no_partition_says_nothing(join: Callable[..., Member], kafka_settings: KafkaSettings) -> None:
    member = join()
    member.poll(20)
    member.source._places.clear()
    member.sink.send(member.out, b"silence", b"k")
    member.sink.commit(())
    assert published(kafka_settings, member.out) == []
    member.sink.send(member.out, b"something", b"k")
    member.sink.consumed({Partition("t", 0): 1})
    with pytest.raises(Retriable):
        member.sink.commit(())


def test_who_was_thrown_out_commits_nothing(join: Callable[..., Member], kafka_settings: KafkaSettings) -> None:
    """The live membership of a member that was thrown out, (-1, ""), is taken by any broker."""
    member = join()
    member.done(member.poll(20))
    member.source._consumer._coordinator.maybe_leave_group()
    join("b").poll(20)
    member.source.membership = member.source._consumer.group_metadata()
    assert (member.source.membership.generation_id, member.source.membership.member_id) == (-1, "")
    with pytest.raises(Retriable, match="the group gave the partitions to others; what was not committed is read"):
        member.sink.commit(())
    assert (member.committed(), published(kafka_settings, member.out)) == (0, [])


def test_what_was_polled_is_committed_as_who_polled_it(
    join: Callable[..., Member], kafka_settings: KafkaSettings
) -> None:
    member = join()
    member.done(member.poll(20))
    consumer = member.source._consumer
    consumer._coordinator.maybe_leave_group()
    successor = join("b")
    successor.done(successor.poll(20))
    successor.sink.commit(())
    successor.close()
    while consumer.group_metadata().generation_id < 0:
        consumer.poll(500)  # a member again, and not the one that polled
    with pytest.raises(Retriable, match="the group gave the partitions to others; what was not committed is read"):
        member.sink.commit(())
    assert published(kafka_settings, member.out) == [b"20 records"]


def thrown_out_while_it_joins(member: Member) -> None:
    """kafka-python asks once before it joins whether it was thrown out, and not again for as long as it waits for an answer."""
    coordinator = member.source._consumer._coordinator
    coordinator.rejoining = True
    coordinator.maybe_leave_group()


@pytest.mark.parametrize("stays", [False, True])
def test_who_was_thrown_out_while_it_joined_begins_anew(
    join: Callable[..., Member], kafka_settings: KafkaSettings, stays: bool
) -> None:
    """It is not told that its partitions were another's, nor, with one that stays, before one of them goes for good."""
    member = join()
    member.done(member.poll(20))
    thrown_out_while_it_joins(member)
    successor = join("b")
    successor.done(successor.poll(20))
    successor.sink.commit(())
    if not stays:
        successor.close()

    def goes_on() -> None:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            member.source.poll(100, 0.3)
            if member.source.membership.generation_id >= 0:
                member.sink.commit(())
            if stays:
                successor.source.poll(100, 0.2)

    with pytest.raises(
        Retriable, match=r"thrown out of group .* while it joined|went to another worker|the group gave"
    ):
        goes_on()
    assert published(kafka_settings, member.out) == [b"20 records"]


def test_an_answer_to_a_membership_that_is_gone_is_no_end(kafka_settings: KafkaSettings) -> None:
    """As raised by kafka-python 3.0.12 after SIGSTOP in the midst of a rebalance; the broker's own is an end."""
    text = "SyncGroupResponse protocol_name 'cooperative-sticky' does not match group protocol_name None"
    found = translate(errors.InconsistentGroupProtocolError(text), kafka_settings, "reading")
    assert isinstance(found, Retriable)
    assert "dealt its partitions out anew" in str(found)


def test_a_group_that_another_program_uses(join: Callable[..., Member], topic: str, broker: str) -> None:
    other = KafkaConsumer(
        f"{topic}in",
        bootstrap_servers=broker,
        group_id=f"{topic}group",
        partition_assignment_strategy=[RangePartitionAssignor],
    )
    try:
        other.poll(5_000)
        member = join()

        def polls() -> None:
            for _ in range(20):
                member.source.poll(1, 0.3)

        with pytest.raises(BrokerProblem, match=r"another program uses its name; change STREAMDRIFT_KAFKA__GROUP"):
            polls()
    finally:
        other.close(autocommit=False)


def test_after_a_failure_nothing_more_is_taken(join: Callable[..., Member], kafka_settings: KafkaSettings) -> None:
    """A producer that goes on commits the offsets of the transaction that failed with its next one."""
    member = join()
    records = member.poll(20)
    member.done(records)
    stale, member.source.membership = member.source.membership, member.source.membership._replace(generation_id=99)
    with pytest.raises(Retriable):
        member.sink.commit(())
    member.source.membership = stale
    for _ in range(2):
        with pytest.raises(Retriable, match="the group gave"):
            member.sink.commit(())
    assert member.sink._producer._closed
    assert (member.committed(), member.count("failed"), member.count("committed")) == (0, 1, None)
    assert published(kafka_settings, member.out) == []


def test_a_lost_partition_takes_what_came_of_it_along(join: Callable[..., Member]) -> None:
    member = join()
    member.done(member.poll(20))
    member.source._assignments.on_partitions_lost([TopicPartition(p.name, p.index) for p in member.source.lag()])
    with pytest.raises(Retriable, match=r"went to another worker of group .* before all that came of it was committed"):
        member.source.poll(10, 0.2)


def test_partitions_that_go_are_committed_before(join: Callable[..., Member], kafka_settings: KafkaSettings) -> None:
    first = join()
    first.done(first.poll(20))
    second = join("b")
    records: list[Record] = []
    deadline = time.monotonic() + 20
    while len(second.source.lag()) != 1 or len(first.source.lag()) != 1:
        assert time.monotonic() < deadline
        thread = threading.Thread(target=lambda: records.extend(second.source.poll(100, 0.3)))
        thread.start()
        assert not first.source.poll(100, 0.3)
        thread.join()
    assert not records
    assert first.committed() + second.committed() == 20
    assert published(kafka_settings, first.out) == [b"20 records"]


def stalled(member: Member, seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the next transaction stand still between its messages and their flush, and nobody watch."""
    flush = member.sink._producer.flush

    def late(timeout: float | None = None) -> None:
        flush(timeout)  # so that the transaction has begun on the broker
        time.sleep(seconds)
        member.sink._producer.send(member.out, b"late", b"k")
        flush(timeout)

    monkeypatch.setattr(member.sink._producer, "flush", late)
    monkeypatch.setattr(member.sink, "_within", lambda _, work: work())


def test_a_transaction_that_timed_out_is_no_success(
    join: Callable[..., Member], kafka_settings: KafkaSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """kafka-python's commit alone returns as if all were well; their futures, and offsets that go with them, tell."""
    member = join(settings=kafka_settings.model_copy(update={"transaction_timeout_s": 1.0}))
    member.done(member.poll(20))
    stalled(member, 2.0, monkeypatch)
    with pytest.raises(Retriable, match="what was not committed is read again"):
        member.sink.commit(())
    assert (member.committed(), published(kafka_settings, member.out)) == (0, [])


@pytest.mark.parametrize("guarded", [True, False])
def test_who_was_shut_out_does_not_shut_out_its_successor(
    join: Callable[..., Member], kafka_settings: KafkaSettings, monkeypatch: pytest.MonkeyPatch, guarded: bool
) -> None:
    if not guarded:  # as kafka-python does by itself: so much for what the guard is good for
        monkeypatch.setattr(producers, "_never", lambda: True)
    old = join(settings=kafka_settings.model_copy(update={"transaction_timeout_s": 1.0}))
    old.sink._producer.begin_transaction()
    old.sink._producer.send(old.out, b"before", b"k").get(10)
    time.sleep(2.0)  # the broker gave up on it
    new = join()
    producer = new.sink._producer
    producer.begin_transaction()
    producer.send(new.out, b"successor", b"k").get(10)
    future = old.sink._producer.send(old.out, b"zombie", b"k")
    with pytest.raises(errors.KafkaError):
        future.get(10)
    time.sleep(0.5)
    try:
        producer.commit_transaction()
        unharmed = True
    except errors.KafkaError:
        unharmed = False
    assert unharmed == guarded
    assert published(kafka_settings, new.out) == [b"successor"] * guarded


def test_a_second_process_of_the_same_name_ends_the_first(join: Callable[..., Member]) -> None:
    first = join()
    first.done(first.poll(20))
    join()
    with pytest.raises(BrokerProblem, match="another process began with the same name, and took over; give each"):
        first.sink.commit(())


def test_a_broker_that_hangs_holds_no_commit_for_longer_than_it_may_take(
    join: Callable[..., Member], kafka_broker: Broker, kafka_settings: KafkaSettings
) -> None:
    """Three calls of kafka-python's producer have no time-out."""
    hasty = kafka_settings.model_copy(update={"transaction_timeout_s": 2.0})
    member = join(settings=hasty)
    member.done(member.poll(20))
    with kafka_broker.paused():
        began = time.monotonic()
        with pytest.raises(Retriable, match="what was not committed is read again"):
            member.sink.commit(())
        assert time.monotonic() - began < 2.0 + producers.CLOSE_S + 2.0
    member.close()
    again = join(settings=hasty)
    again.done(again.poll(20))
    again.sink.commit(())
    assert published(kafka_settings, again.out) == [b"20 records"]


def test_offsets_that_are_being_committed_are_waited_for(
    join: Callable[..., Member], kafka_settings: KafkaSettings, topic: str
) -> None:
    """Only a source that reads committed records is told to wait: else it begins before what its predecessor did."""
    member = join()
    member.poll(20)
    producer = KafkaProducer(bootstrap_servers=kafka_settings.bootstrap_servers, transactional_id=f"{topic}predecessor")
    producer.init_transactions()
    producer.begin_transaction()
    offsets = {TopicPartition(p.name, p.index): OffsetAndMetadata(5, "", -1) for p in member.source.lag()}
    producer.send_offsets_to_transaction(offsets, member.source.membership)
    member.close()
    commit = threading.Timer(1.5, producer.commit_transaction)
    commit.start()
    successor = join("b")
    assert len(successor.poll(10)) == 10
    assert successor.committed() == 10
    commit.join()
    producer.close()


def test_what_no_topic_takes_is_refused_in_a_sentence(join: Callable[..., Member]) -> None:
    member = join()
    member.sink.send(member.out, bytes(2_000_000), b"k")
    member.done(member.poll(20))
    with pytest.raises(BrokerProblem, match=rf"writing a message of 2000001 bytes to topic '{member.out}'"):
        member.sink.commit(())
    assert member.committed() == 0


def test_much_that_waits_asks_to_be_committed(join: Callable[..., Member]) -> None:
    member = join()
    assert not member.sink.full()
    for _ in range(34):
        member.sink.send(member.out, bytes(1_000_000))
    assert member.sink.full()
    many = join("b")
    for _ in range(10_000):
        many.sink.send(many.out, b"")
    assert many.sink.full()


def test_no_right_to_the_transactional_id(admin: KafkaAdminClient, kafka_broker: Broker, topic: str) -> None:
    user, allow = f"User:{LIMITED[0]}", ACLPermissionType.ALLOW
    pattern = ResourcePattern(ResourceType.TOPIC, f"{topic}in")
    group = ResourcePattern(ResourceType.GROUP, "group")
    admin.create_acls([ACL(user, "*", ACLOperation.READ, allow, one) for one in (pattern, group)])
    settings = KafkaSettings(
        bootstrap_servers=kafka_broker.sasl,
        security_protocol="SASL_PLAINTEXT",
        sasl_mechanism="PLAIN",
        sasl_username=LIMITED[0],
        sasl_password=SecretStr(LIMITED[1]),
    )
    source = KafkaSource(settings, f"{topic}in", "group", clock=CLOCK)
    with pytest.raises(BrokerProblem, match=r"no right to this transactional id; allow it WRITE and DESCRIBE, or set"):
        KafkaTransactions(settings, source, "name", clock=CLOCK, metrics=Metrics(), stage="s")
    source.close()


def changelog(settings: KafkaSettings, topic: str, group: str = "g") -> Changelog:
    return Changelog(settings, f"{topic}state", group, CLOCK, keyed=True)


def write(settings: KafkaSettings, log: Changelog, states: list[StateRecord]) -> None:
    producer = KafkaProducer(bootstrap_servers=settings.bootstrap_servers)
    for value, key, headers, partition in log.records(states):
        producer.send(log.topic, value, key, list(headers), partition).get(10)
    producer.close()


def test_state_is_read_back_by_group_and_topic(kafka_settings: KafkaSettings, topic: str) -> None:
    log, other = changelog(kafka_settings, topic), changelog(kafka_settings, topic, "other")
    here, there, labels = (Partition(f"{topic}in", 0), Partition(f"{topic}in", 1), Partition(f"{topic}out", 0))
    assert log.read(here) == {}
    write(
        kafka_settings,
        log,
        [
            StateRecord(here, b"a", b"1"),
            StateRecord(here, b"a", b"2"),
            StateRecord(here, b"gone", b"1"),
            StateRecord(there, b"a", b"3"),
            StateRecord(labels, b"a", b"4"),
            StateRecord(here, b"gone", None),
            StateRecord(here, b"", b"no name"),
        ],
    )
    assert log.read(here) == {b"a": b"2", b"": b"no name"}
    assert log.read(there) == {b"a": b"3"}
    assert log.read(labels) == {b"a": b"4"}
    assert other.read(here) == {}
    for one in (log, other):
        one.close()


def test_a_broker_that_is_slow_to_say_where_state_begins_is_asked_again(
    kafka_settings: KafkaSettings, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """kafka-python's position is None where nobody answers in time."""
    log, partition = changelog(kafka_settings, topic), Partition(f"{topic}in", 0)
    write(kafka_settings, log, [StateRecord(partition, b"a", b"1")])
    position, asked = KafkaConsumer.position, list[TopicPartition]()

    def late(consumer: KafkaConsumer, tp: TopicPartition, **options: Any) -> int | None:
        asked.append(tp)
        return None if len(asked) == 1 else position(consumer, tp, **options)

    monkeypatch.setattr(KafkaConsumer, "position", late)
    assert log.read(partition) == {b"a": b"1"}
    assert len(asked) > 1
    log.close()


def test_a_count_of_partitions_that_is_damaged_is_written_anew(kafka_settings: KafkaSettings, topic: str) -> None:
    log, partition = changelog(kafka_settings, topic), Partition(f"{topic}in", 0)
    assert log.read(partition) == {}
    write(kafka_settings, log, [StateRecord(partition, b"a", b"1")])
    producer = KafkaProducer(bootstrap_servers=kafka_settings.bootstrap_servers)
    producer.send(log.topic, b"\xff\x00", f"g\0{topic}in".encode(), partition=0).get(10)
    producer.close()
    assert log.read(partition) == {b"a": b"1"}
    ((count, key, _, _), *_) = log.records([StateRecord(partition, b"a", b"2")])
    assert (count, key) == (b"2", f"g\0{topic}in".encode())
    log.close()


def test_state_that_is_being_committed_is_waited_for(kafka_settings: KafkaSettings, topic: str) -> None:
    """The end of what is committed may lie before state that a predecessor is about to commit."""
    log, partition = changelog(kafka_settings, topic), Partition(f"{topic}in", 0)
    write(kafka_settings, log, [StateRecord(partition, b"a", b"1")])
    predecessor = KafkaProducer(
        bootstrap_servers=kafka_settings.bootstrap_servers, transactional_id=f"{topic}predecessor"
    )
    predecessor.init_transactions()
    predecessor.begin_transaction()
    ((value, key, _, index),) = log.records([StateRecord(partition, b"a", b"2")])
    predecessor.send(log.topic, value, key, partition=index).get(10)
    commit = threading.Timer(1.0, predecessor.commit_transaction)
    commit.start()
    assert log.read(partition) == {b"a": b"2"}
    commit.join()
    predecessor.close()
    log.close()


def test_an_input_that_got_more_partitions_is_refused(
    admin: KafkaAdminClient, kafka_settings: KafkaSettings, topic: str
) -> None:
    log = changelog(kafka_settings, topic)
    assert log.read(Partition(f"{topic}in", 0)) == {}
    write(kafka_settings, log, [StateRecord(Partition(f"{topic}in", 0), b"a", b"1")])
    log.close()
    admin.create_partitions({f"{topic}in": 3})
    time.sleep(0.5)
    again = changelog(kafka_settings, topic)
    with pytest.raises(BrokerProblem, match=r"had 2 partitions when state was put away .* and has 3 now"):
        again.read(Partition(f"{topic}in", 0))
    with pytest.raises(
        BrokerProblem, match=r"has a partition 2, and '.*state', which keeps the state, has 2 partitions"
    ):
        again.read(Partition(f"{topic}in", 2))
    again.close()


def test_state_ahead_of_the_committed_offset_is_not_taken(join: Callable[..., Member]) -> None:
    """Somebody set the group's offsets back: what is read again must be counted again."""

    class Ahead:
        forgotten: list[Partition] = []  # noqa: RUF012 - one for the test

        def gained(self, partition: Partition) -> int:
            return 7 if partition.index else 0

        def lost(self, partition: Partition) -> None:
            self.forgotten.append(partition)

        def close(self) -> None: ...

    faults: list[Exception] = []
    member = join(keeper=Ahead(), on_error=faults.append)
    assert not any(record.replayed for record in member.poll(20))
    assert [partition.index for partition in Ahead.forgotten] == [1]
    assert "the state is of offset 7, and none is committed: were the group's offsets set back?" in str(faults[0])
