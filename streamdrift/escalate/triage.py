"""The first line that somebody reads at night: what, where, since when, how much."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from streamdrift.alerts import Alert, segment_name
from streamdrift.escalate.incident import RANK, Incident
from streamdrift.escalate.words import effect, moment, named, percent

ALL_TRAFFIC_MIN = 0.8
"""Of the largest child's effect: from there on all traffic has the change, not just that child."""
FAR = 2.0
"""By so much must the evidence of a traffic alert exceed all others, to lead."""
HEADLINE_MAX = 250


@dataclass(frozen=True, slots=True)
class BlastRadius:
    """How much of the model is hit.

    Attributes
    ----------
    segment
        The segment that explains the lead feature's alerts; ``{}`` is all traffic.
    features
        Features with an alert, the lead first.
    traffic_share
        Share of the model's traffic in ``segment``.
    lead
        The alert that says most: of the lead feature, in ``segment``.
    """

    segment: dict[str, str]
    features: tuple[str, ...]
    traffic_share: float
    lead: Alert
    all_traffic: bool


def blast_radius(incident: Incident) -> BlastRadius:
    """Find the lead alert and the segment that explains.

    Counted are firing alerts, those of severity info only where there is nothing graver; in a resolved incident, all
    that it had.

    The lead comes from a fault (``anomaly``) before a drift, then from the strongest evidence, then from the earliest
    onset. Traffic follows from other things more often than it causes them, so its alerts lead only alone, where they
    are graver than all others, or where their evidence is by far the strongest.
    """
    alerts = counted(incident)
    first = _lead(alerts)
    signal = [alert for alert in alerts if (alert.feature, alert.reason) == (first.feature, first.reason)]
    seen = [alert for alert in _told(incident) if (alert.feature, alert.reason) == (first.feature, first.reason)]
    lead = _explains(signal, _alone(seen))
    others = sorted({alert.feature for alert in alerts} - {lead.feature})
    whole = not lead.segment
    return BlastRadius(lead.segment, (lead.feature, *others), 1.0 if whole else lead.traffic_share, lead, whole)


def counted(incident: Incident) -> Sequence[Alert]:
    """Alerts that the blast radius is made of."""
    alerts = _told(incident)
    return [alert for alert in alerts if alert.severity != "info"] or alerts


def _told(incident: Incident) -> Sequence[Alert]:
    return incident.alerts if incident.status == "resolved" else incident.firing or incident.alerts


def _lead(alerts: Sequence[Alert]) -> Alert:
    best = min(alerts, key=_order)
    traffic = [alert for alert in alerts if alert.role == "traffic"]
    if not traffic or best.role == "traffic":
        return best
    others = [alert for alert in alerts if alert.role != "traffic"]
    loudest = min(traffic, key=_order)
    graver = RANK[loudest.severity] > max(RANK[alert.severity] for alert in others)
    return loudest if graver or _ratio(loudest) >= FAR * max(_ratio(alert) for alert in others) else best


def _order(alert: Alert) -> tuple[object, ...]:
    return (alert.role == "traffic", alert.kind != "anomaly", -_ratio(alert), alert.onset_at, alert.series_id)


def _ratio(alert: Alert) -> float:
    ratio = alert.statistic / alert.threshold if alert.threshold > 0 else alert.statistic
    return ratio if math.isfinite(ratio) else 0.0


# Where ---------------------------------------------------------------------------------------------------------------


def _explains(alerts: Sequence[Alert], alone: frozenset[str]) -> Alert:
    """The alert of all traffic where its effect is about that of the largest child, else the child that explains.

    Effects are told by the few events since the onset, and scatter: they are compared as far as two standard errors
    allow. Where all traffic only followed a child that is the one value of its dimension with an alert, it shows that
    child's shadow.

    Parameters
    ----------
    alerts
        Of one feature and reason.
    alone
        Dimensions of which a single value has such an alert, whatever its severity.
    """
    wholes = [alert for alert in alerts if not alert.segment]
    children = [alert for alert in alerts if alert.segment]
    if not children:
        return max(wholes, key=magnitude)
    child = _narrowest(children, alone)
    if not wholes:
        return child
    whole = max(wholes, key=magnitude)
    shadow = alone.issuperset(child.segment) and child.detected_at < whole.detected_at
    same = magnitude(whole) + _error(whole) >= ALL_TRAFFIC_MIN * _least(children)
    return whole if same and not shadow else child


def _narrowest(children: Sequence[Alert], alone: frozenset[str]) -> Alert:
    """The child with the largest effect; of those that tie, the only one of its dimension, then the larger one.

    One value of a dimension names a place better than several (Adtributor calls it succinctness), and of two places that
    are hit alike the larger one explains more.
    """
    least = _least(children)
    ties = [child for child in children if magnitude(child) + _error(child) >= least]
    return max(ties, key=lambda c: (alone.issuperset(c.segment), c.traffic_share, magnitude(c), c.series_id))


def _least(children: Sequence[Alert]) -> float:
    """What the largest effect is at least."""
    largest = max(children, key=magnitude)
    return magnitude(largest) - _error(largest)


def _alone(alerts: Iterable[Alert]) -> frozenset[str]:
    values: dict[str, set[str]] = defaultdict(set)
    for alert in alerts:
        for dimension, value in alert.segment.items():
            values[dimension].add(value)
    return frozenset(dimension for dimension, seen in values.items() if len(seen) == 1)


def magnitude(alert: Alert) -> float:
    """Size of the effect, comparable between alerts of one reason; a ratio counts both ways."""
    size = abs(alert.effect_size)
    if alert.effect_unit == "ratio":
        size = abs(math.log(max(size, 1e-6)))
    return size if math.isfinite(size) else 0.0


def _error(alert: Alert) -> float:
    """Two standard errors of the effect, by the events of the current window."""
    n = max(1.0, float(alert.current.get("n") or 1))
    size = min(1.0, abs(alert.effect_size))
    return 2 * math.sqrt(size * (1 - size) / n) if alert.effect_unit == "share" else 2 / math.sqrt(n)


# In words ------------------------------------------------------------------------------------------------------------


def headline(incident: Incident) -> str:
    """One line under 250 characters: model, reason, feature, segment, onset in UTC, effect, how many more."""
    radius = blast_radius(incident)
    lead, alerts = radius.lead, counted(incident)
    where = "all traffic" if radius.all_traffic else named(segment_name(lead.segment), 48)
    share = "" if radius.all_traffic else f" ({percent(radius.traffic_share)} of traffic)"
    segments = len({segment_name(alert.segment) for alert in alerts})
    size = f"{_count(len(radius.features), 'feature')}, {_count(segments, 'segment')}"
    if incident.beyond:
        size += f" and {len(incident.beyond):,} more series"
    what = f"{named(incident.model, 48)}: {named(lead.reason, 24)} on {named(lead.feature, 40)}"
    told = f"{what} in {where}{share} since {moment(lead.onset_at)} UTC; {effect(lead)}; {size}"
    return told if len(told) < HEADLINE_MAX else told[: HEADLINE_MAX - 2] + "…"


def _count(n: int, one: str) -> str:
    return f"{n:,} {one if n == 1 else one + 's'}"
