"""The labels by which incidents and alerts are routed."""

from __future__ import annotations

from streamdrift.alerts import Alert, segment_name
from streamdrift.escalate.incident import RANK, Incident
from streamdrift.escalate.routing.matchers import Labels
from streamdrift.escalate.triage import blast_radius, counted


def of_incident(incident: Incident, team: str) -> Labels:
    """What an incident is routed by: its severity, the segments that explain it, its features and their reasons.

    A shift of all traffic has the segment ``""`` and no other, though it shows in all of them.
    """
    radius = blast_radius(incident)
    return _labels(
        incident.model,
        team,
        incident.severity,
        {segment_name(segment) for segment in radius.segments},
        {alert.reason for alert in counted(incident)},
        set(radius.features),
    )


def of_alert(alert: Alert, team: str) -> Labels:
    """What one alert is silenced by."""
    segment = {segment_name(alert.segment)}
    return _labels(alert.model_name, team, alert.severity, segment, {alert.reason}, {alert.feature})


def may_page(incident: Incident, severity_min: str) -> tuple[Alert, ...]:
    """The firing alerts for which somebody is paged; all that fire, where none may."""
    firing = incident.firing
    return tuple(alert for alert in firing if RANK[alert.severity] >= RANK[severity_min]) or firing


def _labels(model: str, team: str, severity: str, segment: set[str], reason: set[str], feature: set[str]) -> Labels:
    found = {
        "model": frozenset({model}),
        "team": frozenset({team} if team else ()),
        "severity": frozenset({severity}),
        "segment": frozenset(segment),
        "reason": frozenset(reason),
        "feature": frozenset(feature),
    }
    return {label: values for label, values in found.items() if values}
