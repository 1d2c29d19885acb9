"""Where pages go, one file each. A receiver is on when its setting names a place to go to.

``build_receivers(settings, metrics)`` makes those that the settings ask for.
"""

from __future__ import annotations

from collections.abc import Iterator

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

__all__ = [
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
    """
    receivers = list(_asked_for(settings.escalate))
    for receiver in receivers:
        for outcome in (*(kind.name for kind in OUTCOMES), "dead", "cancelled"):
            metrics.deliveries.labels(receiver.name, outcome)
    return tuple(receivers)


def _asked_for(settings: EscalateSettings) -> Iterator[Receiver]:
    private = settings.private_addresses
    if settings.pagerduty.routing_key is not None:
        yield PagerDuty(settings.pagerduty, private=private)
    if settings.slack.token is not None:
        yield Slack(settings.slack, private=private)
    if settings.slack_webhook.url is not None:
        yield SlackWebhook(settings.slack_webhook, private=private)
    if settings.alertmanager.url is not None:
        yield Alertmanager(settings.alertmanager, private=private)
    if settings.webhook.url is not None:
        yield Webhook(settings.webhook, private=private)
    if settings.jira.url is not None:
        yield Jira(settings.jira, private=private)
    if settings.email.host is not None:
        yield Email(settings.email)
    if settings.apprise.urls is not None:
        yield Apprise(settings.apprise)
    if settings.markdown.folder is not None:
        yield Markdown(settings.markdown)
    if settings.confluence.url is not None:
        yield Confluence(settings.confluence, private=private)
