"""Where requests wait until what they said is with the broker: threads of the server on one side, the publisher on the other."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from threading import Condition, Event

from streamdrift.errors import Retriable
from streamdrift.feeds.drafts import Message

WAITING_MAX = 256
"""Requests that wait; further ones are told to come again."""


@dataclass(slots=True)
class Parcel:
    """The messages of one request.

    Attributes
    ----------
    done
        Set when it is known what became of them.
    problem
        Why they may not be with the broker; None where they are.
    """

    messages: tuple[Message, ...]
    done: Event = field(default_factory=Event)
    problem: str | None = None

    def settle(self, problem: str | None) -> None:
        """Say what became of them."""
        self.problem = problem
        self.done.set()


class Inbox:
    """Parcels in order. It is shut until a publisher opens it."""

    def __init__(self, waiting_max: int = WAITING_MAX) -> None:
        self._waiting: deque[Parcel] = deque()
        self._max, self._changed = waiting_max, Condition()
        self._shut: str | None = "the service is starting"

    def submit(self, messages: tuple[Message, ...], timeout_s: float) -> None:
        """Return when the broker has acknowledged all of them.

        Raises
        ------
        Retriable
            It has not; some of them may be there all the same.
        """
        parcel = Parcel(messages)
        with self._changed:
            if self._shut is not None:
                raise Retriable(self._shut)
            if len(self._waiting) >= self._max:
                raise Retriable(f"{self._max} requests wait for the broker already")
            self._waiting.append(parcel)
            self._changed.notify()
        if not parcel.done.wait(timeout_s):
            raise Retriable("the broker did not acknowledge in time")
        if parcel.problem is not None:
            raise Retriable(parcel.problem)

    def take(self, parcels_max: int, timeout_s: float) -> list[Parcel]:
        """Return what waits, after at most so long."""
        with self._changed:
            if not self._waiting:
                self._changed.wait(timeout_s)
            return [self._waiting.popleft() for _ in range(min(parcels_max, len(self._waiting)))]

    def open(self) -> None:
        """Let requests in."""
        with self._changed:
            self._shut = None

    def shut(self, reason: str) -> None:
        """Turn requests away, those that wait as well; a second call changes the reason alone."""
        with self._changed:
            self._shut = reason
            waiting, self._waiting = list(self._waiting), deque()
        for parcel in waiting:
            parcel.settle(reason)
