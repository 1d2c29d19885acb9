"""All that was found for one model, as plain values: what ``text`` shows, and what goes into the JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

from streamdrift.alerts import segment_name, series_id
from streamdrift.detect.bank import Bank
from streamdrift.detect.baseline import significant
from streamdrift.detect.budget import WEEK_MS, Budget
from streamdrift.detect.series import Series
from streamdrift.settings import Settings
from streamdrift.settings.overrides import for_series
from streamdrift.tune.choice import Choice, Heard, Noisy
from streamdrift.tune.sensitivity import Sensitivity, sensitivity
from streamdrift.tune.tally import Count

WEEKS_MIN = 1e-3
"""Ten minutes: a shorter time tells no rate."""


@dataclass(slots=True)
class Seen:
    """What came of one model: events, and the time of the first and of the latest."""

    events: int = 0
    first: int = 0
    last: int = 0

    def take(self, first: int, last: int, events: int) -> None:
        """Count further events; times in milliseconds since the epoch."""
        self.first = min(self.first, first) if self.events else first
        self.last = max(self.last, last)
        self.events += events


@dataclass(frozen=True, slots=True)
class Watched:
    """One series whose reference window is complete."""

    series_id: str
    segment: str
    budget: Budget
    flags: dict[str, int]
    series: Series


def watched(bank: Bank, model: str) -> list[Watched]:
    """Return the series of a model that are past learning."""
    return [
        Watched(
            series_id(model, group.segment, feature) + series.identity.suffix,
            segment_name(group.segment),
            series.budget,
            series.watch.flags if series.watch is not None else {},
            series,
        )
        for group, feature, series in bank.watched()
        if group.model == model and series.budget is not None
    ]


@dataclass(frozen=True, slots=True)
class Row:
    """One detector or segment.

    Attributes
    ----------
    flags
        Values at which detectors flagged (the scan: stretches of 16 events at whose end it had the evidence); None for what
        flags only by its alerts.
    alerts, pages
        That had this detector's or segment's name.
    """

    name: str
    flags: int | None
    alerts: int
    pages: int


@dataclass(frozen=True, slots=True)
class Rung:
    """What one threshold would have come to on this history."""

    threshold: float
    rules: int
    alerts: int
    incidents: int
    pages: int
    pages_per_week: float
    meets: bool


@dataclass(frozen=True, slots=True)
class Findings:
    """One model.

    Attributes
    ----------
    weeks
        From the first complete reference window to the last event.
    learning
        Series whose reference window is not complete.
    thresholds
        Least and greatest that its series ask for with the configured settings; they differ by the budget and by rules.
    expected_false_per_week
        By the null law, at these thresholds; None where the events tell no rate.
    frontier
        By threshold; the last may be the choice with its rules.
    sensitivities
        With the settings chosen.
    """

    model: str
    events: int
    first: int
    last: int
    weeks: float
    series: int
    learning: int
    budget_per_week: float
    thresholds: tuple[float, float]
    expected_false_per_week: float | None
    reasons: dict[str, int]
    detectors: tuple[Row, ...]
    segments: tuple[Row, ...]
    frontier: tuple[Rung, ...]
    choice: Choice
    noisy: tuple[Noisy, ...]
    sensitivities: tuple[Sensitivity, ...]


def weeks_watched(series: Iterable[Watched], seen: Seen) -> float:
    """Weeks in which alerts were possible."""
    begin = max(seen.first, min((one.budget.since for one in series), default=seen.last))
    return max(WEEKS_MIN, (seen.last - begin) / WEEK_MS)


def rung(heard: Heard, rules: int, weeks: float, pages_max: float) -> Rung:
    """Return one row of the frontier."""
    total, per_week = heard.tally.total, heard.tally.total.pages / weeks
    return Rung(
        heard.threshold,
        rules,
        total.alerts,
        heard.tally.incidents,
        total.pages,
        round(per_week, 3),
        total.pages <= pages_max,
    )


def rows(counts: dict[str, Count], flags: Counter[str]) -> tuple[Row, ...]:
    """Flags and counts by name, those with most pages first."""
    nothing = Count()
    found = []
    for name in counts.keys() | flags.keys():
        count = counts.get(name, nothing)
        found.append(Row(name, flags.get(name), count.alerts, count.pages))
    return tuple(sorted(found, key=lambda row: (-row.pages, -row.alerts, -(row.flags or 0), row.name)))


def flags_by(series: Iterable[Watched], names: Callable[[Watched], Iterable[tuple[str, int]]]) -> Counter[str]:
    """Add up the series' flags under the names that each gives them."""
    counted: Counter[str] = Counter()
    for one in series:
        for name, n in names(one):
            counted[name] += n
    return counted


def expected(series: Iterable[Watched]) -> float | None:
    """Return the false alerts of the whole model in a week: every series tells them as if all had its threshold."""
    told = [one.budget.expected_false_per_week for one in series if one.budget.expected_false_per_week is not None]
    return significant(fmean(told)) if told else None


def sensitivities(series: Sequence[Watched], model: str, settings: Settings) -> tuple[Sensitivity, ...]:
    """Return what each series could show with these settings; series without values enough are left out."""
    found = []
    for one in series:
        watch = one.series.watch
        if watch is not None:
            policy = for_series(settings, model, one.series.identity.feature, one.segment).policy
            # the history's budget holds for the chosen settings, too: rate and breadth are the same
            threshold = max(policy.threshold, one.budget.threshold)
            found.append(sensitivity(one.series_id, watch, one.budget.own_per_week, threshold))
    return tuple(found)
