"""Where pages go, one file each. A receiver is on when its setting names a place to go to.

``build_receivers(settings, metrics)`` makes those that the settings ask for.
"""

from __future__ import annotations

from streamdrift.escalate.receivers.base import (
    OUTCOMES,
    Ambiguous,
    Delivered,
    Outcome,
    Page,
    Permanent,
    Receiver,
    RetryAt,
)
from streamdrift.escalate.receivers.pagerduty import PagerDuty
from streamdrift.escalate.receivers.webhook import Webhook
from streamdrift.settings import Settings
from streamdrift.telemetry import Metrics

__all__ = [
    "Ambiguous",
    "Delivered",
    "Outcome",
    "Page",
    "PagerDuty",
    "Permanent",
    "Receiver",
    "RetryAt",
    "Webhook",
    "build_receivers",
]


def build_receivers(settings: Settings, metrics: Metrics) -> tuple[Receiver, ...]:
    """Return the receivers that the settings ask for; none is a fair answer: then incidents are recorded only.

    Every count of theirs begins at 0, so that the first failure is a rise that an alert rule sees.
    """
    escalate = settings.escalate
    receivers: list[Receiver] = []
    if escalate.pagerduty.routing_key is not None:
        receivers.append(PagerDuty(escalate.pagerduty))
    if escalate.webhook.url is not None:
        receivers.append(Webhook(escalate.webhook))
    for receiver in receivers:
        for outcome in (*(kind.name for kind in OUTCOMES), "dead", "cancelled"):
            metrics.deliveries.labels(receiver.name, outcome)
    return tuple(receivers)
