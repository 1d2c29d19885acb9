"""Source and sink of a worker over the broker in memory, with the guards that the real ones have; each can be taken out.

A guard that is taken out is a mutation: a run with it must come out wrong, else nobody would notice if the guard went.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any, Protocol

from streamdrift.errors import Retriable
from streamdrift.ports import Headers, Partition, Record, Stateful, StateRecord
from tests.simulation.simulated_broker import Entry, Membership, SimBroker

MUTATIONS = {
    "": "nothing is changed",
    "commit before produce": "offsets are committed in a transaction of their own, before the messages",
    "state before commit": "state is written for good before the transaction with its messages and offsets ends",
    "commit before state": "state is written after the transaction, and reading goes on from the committed offset alone",
    "group string": "offsets are committed without saying as which member",
    "live membership": "offsets are committed as who one is at the commit, not as who one was when polling",
    "any membership": "the membership of somebody who was thrown out since the poll is used",
    "muted by time": "what is older than the last commit is muted, not what lies before the committed offset",
    "state without next_offset": "state does not say how far it goes: reading goes on from the committed offset",
    "resend after unknown commit": "a commit of which no answer came is made once more",
    "unstable offsets": "the successor does not wait for the offsets of a transaction that is still open",
    "no new epoch": "a new producer does not fence its predecessor, nor end what it left open",
}


def keeps_state(stage: object) -> bool:
    """Whether a stage's state can be put away; see ``ports.Stateful``."""
    return isinstance(stage, Stateful)


def changelog(partition: Partition) -> Partition:
    """Where the state of a partition of some input lies."""
    return Partition(f"state.{partition.name}", partition.index)


class Network(Protocol):
    """What can befall a call: it is lost, or its answer is; the process dies before or after it, or sleeps."""

    def call(self, point: str, effect: Callable[[], Any]) -> Any: ...

    def monotonic(self) -> float: ...

    def chance(self, share: float) -> bool: ...


class SimSource:
    """One member of a consumer group; see ``ports.Source``. State is restored before the first record."""

    def __init__(
        self, broker: SimBroker, network: Network, topic: str, group: str, member: str, stage: Any, mutation: str = ""
    ) -> None:
        self._broker, self._network, self._topic, self._group = broker, network, topic, group
        self._member, self._stage, self._mutation = member, stage, mutation
        self._next: dict[Partition, int] = {}
        self._muted_before: dict[Partition, int] = {}
        self._muted_until_ms = -1
        self.membership: Membership | None = None
        self.uncommitted: Callable[[], bool] = lambda: False
        self._dealt = False
        network.call("join", lambda: broker.join(group, member, network.monotonic()))

    def poll(self, records_max: int, timeout_s: float) -> Sequence[Record]:
        del timeout_s
        state = self._network.call(
            "poll", lambda: self._broker.beat(self._group, self._member, self._network.monotonic())
        )
        if state == "unknown":
            raise Retriable("thrown out of the group")
        if state == "rebalancing":
            self._let_go()
            return []
        self.membership = self._broker.membership(self._group, self._member)
        if self.membership.generation < 0 and self._mutation != "any membership":
            raise Retriable("thrown out of the group since it was polled: the broker would not refuse this membership")
        if not self._dealt:
            for partition in self._broker.assigned(self._group, self._member):
                self._begin(partition)
            self._dealt = True
        return self._fetch(records_max)

    def _let_go(self) -> None:
        if self.uncommitted() or (self._next and not keeps_state(self._stage)):
            raise Retriable(
                "partitions go before all that came of them was committed, or with state that can't be dropped"
            )
        for partition in self._next:
            self._stage.drop(partition)
        self._next, self._dealt = {}, False
        self._network.call("give_up", lambda: self._broker.give_up(self._group, [self._topic], self._member))

    def _begin(self, partition: Partition) -> None:
        committed = self._network.call(
            "committed",
            lambda: self._broker.committed(self._group, partition, stable=self._mutation != "unstable offsets"),
        )
        start: int | None = committed if self._stage.name == "assemble" else 0
        if keeps_state(self._stage):
            start = self._stage.restore(partition, self._changelog(partition)) or 0
        if self._mutation in {"state without next_offset", "commit before state"} and start:
            start = committed
        self._next[partition], self._muted_before[partition] = min(start or 0, committed), committed
        if self._mutation == "muted by time" and committed:
            self._muted_until_ms = max(self._muted_until_ms, self._broker.log(partition)[committed - 1].timestamp_ms)

    def _changelog(self, partition: Partition) -> Mapping[bytes, bytes]:
        place = changelog(partition)
        if self._mutation != "unstable offsets" and self._broker.stable_end(place) < len(self._broker.log(place)):
            raise Retriable(f"{place}: a transaction is still open")
        found: dict[bytes, bytes] = {}
        for _, entry in self._broker.fetch(place, 0, len(self._broker.log(place)))[0]:
            if entry.value is None:
                found.pop(entry.key or b"", None)
            else:
                found[entry.key or b""] = entry.value
        return found

    def _fetch(self, records_max: int) -> list[Record]:
        records: list[Record] = []
        for partition, offset in self._next.items():
            entries, self._next[partition] = self._broker.fetch(partition, offset, records_max - len(records))
            records += [self._record(partition, at, entry) for at, entry in entries]
        return records

    def _record(self, partition: Partition, offset: int, entry: Entry) -> Record:
        muted = offset < self._muted_before[partition]
        if self._mutation == "muted by time":
            muted = entry.timestamp_ms <= self._muted_until_ms
        return Record(entry.value, partition, offset, entry.timestamp_ms, entry.key, entry.headers, muted)

    def commit(self, done: Mapping[Partition, int]) -> None:
        """Without a transaction, as the membership of the last poll."""
        due = {p: offset for p, offset in done.items() if offset > self._muted_before.get(p, offset)}
        self._network.call("commit", lambda: self._broker.commit(self._group, due, self._as()))

    def _as(self) -> Membership | None:
        if self._mutation == "group string":
            return None
        if self._mutation == "live membership":
            return self._broker.membership(self._group, self._member)
        return self.membership

    def lag(self) -> Mapping[Partition, int]:
        return {p: self._broker.stable_end(p) - offset for p, offset in self._next.items()}

    def nothing_left(self, partitions: Collection[Partition]) -> Collection[Partition]:
        lags = self.lag()
        return [partition for partition in partitions if lags.get(partition) == 0]

    def exhausted(self) -> bool:
        return False

    def close(self) -> None:
        self._broker.leave(self._group, self._member)

    @property
    def group(self) -> str:
        return self._group


class PlainSink:
    """A producer without transactions; see ``ports.Sink``."""

    def __init__(self, broker: SimBroker, network: Network) -> None:
        self._broker, self._network = broker, network
        self._pending: list[tuple[Partition, Entry]] = []

    def send(self, topic: str, value: bytes | None, key: bytes | None = None, headers: Headers = ()) -> None:
        self._pending.append((self._broker.place(topic, key), Entry(value, key, headers)))

    def broadcast(self, topic: str, value: bytes) -> None:
        self._pending += [(place, Entry(value, None, ())) for place in self._broker.all(topic)]

    def flush(self, timeout_s: float) -> None:
        del timeout_s
        while self._pending:
            partition, entry = self._pending[0]
            self._network.call("produce", partial(self._broker.append, partition, entry))
            self._pending.pop(0)

    def close(self) -> None:
        self._pending.clear()


class SimSink:
    """A transactional producer; see ``ports.TransactionalSink``."""

    keeps_state = True

    def __init__(self, broker: SimBroker, network: Network, name: str, source: SimSource, mutation: str = "") -> None:
        self._broker, self._network, self._name = broker, network, name
        self._source, self._mutation = source, mutation
        self._pending: list[tuple[Partition, Entry]] = []
        self._offsets: dict[Partition, int] = {}
        self._sent, self._broken = False, False
        source.uncommitted = lambda: bool(self._pending or self._offsets or self._sent)
        stays = mutation == "no new epoch" and name in broker._epochs
        self._epoch = network.call("init", lambda: broker._epochs[name] if stays else broker.init(name))

    def send(self, topic: str, value: bytes | None, key: bytes | None = None, headers: Headers = ()) -> None:
        self._pending.append((self._broker.place(topic, key), Entry(value, key, headers)))
        if self._network.chance(0.3) and self._mutation not in {"commit before produce", "resend after unknown commit"}:
            self._guarded(self._produce)

    def broadcast(self, topic: str, value: bytes) -> None:
        self._pending += [(place, Entry(value, None, ())) for place in self._broker.all(topic)]

    def flush(self, timeout_s: float) -> None:
        """Nothing is safe before ``commit``."""

    def consumed(self, done: Mapping[Partition, int]) -> None:
        self._offsets |= done

    def full(self) -> bool:
        return len(self._pending) > 50

    def commit(self, states: Sequence[StateRecord]) -> None:
        written = [(changelog(s.partition), Entry(s.value, s.key)) for s in states]
        if self._pending or self._offsets or written:
            self._guarded(lambda: self._commit(written))

    def _guarded(self, action: Callable[[], None]) -> None:
        if self._broken:
            raise Retriable("what became of the last commit is not known")
        self._broken = True
        action()
        self._broken = False

    def _produce(self) -> None:
        while self._pending:
            self._write("produce", *self._pending.pop(0))

    def _write(self, point: str, partition: Partition, entry: Entry) -> None:
        self._network.call(
            point,
            lambda: self._broker.produce(self._name, self._epoch, self._network.monotonic(), partition, entry),
        )
        self._sent = True

    def _commit(self, states: list[tuple[Partition, Entry]]) -> None:
        mutation, resent = self._mutation, list(self._pending)
        if mutation == "commit before produce":
            self._end_with_offsets()
        if mutation == "state before commit":
            self._write_for_good(states)
        self._produce()
        if mutation not in {"state before commit", "commit before state"}:
            self._write_all("state", states)
        try:
            self._end_with_offsets()
        except Retriable:
            if mutation != "resend after unknown commit" or self._broker._epochs.get(self._name) != self._epoch:
                raise
            self._write_all("produce", [*resent, *states])
            self._end_with_offsets()
        if mutation == "commit before state":
            self._write_for_good(states)

    def _write_all(self, point: str, entries: list[tuple[Partition, Entry]]) -> None:
        for partition, entry in entries:
            self._write(point, partition, entry)

    def _write_for_good(self, entries: list[tuple[Partition, Entry]]) -> None:
        """Without a transaction."""
        for partition, entry in entries:
            self._network.call("state", partial(self._broker.append, partition, entry))

    def _end_with_offsets(self) -> None:
        if self._offsets:
            self._network.call(
                "offsets",
                lambda: self._broker.add_offsets(
                    self._name,
                    self._epoch,
                    self._network.monotonic(),
                    self._source.group,
                    dict(self._offsets),
                    self._source._as(),
                ),
            )
        self._network.call("end", lambda: self._broker.end(self._name, self._epoch, commit=True))
        self._offsets, self._sent = {}, False

    def close(self) -> None:
        """What was not committed is left to be aborted: by the next one of this name, or by its age."""
