"""The faults that tests write into the broker in memory."""

from __future__ import annotations

import pytest

from streamdrift.errors import BrokerProblem, Retriable
from streamdrift.ports import Partition
from streamdrift.transports.memory import MemoryBroker, MemorySink, MemorySource

P = Partition("events", 0)


def filled(n: int) -> tuple[MemoryBroker, MemorySource]:
    broker = MemoryBroker()
    for i in range(n):
        broker.append("events", b"%d" % i)
    return broker, MemorySource(broker, "events", "group")


def values(source: MemorySource, records_max: int = 100) -> list[bytes | None]:
    return [record.value for record in source.poll(records_max, 0.0)]


def test_a_lost_poll_loses_no_record() -> None:
    broker, source = filled(3)
    broker.fail_next_poll(Retriable("lost"), after=1)
    assert values(source, 2) == [b"0", b"1"]
    with pytest.raises(Retriable, match="lost"):
        source.poll(2, 0.0)
    assert values(source) == [b"2"]


def test_a_duplicate_delivery() -> None:
    broker, source = filled(3)
    assert len(values(source)) == 3
    broker.deliver_again(2)
    assert values(source) == [b"1", b"2"]
    assert values(source) == []


def test_a_lost_commit() -> None:
    broker, source = filled(3)
    broker.fail_next_commit(Retriable("moved on"))
    with pytest.raises(Retriable):
        source.commit({P: 2})
    assert broker.committed("group", P) is None
    source.commit({P: 2})
    assert broker.committed("group", P) == 2


def test_a_failed_flush_writes_nothing_and_the_next_one_everything() -> None:
    broker = MemoryBroker()
    sink = MemorySink(broker)
    broker.fail_next_flush(Retriable("not now"), after=1)
    sink.flush(1.0)
    sink.send("alerts", b"1")
    with pytest.raises(Retriable):
        sink.flush(1.0)
    assert broker.records("alerts") == []
    sink.flush(1.0)
    assert [record.value for record in broker.records("alerts")] == [b"1"]


def test_a_broker_that_is_gone_for_good() -> None:
    broker, source = filled(1)
    broker.fail_next_poll(BrokerProblem("gone"))
    with pytest.raises(BrokerProblem):
        source.poll(1, 0.0)


def test_what_is_not_flushed_is_gone_with_the_sink() -> None:
    broker = MemoryBroker()
    sink = MemorySink(broker)
    sink.send("alerts", b"1")
    sink.close()
    sink.flush(1.0)
    assert broker.records("alerts") == []


def test_records_without_key_take_turns() -> None:
    broker = MemoryBroker(partitions=3)
    assert [broker.append("events", b"").partition.index for _ in range(5)] == [0, 1, 2, 0, 1]
