"""Plays a story: hours of calm in large pieces, what surrounds the incident in small ones, and a responder who does what a page asks for.

The responder acknowledges ``ACKNOWLEDGED_MS`` after the first page about the story's own cause, and undoes the change ``MITIGATED_MS`` after
it: by ``streamdrift incidents mitigate`` where this release has it, and the serving side does what it is told, taking it
back included; what was taken back once is approved again, and kept. A page before the onset is acknowledged, and looked into, and is what a page by night costs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from streamdrift.alerts import Alert, rfc3339
from tests.incidents.house import House, Told
from tests.incidents.story import DAY, HOUR, MINUTE, SLOT, UNDO_AFTER_MS, Message, Story, World

ACKNOWLEDGED_MS = 8 * MINUTE
MITIGATED_MS = 40 * MINUTE
SETTLING_MS = 3 * HOUR
"""So long after it was undone the pieces are still small."""
QUIET_MS = 4 * HOUR
"""So long it goes on after the end, to see whether anything comes back."""


@dataclass(frozen=True)
class Pace:
    """How much is fed at a time: in calm, and from a while before the onset on."""

    calm_ms: int = 6 * HOUR
    close_ms: int = 20 * MINUTE
    before_ms: int = 40 * MINUTE


@dataclass(frozen=True)
class Command:
    """One command that the responder ran."""

    at: int
    arguments: tuple[str, ...]
    said: str
    code: int


@dataclass
class Played:
    """All that came of it."""

    story: Story
    world: World
    commands: list[Command] = field(default_factory=list)
    incidents: list[dict[str, Any]] = field(default_factory=list)
    """As ``incidents show --json`` has them, in the order in which they opened."""
    alerts: list[Alert] = field(default_factory=list)
    told: list[Told] = field(default_factory=list)
    fed: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    by_hand: bool = False
    """Whether the undoing was outside of streamdrift, as this release has no mitigation."""
    orders: list[dict[str, Any]] = field(default_factory=list)
    postmortem: str = ""
    ended_at: int = 0

    @property
    def mine(self) -> list[dict[str, Any]]:
        """Incidents of the guilty cause: that began no earlier than the change, among features that it moved."""
        return [one for one in self.incidents if of_cause(self.story, one)]

    def paged(self, incident: dict[str, Any]) -> list[dict[str, Any]]:
        """The entries of a timeline by which somebody was called."""
        return [entry for entry in incident["timeline"] if entry["kind"] == "paged"]


def of_cause(story: Story, incident: dict[str, Any]) -> bool:
    """Whether an incident is of the guilty change: some alert of it is of a feature that was hit, and began after it."""
    return any(
        alert["feature"].startswith(story.features) and _ms(alert["detected_at"]) >= story.onset
        for alert in incident["held"]
    )


def _ms(told: str) -> int:
    from datetime import datetime

    return round(datetime.fromisoformat(told).timestamp() * 1000)


class Player:
    """One run."""

    def __init__(self, story: Story, house: House, pace: Pace | None = None) -> None:
        self._story, self._house, self._pace = story, house, pace or Pace()
        self.played = Played(story, World())
        self._announced = list(story.announced)
        self._known: set[str] = set()
        self._due: list[tuple[int, tuple[str, ...]]] = []
        self._mitigate_at: int | None = None
        self._undone_by = 0
        self._orders = 0
        self._taken_back = 0
        self._over_at: int | None = None
        self._going: list[dict[str, Any]] = []
        self._fresh = 0, 0

    def play(self) -> Played:
        """Play it to its end."""
        now = self._story.start
        for piece, until in self._pieces():
            now = until
            self._house.feed(piece, now)
            self._respond(now)
            if self._over_at is not None and now >= self._over_at + QUIET_MS:
                break
        self._finish(now)
        return self.played

    def _pieces(self) -> Iterator[tuple[list[Message], int]]:
        """Cut the messages: each piece with the time at its end."""
        piece: list[Message] = []
        end = self._next(self._story.start)
        for message in self._story.messages(self.played.world):
            while message.time >= end:
                yield piece, end
                piece, end = [], self._next(end)
            piece.append(message)
        yield piece, end

    def _next(self, now: int) -> int:
        """Large pieces end where the small ones begin."""
        close = self._story.onset - self._pace.before_ms
        undone = self.played.world.undone_at
        settled = self._over_at is not None or (undone is not None and now >= undone + SETTLING_MS)
        if now >= close and not settled:
            return now + self._pace.close_ms
        step = self._pace.calm_ms if now < close else 2 * HOUR
        return min(now + step, close) if now < close else now + step

    # The responder ---------------------------------------------------------------------------------------------------

    def _respond(self, now: int) -> None:
        for one in [one for one in self._announced if one.at <= now]:
            self._announced.remove(one)
            self._run(now, "incidents", "silence", "add", *one.arguments)
        if self._fresh != (len(self._house.alerts), len(self.played.commands)):
            self._going = self._house.shown()
            self._fresh = len(self._house.alerts), len(self.played.commands)
        going = self._going
        for incident in going:
            self._notice(incident, now)
        for due in [due for due in self._due if due[0] <= now]:
            self._due.remove(due)
            self._run(due[0] if due[0] > now - self._pace.close_ms else now, *due[1])
        self._mitigate(going, now)
        self._serve(now)
        mine = [one for one in going if of_cause(self._story, one)]
        over = bool(mine) and all(one["status"] == "resolved" for one in mine)
        self._over_at = (self._over_at or now) if over and self.played.world.undone else None

    def _notice(self, incident: dict[str, Any], now: int) -> None:
        if incident["incident_id"] in self._known or not incident["pages"]:
            return
        self._known.add(incident["incident_id"])
        if incident["status"] != "resolved":
            self._due.append((now + ACKNOWLEDGED_MS, ("incidents", "ack", incident["incident_id"])))
        if of_cause(self._story, incident) and self._mitigate_at is None:
            self._mitigate_at = now + MITIGATED_MS

    def _mitigate(self, going: list[dict[str, Any]], now: int) -> None:
        world = self.played.world
        if self._mitigate_at is None and now >= self._story.onset + UNDO_AFTER_MS:
            world.undo(now + SLOT)
            self.played.by_hand = True
        if self._mitigate_at is None or now < self._mitigate_at or self._undone_by or world.undone_at is not None:
            return
        self._undone_by = now
        mine = next(
            (one["incident_id"] for one in going if of_cause(self._story, one) and one["status"] != "resolved"), None
        )
        if mine is not None and self._house.serving.known:
            self._run(now, "incidents", "mitigate", mine)
            done = self._run(now, "incidents", "mitigate", mine, "--action", self._story.mitigation, "--approve")
            if done.code == 0:
                self._house.settle(now)
                if self._taken_back:  # somebody saw that it helped, and that the evidence takes its time
                    self._run(now, "incidents", "mitigate", mine, "--action", self._story.mitigation, "--keep")
                return
        self.played.by_hand = True
        world.undo(now + SLOT)

    def _serve(self, now: int) -> None:
        """The serving side does what it was told; from the next slot on, for this one is drawn already."""
        orders = self._house.serving.orders
        for order in orders[self._orders :]:
            if order.get("data", {}).get("operation") == "revert":
                self.played.world.redo(now + SLOT)
                self._undone_by, self._mitigate_at = 0, now + MITIGATED_MS
                self._taken_back += 1
            else:
                self.played.world.undo(now + SLOT)
        self._orders = len(orders)

    # Commands --------------------------------------------------------------------------------------------------------

    def _run(self, at: int, *arguments: str) -> Command:
        done = self._house.run(*arguments)
        told = (done.stdout + done.stderr).strip()
        command = Command(at, arguments, told, done.returncode)
        self.played.commands.append(command)
        return command

    def _finish(self, now: int) -> None:
        played = self.played
        played.incidents = self._house.shown()
        for one in played.mine[:1]:
            self._house.story_time.set((now + DAY // 2) / 1000)
            drafted = self._house.run("incidents", "postmortem", one["incident_id"], "--markdown")
            played.postmortem = drafted.stdout if drafted.returncode == 0 else ""
        played.alerts, played.told, played.fed = self._house.alerts, self._house.told, self._house.fed
        played.orders, played.ended_at = self._house.serving.orders, now


def moment(ms: int) -> str:
    """A time for people."""
    return rfc3339(ms)[:16].replace("T", " ")
