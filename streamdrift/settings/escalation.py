"""Settings of the escalation worker; where pages go is in ``receivers``."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import model_validator

from streamdrift.settings.receivers import (
    AlertmanagerSettings,
    AppriseSettings,
    ConfluenceSettings,
    EmailSettings,
    JiraSettings,
    MarkdownSettings,
    PagerDutySettings,
    SlackSettings,
    SlackWebhookSettings,
    WebhookSettings,
)
from streamdrift.settings.values import Count, Ledger, NonNegative, Positive, Section, Tiers, refuse


class RetrySettings(Section):
    """How a delivery that failed is tried again."""

    initial_s: Positive = 1.0
    """First wait; each further one is twice as long."""
    max_s: Positive = 300.0
    """Longest wait."""
    attempts_max: Count = 50
    """Attempts before the delivery is put aside as dead, with a log line and a metric."""

    @model_validator(mode="after")
    def _grows(self) -> Self:
        if self.initial_s > self.max_s:
            refuse(iter([("initial_s", f"is longer than max_s ({self.max_s:g}); it is the shortest wait")]))
        return self


class EscalateSettings(Section):
    """The escalation worker."""

    ledger: Ledger = "streamdrift-ledger.sqlite3"
    """Incidents, outbox and offsets: a SQLite file, or a PostgreSQL database, on which several workers may stand by."""
    incident_window_s: Positive = 3_600.0
    """Alerts of one model whose change points lie within this event time of each other belong to one incident."""
    reopen_s: NonNegative = 1_800.0
    """An alert of the same cause within this event time after an incident's end opens it again; 0 opens a new one."""
    severity_min: Literal["info", "warning", "critical"] = "warning"
    """Alerts below this are kept in the incident, but page nobody."""
    event_age_max_s: Positive = 86_400.0
    """Alerts older than this against the clock are recorded, but page nobody (a backfill is no emergency)."""
    tiers: Tiers = ()
    """What hangs on which model, by its name (`*` stands for anything); the first that matches counts, 2 without. Severity follows from it."""
    private_addresses: bool = True
    """Whether receivers may be at addresses that are not of the public internet. False refuses them, whatever a name resolves to."""
    retry: RetrySettings = RetrySettings()
    pagerduty: PagerDutySettings = PagerDutySettings()
    webhook: WebhookSettings = WebhookSettings()
    slack: SlackSettings = SlackSettings()
    slack_webhook: SlackWebhookSettings = SlackWebhookSettings()
    alertmanager: AlertmanagerSettings = AlertmanagerSettings()
    jira: JiraSettings = JiraSettings()
    confluence: ConfluenceSettings = ConfluenceSettings()
    markdown: MarkdownSettings = MarkdownSettings()
    email: EmailSettings = EmailSettings()
    apprise: AppriseSettings = AppriseSettings()
