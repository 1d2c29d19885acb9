"""Ctrl-C ends a run between two batches, never within one: what was read is detected on, told and counted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import FrameType

from streamdrift.ports import Partition, Record, Source


class Interrupt:
    """What the signal calls: it raises KeyboardInterrupt at once where nothing is half done, or when it comes again."""

    def __init__(self) -> None:
        self.asked = False
        self.busy = False

    def __call__(self, _number: int, _frame: FrameType | None) -> None:
        """Take the signal."""
        again, self.asked = self.asked, True
        if again or not self.busy:
            raise KeyboardInterrupt


class Interruptible:
    """A source at which the interrupt takes effect: while it waits for records, or when it is asked for more.

    Raises
    ------
    KeyboardInterrupt
        From ``poll``; the records of earlier polls are done with.
    """

    def __init__(self, source: Source, interrupt: Interrupt) -> None:
        self._source, self._interrupt = source, interrupt

    def poll(self, records_max: int, timeout_s: float) -> Sequence[Record]:
        """Return the next records; until they are asked for again, an interrupt waits."""
        self._interrupt.busy = False
        if self._interrupt.asked:
            raise KeyboardInterrupt
        records = self._source.poll(records_max, timeout_s)
        self._interrupt.busy = True
        return records

    def commit(self, done: Mapping[Partition, int]) -> None:
        """As the source."""
        self._source.commit(done)

    def lag(self) -> Mapping[Partition, int]:
        """As the source."""
        return self._source.lag()

    def exhausted(self) -> bool:
        """As the source."""
        return self._source.exhausted()

    def close(self) -> None:
        """As the source."""
        self._source.close()
