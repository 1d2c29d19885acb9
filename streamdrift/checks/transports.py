"""What every stream transport must keep: run these over a factory that makes a fresh, empty topic.

>>> from streamdrift.checks.transports import transport_checks
>>> [check.__name__ for check in transport_checks()][:2]
['order_is_kept_within_a_partition', 'a_key_keeps_its_partition']
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from streamdrift.errors import Fatal, Retriable
from streamdrift.ports import Clock, Partition, Record, Sink, Source


class Transport(Protocol):
    """A topic of at least two partitions that nobody else uses, and the ways in and out of it."""

    topic: str
    clock: Clock

    def source(self, restore_events_max: int = 0) -> Source:
        """Open a source; all of one transport are the same consumer group."""
        ...

    def sink(self) -> Sink:
        """Open a sink."""
        ...

    def bury(self, key: bytes) -> None:
        """Write a tombstone: a record with a key and no value."""
        ...

    def unacknowledged(self) -> AbstractContextManager[None]:
        """While this is entered, no message is acknowledged."""
        ...


Factory = Callable[[], Transport]
Check = Callable[[Factory], None]

POLLS_MAX = 60
POLL_S = 0.5
FLUSH_S = 20.0
PATIENCE_S = 2.0
"""By so much may a poll outlast its timeout on a busy machine."""


def transport_checks() -> tuple[Check, ...]:
    """Return the checks; each raises ``AssertionError`` with what was broken."""
    return (
        order_is_kept_within_a_partition,
        a_key_keeps_its_partition,
        bytes_keys_and_headers_survive,
        tombstones_survive,
        large_values_survive,
        offsets_grow_by_position,
        committed_records_do_not_come_again,
        uncommitted_records_come_again,
        restored_records_are_marked,
        lag_counts_what_is_left,
        an_empty_poll_returns_in_time,
        a_lost_acknowledgement_is_told_and_made_good,
        a_message_too_large_is_refused,
        closing_twice_is_harmless,
    )


def order_is_kept_within_a_partition(make: Factory) -> None:
    """Records of one key come in the order in which they were sent."""
    transport = make()
    values = [b"%d" % i for i in range(50)]
    _write(transport, [(value, b"key") for value in values])
    records = _read(transport, 50)
    assert [record.value for record in records] == values, "records of one key came in another order"


def a_key_keeps_its_partition(make: Factory) -> None:
    """The partition follows from the key alone, from one sink to the next, and keys spread."""
    transport = make()
    keys = [b"key-%d" % (i % 20) for i in range(40)]
    _write(transport, [(b"1", key) for key in keys])
    _write(transport, [(b"2", key) for key in keys])
    found = defaultdict(set)
    for record in _read(transport, 80):
        found[record.key].add(record.partition)
    assert all(len(partitions) == 1 for partitions in found.values()), "a key went to two partitions"
    assert len(set.union(*found.values())) > 1, "20 keys all went to one partition"


def bytes_keys_and_headers_survive(make: Factory) -> None:
    """Any bytes, no key, an empty key, an empty value, headers in order with a name twice."""
    transport = make()
    sent = [
        (b"\x00\xff\xfe not utf-8", b"\x80", (("a", b"1"), ("b", b""), ("a", b"\xff"))),
        (b"", b"empty value", ()),
        (b"no key", None, (("reason", b"not_json"),)),
        (b"empty key", b"", ()),
    ]
    sink = transport.sink()
    for value, key, headers in sent:
        sink.send(transport.topic, value, key, headers)
    sink.flush(FLUSH_S)
    sink.close()
    records = _read(transport, len(sent))
    assert {(r.value, r.key, r.headers) for r in records} == set(sent), "bytes, keys or headers were changed"


def tombstones_survive(make: Factory) -> None:
    """A record without value is told from one with an empty value."""
    transport = make()
    transport.bury(b"gone")
    (record,) = _read(transport, 1)
    assert (record.value, record.key) == (None, b"gone"), "a tombstone came as something else"


def large_values_survive(make: Factory) -> None:
    """900 KB go through unharmed, between small ones."""
    transport = make()
    large = bytes(range(256)) * 3_516
    _write(transport, [(b"before", b"k"), (large, b"k"), (b"after", b"k")])
    values = [record.value for record in _read(transport, 3)]
    assert values == [b"before", large, b"after"], "a value of 900 KB was changed"


def offsets_grow_by_position(make: Factory) -> None:
    """Offsets of a partition grow, and its name is the topic's."""
    transport = make()
    _write(transport, [(b"%d" % i, b"key-%d" % (i % 7)) for i in range(30)])
    last: dict[Partition, int] = {}
    for record in _read(transport, 30):
        assert record.partition.name == transport.topic, "a partition has another name than its topic"
        assert record.offset > last.get(record.partition, -1), "offsets of a partition went back"
        assert not record.replayed, "a record that was never committed came as replayed"
        last[record.partition] = record.offset


def committed_records_do_not_come_again(make: Factory) -> None:
    """A source that is opened anew begins where the last one committed."""
    transport = make()
    _write(transport, [(b"%d" % i, b"k") for i in range(10)])
    source = transport.source()
    records = _poll(source, 10)
    source.commit({})
    source.commit({records[0].partition: records[5].offset + 1})
    source.close()
    _write(transport, [(b"new", b"k")])
    values = [record.value for record in _read(transport, 5)]
    assert values == [b"6", b"7", b"8", b"9", b"new"], f"resumed with {values[:1]}"


def uncommitted_records_come_again(make: Factory) -> None:
    """What was polled and not committed is read again."""
    transport = make()
    _write(transport, [(b"%d" % i, b"k") for i in range(5)])
    first = _read(transport, 5)
    again = _read(transport, 5)
    assert [r.offset for r in again] == [r.offset for r in first], "uncommitted records were lost"
    assert not any(record.replayed for record in again), "an uncommitted record came as replayed: it would be muted"


def restored_records_are_marked(make: Factory) -> None:
    """Restoring reads the last records before the committed offset again, marked; those after it are not."""
    transport = make()
    _write(transport, [(b"%d" % i, b"k") for i in range(10)])
    source = transport.source()
    records = _poll(source, 10)
    source.commit({records[0].partition: records[7].offset})
    source.close()
    restored = transport.source(restore_events_max=3)
    found = [(record.value, record.replayed) for record in _poll(restored, 6)]
    restored.close()
    assert found == [(b"4", True), (b"5", True), (b"6", True), (b"7", False), (b"8", False), (b"9", False)], found
    everything = transport.source(restore_events_max=1_000)
    assert [record.replayed for record in _poll(everything, 10)] == [True] * 7 + [False] * 3
    everything.close()


def lag_counts_what_is_left(make: Factory) -> None:
    """Lag is what is there and not yet polled, and nothing once all is."""
    transport = make()
    _write(transport, [(b"%d" % i, b"k") for i in range(20)])
    source = transport.source()
    first = _poll(source, 5, records_max=5)
    lag = source.lag()
    assert lag.get(first[0].partition) == 20 - len(first), f"{len(first)} of 20 records polled, but lag is {lag}"
    _poll(source, 20 - len(first))
    assert not any(source.lag().values()), "everything was polled, but there is lag"
    source.close()


def an_empty_poll_returns_in_time(make: Factory) -> None:
    """A poll without records returns after about its timeout."""
    transport = make()
    source = transport.source()
    for _ in range(3):
        began = transport.clock.monotonic()
        assert not source.poll(100, POLL_S), "records came from an empty topic"
        assert transport.clock.monotonic() - began < POLL_S + PATIENCE_S, "an empty poll outlasted its timeout"
    assert not source.exhausted() or not source.lag(), "exhausted with lag"
    source.close()


def a_lost_acknowledgement_is_told_and_made_good(make: Factory) -> None:
    """Without acknowledgement ``flush`` raises; once all is well the next one writes what was sent, in order."""
    transport = make()
    sink = transport.sink()
    sink.send(transport.topic, b"first", b"k")
    sink.flush(FLUSH_S)
    with transport.unacknowledged():
        sink.send(transport.topic, b"second", b"k")
        try:
            sink.flush(1.0)
        except Retriable:
            pass
        else:
            raise AssertionError("flush returned though nothing was acknowledged")
    sink.flush(FLUSH_S)
    sink.close()
    assert [record.value for record in _read(transport, 2)] == [b"first", b"second"]


def a_message_too_large_is_refused(make: Factory) -> None:
    """A message that the other side won't take makes ``flush`` say so: trying again would not help."""
    transport = make()
    sink = transport.sink()
    said = ""
    try:
        sink.send(transport.topic, bytes(2_000_000), b"k")
        sink.flush(FLUSH_S)
    except Fatal as e:
        said = str(e)
    sink.close()
    assert said, "a message of 2 MB was taken"
    assert transport.topic in said, f"the sentence does not name the topic: {said}"
    assert "2000000" in said or "2000001" in said, f"the sentence does not name the size: {said}"


def closing_twice_is_harmless(make: Factory) -> None:
    """A second ``close`` does nothing, nor does one on what was never used."""
    transport = make()
    source, sink = transport.source(), transport.sink()
    for _ in range(2):
        source.close()
        sink.close()


def _write(transport: Transport, messages: Sequence[tuple[bytes, bytes | None]]) -> None:
    sink = transport.sink()
    for value, key in messages:
        sink.send(transport.topic, value, key)
    sink.flush(FLUSH_S)
    sink.close()


def _read(transport: Transport, n: int) -> list[Record]:
    """Open a source, take ``n`` records, make sure that there are no more, and close it uncommitted."""
    source = transport.source()
    records = _poll(source, n)
    assert not source.poll(100, POLL_S), f"more than {n} records came"
    source.close()
    return records


def _poll(source: Source, n: int, records_max: int = 1_000) -> list[Record]:
    records: list[Record] = []
    for _ in range(POLLS_MAX):
        records += source.poll(records_max, POLL_S)
        if len(records) >= n:
            return records
    raise AssertionError(f"only {len(records)} of {n} records came in {POLLS_MAX} polls of {POLL_S} s")
