"""How long it takes until alerts can say that something helped. Pure."""

from __future__ import annotations

from streamdrift.alerts import Alert
from streamdrift.escalate.incident import Incident
from streamdrift.settings import PolicySettings

LONGER = 4
"""A window that must be calm is so many times as long as the one that gave the evidence (``detect.policy``)."""
LONGEST_EVENTS = 4_096
"""No window has more events."""
LEAST_EVENTS: int = PolicySettings().resolve_events
MARGIN = 1.5
"""Traffic is not even, and the change has to reach it."""


def proof_s(incident: Incident) -> float:
    """Return the seconds in which every alert that pages could have ended, had the change been undone at once.

    Each by the rate at which its own events came from its change point until it was told.
    """
    firing = [alert for alert in incident.firing if alert.severity != "info"] or incident.firing
    return MARGIN * max((_calm_s(alert) for alert in firing), default=0.0)


def _calm_s(alert: Alert) -> float:
    n = max(1, alert.events_since_onset)
    needed = min(max(LONGER * n, LEAST_EVENTS), LONGEST_EVENTS)
    return needed * max(0, alert.detected_at - alert.onset_at) / 1000 / n
