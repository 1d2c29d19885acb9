"""What the group gives and takes, from kafka-python's network thread to the loop that polls."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from kafka import ConsumerRebalanceListener


class Assignments(ConsumerRebalanceListener):  # type: ignore[misc] # kafka-python's classes are untyped
    """Notes, on the network thread, what the main loop has to do.

    Attributes
    ----------
    before_revoking
        Called there, while the main loop waits in its poll, before partitions go that still are ours.
    """

    def __init__(self) -> None:
        self._events: deque[tuple[bool, tuple[Any, ...]]] = deque()
        self.before_revoking: Callable[[], None] = lambda: None

    def on_partitions_assigned(self, assigned: Iterable[Any]) -> None:
        """Note those that came."""
        self._events.append((True, tuple(assigned)))

    def on_partitions_revoked(self, revoked: Iterable[Any]) -> None:
        """Note those that go, when what came of them is settled."""
        try:
            self.before_revoking()
        finally:
            self._events.append((False, tuple(revoked)))

    def on_partitions_lost(self, lost: Iterable[Any]) -> None:
        """Note those that are another's already."""
        self._events.append((False, tuple(lost)))

    def take(self) -> Iterable[tuple[bool, tuple[Any, ...]]]:
        """Return what was noted since the last time, in order."""
        taken = []
        while self._events:
            taken.append(self._events.popleft())
        return taken
