"""A topic's past, from one offset to another of each partition: read without a consumer group, so nothing is committed.

It is no consumer of the pipeline: it never commits or comes back, which is what the suite of ``checks.transports`` is about.
Partitions are merged by the records' own time, so that the order is the same at every reading, however fetches come in.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from kafka import TopicPartition
from kafka.errors import KafkaError

from streamdrift.errors import BrokerProblem, Fatal
from streamdrift.ports import Clock, Partition, Record
from streamdrift.settings import KafkaSettings
from streamdrift.transports.kafka.client import open_consumer
from streamdrift.transports.kafka.explain import translate
from streamdrift.transports.kafka.place import Place
from streamdrift.transports.kafka.rights import require

BUFFERED_MAX = 5_000
"""Records of one partition that wait for those of others; over it the partition is paused."""
POLL_MS = 200
CLOSE_MS = 5_000


@dataclass(frozen=True, slots=True)
class Bounds:
    """Which records are history: by partition, the first offset and the one behind the last."""

    topic: str
    spans: tuple[tuple[int, int, int], ...]


def bounds(settings: KafkaSettings, clock: Clock, topic: str, since_ms: int | None, until_ms: int | None) -> Bounds:
    """Return what the topic has now, between two times of its records where they are given.

    Raises
    ------
    BrokerProblem
        The broker is out of reach, refuses us, or has no such topic.
    """
    places = [TopicPartition(topic, number) for number in range(require(settings, clock, reads=[topic])[topic])]
    consumer = _consumer(settings, topic)
    timeout_ms = settings.request_timeout_s * 1_000
    try:
        first = consumer.beginning_offsets(places, timeout_ms=timeout_ms)
        end = consumer.end_offsets(places, timeout_ms=timeout_ms)
        if since_ms is not None:
            first = {**first, **_at(consumer, places, since_ms, end, timeout_ms)}
        if until_ms is not None:
            end = _at(consumer, places, until_ms, end, timeout_ms)
    except KafkaError as e:
        raise _fatal(e, settings, topic) from None
    finally:
        _close(consumer)
    return Bounds(topic, tuple((tp.partition, first[tp], end[tp]) for tp in places))


def _at(consumer: Any, places: Sequence[Any], ms: int, end: Mapping[Any, int], timeout_ms: float) -> dict[Any, int]:
    """Offset of each partition's first record from a time on; its end where there is none."""
    found = consumer.offsets_for_times(dict.fromkeys(places, max(0, ms)), timeout_ms=timeout_ms)
    return {tp: end[tp] if found.get(tp) is None else found[tp].offset for tp in places}


def _consumer(settings: KafkaSettings, topic: str) -> Any:
    try:
        return open_consumer(settings, group_id=None)
    except KafkaError as e:
        raise _fatal(e, settings, topic) from None


def _fatal(error: KafkaError, settings: KafkaSettings, topic: str) -> Fatal:
    """What it means, for a command that does not try again."""
    found = translate(error, settings, f"reading the history of topic {topic!r}")
    return found if isinstance(found, Fatal) else BrokerProblem(f"{found}; try again")


def _close(consumer: Any) -> None:
    with suppress(KafkaError):
        consumer.close(autocommit=False, timeout_ms=CLOSE_MS)


@dataclass(slots=True)
class _Lane:
    """One partition: what was fetched of it and not yet handed on."""

    place: Place
    end: int
    fetched: bool
    waiting: deque[Record] = field(default_factory=deque)


class KafkaHistory:
    """The records within bounds, all partitions in order of the records' time; see ``ports.Source``.

    Raises
    ------
    BrokerProblem
        The broker is out of reach or refuses us; also from ``poll``, where nothing comes for ``kafka.request_timeout_s``.
    """

    def __init__(self, settings: KafkaSettings, bounds: Bounds, clock: Clock) -> None:
        self._settings, self._topic, self._clock = settings, bounds.topic, clock
        self._lanes = {
            TopicPartition(bounds.topic, number): _Lane(Place(Partition(bounds.topic, number)), end, first >= end)
            for number, first, end in bounds.spans
        }
        self._closed = False
        self._consumer = _consumer(settings, bounds.topic)
        self._consumer.assign([tp for tp, lane in self._lanes.items() if not lane.fetched])
        for number, first, end in bounds.spans:
            if first < end:
                self._consumer.seek(TopicPartition(bounds.topic, number), first)

    def poll(self, records_max: int, timeout_s: float) -> Sequence[Record]:
        """Return the next records; empty only at the end."""
        del timeout_s
        taken: list[Record] = []
        try:
            while len(taken) < records_max and not self.exhausted():
                if not self._complete():
                    if taken:
                        break
                    self._fetch()
                    continue
                lane = min((one for one in self._lanes.values() if one.waiting), key=_next)
                taken.append(lane.waiting.popleft())
        except KafkaError as e:
            raise _fatal(e, self._settings, self._topic) from None
        return taken

    def _complete(self) -> bool:
        """Whether the next record of every partition is known."""
        return all(lane.waiting or lane.fetched for lane in self._lanes.values())

    def _fetch(self) -> None:
        """Wait until every partition has its next record."""
        deadline = self._clock.monotonic() + self._settings.request_timeout_s
        while not self._complete():
            self._hold_back()
            batches = self._consumer.poll(timeout_ms=POLL_MS, max_records=BUFFERED_MAX)
            for tp, batch in batches.items():
                lane = self._lanes[tp]
                lane.waiting.extend(record for record in lane.place.records(batch) if record.offset < lane.end)
            self._note_ends()
            if batches:
                deadline = self._clock.monotonic() + self._settings.request_timeout_s
            elif self._clock.monotonic() > deadline:
                raise BrokerProblem(
                    f"reading the history of topic {self._topic!r}: nothing came in {self._settings.request_timeout_s:g} s; "
                    "is a broker down? Try again, or raise kafka.request_timeout_s"
                )

    def _hold_back(self) -> None:
        """Fetch only of partitions that have room, and are not at their end."""
        full = [tp for tp, lane in self._lanes.items() if len(lane.waiting) >= BUFFERED_MAX or lane.fetched]
        assigned = self._consumer.assignment()
        self._consumer.pause(*(tp for tp in full if tp in assigned))
        self._consumer.resume(*(tp for tp in assigned if tp not in full))

    def _note_ends(self) -> None:
        """A partition is done where its position is at the end: the last records may be marks of a transaction."""
        for tp, lane in self._lanes.items():
            if not lane.fetched:
                position = self._consumer.position(tp, timeout_ms=0)
                lane.fetched = position is not None and position >= lane.end

    def commit(self, done: Mapping[Partition, int]) -> None:
        """Nothing is committed."""

    def lag(self) -> Mapping[Partition, int]:
        """Not told: a history is read to its end."""
        return {}

    def exhausted(self) -> bool:
        """Tell whether the last record was handed on."""
        return all(lane.fetched and not lane.waiting for lane in self._lanes.values())

    def close(self) -> None:
        """Let go of the connection; a second call does nothing."""
        if not self._closed:
            self._closed = True
            _close(self._consumer)


def _next(lane: _Lane) -> tuple[int, int]:
    record = lane.waiting[0]
    return record.timestamp_ms, record.partition.index
