"""Good and total by minute and by hour of event time, and their sums over windows that end now.

Minutes are kept as long as the longest window that is measured in them (``MINUTES_MS``) and an hour for what is late, hours for the
objective's period. A longer window is measured in whole hours: it begins with the hour in which it would begin.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

MINUTE_MS, HOUR_MS = 60_000, 3_600_000
MINUTES_MS = 6 * HOUR_MS
LATE_MS = HOUR_MS
AHEAD_MS = 10 * MINUTE_MS
"""A minute that is so far ahead of when its slice was written is none: it counts in that minute."""
FRESH_MINUTES_MAX = 7 * 24 * 60
"""Minutes without news that are counted at once; older ones are left out."""

Key = tuple[int, int]
"""Width and beginning of a bucket, milliseconds."""


@dataclass(frozen=True, slots=True)
class Sum:
    """Good ones, and how many there were."""

    good: int = 0
    total: int = 0

    @property
    def bad(self) -> int:
        """The rest."""
        return self.total - self.good

    @property
    def bad_share(self) -> float:
        """Of all; 0 of none."""
        return self.bad / self.total if self.total else 0.0

    def __add__(self, other: Sum) -> Sum:
        return Sum(self.good + other.good, self.total + other.total)


@dataclass(slots=True)
class Counts:
    """Counts of one indicator.

    Attributes
    ----------
    buckets
        By width and beginning.
    now
        End of the latest minute that was counted, milliseconds; 0 before the first. Windows end there.
    changed
        Buckets that changed since somebody last took note.
    """

    buckets: dict[Key, Sum] = field(default_factory=dict)
    now: int = 0
    changed: set[Key] = field(default_factory=set)

    def add(self, minute: int, good: int, total: int, period_ms: int) -> None:
        """Count on; what is older than the period is left out."""
        if minute < self.now - period_ms:
            return
        self.now = max(self.now, minute - minute % MINUTE_MS + MINUTE_MS)
        for width in (MINUTE_MS, HOUR_MS):
            key = width, minute - minute % width
            self.buckets[key] = self.buckets.get(key, Sum()) + Sum(good, total)
            self.changed.add(key)

    def over(self, window_ms: int) -> Sum:
        """Return the sum over a window that ends now."""
        width = MINUTE_MS if window_ms <= MINUTES_MS else HOUR_MS
        begin = self.now - window_ms
        begin -= begin % width
        return sum((found for (w, at), found in self.buckets.items() if w == width and begin <= at < self.now), Sum())

    def since(self, window_ms: int) -> int:
        """Beginning of the first minute or hour that was counted, of those that a window is measured in; now where none was."""
        width = MINUTE_MS if window_ms <= MINUTES_MS else HOUR_MS
        return min((at for w, at in self.buckets if w == width), default=self.now)

    def onset(self, window_ms: int, bad_share: float) -> int:
        """Return when, within a window that ends now, more than this share was bad for the first time; now where it never was."""
        width = MINUTE_MS if window_ms <= MINUTES_MS else HOUR_MS
        begin = self.now - window_ms
        begin -= begin % width
        bad = (
            at
            for (w, at), found in self.buckets.items()
            if w == width and begin <= at < self.now and found.bad_share > bad_share
        )
        return min(bad, default=self.now)

    def stale(self, period_ms: int) -> list[Key]:
        """Forget what no window needs any more; return what it was."""
        kept = {MINUTE_MS: MINUTES_MS + LATE_MS, HOUR_MS: period_ms + HOUR_MS}
        gone = [key for key in self.buckets if key[1] + key[0] < self.now - kept[key[0]]]
        for key in gone:
            del self.buckets[key]
            self.changed.discard(key)
        return gone


def plausible(minute: int, written_ms: int) -> int:
    """Return the minute that a count belongs to: its own, or when it was written where it is that far ahead."""
    return minute if minute <= written_ms + AHEAD_MS else written_ms - written_ms % MINUTE_MS


@dataclass(slots=True)
class Fresh:
    """How old the latest counted event is, minute by minute of the clock.

    Attributes
    ----------
    latest
        End of the latest minute of event time that was counted.
    counted
        Up to where minutes of the clock are counted.
    """

    latest: int = 0
    counted: int = 0

    def until(self, at: int, seconds: float) -> Iterable[tuple[int, int, int]]:
        """Yield the minutes of the clock that ended by a time, each as good (the latest event at most so old) or not."""
        end = at - at % MINUTE_MS
        if not self.latest:
            return
        begin = max(self.counted, end - FRESH_MINUTES_MAX * MINUTE_MS)
        for minute in range(begin, end, MINUTE_MS):
            yield minute, int(minute + MINUTE_MS - self.latest <= seconds * 1000), 1
        self.counted = max(self.counted, end)

    def news(self, latest: int, at: int) -> None:
        """Take in that events up to here were counted, at a time of the clock."""
        if not self.latest:
            self.counted = at - at % MINUTE_MS
        self.latest = max(self.latest, min(latest, at))


def merged(found: Iterable[tuple[int, int, int, int]]) -> Mapping[Key, Sum]:
    """Return buckets of rows of width, beginning, good and total."""
    return {(width, at): Sum(good, total) for width, at, good, total in found}
