"""The doors between the core and the world: what a transport, a receiver and a clock must offer.

Implementations are in ``transports`` and ``escalate.receivers``; ``checks`` has the suite each of them passes.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

Headers = tuple[tuple[str, bytes], ...]


@dataclass(frozen=True, slots=True, order=True)
class Partition:
    """One ordered log: a topic's partition, or a file (``index`` -1)."""

    name: str
    index: int = -1

    def position(self, offset: int) -> dict[str, str | int]:
        """A place in it, as alerts tell it."""
        if self.index < 0:
            return {"file": self.name, "line": offset}
        return {"topic": self.name, "partition": self.index, "offset": offset}


@dataclass(frozen=True, slots=True)
class Record:
    """One message as it came, with where it stands.

    Attributes
    ----------
    value
        The raw bytes; ``None`` is a tombstone.
    offset
        Place in the partition: Kafka's offset, or the line number (from 1) of a file.
    timestamp_ms
        The record's own time, milliseconds since the epoch.
    replayed
        True where the offset was committed before this process began: the record rebuilds state, and what
        comes out of it was published then, so it is muted now.
    """

    value: bytes | None
    partition: Partition
    offset: int
    timestamp_ms: int
    key: bytes | None = None
    headers: Headers = ()
    replayed: bool = False


def dead_letter_headers(record: Record, reason: str, detail: str, stage: str) -> Headers:
    """Headers of a dead letter; ``source`` is ``topic/partition/offset`` or ``file/line``."""
    place = "/".join(str(part) for part in record.partition.position(record.offset).values())
    return (
        ("reason", reason.encode()),
        ("detail", detail[:1000].encode("utf-8", "replace")),
        ("source", place.encode("utf-8", "replace")),
        ("stage", stage.encode()),
    )


class Clock(Protocol):
    """The one clock. It drives idle timers and deadlines only; windows and ids use event time."""

    def now(self) -> float:
        """Seconds since the epoch."""
        ...

    def monotonic(self) -> float:
        """Seconds that never go back."""
        ...

    def sleep(self, seconds: float) -> None:
        """Wait; may return early when the process is told to stop."""
        ...


@dataclass(frozen=True, slots=True)
class StateRecord:
    """State of one part of a stage, as a record of a compacted changelog.

    Attributes
    ----------
    partition
        Of the stage's input, which the state is about; the changelog has as many partitions.
    value
        Versioned and checksummed bytes; ``None`` where the part is gone.
    """

    partition: Partition
    key: bytes
    value: bytes | None


@runtime_checkable
class Stateful(Protocol):
    """A stage whose state can be put away, and taken up by another process."""

    def due(self, now_s: float) -> Sequence[StateRecord]:
        """Return what has been changed for ``kafka.state_flush_s`` as of a monotonic time; all that changed for infinity."""
        ...

    def restore(self, partition: Partition, records: Mapping[bytes, bytes]) -> int | None:
        """Take up a partition's state; return the offset from which its input must be read again, None for its start.

        Raises
        ------
        Fatal
            A record is damaged, or was written by a newer release; the sentence says what to do.
        """
        ...

    def drop(self, partition: Partition) -> None:
        """Forget a partition's state: the partition went to another worker."""
        ...


class Source(Protocol):
    """Records in partition order, and the means to say how far they are done."""

    def poll(self, records_max: int, timeout_s: float) -> Sequence[Record]:
        """Return up to ``records_max`` records, after at most about ``timeout_s``; empty when there are none.

        Raises
        ------
        Retriable
            The records may come later.
        Fatal
            They will not: the broker refuses us, the input is damaged.
        """
        ...

    def commit(self, done: Mapping[Partition, int]) -> None:
        """Record that everything before these offsets is done (the *next* offset to read, per partition)."""
        ...

    def lag(self) -> Mapping[Partition, int]:
        """Records of each partition that are there and not yet polled. Empty where unknown."""
        ...

    def exhausted(self) -> bool:
        """Tell whether no record can come any more (a file's end). A broker never is."""
        ...

    def close(self) -> None:
        """Let go of everything; a second call does nothing."""
        ...


class LiveSource(Source, Protocol):
    """A source to which records may come at any time."""

    def nothing_left(self, partitions: Collection[Partition]) -> Collection[Partition]:
        """Ask now, and wait for the answer: of which of these was everything polled. None of them where nobody answers."""
        ...


class Sink(Protocol):
    """Takes messages, and says when they are safe."""

    def send(self, topic: str, value: bytes | None, key: bytes | None = None, headers: Headers = ()) -> None:
        """Hand over one message, without a value a tombstone. It is safe only after ``flush``."""
        ...

    def broadcast(self, topic: str, value: bytes) -> None:
        """Hand over one message for every partition of a topic, behind what was handed over for it."""
        ...

    def flush(self, timeout_s: float) -> None:
        """Return when every message handed over is acknowledged.

        Raises
        ------
        Retriable
            One of them may not have been written.
        Fatal
            One of them will not be: refused, or the disk is full.
        """
        ...

    def close(self) -> None:
        """Let go of everything; what was not flushed may be lost. A second call does nothing."""
        ...


@runtime_checkable
class TransactionalSink(Sink, Protocol):
    """A sink whose messages come into view together with the offsets and the state that they belong to, or not at all.

    Once something failed it takes no more: what became of the last commit is then not known, and whoever used it must
    begin anew from what was committed.
    """

    keeps_state: bool
    """Whether state is put away here; if not, it is rebuilt from the input."""

    def consumed(self, done: Mapping[Partition, int]) -> None:
        """Note how far the input is done (next offsets), to be committed with all that was sent until now."""
        ...

    def full(self) -> bool:
        """Whether so much waits that it should be committed before more is sent."""
        ...

    def commit(self, states: Sequence[StateRecord]) -> None:
        """Commit what was sent, these states, and how far the input is done.

        Raises
        ------
        Retriable
            Nothing of it may count, or all of it: begin anew from what was committed.
        Fatal
            It will not be taken: refused.
        """
        ...


class Spill(Protocol):
    """Values by key, oldest first, outside of memory. It need not outlive the process: the log has all of it."""

    def append(self, items: Sequence[tuple[bytes, bytes]]) -> None:
        """Add keys and values that are younger than all that are there, oldest first; none of the keys is there yet."""
        ...

    def get(self, key: bytes) -> bytes | None:
        """Return the value of a key; None where it is not there."""
        ...

    def replace(self, key: bytes, value: bytes) -> None:
        """Put another value in the place of one that is there."""
        ...

    def pop_oldest(self) -> tuple[bytes, bytes]:
        """Remove the oldest and return it; there is one."""
        ...
