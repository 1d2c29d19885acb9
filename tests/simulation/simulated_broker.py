"""A broker in memory with what the promise of exactly once hangs on: transactions, fencing, groups with generations.

As Kafka has it, in small: markers stand in the log and take an offset; who reads committed reads up to the first open
transaction; offsets of an open transaction are not known yet; a producer that begins with a transactional id ends what its
predecessor left open, and fences it; so does the coordinator with a transaction that is too old; who is not a member of a
group's generation may not commit for it. What kafka-python does wrong is here too, where a client must be on guard for it: a
commit without membership, or with the one of somebody who was thrown out (generation −1), is not refused.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from zlib import crc32

from streamdrift.errors import Retriable
from streamdrift.ports import Headers, Partition

SESSION_S = 3.0
TRANSACTION_S = 6.0


class Fenced(Retriable):
    """Somebody else has taken the place of who asked."""


@dataclass(slots=True)
class Transaction:
    """One transaction of one producer."""

    name: str
    epoch: int
    began: float
    status: str = "open"
    partitions: set[Partition] = field(default_factory=set)
    offsets: dict[tuple[str, Partition], int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Entry:
    """One place in a log; a marker of a transaction's end has neither key nor value."""

    value: bytes | None
    key: bytes | None = None
    headers: Headers = ()
    timestamp_ms: int = 0
    transaction: Transaction | None = None
    marker: bool = False


@dataclass(frozen=True, slots=True)
class Membership:
    """Who somebody was in a group when it was last asked."""

    member: str
    generation: int


@dataclass(slots=True)
class Group:
    """A consumer group: who is in it, who has what, and whether that is being dealt out anew."""

    generation: int = 0
    beats: dict[str, float] = field(default_factory=dict)
    ready: set[str] = field(default_factory=set)
    assignment: dict[str, list[Partition]] = field(default_factory=dict)
    rebalancing: bool = False


class SimBroker:
    """Topics, producers and groups, all in the order in which they are called."""

    def __init__(self, partitions: int) -> None:
        self.partitions = partitions
        self._logs: dict[Partition, list[Entry]] = {}
        self._epochs: dict[str, int] = {}
        self._open: dict[str, Transaction] = {}
        self._groups: dict[str, Group] = {}
        self._committed: dict[tuple[str, Partition], int] = {}
        self._turn = 0

    def log(self, partition: Partition) -> list[Entry]:
        return self._logs.setdefault(partition, [])

    def place(self, topic: str, key: bytes | None) -> Partition:
        self._turn += key is None
        return Partition(topic, (self._turn if key is None else crc32(key)) % self.partitions)

    def all(self, topic: str) -> list[Partition]:
        return [Partition(topic, n) for n in range(self.partitions)]

    def append(self, partition: Partition, entry: Entry) -> None:
        self.log(partition).append(entry)

    # producers

    def init(self, name: str) -> int:
        """Take the place of all producers with this transactional id before; return the epoch."""
        self._fence(name)
        return self._epochs[name]

    def _fence(self, name: str) -> None:
        self._epochs[name] = self._epochs.get(name, -1) + 1
        if (left := self._open.pop(name, None)) is not None:
            self._finish(left, "aborted")

    def _transaction(self, name: str, epoch: int, now: float) -> Transaction:
        if self._epochs.get(name) != epoch:
            raise Fenced(f"{name} epoch {epoch} is fenced by {self._epochs.get(name)}")
        if name not in self._open:
            self._open[name] = Transaction(name, epoch, now)
        return self._open[name]

    def produce(self, name: str, epoch: int, now: float, partition: Partition, entry: Entry) -> None:
        transaction = self._transaction(name, epoch, now)
        transaction.partitions.add(partition)
        written = Entry(entry.value, entry.key, entry.headers, entry.timestamp_ms, transaction)
        self.log(partition).append(written)

    def add_offsets(
        self,
        name: str,
        epoch: int,
        now: float,
        group: str,
        offsets: dict[Partition, int],
        membership: Membership | None,
    ) -> None:
        transaction = self._transaction(name, epoch, now)
        self._check(group, membership)
        transaction.offsets |= {(group, partition): offset for partition, offset in offsets.items()}

    def end(self, name: str, epoch: int, *, commit: bool) -> None:
        if self._epochs.get(name) != epoch:
            raise Fenced(f"{name} epoch {epoch} is fenced by {self._epochs.get(name)}")
        if (transaction := self._open.pop(name, None)) is not None:
            self._finish(transaction, "committed" if commit else "aborted")

    def _finish(self, transaction: Transaction, status: str) -> None:
        transaction.status = status
        for partition in sorted(transaction.partitions):
            self.log(partition).append(Entry(None, transaction=transaction, marker=True))
        if status == "committed":
            self._committed |= transaction.offsets

    def expire(self, now: float) -> None:
        """Abort transactions that are too old, and throw members out that were not heard of."""
        for name, transaction in list(self._open.items()):
            if now - transaction.began > TRANSACTION_S:
                self._fence(name)
        for group in self._groups.values():
            for member in [m for m, beat in group.beats.items() if now - beat > SESSION_S]:
                self._remove(group, member)

    @property
    def open_transactions(self) -> list[str]:
        return sorted(self._open)

    # readers

    def fetch(self, partition: Partition, offset: int, n: int) -> tuple[list[tuple[int, Entry]], int]:
        """Return committed entries from an offset on, with their offsets, and where to go on."""
        log = self.log(partition)
        found: list[tuple[int, Entry]] = []
        end = self.stable_end(partition)
        while offset < end and len(found) < n:
            entry = log[offset]
            if not entry.marker and (entry.transaction is None or entry.transaction.status == "committed"):
                found.append((offset, entry))
            offset += 1
        return found, offset

    def stable_end(self, partition: Partition) -> int:
        """The first offset that is not decided yet."""
        if not any(partition in transaction.partitions for transaction in self._open.values()):
            return len(self.log(partition))
        for offset, entry in enumerate(self.log(partition)):
            if entry.transaction is not None and entry.transaction.status == "open":
                return offset
        return len(self.log(partition))

    def values(self, topic: str) -> list[Entry]:
        """Return what there is to be read committed, partition by partition."""
        return [entry for p in self.all(topic) for _, entry in self.fetch(p, 0, len(self.log(p)))[0]]

    # groups

    def committed(self, group: str, partition: Partition, *, stable: bool = True) -> int:
        """Return a group's offset, 0 without one; refused while a transaction with another one is open."""
        if stable and any((group, partition) in t.offsets for t in self._open.values()):
            raise Retriable(f"{partition} of {group}: offsets of an open transaction are not known yet")
        return self._committed.get((group, partition), 0)

    def commit(self, group: str, offsets: dict[Partition, int], membership: Membership | None) -> None:
        """Commit without a transaction."""
        self._check(group, membership)
        self._committed |= {(group, partition): offset for partition, offset in offsets.items()}

    def _check(self, name: str, membership: Membership | None) -> None:
        if membership is None or membership.generation < 0:
            return  # the broker takes whoever does not say who he is for somebody without a group
        group = self._groups.setdefault(name, Group())
        if membership.member not in group.beats or membership.generation != group.generation:
            raise Fenced(f"{membership} is not in generation {group.generation} of {name}")

    def join(self, name: str, member: str, now: float) -> None:
        group = self._groups.setdefault(name, Group())
        group.beats[member] = now
        self._deal_anew(group)

    def leave(self, name: str, member: str) -> None:
        self._remove(self._groups.setdefault(name, Group()), member)

    def _remove(self, group: Group, member: str) -> None:
        if group.beats.pop(member, None) is not None:
            self._deal_anew(group)

    @staticmethod
    def _deal_anew(group: Group) -> None:
        group.rebalancing, group.ready = True, set()

    def beat(self, name: str, member: str, now: float) -> str:
        """Say that a member lives; return ``unknown``, ``rebalancing`` or ``stable``."""
        group = self._groups.setdefault(name, Group())
        if member not in group.beats:
            return "unknown"
        group.beats[member] = now
        return "rebalancing" if group.rebalancing else "stable"

    def membership(self, name: str, member: str) -> Membership:
        """Who somebody is now; generation −1 where he was thrown out."""
        group = self._groups[name]
        return Membership(member, group.generation if member in group.beats else -1)

    def give_up(self, name: str, topics: list[str], member: str) -> None:
        """A member has let go of what it had; when all have, partitions are dealt out."""
        group = self._groups[name]
        if member not in group.beats:
            raise Retriable(f"{member} was thrown out of {name}")
        group.ready.add(member)
        if group.ready >= group.beats.keys():
            members = sorted(group.beats)
            group.generation += 1
            group.assignment = {m: [] for m in members}
            for n, partition in enumerate(p for topic in topics for p in self.all(topic)):
                group.assignment[members[(n + group.generation) % len(members)]].append(partition)
            group.rebalancing = False

    def assigned(self, name: str, member: str) -> list[Partition]:
        return self._groups[name].assignment.get(member, [])
