from __future__ import annotations

import json
from collections.abc import Collection, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from streamdrift.alerts import Alert
from streamdrift.errors import Retriable
from streamdrift.pipeline import LETTER_BYTES_MAX, Assemble, Detect, Direct
from streamdrift.ports import Partition, Record
from streamdrift.settings import Settings
from streamdrift.telemetry import Metrics
from streamdrift.transports.memory import MemoryBroker, MemorySink, MemorySource
from streamdrift.worker import Stage, Worker
from tests.detect.test_bank import SMALL, records, traffic

EVENTS = records(traffic())
TOPICS = SMALL.topics


class FakeClock:
    def __init__(self, now: float = 1_700_000_000.0) -> None:
        self.time = now

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += seconds


def broker_with_events(partitions: int = 1) -> MemoryBroker:
    broker = MemoryBroker(partitions)
    for record in EVENTS:
        broker.append(TOPICS.events, record.value, timestamp_ms=record.timestamp_ms)
    return broker


def worker(stage: Stage, broker: MemoryBroker, clock: FakeClock, tree: Settings = SMALL) -> Worker:
    topic = TOPICS.blocks if stage.name == "detect" and isinstance(stage, Detect) else TOPICS.events
    source = MemorySource(broker, topic, stage.name, restore_events_max=0 if isinstance(stage, Assemble) else 10**6)
    return Worker(stage, source, MemorySink(broker), tree, clock, Metrics())


def drain(w: Worker) -> None:
    while w.step(0.0):
        pass
    w.commit()


def published(broker: MemoryBroker) -> list[Alert]:
    return [Alert.from_cloudevent(record.value or b"") for record in broker.records(TOPICS.alerts)]


def run_direct(tree: Settings = SMALL) -> MemoryBroker:
    broker = broker_with_events()
    drain(worker(Direct(tree, "config", Metrics()), broker, FakeClock()))
    return broker


EXPECTED = [a.alert_id for a in published(run_direct())]


def test_two_stages_by_the_exchange_say_what_one_in_memory_says() -> None:
    broker, clock = broker_with_events(), FakeClock()
    assemble, detect = Assemble(SMALL, Metrics()), Detect(SMALL, "config", Metrics())
    drain(worker(assemble, broker, clock))
    drain(worker(detect, broker, clock))
    assert EXPECTED
    assert sorted(a.alert_id for a in published(broker)) == sorted(EXPECTED)
    assert {record.key for record in broker.records(TOPICS.alerts)} == {b"m"}


def test_series_stay_on_one_partition_of_the_exchange() -> None:
    broker, clock = MemoryBroker(partitions=4), FakeClock()
    for record in EVENTS:
        broker.append(TOPICS.events, record.value, key=b"one partition, so one order", timestamp_ms=record.timestamp_ms)
    drain(worker(Assemble(SMALL, Metrics()), broker, clock))
    drain(worker(Detect(SMALL, "config", Metrics()), broker, clock))
    assert sorted(a.alert_id for a in published(broker)) == sorted(EXPECTED)


small_polls = Settings.model_validate(
    SMALL.model_dump() | {"kafka": {"poll_records_max": 100, "commit_interval_s": 0.001}}
)


@settings(max_examples=10, deadline=None)
@given(st.lists(st.integers(0, 14), min_size=1, max_size=3))
def test_a_crash_anywhere_loses_nothing_and_what_it_repeats_has_the_same_id(steps: Sequence[int]) -> None:
    broker, clock = broker_with_events(), FakeClock()
    for n in steps:
        crashing = worker(Direct(small_polls, "config", Metrics()), broker, clock, small_polls)
        for _ in range(n):
            crashing.step(0.0)
            clock.sleep(0.0005)  # so that only every second step commits: alerts are out whose offsets are not
    drain(worker(Direct(small_polls, "config", Metrics()), broker, clock, small_polls))
    ids = [a.alert_id for a in published(broker)]
    assert list(dict.fromkeys(ids)) == EXPECTED
    assert {a.to_cloudevent() for a in published(broker)} == {a.to_cloudevent() for a in published(run_direct())}


def test_offsets_are_committed_only_after_the_alerts_are_acknowledged() -> None:
    broker, clock = broker_with_events(), FakeClock()
    failing = worker(Direct(SMALL, "config", Metrics()), broker, clock)
    broker.scripted.flushes.append(Retriable("the broker went away"))
    while failing.step(0.0):
        pass
    with pytest.raises(Retriable):
        failing.commit()
    drain(worker(Direct(SMALL, "config", Metrics()), broker, clock))
    assert list(dict.fromkeys(a.alert_id for a in published(broker))) == EXPECTED


def test_dead_letters_keep_the_bytes_and_say_why_and_where_from() -> None:
    broker, clock = MemoryBroker(), FakeClock()
    for value in (b"nonsense", json.dumps({"model": "m", "features": {"x": 1}}).encode(), b"\xff\x00"):
        broker.append(TOPICS.events, value, key=b"k")
    drain(worker(Direct(SMALL, "config", Metrics()), broker, clock))
    letters = broker.records(TOPICS.rejected)
    assert [(r.value, r.key, dict(r.headers)["source"], dict(r.headers)["reason"]) for r in letters] == [
        (b"nonsense", b"k", b"inference-events/0/0", b"not_json"),
        (b"\xff\x00", b"k", b"inference-events/0/2", b"not_json"),
    ]
    assert dict(letters[0].headers)["stage"] == b"assemble"
    drain(worker(Direct(SMALL, "config", Metrics()), broker, clock))
    assert len(broker.records(TOPICS.rejected)) == 2


@pytest.mark.parametrize("key", [None, b"k", b"k" * 1_000_000])
def test_a_dead_letter_is_cut_to_what_any_topic_takes_and_says_so(key: bytes | None) -> None:
    from tests.test_schemas import asyncapi

    broker = MemoryBroker()
    huge = b'{"model":"m"}' + b"x" * 5_000_000
    just = b"y" * (LETTER_BYTES_MAX - 1)
    broker.append(TOPICS.events, huge, key=key)
    broker.append(TOPICS.events, just, key=b"k")
    drain(worker(Direct(SMALL, "config", Metrics()), broker, FakeClock()))
    cut, whole = broker.records(TOPICS.rejected)
    headers = {name: value.decode() for name, value in cut.headers}
    sizes = [len(name) + len(value) + 10 for name, value in cut.headers]
    assert len(cut.value or b"") + len(cut.key or b"") == LETTER_BYTES_MAX
    assert LETTER_BYTES_MAX + sum(sizes) + 100 < 1_048_588
    assert huge.startswith(cut.value or b"")
    assert headers["truncated"] == "5000013"
    assert headers["reason"] == "too_large"
    assert (whole.value, "truncated" in dict(whole.headers)) == (just, False)
    schema = asyncapi()["components"]["messages"]["deadLetter"]["headers"]
    Draft202012Validator(schema).validate(headers)


def test_a_damaged_block_is_a_dead_letter_too() -> None:
    broker, clock = MemoryBroker(), FakeClock()
    broker.append(TOPICS.blocks, b"SDB1 but damaged", key=b"k")
    drain(worker(Detect(SMALL, "config", Metrics()), broker, clock))
    assert dict(broker.records(TOPICS.rejected)[0].headers)["reason"] == b"damaged_block"


def test_metrics_count_what_went_through() -> None:
    broker, clock, metrics = broker_with_events(), FakeClock(), Metrics()
    broker.append(TOPICS.events, b"nonsense")
    stage = Direct(SMALL, "config", metrics)
    source = MemorySource(broker, TOPICS.events, "detect")
    ran = Worker(stage, source, MemorySink(broker), SMALL, clock, metrics)
    drain(ran)

    def value(name: str, **labels: str) -> float | None:
        return metrics.registry.get_sample_value(f"streamdrift_{name}", labels)

    assert value("events_total", stage="detect") == len(EVENTS)
    assert value("rejected_total", reason="not_json") == 1
    assert value("series") == stage.bank.series
    assert value("lag_records", topic="inference-events", partition="0") == 0
    assert value("commits_total", stage="detect") == 1
    assert value("alerts_total", kind="drift", status="firing")
    assert value("stage_seconds_count", stage="detect")
    ran.close()  # its partitions may go to another process now: what they lag is that one's to say
    assert value("lag_records", topic="inference-events", partition="0") is None


LAST = 1_700_000_000_000 + 399_000


def regular(broker: MemoryBroker, model: str = "m", index: int = 0) -> None:
    """400 events, one a second."""
    for at in range(LAST - 399_000, LAST + 1, 1_000):
        event = {"model": model, "occurred_at": at, "features": {"x": 1}}
        broker.append(TOPICS.events, json.dumps(event).encode(), index=index)


def silences(broker: MemoryBroker) -> list[Alert]:
    return [alert for alert in published(broker) if alert.reason == "silence"]


def stages(broker: MemoryBroker, clock: FakeClock, exchange: str) -> list[Worker]:
    found: list[Stage] = [Direct(SMALL, "config", Metrics())]
    if exchange == "topic":
        found = [Assemble(SMALL, Metrics()), Detect(SMALL, "config", Metrics())]
    return [worker(stage, broker, clock) for stage in found]


@pytest.mark.parametrize("exchange", ["topic", "direct"])
def test_a_model_that_nothing_comes_of_is_silent(exchange: str) -> None:
    broker, clock = MemoryBroker(2), FakeClock(LAST / 1000)
    regular(broker)
    workers = stages(broker, clock, exchange)
    for seconds in (0, 10, 49, 6, 6, 60):
        clock.sleep(seconds)
        for w in workers:
            drain(w)
        told = [(a.status, a.detected_at, a.position) for a in silences(broker)]
        passed = clock.now() * 1000 > LAST + 60_000
        position = {"topic": TOPICS.events, "partition": 0, "offset": 399}
        assert told == ([("firing", LAST + 60_000, position)] if passed else []), seconds
    regular(broker)  # events again, though of a time that is over
    for w in workers:
        drain(w)
    assert len(silences(broker)) == 1


class Behind(MemorySource):
    """Has more, but does not get at it: a broker that is cut off, say."""

    def poll(self, records_max: int, timeout_s: float) -> Sequence[Record]:
        return [record for record in super().poll(records_max, timeout_s) if record.partition.index == 0]

    def nothing_left(self, partitions: Collection[Partition]) -> Collection[Partition]:
        return [partition for partition in super().nothing_left(partitions) if partition.index == 0]


def test_a_model_whose_partition_is_behind_is_not() -> None:
    broker, clock = MemoryBroker(2), FakeClock(LAST / 1000)
    for model, index in (("m", 0), ("m", 1), ("other", 0)):
        regular(broker, model, index)
    for w in stages(broker, clock, "topic"):
        drain(w)
    source = Behind(broker, TOPICS.events, "assemble")
    assemble = Worker(Assemble(SMALL, Metrics()), source, MemorySink(broker), SMALL, clock, Metrics())
    detect = worker(Detect(SMALL, "config", Metrics()), broker, clock)
    for _ in range(20):
        clock.sleep(30)
        drain(assemble)
        drain(detect)
    assert [a.model_name for a in silences(broker)] == ["other"]


def test_alerts_wait_for_a_quarter_of_the_interval_and_everything_else_for_all_of_it() -> None:
    class Sink(MemorySink):
        flushed: list[float] = []  # noqa: RUF012 - one sink, one list

        def flush(self, timeout_s: float) -> None:
            super().flush(timeout_s)
            self.flushed.append(clock.time - began)

    class Source(MemorySource):
        asked: list[float] = []  # noqa: RUF012 - one source, one list

        def poll(self, records_max: int, timeout_s: float) -> Sequence[Record]:
            self.asked.append(timeout_s)
            return super().poll(min(records_max, 10), timeout_s)

    broker, clock = broker_with_events(), FakeClock()
    began, sink, source = clock.time, Sink(broker), Source(broker, TOPICS.events, "detect")
    stage = Direct(SMALL, "config", Metrics())
    w = Worker(stage, source, sink, SMALL, clock, Metrics(), commit_interval_s=8.0)
    while w.step(5.0):
        clock.time += 0.5
    gaps = np.diff([0.0, *sink.flushed])
    assert min(gaps) == 2.0  # alerts came with others in between; those that come later go at once
    assert gaps[0] == 8.0  # while all learned there was none
    assert max(source.asked) == 5.0
    assert 0.5 in source.asked  # no poll waits past a commit


@pytest.mark.parametrize("exchange", ["topic", "direct"])
def test_what_was_published_before_a_restart_is_not_published_again(exchange: str) -> None:
    broker = broker_with_events()

    def all_of_it() -> None:
        if exchange == "topic":
            drain(worker(Assemble(SMALL, Metrics()), broker, FakeClock()))
        stage = Detect(SMALL, "config", Metrics()) if exchange == "topic" else Direct(SMALL, "config", Metrics())
        drain(worker(stage, broker, FakeClock()))

    for _ in range(3):
        all_of_it()
    assert sorted(a.alert_id for a in published(broker)) == sorted(EXPECTED)
