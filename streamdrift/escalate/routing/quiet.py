"""Why nobody is told of an incident just now: silences, maintenance windows, inhibition.

A silence covers alerts, not incidents: an incident is silenced while each of its firing alerts that may page is covered by a
silence or window that is in force, and by its bound. One alert beyond the bound, or of another segment, and the incident pages.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Literal, Protocol, Self

from pydantic import Field, model_validator

from streamdrift.alerts import Alert
from streamdrift.escalate.routing.matchers import Labels, Matcher, all_hold
from streamdrift.escalate.routing.on_call import Moment, Zone, zone_of
from streamdrift.escalate.routing.tree import Matchers
from streamdrift.settings.values import Name, Positive, Section, refuse

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
LENGTH_S_MAX = 6 * 86_400.0
"""Of a window that comes again; a longer one would have no end."""
MODEL_LABELS = frozenset({"model", "team"})
"""What is known of a series for whose alert an incident had no room."""

Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]


class Quiet(Protocol):
    """What silences alerts while it is in force."""

    @property
    def match(self) -> tuple[Matcher, ...]:
        """All of them hold of what it covers."""
        ...

    @property
    def up_to(self) -> float | None:
        """The largest effect that it covers; None covers all."""
        ...

    @property
    def title(self) -> str:
        """What it is called where it is told."""
        ...

    def in_force(self, now: float) -> bool:
        """Whether it covers anything at a time, in seconds since the epoch."""
        ...


@dataclass(frozen=True, slots=True)
class Silence:
    """Somebody's word that alerts are expected, from the ledger. Times in seconds since the epoch.

    Attributes
    ----------
    ended_at
        When it was ended before its time; None where it wasn't.
    """

    silence_id: str
    match: tuple[Matcher, ...]
    starts_at: float
    ends_at: float
    comment: str
    author: str
    up_to: float | None = None
    ended_at: float | None = None

    @property
    def title(self) -> str:
        """See ``Quiet``."""
        return f"silence {self.silence_id}"

    @property
    def over_at(self) -> float:
        """When it ends, or ended."""
        return self.ends_at if self.ended_at is None else min(self.ends_at, self.ended_at)

    def in_force(self, now: float) -> bool:
        """See ``Quiet``."""
        return self.starts_at <= now < self.over_at


class Maintenance(Section):
    """A window in which alerts are expected: once, or every week."""

    name: Name
    match: Matchers = ()
    up_to: Positive | None = None
    start: Moment | None = None
    """Of a window that comes once."""
    end: Moment | None = None
    days: Annotated[tuple[Day, ...], Field(max_length=7)] = ()
    """Of one that comes every week: the days on which it begins."""
    at: time | None = None
    """When it begins, by the clocks of ``zone``."""
    length_s: Annotated[Positive, Field(le=LENGTH_S_MAX)] | None = None
    zone: Zone = "UTC"

    @model_validator(mode="after")
    def _either(self) -> Self:
        once, weekly = (self.start, self.end), (self.at, self.length_s)
        if None not in once and weekly == (None, None) and not self.days:
            if self.start is not None and self.end is not None and self.end <= self.start:
                refuse(iter([("end", "is not after start")]))
        elif once != (None, None) or None in weekly or not self.days:
            refuse(iter([("name", "is a window that needs start and end, or days, at and length_s, and not both")]))
        return self

    @property
    def title(self) -> str:
        """See ``Quiet``."""
        return f"maintenance {self.name}"

    def in_force(self, now: float) -> bool:
        """See ``Quiet``."""
        if self.start is not None and self.end is not None:
            return self.start.timestamp() <= now < self.end.timestamp()
        here = datetime.fromtimestamp(now, UTC).astimezone(zone_of(self.zone)).date()
        return any(self._began(here - timedelta(days=back), now) for back in range(8))

    def _began(self, day: date, now: float) -> bool:
        if self.at is None or self.length_s is None or DAYS[day.weekday()] not in self.days:
            return False
        begins = datetime.combine(day, self.at.replace(tzinfo=None), zone_of(self.zone)).timestamp()
        return begins <= now < begins + self.length_s


class Inhibition(Section):
    """While an incident that ``source`` matches is open and told, those that ``target`` matches are not told.

    Both must have a value in common of each label in ``equal``. What both match is not inhibited.
    """

    name: Name
    source: Annotated[Matchers, Field(min_length=1)]
    target: Annotated[Matchers, Field(min_length=1)]
    equal: tuple[Literal["model", "team", "severity", "segment", "reason", "feature"], ...] = ("model",)

    def inhibits(self, source: Labels, target: Labels) -> bool:
        """Whether an incident with the first labels keeps one with the others from being told."""
        return (
            all_hold(self.target, target)
            and not all_hold(self.source, target)
            and all_hold(self.source, source)
            and all(source.get(label, frozenset()) & target.get(label, frozenset()) for label in self.equal)
        )


def size(alert: Alert) -> float:
    """What a silence's bound is compared with: the effect in its own unit without its sign; a ratio counts both ways.

    >>> from types import SimpleNamespace as Some
    >>> [size(Some(effect_size=e, effect_unit=u)) for e, u in ((-0.3, "sd"), (1.5, "ratio"), (0.5, "ratio"), (0.0, "ratio"))]
    [0.3, 0.5, 1.0, inf]
    """
    effect = abs(alert.effect_size)
    if alert.effect_unit != "ratio":
        return effect
    return max(effect, 1 / effect) - 1 if effect else float("inf")


def covers(quiet: Quiet, alert: Alert, labels: Labels) -> bool:
    """Whether an alert is one of those that are expected, by kind and by size."""
    return all_hold(quiet.match, labels) and (quiet.up_to is None or size(alert) <= quiet.up_to)


def silenced(
    quiets: Iterable[Quiet], alerts: Sequence[tuple[Alert, Labels]], now: float, *, beyond: Labels | None = None
) -> tuple[Quiet, ...]:
    """Return what silences an incident with these alerts, if anything.

    Parameters
    ----------
    alerts
        All that may page, with their labels.
    beyond
        Model and team, where the incident has series without alerts: only what asks for nothing else covers them.
    """
    active = [quiet for quiet in quiets if quiet.in_force(now)]
    found: dict[str, Quiet] = {}
    for alert, labels in alerts:
        quiet = next((one for one in active if covers(one, alert, labels)), None)
        if quiet is None:
            return ()
        found[quiet.title] = quiet
    if beyond is not None and not any(_covers_unseen(one, beyond) for one in active):
        return ()
    return tuple(found.values())


def _covers_unseen(quiet: Quiet, labels: Labels) -> bool:
    known = all(matcher.label in MODEL_LABELS for matcher in quiet.match)
    return known and quiet.up_to is None and all_hold(quiet.match, labels)
