"""The first line that somebody reads at night: what, where, since when, how much."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from streamdrift.alerts import Alert, segment_name
from streamdrift.escalate.contribution import Cell
from streamdrift.escalate.incident import Incident
from streamdrift.escalate.ranking import ranked
from streamdrift.escalate.words import effect, named, onset, percent

HEADLINE_MAX = 250
FIRST_MS = 300_000
"""A feature moved first where it did so this much before all others: estimates that are nearer tell no order."""
NAMED_MAX = 2
"""Segments that explain together and are told by name."""


@dataclass(frozen=True, slots=True)
class BlastRadius:
    """How much of the model is hit.

    Attributes
    ----------
    segment
        The segment that explains the lead feature's alerts, or most of it; ``{}`` is all traffic.
    segments
        All that explain it together, ``segment`` first.
    features
        Features with an alert, the lead first.
    traffic_share
        Share of the model's traffic in ``segments``.
    lead
        The alert that says most: of the lead feature, in ``segment``.
    cells
        Feature × segment by contribution, the lead first; every alert is in one of them.
    """

    segment: dict[str, str]
    features: tuple[str, ...]
    traffic_share: float
    lead: Alert
    all_traffic: bool
    segments: tuple[dict[str, str], ...]
    cells: tuple[Cell, ...] = field(repr=False)


def blast_radius(incident: Incident) -> BlastRadius:
    """Find the lead alert and the segments that explain it: the first cell of ``ranking.ranked``.

    Counted are firing alerts; in a resolved incident, all that it had. Features with alerts of severity info alone count
    only where there is nothing graver.
    """
    cells = ranked(_told(incident))
    first = cells[0]
    others = sorted({alert.feature for alert in counted(incident)} - {first.alert.feature})
    share = first.traffic_share + sum(alert.traffic_share for alert in first.beside)
    segments = (first.segment, *(alert.segment for alert in first.beside))
    return BlastRadius(
        first.segment,
        (first.alert.feature, *others),
        min(1.0, share),
        first.alert,
        not first.segment,
        segments,
        cells,
    )


def counted(incident: Incident) -> Sequence[Alert]:
    """Alerts that the blast radius is made of."""
    alerts = _told(incident)
    return [alert for alert in alerts if alert.severity != "info"] or alerts


def _told(incident: Incident) -> Sequence[Alert]:
    return incident.alerts if incident.status == "resolved" else incident.firing or incident.alerts


def first(incident: Incident) -> Alert:
    """Return the alert that has the incident's onset; of several one that knows its range."""
    return min(
        incident.alerts,
        key=lambda alert: (abs(alert.onset_at - incident.onset_at), alert.onset_range is None, alert.series_id),
    )


# In words ------------------------------------------------------------------------------------------------------------


def headline(incident: Incident, others: int | None = None) -> str:
    """One line under 250 characters: model, reason, feature, segment, onset in UTC, effect, how many more, which moved first.

    Parameters
    ----------
    others
        Further incidents of the model that go on; None where that isn't known, and nothing is said of it.
    """
    radius = blast_radius(incident)
    lead = radius.lead
    share = "" if radius.all_traffic else f" ({percent(radius.traffic_share)} of traffic)"
    moved = [cell for cell in radius.cells if not cell.slight] or radius.cells
    places = {segment_name(cell.segment) for cell in moved}
    echoes = {segment_name(alert.segment) for cell in moved for alert in cell.also} - places
    size = f"{_count(len(radius.features), 'feature')}, {_count(len(places), 'segment')}"
    if echoes:
        size += f", also seen in {len(echoes):,} more"
    if incident.beyond:
        size += f" and {len(incident.beyond):,} more series"
    what = f"{named(incident.model, 48)}: {named(lead.reason, 24)} on {named(lead.feature, 40)}"
    early = moved_first(counted(incident))
    size += "" if early is None else f"; {named(early, 40)} moved first"
    size += "; open again" if incident.reopened and incident.is_open else ""
    told = f"{what} in {where(radius)}{share} since {onset(lead)}; {effect(lead)}; {size}{_elsewhere(incident, others)}"
    return told if len(told) < HEADLINE_MAX else told[: HEADLINE_MAX - 2] + "…"


def moved_first(alerts: Sequence[Alert]) -> str | None:
    """Return the feature that moved before all others; None where there is one alone, or the change points don't tell.

    They tell where the latest plausible one of that feature is earlier than all those of others, and by minutes at least.
    """
    began: dict[str, tuple[int, int]] = {}
    for alert in alerts:
        earliest, latest = alert.onset_range or (alert.onset_at, alert.onset_at)
        known = began.get(alert.feature, (earliest, latest))
        began[alert.feature] = (min(known[0], earliest), min(known[1], latest))
    if len(began) < 2:
        return None
    found = min(began, key=lambda feature: (began[feature][1], feature))
    others = min(earliest for feature, (earliest, _) in began.items() if feature != found)
    return found if others - began[found][1] >= FIRST_MS else None


def _elsewhere(incident: Incident, others: int | None) -> str:
    """What the rest of the model does, as far as it is watched."""
    if others is None or not incident.is_open:
        return ""
    if others:
        return f"; {_count(others, 'other incident')} of the model open"
    slight = any(alert.severity == "info" for alert in incident.firing)  # it is counted nowhere in the line
    return "" if slight else "; everything else quiet"


def where(radius: BlastRadius) -> str:
    """The segments that explain, the first of them by name."""
    if radius.all_traffic:
        return "all traffic"
    names = [named(segment_name(segment), 48) for segment in radius.segments[:NAMED_MAX]]
    rest = len(radius.segments) - len(names)
    names += [f"{rest} more"] if rest else []
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _count(n: int, one: str) -> str:
    return f"{n:,} {one if n == 1 else one + 's'}"
