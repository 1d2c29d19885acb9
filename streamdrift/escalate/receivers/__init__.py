"""Where pages go, one file each. A receiver is on when its setting names a place to go to.

``build_receivers(settings, metrics)`` makes those that the settings ask for.
"""

from __future__ import annotations

from collections.abc import Callable

from streamdrift.errors import SettingsProblem
from streamdrift.escalate.receivers.alertmanager import Alertmanager
from streamdrift.escalate.receivers.apprise import Apprise
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
from streamdrift.escalate.receivers.confluence import Confluence
from streamdrift.escalate.receivers.email import Email
from streamdrift.escalate.receivers.jira import Jira
from streamdrift.escalate.receivers.jira_actions import CorrectiveAction, JiraActions, Progress
from streamdrift.escalate.receivers.markdown import Markdown
from streamdrift.escalate.receivers.pagerduty import PagerDuty
from streamdrift.escalate.receivers.slack import Slack
from streamdrift.escalate.receivers.slack_webhook import SlackWebhook
from streamdrift.escalate.receivers.webhook import Webhook
from streamdrift.settings import EscalateSettings, Settings
from streamdrift.telemetry import Metrics

ACKNOWLEDGING = frozenset({PagerDuty.name})
"""Receivers that make something of an acknowledgement."""

__all__ = [
    "ACKNOWLEDGING",
    "Alertmanager",
    "Ambiguous",
    "Apprise",
    "Confluence",
    "CorrectiveAction",
    "Delivered",
    "Email",
    "Jira",
    "JiraActions",
    "Markdown",
    "Outcome",
    "Page",
    "PagerDuty",
    "Permanent",
    "Progress",
    "Receiver",
    "RetryAt",
    "Slack",
    "SlackWebhook",
    "Webhook",
    "build_receivers",
]


def build_receivers(settings: Settings, metrics: Metrics) -> tuple[Receiver, ...]:
    """Return the receivers that the settings ask for; none is a fair answer: then incidents are recorded only.

    Every count of theirs begins at 0, so that the first failure is a rise that an alert rule sees.

    Raises
    ------
    SettingsProblem
        ``escalate.fallback`` is none of them.
    """
    receivers = [make(settings.escalate) for is_on, make in _KINDS if is_on(settings.escalate) is not None]
    _check_fallback(settings.escalate.fallback, [receiver.name for receiver in receivers])
    for receiver in receivers:
        for outcome in (*(kind.name for kind in OUTCOMES), "dead", "cancelled"):
            metrics.deliveries.labels(receiver.name, outcome)
    return tuple(receivers)


def _check_fallback(fallback: str | None, names: list[str]) -> None:
    if fallback is not None and fallback not in names:
        known = ", ".join(names) or "none"
        raise SettingsProblem(
            f"escalate.fallback names {fallback}, which is not set up ({known} is); set it up, or name another receiver"
        )


_KINDS: tuple[tuple[Callable[[EscalateSettings], object], Callable[[EscalateSettings], Receiver]], ...] = (
    (lambda s: s.pagerduty.routing_key, lambda s: PagerDuty(s.pagerduty, private=s.private_addresses)),
    (lambda s: s.slack.token, lambda s: Slack(s.slack, private=s.private_addresses)),
    (lambda s: s.slack_webhook.url, lambda s: SlackWebhook(s.slack_webhook, private=s.private_addresses)),
    (lambda s: s.alertmanager.url, lambda s: Alertmanager(s.alertmanager, private=s.private_addresses)),
    (lambda s: s.webhook.url, lambda s: Webhook(s.webhook, private=s.private_addresses)),
    (lambda s: s.email.host, lambda s: Email(s.email)),
    (lambda s: s.jira.url, lambda s: Jira(s.jira, private=s.private_addresses)),
    (lambda s: s.apprise.urls, lambda s: Apprise(s.apprise)),
    (lambda s: s.markdown.folder, lambda s: Markdown(s.markdown)),
    (lambda s: s.confluence.url, lambda s: Confluence(s.confluence, private=s.private_addresses)),
)
"""What of the settings turns a receiver on, and how it is made; those that page come first."""
