"""Which incident an alert belongs to, and whether somebody is to be told. Pure: the same alerts give the same pages.

An alert goes to the open incident of its model

1. in which its series fires; else
2. in which its feature fires for the same reason, in the same direction, wherever: one cause, seen in one more segment; else
3. one of whose change points lies within ``incident_window_s`` of its own; or whose last alert does, where they share a feature.

An incident that ended no longer than ``reopen_s`` before is looked at in the same way, after those that are open: the alert opens it again,
which pages, and is counted. Else the alert opens a new incident. Joining alone pages nobody. Growth does: a higher severity, from a segment to all traffic, four
times as many features or as much traffic, an effect that doubled (``incident.Reach``); each such page has a dedup key
of its own (``incident.dedup_key`` says why). Every decision names its reason, which is the log's field and the metric's label.

Slow drift, which shows against a series' first reference and not against its recent past (``reference.which``), is never
grouped with anything else. Growth pages also where somebody has acknowledged the incident: what they know of is not what it is now,
so it is open again, not acknowledged.

Only alerts of status ``resolved`` end an incident, or a person: silence is no evidence of recovery.

An alert that ``updates`` another is that alert, grown: it takes its place, and its end ends both. What comes
later but is older, or is of an alert that ended, changes nothing.

Examples
--------
>>> from streamdrift.settings import EscalateSettings
>>> settings = EscalateSettings()
>>> open_incidents: list[Incident] = []
>>> def take(alert: Alert, now_ms: int) -> Decision:
...     return apply(choose(open_incidents, alert, settings), alert, settings, now_ms)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from streamdrift.alerts import Alert, Severity, digest
from streamdrift.escalate.effects import magnitude
from streamdrift.escalate.grouping import choose, may_reopen, overtaken
from streamdrift.escalate.incident import RANK, Incident, Reach, Status, dedup_key
from streamdrift.escalate.severity import graded
from streamdrift.escalate.triage import BlastRadius, blast_radius, headline
from streamdrift.settings import EscalateSettings

__all__ = [
    "BlastRadius",
    "Decision",
    "Incident",
    "Reach",
    "apply",
    "blast_radius",
    "choose",
    "dedup_key",
    "headline",
    "may_reopen",
]

ALERTS_PER_INCIDENT_MAX = 200
"""Alerts kept with what they tell; of further series only the id is kept."""
SERIES_PER_INCIDENT_MAX = 20_000
"""Series held by one incident; alerts of further ones are recorded only.."""
SEVERITIES: tuple[Severity, ...] = ("info", "warning", "critical")
REASONS = frozenset(
    {
        *("new_incident", "first_page", "severity", "all_traffic", "features", "traffic_share", "effect", "no_growth"),
        *("too_old", "below_severity", "duplicate", "stale", "closed", "incident_full", "no_open_incident"),
        *("unknown_series", "superseded", "partly_resolved", "all_resolved", "came_back"),
    }
)
"""All that a decision can name."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What an alert does to an incident.

    Attributes
    ----------
    action
        ``open``, ``grow`` (the incident is paged again, or for the first time), ``join``, ``resolve``, ``reopen``, ``ignore``.
    reason
        Why, as a short fixed name.
    incident
        As it stands now; None only with ``ignore``, where no incident is concerned.
    page
        What receivers are to be told, if anything.
    """

    action: Literal["open", "grow", "join", "resolve", "reopen", "ignore"]
    reason: str
    incident: Incident | None
    page: Literal["trigger", "resolve"] | None = None


def apply(
    open_incident: Incident | None, alert: Alert, settings: EscalateSettings, now_ms: int | None = None
) -> Decision:
    """Decide what the alert does to this incident.

    Parameters
    ----------
    open_incident
        What ``choose`` returned, perhaps one that is over; an incident that the alert doesn't belong to is left alone.
    now_ms
        The clock, for the age guard; None for recorded data, where no alert is too old.
    """
    mine = open_incident if open_incident is not None and choose([open_incident], alert, settings) else None
    if mine is not None and any(
        held.alert_id == alert.alert_id for held in mine.alerts if held.series_id == alert.series_id
    ):
        return Decision("ignore", "duplicate", mine)
    if alert.status == "resolved":
        return _resolved(mine, alert, settings)
    if mine is not None and not mine.is_open:
        return _back(mine, alert, settings, now_ms)
    if mine is None:
        return _opened(alert, settings, now_ms)
    return _joined(mine, alert, settings, now_ms)


def resolved_by_hand(incident: Incident, at: int) -> Incident:
    """Return the incident as over, though alerts of it still fire; ``at`` is milliseconds since the epoch.

    They count as over with it: a further one of the same cause opens it again.
    """
    return replace(
        incident,
        status="resolved",
        resolved=frozenset((held.series_id, held.reason) for held in incident.alerts),
        beyond=frozenset(),
        resolved_at=at,
    )


# Firing --------------------------------------------------------------------------------------------------------------


def _opened(alert: Alert, settings: EscalateSettings, now_ms: int | None) -> Decision:
    incident = Incident(
        incident_id=digest(alert.model_name, alert.alert_id),
        model=alert.model_name,
        status="open",
        severity=graded(alert, settings),
        opened_at=alert.detected_at,
        updated_at=alert.detected_at,
        onset_at=alert.onset_at,
        alerts=(alert,),
        resolved=frozenset(),
    )
    muted = _muted(alert, settings, now_ms)
    if muted and alert.updates is not None:
        return Decision("ignore", "no_open_incident", None)
    return Decision("open", muted, incident) if muted else _paged("open", "new_incident", incident, settings)


def _back(incident: Incident, alert: Alert, settings: EscalateSettings, now_ms: int | None) -> Decision:
    """The cause of an incident that was over has come back."""
    if any(
        (held.detected_at, held.events_seen) >= (alert.detected_at, alert.events_seen)
        for held in incident.alerts
        if (held.series_id, held.reason) == (alert.series_id, alert.reason)
    ):
        return Decision("ignore", "stale", incident)
    again = replace(incident, status="open", reopened=incident.reopened + 1, resolved_at=None)
    held = _with(again, alert, settings)
    if held is None or _muted(alert, settings, now_ms):
        return _opened(alert, settings, now_ms)
    return _paged("reopen", "came_back", held, settings)


def _joined(incident: Incident, alert: Alert, settings: EscalateSettings, now_ms: int | None) -> Decision:
    late = overtaken(incident, alert)
    if late:
        return Decision("ignore", late, incident)
    held = _with(incident, alert, settings)
    if held is None:
        return Decision("ignore", "incident_full", incident)
    muted = _muted(alert, settings, now_ms)
    if muted:
        return Decision("join", muted, held)
    if held.paged is None:
        return _paged("grow", "first_page", held, settings)
    reach = _reach(held, settings)
    known = _known(held.paged, reach, incident, alert)
    grown = reach.beyond(known)
    if grown:
        return _paged("grow", grown, held, settings)
    return Decision("join", "no_growth", replace(held, paged=known))


def _known(paged: Reach, reach: Reach, incident: Incident, alert: Alert) -> Reach:
    """What was paged, with the size that an alert had before its first update: that was told, or joined, as it was."""
    sizes = {key: paged.effects.get(key, size) for key, size in reach.effects.items()}
    for held in incident.alerts if alert.updates else ():
        if (
            held.series_id == alert.series_id
            and held.opening_id == alert.updates
            and _effect_key(held) not in paged.effects
        ):
            sizes |= {_effect_key(held): magnitude(held)} if held.effect_unit == alert.effect_unit else {}
    return replace(paged, effects=sizes)


def _effect_key(alert: Alert) -> str:
    return f"{alert.opening_id}/{alert.effect_unit}"


def _muted(alert: Alert, settings: EscalateSettings, now_ms: int | None) -> str | None:
    """Why this alert pages nobody, if so."""
    if now_ms is not None and now_ms - alert.detected_at > settings.event_age_max_s * 1000:
        return "too_old"
    return None if _may_page(alert, settings) else "below_severity"


def _may_page(alert: Alert, settings: EscalateSettings) -> bool:
    return RANK[graded(alert, settings)] >= RANK[settings.severity_min]


def _paged(
    action: Literal["open", "grow", "reopen"], reason: str, incident: Incident, settings: EscalateSettings
) -> Decision:
    reach = _reach(incident, settings)
    paged = reach if incident.paged is None else reach.joined(incident.paged)
    status: Status = "open" if incident.status == "acknowledged" else incident.status
    return Decision(action, reason, replace(incident, paged=paged, pages=incident.pages + 1, status=status), "trigger")


def _reach(incident: Incident, settings: EscalateSettings) -> Reach:
    """How far the alerts go that may page; where that is, those tell, too, that may not."""
    alerts = tuple(alert for alert in incident.firing if _may_page(alert, settings))
    radius = blast_radius(incident)
    return Reach(
        max(RANK[graded(alert, settings)] for alert in alerts),
        radius.all_traffic,
        len({alert.feature for alert in alerts}),
        radius.traffic_share,
        {_effect_key(alert): magnitude(alert) for alert in alerts if alert.updates},
    )


def _with(incident: Incident, alert: Alert, settings: EscalateSettings) -> Incident | None:
    """The incident with one more firing alert; None where there is no room for its series."""
    alerts = _taking_in(incident, alert)
    resolved = incident.resolved - {(alert.series_id, alert.reason)}
    beyond = incident.beyond - {alert.series_id}
    if len(alerts) > ALERTS_PER_INCIDENT_MAX:
        put_out = min(
            alerts,
            key=lambda held: ((held.series_id, held.reason) not in resolved, RANK[held.severity], -held.onset_at),
        )
        alerts.remove(put_out)
        if (put_out.series_id, put_out.reason) in resolved:
            resolved -= {(put_out.series_id, put_out.reason)}
        elif _may_page(put_out, settings):
            beyond |= {put_out.series_id}
    if len(beyond) + len(alerts) > SERIES_PER_INCIDENT_MAX:
        return None
    return _summed(replace(incident, alerts=tuple(alerts), resolved=resolved, beyond=beyond), alert, settings)


def _taking_in(incident: Incident, alert: Alert) -> list[Alert]:
    """The alerts with this one: where the one stood that it updates, else at the end."""
    alerts: list[Alert] = []
    place: int | None = None
    for held in incident.alerts:
        same = held.series_id == alert.series_id
        if same and held.opening_id == alert.opening_id and held.reason == alert.reason:
            place = len(alerts)
        elif not (same and (held.reason == alert.reason or held.opening_id == alert.opening_id)):
            alerts.append(held)
    alerts.insert(len(alerts) if place is None else place, alert)
    return alerts


def _summed(incident: Incident, alert: Alert, settings: EscalateSettings) -> Incident:
    """Severity and times over what it holds now."""
    told = [held for held in incident.alerts if _may_page(held, settings)] or incident.alerts
    return replace(
        incident,
        severity=SEVERITIES[max(RANK[incident.severity], RANK[graded(alert, settings)])],
        updated_at=max(incident.updated_at, alert.detected_at),
        onset_at=min(held.onset_at for held in told),
    )


# Resolved ------------------------------------------------------------------------------------------------------------


def _resolved(incident: Incident | None, alert: Alert, settings: EscalateSettings) -> Decision:
    if incident is None:
        return Decision("ignore", "unknown_series", None)
    mine = [held for held in incident.firing if held.series_id == alert.series_id]
    closed = _closed(mine, alert)
    if mine and closed is None:
        return Decision("ignore", "superseded", incident)
    left = _without(incident, alert, closed, last=len(mine) <= 1)
    if _keeps_open(left, settings):
        return Decision("join", "partly_resolved", left)
    done = replace(left, status="resolved", resolved_at=alert.detected_at)
    return Decision("resolve", "all_resolved", done, "resolve" if done.pages else None)


def _closed(mine: Sequence[Alert], alert: Alert) -> Alert | None:
    """The held alert that this one closes: by id; by reason, where it doesn't say. None where a later one took its place.

    An alert that was updated goes by the id of the one that opened as well as by its own.
    """
    if alert.resolves is not None:
        ids = {alert.resolves, alert.updates or alert.resolves}
        return next((held for held in mine if held.alert_id in ids or held.opening_id in ids), None)
    return next((held for held in mine if held.reason == alert.reason and held.detected_at <= alert.detected_at), None)


def _without(incident: Incident, alert: Alert, closed: Alert | None, *, last: bool) -> Incident:
    """What is resolved stays, for what it tells."""
    resolved = incident.resolved if closed is None else incident.resolved | {(closed.series_id, closed.reason)}
    return replace(
        incident,
        resolved=resolved,
        beyond=incident.beyond - {alert.series_id} if last else incident.beyond,
        updated_at=max(incident.updated_at, alert.detected_at),
    )


def _keeps_open(incident: Incident, settings: EscalateSettings) -> bool:
    """Whether a page must stay open.

    What may not open a page doesn't hold one open either; an incident of such alerts alone lasts as long as they do.
    """
    if incident.beyond:
        return True
    if any(_may_page(held, settings) for held in incident.alerts):
        return any(_may_page(held, settings) for held in incident.firing)
    return bool(incident.firing)
