"""A story: traffic of one model in event time, what went wrong in it and when, and what else happened that was nobody's fault.

A story is a generator, not a recording: what a responder does while it is played (``World.undone_at``) changes what comes after. The same
seed and the same moment of undoing give the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from heapq import heappop, heappush
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from streamdrift.alerts import rfc3339

MINUTE = 60_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR
SLOT = 10 * MINUTE
"""Traffic is drawn slot by slot."""
UNDO_AFTER_MS = 2 * DAY
"""Where nobody was paged, somebody finds it in the end by other ways."""
FOREVER = 2**62

Floats = npt.NDArray[np.float64]
Times = npt.NDArray[np.int64]


def at(iso: str) -> int:
    """Milliseconds since the epoch of a UTC time without its zone."""
    return round(datetime.fromisoformat(iso).replace(tzinfo=UTC).timestamp() * 1000)


@dataclass
class World:
    """What generator and responder share.

    Attributes
    ----------
    undone
        From when on the guilty change was undone, and until when, if that was taken back.
    """

    undone: list[tuple[int, int]] = field(default_factory=list)

    @property
    def undone_at(self) -> int | None:
        """Since when it is undone; None while it stands."""
        return self.undone[-1][0] if self.undone and self.undone[-1][1] == FOREVER else None

    def undo(self, at: int) -> None:
        """Undo it from a time on."""
        if self.undone_at is None:
            self.undone.append((at, FOREVER))

    def redo(self, at: int) -> None:
        """Take the undoing back."""
        if self.undone_at is not None:
            self.undone[-1] = (self.undone[-1][0], at)


@dataclass(frozen=True, slots=True)
class Message:
    """One record to be: its event time, and the topic by its name in the settings."""

    time: int
    topic: str
    key: bytes | None
    value: bytes


@dataclass(frozen=True, slots=True)
class Innocent:
    """Something that looks like an incident and is none: a campaign, a season, growth.

    Attributes
    ----------
    shows
        ``feature`` or ``feature@dimension=value`` of alerts that would be of it; empty where none should come.
    """

    name: str
    since: int
    until: int
    what: str
    shows: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Announced:
    """A silence that somebody sets beforehand, as ``incidents silence add`` takes it."""

    at: int
    arguments: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Story:
    """All that is known of a story before it is played.

    Attributes
    ----------
    told
        What happens, in sentences.
    start, end
        Event time of the first and of the latest possible event; it ends sooner, once the incident is over.
    onset
        When the first event is other than it would have been.
    guilty
        ``change_id`` of the change behind it.
    also_guilty
        Changes that are as good an answer.
    features
        Those that are other than they were, by the beginning of their names; the ones that may lead first.
    leads
        How many of these may lead.
    segments
        Any of which is rightly named as the place, ``{}`` for all traffic.
    undoing
        What the responder has done about it.
    messages
        Draws them all, in order of time.
    """

    name: str
    title: str
    told: tuple[str, str, str]
    model: dict[str, str]
    start: int
    end: int
    onset: int
    guilty: str
    changes: tuple[dict[str, Any], ...]
    features: tuple[str, ...]
    leads: int
    segments: tuple[dict[str, str], ...]
    innocents: tuple[Innocent, ...]
    undoing: str
    messages: Callable[[World], Iterator[Message]] = field(repr=False)
    announced: tuple[Announced, ...] = ()
    also_guilty: tuple[str, ...] = ()
    mitigation: str = "fallback"

    def wrong(self, times: Times, world: World) -> npt.NDArray[np.bool_]:
        """Which of these moments the guilty change is in force at."""
        found = times >= self.onset
        for since, until in world.undone:
            found &= (times < since) | (times >= until)
        return np.asarray(found)


# Drawing -------------------------------------------------------------------------------------------------------------


def slots(rng: np.random.Generator, start: int, end: int, rate: Callable[[int], float]) -> Iterator[Times]:
    """Draw the times of events, slot by slot; ``rate`` gives events per hour at a time."""
    for begin in range(start, end, SLOT):
        n = int(rng.poisson(rate(begin) * SLOT / HOUR))
        yield np.sort(rng.integers(begin, begin + SLOT, n))


def season(time: int, low: float = 0.35, peak_hour: float = 19.0) -> float:
    """The course of a day: 1 at the peak, ``low`` twelve hours from it."""
    hour = time / HOUR % 24
    return low + (1 - low) * (0.5 + 0.5 * float(np.cos((hour - peak_hour) / 24 * 2 * np.pi)))


def sigmoid(x: Floats) -> Floats:
    """The logistic function."""
    return np.asarray(1 / (1 + np.exp(-x)), dtype=np.float64)


def event(
    prediction_id: str, time: int, model: dict[str, str], segments: dict[str, str], **parts: dict[str, Any]
) -> Message:
    """One inference event."""
    told = {"prediction_id": prediction_id, "occurred_at": rfc3339(time), "model": model, "segments": segments, **parts}
    return Message(time, "events", None, orjson.dumps(told))


def change(change_id: str, time: int, kind: str, summary: str, **scope: object) -> dict[str, Any]:
    """One change event."""
    return {
        "change_id": change_id,
        "occurred_at": rfc3339(time),
        "kind": kind,
        "summary": summary,
        "scope": {"models": [], "features": [], "segments": {}} | scope,
    }


class Later:
    """Messages that come some time after what they are about."""

    def __init__(self, first: list[Message]) -> None:
        self._waiting: list[tuple[int, int, Message]] = []
        self._count = 0
        for message in first:
            self.put(message)

    def put(self, message: Message) -> None:
        self._count += 1
        heappush(self._waiting, (message.time, self._count, message))

    def due(self, time: int) -> Iterator[Message]:
        """Return those whose time has come."""
        while self._waiting and self._waiting[0][0] <= time:
            yield heappop(self._waiting)[2]


def changes(told: tuple[dict[str, Any], ...]) -> list[Message]:
    """Return changes as messages."""
    found = []
    for one in told:
        models = one["scope"]["models"]
        time = at(one["occurred_at"].removesuffix("Z"))
        found.append(Message(time, "changes", models[0].encode() if models else None, orjson.dumps(one)))
    return found
