"""Corrective actions: checks of the data that would have noticed it, each with figures of the alerts' own.

A bound lies half-way between what the reference window shows and what the incident showed: shares, rates and gaps on the scale
of ratios, means on their own. So it would have caught this incident, and is as far from normal traffic as it can be. ``min_events``
are so many that normal traffic is three standard errors within it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from streamdrift.alerts import Alert
from streamdrift.escalate.explanation import place
from streamdrift.escalate.incident import Incident
from streamdrift.escalate.postmortem.action import Action, action_id
from streamdrift.escalate.triage import blast_radius
from streamdrift.escalate.words import duration, effect, named, number, percent

CHECKS_MAX = 10
"""Proposals of one incident, those of the cells that contribute most."""
CATEGORIES_MAX = 20
NAME_MAX = 80
EVENTS_MIN = 30
SIGMAS = 3.0
EVENTS_MAX = 10**9
FIGURE_MAX = 1e150
"""Products of larger figures may be beyond a double; NaN is no figure either."""
OUTSIDE, OUTSIDE_MAX = 0.02, 0.05
"""Of the reference's values so many are outside of its 1 % and 99 % quantiles; a check allows for so many."""


@dataclass(frozen=True, slots=True)
class Check:
    """What one alert proposes.

    Attributes
    ----------
    rule
        In JSON terms, with ``check`` as its name.
    """

    kind: str
    title: str
    text: str
    rule: dict[str, Any] = field(default_factory=dict)


def proposed(incident: Incident) -> tuple[Action, ...]:
    """Return the checks that an incident's alerts propose, those that contribute most first; one for each thing to check."""
    found: dict[str, Action] = {}
    for alert in _told(incident):
        check = check_of(alert)
        if check is None:
            continue
        made = action_id(incident.incident_id, check.kind, alert.feature, alert.segment)
        rule = {"check": check.kind, "feature": alert.feature, "segment": alert.segment, **check.rule}
        action = Action(made, incident.incident_id, check.kind, check.title, check.text, rule, (alert.alert_id,))
        found.setdefault(made, action)
    return tuple(found.values())[:CHECKS_MAX]


def _told(incident: Incident) -> Iterator[Alert]:
    """One alert for each cell that follows no other, and what its feature showed beside; slight ones where all are."""
    cells = blast_radius(incident).cells
    grave = [cell for cell in cells if not cell.slight] or cells
    for cell in grave:
        if not cell.follows:
            yield cell.alert
            yield from (alert for alert in cell.also if alert.segment == cell.segment)


def check_of(alert: Alert) -> Check | None:
    """Return the check that an alert proposes; None where its figures don't tell of any."""
    make = _BY_REASON.get(alert.reason)
    if alert.role == "performance":
        make = _release
    return None if make is None else make(alert)


# Shares --------------------------------------------------------------------------------------------------------------


def _share(alert: Alert, key: str, kind: str, what: str) -> Check | None:
    then, now = _figure(alert.reference, key), _figure(alert.current, key)
    if then is None or now is None or not 0 <= then < now <= 1:
        return None
    n = max(1.0, _figure(alert.reference, "n") or 1.0)
    most = _bound(then, now, n)
    events = _events(then, most, n)
    said = (
        f"at most {percent(most)} of {_name(alert)} {what} in {place(alert.segment)}, over {events:,} events or more: "
        f"{percent(then)} of the reference were, and {percent(now)} in the incident"
    )
    return Check(kind, f"Bound the share of {what} values of {_name(alert)}", said, {"max": most, "min_events": events})


def _nulls(alert: Alert) -> Check | None:
    return _share(alert, "null_rate", "null_share", "null")


def _invalid(alert: Alert) -> Check | None:
    return _share(alert, "invalid_rate", "invalid_share", "invalid")


def _duplicates(alert: Alert) -> Check | None:
    then, now = _figure(alert.reference, "duplicate_rate"), _figure(alert.current, "duplicate_rate")
    if then is None or now is None or not 0 <= then < now <= 1:
        return None
    n = max(1.0, _figure(alert.reference, "n") or 1.0)
    most = _bound(then, now, n)
    said = (
        f"at most {percent(most)} of events with a prediction_id that came before, in {place(alert.segment)}: "
        f"{percent(then)} in the reference, {percent(now)} in the incident"
    )
    return Check("duplicate_share", "Bound the share of events that come twice", said, {"max": most})


def _categories(alert: Alert) -> Check | None:
    known = alert.reference.get("categories")
    names = [str(name) for name in known if name not in {"unseen", "other"}] if isinstance(known, dict) else []
    if not names:
        return None
    shown = ", ".join(named(name, 40) for name in names[:CATEGORIES_MAX])
    rest = len(names) - CATEGORIES_MAX
    more = f" and {rest:,} more" if rest > 0 else ""
    whole = not isinstance(known, dict) or "other" not in known
    said = f"{_name(alert)} in {place(alert.segment)} is one of what the reference has: {shown}{more}"
    said += "" if whole else ", and of its rarer ones, which the alert does not list"
    rule = {"allowed": names[:CATEGORIES_MAX], "complete": whole and rest <= 0}
    return Check("allowed_values", f"Allow known values of {_name(alert)} alone", said, rule)


def _mix(alert: Alert) -> Check | None:
    then, now = alert.reference.get("categories"), alert.current.get("categories")
    if not isinstance(then, dict) or not isinstance(now, dict):
        return None
    both = [(str(k), _figure(then, k), _figure(now, k)) for k in then]
    moved = [(name, a, b) for name, a, b in both if a is not None and b is not None and a != b and max(a, b) <= 1]
    if not moved:
        return None
    name, was, came = max(moved, key=lambda row: (abs(row[2] - row[1]), row[0]))
    bound = _near((was + came) / 2, abs(came - was) / 2)
    side = "at most" if came > was else "at least"
    said = (
        f"{side} {percent(bound)} of {_name(alert)} in {place(alert.segment)} is {named(name, 40)}, which moved most: "
        f"{percent(was)} in the reference, {percent(came)} in the incident"
    )
    rule = {"value": name, "max" if came > was else "min": bound}
    return Check("value_share", f"Bound the mix of values of {_name(alert)}", said, rule)


# Values --------------------------------------------------------------------------------------------------------------


def _range(alert: Alert) -> Check | None:
    quantiles = alert.reference.get("quantiles")
    low, high = (_figure(quantiles, q) if isinstance(quantiles, dict) else None for q in ("1", "99"))
    if low is None or high is None or low >= high:
        return None
    events = _events(OUTSIDE, OUTSIDE_MAX, math.inf)
    said = (
        f"at most {percent(OUTSIDE_MAX)} of {_name(alert)} in {place(alert.segment)} below {number(low)} or above {number(high)}, "
        f"the 1 % and 99 % quantiles of the reference, over {events:,} events or more"
    )
    rule: dict[str, Any] = {"min": low, "max": high, "outside_share_max": OUTSIDE_MAX, "min_events": events}
    then, now = _figure(alert.reference, "mean"), _figure(alert.current, "mean")
    if alert.reason == "mean_shift" and then is not None and now is not None and then != now:
        half = abs(now - then) / 2
        rule |= {"mean_min": _near(then - half, half), "mean_max": _near(then + half, half)}
        said += f"; its mean between {number(rule['mean_min'])} and {number(rule['mean_max'])} ({effect(alert)})"
    return Check("range", f"Check the range of {_name(alert)}", said, rule)


def _unit(alert: Alert) -> Check | None:
    quantiles = alert.reference.get("quantiles")
    median = _figure(quantiles, "50") if isinstance(quantiles, dict) else None
    factor = _figure(alert.current, "factor")
    if factor is None or not 1 / FIGURE_MAX < factor != 1 or not median:
        return None
    step = math.sqrt(max(factor, 1 / factor))
    low, high = sorted((_digits(median / step), _digits(median * step)))
    said = (
        f"the median of {_name(alert)} in {place(alert.segment)} between {number(low)} and {number(high)}: it is {number(median)} in "
        f"the reference, and values came {number(factor)} times as large; its unit belongs into the contract"
    )
    return Check(
        "unit", f"Check the unit of {_name(alert)}", said, {"median_min": low, "median_max": high, "factor": factor}
    )


def _repeats(alert: Alert) -> Check | None:
    longest, run = _figure(alert.reference, "longest_run"), _figure(alert.current, "run")
    if longest is None or run is None or not 0 < longest < run:
        return None
    most = max(math.ceil(longest), math.floor(math.sqrt(longest * run)))
    said = (
        f"no value of {_name(alert)} in {place(alert.segment)} more than {most:,} times in a row: {number(longest)} at most in the "
        f"reference, {number(run)} in the incident"
    )
    return Check("repeats", f"Notice values of {_name(alert)} that stand still", said, {"max": most})


# Traffic -------------------------------------------------------------------------------------------------------------


def _freshness(alert: Alert) -> Check | None:
    then, now = _figure(alert.reference, "longest_gap_s"), _figure(alert.current, "gap_s")
    if then is None or now is None or not 0 < then < now:
        return None
    most = _between(then, now)
    said = (
        f"an event of {place(alert.segment)} at least every {duration(most)}: {duration(then)} at most in the reference, "
        f"{duration(now)} in the incident"
    )
    return Check("freshness", f"Agree on freshness of {place(alert.segment)}", said, {"max_gap_s": most})


def _volume(alert: Alert) -> Check | None:
    key = "share" if _figure(alert.current, "share") is not None else "rate"
    then, now = _figure(alert.reference, key), _figure(alert.current, key)
    if then is None or now is None or then <= 0 or now < 0 or then == now:
        return None
    bound = _between(max(now, then / 100), then) if now < then else _between(then, now)
    told = percent if key == "share" else (lambda value: f"{number(value)} events/s")
    side = "at least" if now < then else "at most"
    said = (
        f"{side} {told(bound)} from {place(alert.segment)}: {told(then)} in the reference, {told(now)} in the incident"
    )
    return Check(
        "volume", f"Bound the traffic of {place(alert.segment)}", said, {"min" if now < then else "max": bound}
    )


# Releases ------------------------------------------------------------------------------------------------------------


def _release(alert: Alert) -> Check | None:
    then, now = _figure(alert.reference, "mean"), _figure(alert.current, "mean")
    if then is None or now is None or then == now:
        return None
    bound = _near((then + now) / 2, abs(now - then) / 2)
    side = "at most" if now > then else "at least"
    said = f"{_name(alert)} {side} {number(bound)} on labelled events of {place(alert.segment)} before a version takes traffic: {effect(alert)}"
    return Check("release_gate", f"Hold a release by {_name(alert)}", said, {"max" if now > then else "min": bound})


def _side_by_side(alert: Alert) -> Check | None:
    said = f"a new version scores the same events of {place(alert.segment)} as the one before, and {_name(alert)} is compared, before it takes traffic"
    return Check("shadow", "Compare versions before they take traffic", said)


def _canary(alert: Alert) -> Check | None:
    said = f"a fixed set of inputs is embedded before each roll-out of what makes {_name(alert)}, and compared with what it was before"
    return Check("canary", f"Embed a fixed set before {_name(alert)} is rolled out", said)


_BY_REASON: dict[str, Callable[[Alert], Check | None]] = {
    "null_rate": _nulls,
    "missing_feature": _nulls,
    "invalid_value": _invalid,
    "type_change": _invalid,
    "new_category": _categories,
    "category_shift": _mix,
    "mean_shift": _range,
    "variance_shift": _range,
    "distribution_shift": _range,
    "outliers": _range,
    "out_of_range": _range,
    "unit_change": _unit,
    "frozen_value": _repeats,
    "silence": _freshness,
    "volume_drop": _volume,
    "volume_surge": _volume,
    "duplicate_events": _duplicates,
    "performance_drop": _release,
    "version_shift": _side_by_side,
    "embedding_shift": _canary,
}


# Figures -------------------------------------------------------------------------------------------------------------


def _name(alert: Alert) -> str:
    return named(alert.feature, NAME_MAX)


def _figure(table: Any, key: str) -> float | None:
    """A finite number of a table that others may have written."""
    found = table.get(key) if isinstance(table, dict) else None
    if isinstance(found, int | float) and not isinstance(found, bool) and abs(found) <= FIGURE_MAX:
        return float(found)
    return None


def _between(low: float, high: float) -> float:
    """Half-way on the scale of ratios, by two digits where these are still between."""
    middle = math.sqrt(low) * math.sqrt(high)
    rounded = _digits(middle)
    return rounded if low < rounded < high else middle


def _digits(value: float) -> float:
    """Two significant digits.

    >>> _digits(0.01007), _digits(1234.0), _digits(0.0)
    (0.01, 1200.0, 0.0)
    """
    return float(f"{value:.2g}")


def _bound(then: float, now: float, n: float) -> float:
    """Between two shares; a reference of n values without any may have had one in as many."""
    least = max(then, 1 / n)
    return _between(least, now) if least < now else (then + now) / 2


def _near(value: float, width: float) -> float:
    """A value as exact as two digits of a width are.

    >>> _near(1013.2718, 2.341), _near(0.5123, 0.02), _near(3.0, 0.0)
    (1013.3, 0.512, 3.0)
    """
    return round(value, 1 - math.floor(math.log10(width))) if width > 0 else value


def _events(then: float, most: float, n: float) -> int:
    """Events in which ``most`` is three standard errors above the reference's share."""
    share = max(then, 1 / n)
    if most <= share:
        return EVENTS_MIN
    return min(EVENTS_MAX, max(EVENTS_MIN, math.ceil(SIGMAS**2 * share * (1 - share) / (most - share) ** 2)))
