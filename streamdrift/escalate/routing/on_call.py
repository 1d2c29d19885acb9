"""Whose shift it is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, Field

from streamdrift.settings.values import MailAddress, Name, Section

SHIFT_S_MIN = 60.0
PEOPLE_MAX = 1_000


@lru_cache(maxsize=64)
def zone_of(name: str) -> tzinfo:
    """Return a time zone.

    Raises
    ------
    ValueError
        There is no such zone here.
    """
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError("is no time zone that this machine knows, such as Europe/Berlin or UTC") from None


def _zone(value: str) -> str:
    zone_of(value)
    return value


def _aware(value: datetime) -> datetime:
    if value.tzinfo is None:
        raise ValueError("has no time zone; end it with Z, or with an offset such as +02:00")
    return value


Zone = Annotated[str, AfterValidator(_zone)]
Moment = Annotated[datetime, AfterValidator(_aware)]
SlackHandle = Annotated[str, Field(pattern=r"^[UWS][A-Z0-9]{6,30}$")]


class Person(Section):
    """How somebody is called; a name that is listed nowhere is only told."""

    slack: SlackHandle | None = None
    """Id of a member or of a group of them."""
    email: MailAddress | None = None


class OnCall(Section):
    """A list of people who take turns."""

    people: Annotated[tuple[Name, ...], Field(min_length=1, max_length=PEOPLE_MAX)]
    start: Moment
    """When the first one's first shift begins."""
    shift_s: Annotated[float, Field(ge=SHIFT_S_MIN, le=366 * 86_400.0)]
    zone: Zone = "UTC"
    """Where clocks are put forward and back: a shift that began at nine begins at nine in summer, too."""

    def at(self, now: float) -> str | None:
        """Return whose shift it is at a time (seconds since the epoch); None before the first one.

        >>> week = OnCall(people=("ada", "grace"), start=datetime(2026, 1, 5, 9, tzinfo=UTC), shift_s=7 * 86_400.0)
        >>> [week.at(week.start.timestamp() + days * 86_400) for days in (-1, 0, 6.9, 7, 14)]
        [None, 'ada', 'ada', 'grace', 'ada']
        """
        zone = zone_of(self.zone)
        began = self.start.astimezone(zone).replace(tzinfo=None)
        passed = datetime.fromtimestamp(now, UTC).astimezone(zone).replace(tzinfo=None) - began
        if passed < timedelta(0):
            return None
        return self.people[int(passed / timedelta(seconds=self.shift_s)) % len(self.people)]
