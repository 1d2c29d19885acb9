"""Settings of the escalation worker; where pages go is in ``receivers``."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import model_validator

from streamdrift.settings.mitigation import MitigationSettings
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
from streamdrift.settings.values import Count, FilePath, Ledger, Name, NonNegative, Positive, Section, Tiers, refuse

HEARTBEAT_MIN_S = 60.0


class RetrySettings(Section):
    """How a delivery that failed is tried again."""

    initial_s: Positive = 1.0
    """First wait; each further one is twice as long."""
    max_s: Positive = 300.0
    """Longest wait."""
    attempts_max: Count = 100
    """Attempts before the delivery is put aside as dead, with a log line and a metric: with these waits, about eight hours."""

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
    heartbeat_s: NonNegative = 0.0
    """Page when records come for a stage of `detect`, and it commits nothing for so long; 0 looks at nothing. Not below 60."""
    fallback: Name | None = None
    """Receiver, by its section's name, that is told of pages which were given up for another one."""
    private_addresses: bool = True
    """Whether receivers may be at addresses that are not of the public internet. False refuses them, whatever a name resolves to."""
    routes: FilePath | None = None
    """Who is told of what, in TOML (`docs/routing.md`). Without it every receiver is told of everything."""
    pages_per_minute_max: Count = 10
    """Pages to one receiver within a minute, of which incidents that are not critical may take half. What is over is told together."""
    storm_summary_s: Positive = 60.0
    """So long after the first page over that number, what is over is told as one page."""
    pages_unlimited: tuple[str, ...] = ()
    """Receivers that are told of each incident, however many there are: what groups by itself, such as `alertmanager`."""
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
    mitigation: MitigationSettings = MitigationSettings()

    @model_validator(mode="after")
    def _waits(self) -> Self:
        if 0 < self.heartbeat_s < HEARTBEAT_MIN_S:
            refuse(iter([("heartbeat_s", "is shorter than a restart takes; give 60 or more, or 0 to look at nothing")]))
        return self
