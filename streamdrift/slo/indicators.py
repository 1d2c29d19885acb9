"""Which counts an objective is about: of each minute, how many were good, of how many.

==========================  =========================================  ================================================
indicator                   good                                       of
==========================  =========================================  ================================================
valid-events                events whose values all are valid          events, those that were rejected as well
drift-free-series-minutes   series without an alert open, by minute    series of all traffic that know what is normal
null-rate                   values (of ``feature``) that are there     values that there could be
performance                 labelled predictions with an error of      labelled predictions
                            at most ``value``; of a class 0 is right
freshness                   minutes of the clock in which the latest   minutes of the clock
                            counted event was at most ``value``
                            seconds old
==========================  =========================================  ================================================

Freshness is no count of a slice: it hangs on when slices come, and is counted where they are read (``counts.Fresh``).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from streamdrift.slo.measures import BEYOND, Minute, Slice

VALID, DRIFT_FREE, NULLS = "valid-events", "drift-free-series-minutes", "null-rate"
FRESHNESS, PERFORMANCE = "freshness", "performance"
RATIOS = (VALID, DRIFT_FREE, NULLS)
"""What is a share by itself."""
THRESHOLDS = (FRESHNESS, PERFORMANCE)
"""What is good up to a value."""


@dataclass(frozen=True, slots=True)
class Indicator:
    """What is counted of which model.

    Attributes
    ----------
    feature
        Of ``null-rate``: one alone; all without.
    value
        Of ``freshness``, seconds; of ``performance``, the largest error that is good.
    """

    model: str
    kind: str
    feature: str | None = None
    value: float | None = None

    @property
    def key(self) -> str:
        """What counts of it are kept under: the same for all objectives about it."""
        parts = [self.kind, self.model]
        parts += [] if self.feature is None else [f"feature={self.feature}"]
        return "\0".join(parts + ([] if self.value is None else [f"{self.value:g}"]))

    def counts(self, found: Slice) -> Iterator[tuple[int, int, int]]:
        """Yield, of each minute of a slice of its model, when it began, the good ones, and how many there were."""
        for minute in found.minutes:
            good, total = self._of(minute, found.stream)
            if total:
                yield minute.at, good, total

    def _of(self, minute: Minute, stream: str) -> tuple[int, int]:
        counts, bad, total = minute.counts, 0, 0
        match self.kind, stream:
            case "valid-events", "events":
                bad, total = counts.get("invalid", 0), counts.get("events", 0)
            case "valid-events", "rejected":
                bad = total = counts.get("rejected", 0)
            case "drift-free-series-minutes", "events":
                bad, total = counts.get("drifting", 0), counts.get("series", 0)
            case "null-rate", "events" if self.feature is not None:
                bad, total = minute.nulls.get(self.feature, 0), counts.get("events", 0)
            case "null-rate", "events":
                bad, total = counts.get("nulls", 0), counts.get("cells", 0)
            case "performance", "labels":
                within = (
                    n for bound, n in minute.errors.items() if bound != BEYOND and float(bound) <= (self.value or 0)
                )
                total = sum(minute.errors.values())
                bad = total - sum(within)
        return max(0, total - bad), total
