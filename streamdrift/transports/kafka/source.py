"""Records from a topic or several, through a consumer group whose offsets are committed by hand.

What kafka-python 3.0.12 needs to be told (each found by measurement):

- Listeners run on its network thread and may not ask the broker anything: they only note what was assigned, and the
  main loop finds the place to begin and drops what came before it did.
- Around a rebalance the group can stay "rebalancing" for ever, without an error: then we subscribe anew.
- A poll shorter than 200 ms brings that about far more often.
- A value deserializer that raises makes later polls spin: bytes are decoded by us.
- ``group_metadata`` is alive: once the member was thrown out it says (-1, ""), which no broker refuses. So it is noted right
  after each poll, and what is committed with it is refused if the partitions went to others since. That a poll begins in one
  generation and ends in another is no harm: partitions that went meanwhile were told of before the new one was noted, and those
  that stayed were nobody else's.
- But for this: who is thrown out *while it waits for an answer to its joining* (it slept) joins again under a new id, and is not
  told that it had lost anything. What it is dealt again may have been another's in between. So the id is compared.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from typing import Any

from kafka import OffsetAndMetadata
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.errors import IllegalStateError, KafkaError
from kafka.structs import MemberState

from streamdrift.errors import Retriable
from streamdrift.ports import Clock, Partition, Record
from streamdrift.records import Runs
from streamdrift.settings import KafkaSettings
from streamdrift.transports.kafka import bulk
from streamdrift.transports.kafka.assignments import Assignments
from streamdrift.transports.kafka.client import open_consumer
from streamdrift.transports.kafka.explain import translate
from streamdrift.transports.kafka.place import Keeper, Place, begin
from streamdrift.transports.kafka.rights import require

POLL_MS_MIN = 200
"""Shorter polls leave the group stuck in most first rebalances (0 ms: 12 of 12, 50 ms and more: none of 48). In a group that is settled they
may be shorter: a rebalance that begins finds the next one waiting."""

STUCK_S = 2.5
"""A rebalance that takes longer without our asking for it is the stuck one; the next time twice as long, up to ``STUCK_MAX_S``."""

STUCK_MAX_S = 30.0

JOINING_SESSIONS = 3
"""A rebalance that waits for members which are no more takes a session. To give up on it costs all state that is in memory."""

RESTORE_S = 5.0
"""State of further partitions is taken up by the next poll, so that the loop comes round."""

CLOSE_MS = 5_000
ASK_MS = 2_000
"""Longest wait for an answer to what is not urgent."""

FETCH_WAIT_MS = 20
"""How long a broker may keep a fetch for which next to nothing is there. Where there are several topics, and while a fetch waits at the end of
one (of labels there are few), none is sent for the others: with Kafka's 500 ms a worker took 20,000 events a second, and with this
170,000. It costs a worker that has nothing to do 5 % of a core."""

FETCH_BYTES_MIN = 65_536
"""What a broker gathers before it answers a fetch, for at most so long: record by record, each came with a block, and at 500 events a second
by the exchange topic a worker fell behind."""


class KafkaSource:
    """A consumer of one topic, or of several whose records it gives as they come.

    Parameters
    ----------
    topic, group
        What to read, and under which name offsets are committed.
    also
        Further topics, which are there.
    restore_events_max
        Records before the committed offset that are read again, marked ``replayed``, to rebuild state; 0 for none.
    in_bulk
        Whether the compiled engine decodes what was fetched, where it can; else kafka-python does, record by record.
    instance
        Name of a static member, no other's of the group: within ``kafka.session_timeout_s`` it finds its partitions again.
    keeper
        Keeps state of the partitions that are ours: told of those that come before the first record, and of those that go.
    gather_s
        What comes within so long is returned by one poll, for whoever takes many records at once more cheaply than one by one.
    on_error
        Told of every fault that was overcome here, for a metric and a log line.

    Raises
    ------
    BrokerProblem
        The broker can't be reached, refuses us, or has no such topic; or a right to it or to the group is missing.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        topic: str,
        group: str,
        *,
        clock: Clock,
        also: Sequence[str] = (),
        restore_events_max: int = 0,
        on_error: Callable[[Exception], None] | None = None,
        in_bulk: bool = False,
        instance: str | None = None,
        keeper: Keeper | None = None,
        gather_s: float = 0.0,
    ) -> None:
        self._settings, self._topics, self._group, self._clock = settings, [topic, *also], group, clock
        self._named = ("topics " if also else "topic ") + ", ".join(map(repr, self._topics))
        self._restore_events_max = restore_events_max
        self._on_error = on_error if on_error is not None else _ignore
        self._instance, self._keeper, self._gather_s = instance, keeper, gather_s
        self._taken: dict[Any, list[Any]] = {}  # by one poll; empty between two
        self._uncommitted: Callable[[], bool] = lambda: False
        self.membership: Any = None  # as of the last poll
        self._member_id = ""
        self._places: dict[Any, Place] = {}
        self._assignments = Assignments()
        self._stable_at, self._patience_s = clock.monotonic(), STUCK_S
        self._asked = False
        self._closed = False
        require(settings, clock, reads=self._topics, groups=[group])
        self._consumer = self._connect()
        self._in_bulk = in_bulk and bulk.install(self._consumer)

    def _connect(self) -> Any:
        try:
            consumer = open_consumer(
                self._settings,
                group_id=self._group,
                partition_assignment_strategy=[CooperativeStickyAssignor],
                group_instance_id=self._instance,
                session_timeout_ms=int(self._settings.session_timeout_s * 1_000),
                heartbeat_interval_ms=int(self._settings.session_timeout_s * 1_000 / 4),
                fetch_min_bytes=FETCH_BYTES_MIN,
                fetch_max_wait_ms=FETCH_WAIT_MS,
            )
            for topic in self._topics:
                consumer.partitions_for_topic(topic)  # with metadata at hand the first rebalance is sound
            consumer.subscribe(self._topics, listener=self._assignments)
        except KafkaError as e:
            raise translate(e, self._settings, f"reading {self._named}") from None
        return consumer

    def poll(self, records_max: int, timeout_s: float) -> Sequence[Record]:
        """Return the next records, each partition's in order; see ``ports.Source``."""
        self._taken, until = {}, self._clock.monotonic() + min(timeout_s, self._gather_s)
        room, wait_s = records_max, timeout_s
        try:
            while room > 0 and self._take(room, wait_s) and (wait_s := until - self._clock.monotonic()) > 0:
                room = records_max - sum(len(part) for parts in self._taken.values() for part in parts)
        except KafkaError as e:
            self._overcome(e, some=bool(self._taken))
        taken = [part for parts in self._taken.values() for part in parts]
        self._taken = {}
        return Runs(taken) if self._in_bulk else [record for part in taken for record in part]

    def _take(self, records_max: int, timeout_s: float) -> bool:
        """Poll once, and see to the group; return whether anything came."""
        fetched = self._consumer.poll(timeout_ms=self._wait_ms(timeout_s), max_records=records_max)
        self.membership = self._consumer.group_metadata()
        self._follow_assignments()
        for tp, batch in fetched.items():
            if (place := self._places.get(tp)) is not None and place.offset is not None:
                self._taken.setdefault(tp, []).extend(place.runs(batch) if self._in_bulk else [place.records(batch)])
        self._begin()
        self._watch_group()
        return bool(fetched)

    def _wait_ms(self, seconds: float) -> int:
        settled = self._consumer.group_metadata().state == MemberState.STABLE and not self._joining_s()
        return max(0 if settled else POLL_MS_MIN, math.ceil(seconds * 1_000))

    def _follow_assignments(self) -> None:
        """Forget partitions that are gone; note those that came.

        Raises
        ------
        Retriable
            What came of them is lost; or we were thrown out, and were not told which partitions another had meanwhile.
        """
        before = dict(self._places)
        for gained, partitions in self._assignments.take():
            for tp in partitions:
                if gained:
                    self._places[tp] = Place(Partition(tp.topic, tp.partition))
                else:
                    self._forget(tp)
        member_id = self.membership.member_id
        kept = [f"{tp.topic}/{tp.partition}" for tp, place in self._places.items() if before.get(tp) is place]
        if kept and member_id and self._member_id not in {"", member_id}:
            raise Retriable(
                f"this worker was thrown out of group {self._group!r} while it joined; another may have had "
                f"{', '.join(sorted(kept))} meanwhile; they are read again"
            )
        self._member_id = member_id or self._member_id

    def _forget(self, tp: Any) -> None:
        """A partition went; what came of it and is not committed can't be told from the rest, so all must begin anew."""
        place = self._places.pop(tp, None)
        self._taken.pop(tp, None)  # whoever has it now reads that
        if place is None:
            return
        if self._keeper is not None:
            self._keeper.lost(place.partition)
        if self._uncommitted():
            raise Retriable(
                f"{tp.topic}/{tp.partition} went to another worker of group {self._group!r} before all that came of it was "
                "committed; what was not is read again"
            )

    def _begin(self) -> None:
        """Find where to begin in partitions that came; what was polled of them until now is not used."""
        assigned, until = self._consumer.assignment(), self._clock.monotonic() + RESTORE_S
        for tp, place in self._places.items():
            if place.offset is None and tp in assigned and self._clock.monotonic() < until:
                lost = begin(
                    self._consumer,
                    tp,
                    place,
                    self._restore_events_max,
                    self._settings.request_timeout_s,
                    self._keeper,
                )
                if lost:
                    self._on_error(Retriable(f"{tp.topic}/{tp.partition}: {lost}"))

    def _overcome(self, error: KafkaError, *, some: bool) -> None:
        """Raise what the error means, unless it can wait: records that were taken off the consumer must be used."""
        found = translate(error, self._settings, f"reading {self._named} as group {self._group!r}")
        if isinstance(found, Retriable):
            self._on_error(found)
            if some:
                return
        raise found from None

    def _watch_group(self) -> None:
        """Subscribe anew where a rebalance has been going on for too long."""
        now = self._clock.monotonic()
        if self._consumer.group_metadata().state == MemberState.STABLE:
            self._stable_at, self._patience_s = now, STUCK_S
            self._ask_for_the_rest()
        elif now - self._stable_at > max(self._patience_s, JOINING_SESSIONS * self._joining_s()):
            self._on_error(Retriable(f"group {self._group!r} did not settle in {self._patience_s:g} s; joining anew"))
            self._stable_at, self._patience_s = now, min(2 * self._patience_s, STUCK_MAX_S)
            self._consumer.unsubscribe()
            self._assignments.take()
            for tp in list(self._places):
                self._forget(tp)
            self._consumer.subscribe(self._topics, listener=self._assignments)
            if self._instance is not None:  # a static member does not leave, and so would not join again
                self._consumer._coordinator.request_rejoin()  # noqa: SLF001 - there is no public way

    def _ask_for_the_rest(self) -> None:
        """Have the group deal once more after a static member came, with what it got in its hands.

        A member that is told to give a partition up joins again when it has, and so another gets it. Where it dies between the two, and is back
        within the session, it gets what it was dealt then, and nobody is told that a partition is free: it stays so for good.
        """
        if not self._asked and self._instance is not None:
            self._consumer._coordinator.request_rejoin()  # noqa: SLF001 - there is no public way
        self._asked = True

    def _joining_s(self) -> float:
        """The session's length where we asked to join and wait for an answer: it comes when others did, or when theirs are over."""
        joining = self._consumer._coordinator.need_rejoin()  # noqa: SLF001 - there is no public way
        return self._settings.session_timeout_s if joining else 0.0

    def commit(self, done: Mapping[Partition, int]) -> None:
        """Commit these next offsets and wait for the answer; partitions that went to others are left to them.

        Raises
        ------
        Retriable
            The group dealt its partitions out anew, or there was no answer in time.
        BrokerProblem
            We may not.
        """
        offsets = self.due(done)
        if not offsets:
            return
        try:
            self._consumer.commit(offsets, timeout_ms=self._settings.request_timeout_s * 1_000)
        except KafkaError as e:
            raise translate(e, self._settings, f"committing offsets of group {self._group!r}") from None
        self.note(offsets)

    def due(self, done: Mapping[Partition, int]) -> dict[Any, Any]:
        """Return what is to be committed of this, as kafka-python has it."""
        offsets = {}
        for tp, place in self._places.items():
            offset = done.get(place.partition)
            # what was done before the partition went to another worker and came back says nothing any more
            if offset is not None and place.offset is not None and offset > (place.committed or 0):
                offsets[tp] = OffsetAndMetadata(offset, "", -1)
        return offsets

    def standing(self) -> dict[Any, Any]:
        """Return where one partition stands, which is committed already: a commit of that is refused to whoever was thrown out."""
        for tp, place in self._places.items():
            if place.offset is not None:
                return {tp: OffsetAndMetadata(place.offset if place.committed is None else place.committed, "", -1)}
        return {}

    def note(self, offsets: Mapping[Any, Any]) -> None:
        """Note that these offsets were committed."""
        for tp, committed in offsets.items():
            if tp in self._places:
                self._places[tp].committed = committed.offset

    def settle_with(self, settle: Callable[[Any], None], uncommitted: Callable[[], bool]) -> None:
        """Have everything committed before partitions go to others.

        Parameters
        ----------
        settle
            Called on the network thread, while this source is polled, with the membership to commit as.
        uncommitted
            Whether something is left that was not.
        """
        self._uncommitted = uncommitted

        def before() -> None:
            membership = self._consumer.group_metadata()
            same = membership.member_id == self._member_id  # else they were another's meanwhile
            if not self._closed and same and membership.generation_id >= 0 and uncommitted():
                settle(membership)

        self._assignments.before_revoking = before

    def lag(self) -> Mapping[Partition, int]:
        """Records of each assigned partition that are there and not yet polled."""
        lags = {}
        for tp, place in self._places.items():
            with suppress(IllegalStateError, AssertionError, KeyError):  # taken away this very moment
                if place.offset is not None and (end := self._end(tp, place)) is not None:
                    position = self._consumer.position(tp, timeout_ms=0)
                    lags[place.partition] = max(0, end - (place.offset if position is None else position))
        return lags

    def nothing_left(self, partitions: Collection[Partition]) -> Collection[Partition]:
        """Ask the broker of which of these everything was polled."""
        asked = {tp: place.partition for tp, place in self._places.items() if place.partition in partitions}
        try:
            ends = self._consumer.end_offsets(list(asked), timeout_ms=ASK_MS) if asked else {}
            return [asked[tp] for tp, end in ends.items() if self._consumer.position(tp, timeout_ms=0) == end]
        except (
            KafkaError,
            IllegalStateError,
            AssertionError,
            KeyError,
        ):  # nobody answers, or it was taken away this very moment
            return ()

    def _end(self, tp: Any, place: Place) -> int | None:
        highwater: int | None = self._consumer.highwater(tp)
        return place.end if highwater is None else highwater

    def exhausted(self) -> bool:
        """A broker never is."""
        return False

    def close(self) -> None:
        """Leave the group; a second call does nothing."""
        if self._closed:
            return
        self._closed = True
        with suppress(KafkaError):
            self._consumer.close(autocommit=False, timeout_ms=CLOSE_MS)
        if self._keeper is not None:
            self._keeper.close()


def _ignore(error: Exception) -> None:
    del error
