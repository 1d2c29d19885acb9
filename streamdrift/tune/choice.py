"""Which settings meet the budget on a history: the configured ones, else a rule for the few series that take it, else more
evidence from all.

Every page of the history counts, also one about a change that was real: who knows of such leaves that time out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from streamdrift.alerts import Alert
from streamdrift.escalate.incident import RANK
from streamdrift.settings import EscalateSettings
from streamdrift.tune.tally import Tally

ALERTS_MAX = 100_000
"""Alerts kept of one model and threshold; where there are more, no rules for single series are looked for."""
RULES_MAX = 10
RULES_SHARE = 0.1
"""Series that get a rule of their own, at most; where more are noisy, all should be asked for more."""
NOISY_MAX = 20


@dataclass(slots=True)
class Heard:
    """The alerts of one model at one threshold, in event order, without what only a reader of an alert needs.

    Attributes
    ----------
    overfull
        There were more than are kept.
    """

    threshold: float
    tally: Tally
    alerts: list[tuple[int, Alert]] = field(default_factory=list)
    overfull: bool = False

    def take(self, batch: int, alerts: Sequence[Alert]) -> None:
        """Count and keep the next alerts; ``batch`` rises from one call to the next."""
        self.tally.take(alerts)
        room = ALERTS_MAX - len(self.alerts)
        self.alerts += [(batch, light(alert)) for alert in alerts[:room]]
        self.overfull |= len(alerts) > room


def light(alert: Alert) -> Alert:
    """Return the alert without its histograms: what the incident policy asks of it is left."""
    return replace(alert, reference={}, current={"n": alert.current.get("n")})


@dataclass(frozen=True, slots=True)
class Noisy:
    """A series that takes much of the budget.

    Attributes
    ----------
    pages, per_week
        Pages that its alerts caused, with the configured settings.
    quiet_at
        Least threshold tried at which none of its alerts would page; None where there is none: that is a change in the data, not
        chance.
    """

    series_id: str
    feature: str
    segment: dict[str, str]
    pages: int
    per_week: float
    quiet_at: float | None


@dataclass(frozen=True, slots=True)
class Choice:
    """Settings for one model.

    Attributes
    ----------
    threshold
        For all of its series without a rule.
    rules
        Series that get a threshold of their own.
    meets
        Whether the history would have kept the budget.
    why
        In a sentence.
    changes
        Whether anything is to be set that is not.
    """

    threshold: float
    rules: tuple[Noisy, ...]
    meets: bool
    why: str
    changes: bool = True


def allowed(per_week: float, weeks: float) -> float:
    """Pages that a history may hold; a short one can't tell less than one page from none.

    Examples
    --------
    >>> allowed(1.0, 5.5), allowed(1.0, 0.2)
    (5.5, 1.0)
    """
    return max(1.0, per_week * weeks)


def choose_settings(
    rungs: Sequence[Heard], pages_max: float, weeks: float, series: int, escalate: EscalateSettings
) -> Choice:
    """Return the settings for one model.

    Parameters
    ----------
    rungs
        What was heard at each threshold, the configured one first.
    pages_max
        Pages that the history may hold (``allowed``).
    series
        Series that are watched.
    """
    lowest = rungs[0]
    if lowest.tally.total.pages <= pages_max:
        return Choice(lowest.threshold, (), meets=True, why="keep the settings: they meet the budget", changes=False)
    rules = _rules(rungs, pages_max, weeks, series, escalate)
    if rules is not None:
        one = "one noisy series" if len(rules) == 1 else f"{len(rules)} noisy series"
        return Choice(lowest.threshold, rules, meets=True, why=f"ask {one} for more evidence, and leave the rest")
    for rung in rungs[1:]:
        if rung.tally.total.pages <= pages_max:
            why = f"raise the threshold to {rung.threshold:g} for all series: too many take part for rules of their own"
            return Choice(rung.threshold, (), meets=True, why=why)
    why = (
        f"keep the settings: no threshold up to {rungs[-1].threshold:g} meets the budget. What pages here is no chance but a "
        "change in the data, or a reference window that is too short for what the series does"
    )
    return Choice(lowest.threshold, (), meets=False, why=why, changes=False)


def noisy(rungs: Sequence[Heard], weeks: float, escalate: EscalateSettings) -> tuple[Noisy, ...]:
    """Return the series that paged with the configured settings, those with most pages first."""
    counts = rungs[0].tally.series
    paging = sorted((-count.pages, name) for name, count in counts.items() if count.pages)
    return tuple(_noisy(rungs, name, -pages, weeks, escalate) for pages, name in paging[:NOISY_MAX])


def _noisy(rungs: Sequence[Heard], name: str, pages: int, weeks: float, escalate: EscalateSettings) -> Noisy:
    first = next(alert for _, alert in rungs[0].alerts if alert.series_id == name)
    quiet = (rung.threshold for rung in rungs if not _may_page(rung, name, escalate))
    per_week = round(pages / weeks, 3)
    return Noisy(name, first.feature, dict(first.segment), pages, per_week, next(quiet, None))


def _may_page(rung: Heard, name: str, escalate: EscalateSettings) -> bool:
    least = RANK[escalate.severity_min]
    return any(
        alert.series_id == name and alert.status == "firing" and RANK[alert.severity] >= least
        for _, alert in rung.alerts
    )


def _rules(
    rungs: Sequence[Heard], pages_max: float, weeks: float, series: int, escalate: EscalateSettings
) -> tuple[Noisy, ...] | None:
    """The fewest series, those with most pages first, that keep the budget once they are asked for more; None where they don't."""
    if any(rung.overfull for rung in rungs):
        return None
    found: dict[str, Noisy] = {}
    tally = rungs[0].tally
    while tally.total.pages > pages_max and len(found) < min(RULES_MAX, max(1, int(RULES_SHARE * series))):
        worst = sorted((-count.pages, name) for name, count in tally.series.items() if count.pages)
        candidates = (_noisy(rungs, name, -pages, weeks, escalate) for pages, name in worst if name not in found)
        rule = next((noise for noise in candidates if noise.quiet_at is not None and _can_have_a_rule(noise)), None)
        if rule is None:
            return None
        found[rule.series_id] = rule
        tally = combined(rungs, {name: noise.quiet_at for name, noise in found.items()}, escalate)
    return tuple(found.values()) if tally.total.pages <= pages_max else None


def _can_have_a_rule(noise: Noisy) -> bool:
    """A model's traffic in a segment goes by the rules of its whole traffic."""
    return not noise.feature.startswith("traffic.")


def combined(rungs: Sequence[Heard], thresholds: Mapping[str, float | None], escalate: EscalateSettings) -> Tally:
    """Count what is told where these series have thresholds of their own, and all others the lowest."""
    tally = Tally(escalate)
    mixed = [
        (batch, alert.detected_at, alert.series_id, alert)
        for rung in rungs
        for batch, alert in rung.alerts
        if rung.threshold == (thresholds.get(alert.series_id) or rungs[0].threshold)
    ]
    tally.take(_in_order(mixed))
    return tally


def _in_order(mixed: list[tuple[int, int, str, Alert]]) -> Iterable[Alert]:
    return (alert for *_, alert in sorted(mixed, key=lambda item: item[:3]))
