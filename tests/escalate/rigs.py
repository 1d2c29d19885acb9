"""Receivers aimed at a URL, and pages to tell them."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import orjson
from pydantic import SecretStr

from streamdrift.alerts import digest
from streamdrift.checks.receivers import Rig
from streamdrift.escalate import page
from streamdrift.escalate.policy import Incident, apply
from streamdrift.escalate.receivers import (
    Alertmanager,
    Confluence,
    Delivered,
    Jira,
    Outcome,
    Page,
    PagerDuty,
    Receiver,
    Slack,
    SlackWebhook,
    Webhook,
)
from streamdrift.settings import (
    AlertmanagerSettings,
    ConfluenceSettings,
    EscalateSettings,
    JiraSettings,
    PagerDutySettings,
    SlackSettings,
    SlackWebhookSettings,
    WebhookSettings,
)
from tests.escalate.conftest import NOW, make_alert

KEY = "canary-routing-key-0123456789abc"
SECRET = "whsec_" + b64encode(b"canary-signing-secret").decode()
TOKEN = "xoxb-canary-token-0123456789"
PASSWORD = "canary-password-0123456789"
CHANNEL = "C0123456789"
TS = "1712345678.000100"
SLACK_OK = orjson.dumps({"ok": True, "channel": CHANNEL, "ts": TS, "messages": []})
JIRA_OK = orjson.dumps({"id": "10042", "key": "OPS-17", "issues": [], "comments": [], "transitions": []})

Action = Literal["trigger", "acknowledge", "resolve"]


def make_page(action: Action = "trigger", key: str = "incident-1", alerts: int = 1, **other: Any) -> Page:
    """A page of an incident; ``other`` are fields of its first alert."""
    incident: Incident | None = None
    for i in range(alerts):
        found = apply(incident, make_alert(f"feature_{i}", at=i, **other), EscalateSettings())
        incident = found.incident
    assert incident is not None
    made = page.read(page.compose(incident, int(NOW * 1000)), digest(action, key), action, key)
    return replace(made, incident=made.incident | {"incident_id": key.partition(".")[0]})


@dataclass
class OverHttp:
    """Keeps references as the outbox does."""

    receiver: Receiver
    secrets: tuple[str, ...]
    accepted: int = 200
    answer: bytes = b"{}"
    path: str = ""
    garbage: tuple[str, ...] = ("delivered",)
    as_action: dict[str, Action] = field(default_factory=dict)
    references: dict[str, str] = field(default_factory=dict)
    keeps: bool = False

    def send(self, action: Literal["trigger", "resolve"], incident: str, alerts: int = 1) -> Outcome:
        told = make_page(self.as_action.get(action, action), incident, alerts)
        if self.keeps and action == "resolve":
            told = replace(told, reference=self.references.get(incident))
        found = self.receiver.send(told, NOW)
        if isinstance(found, Delivered) and found.reference is not None:
            self.references[incident] = found.reference
        return found

    def __repr__(self) -> str:
        return repr(self.receiver)


def pagerduty(url: str, timeout_s: float) -> Rig:
    settings = PagerDutySettings(routing_key=SecretStr(KEY), url=url, timeout_s=timeout_s)
    return OverHttp(PagerDuty(settings), (KEY,), 202)


def webhook(url: str, timeout_s: float) -> Rig:
    settings = WebhookSettings(url=url, secret=SecretStr(SECRET), timeout_s=timeout_s)
    return OverHttp(Webhook(settings), (SECRET, "canary-signing-secret"))


def slack(url: str, timeout_s: float) -> Rig:
    settings = SlackSettings(token=SecretStr(TOKEN), channel=CHANNEL, url=url, timeout_s=timeout_s)
    made = Slack(settings)
    return OverHttp(made, (TOKEN,), 200, SLACK_OK, "/chat.postMessage", ("ambiguous",), keeps=True)


def slack_webhook(url: str, timeout_s: float) -> Rig:
    made = SlackWebhook(SlackWebhookSettings(url=SecretStr(url), timeout_s=timeout_s))
    return OverHttp(made, (url,), 200, b"ok", "", ("retry", "ambiguous"))


def alertmanager(url: str, timeout_s: float) -> Rig:
    settings = AlertmanagerSettings(url=url, username="drift", password=SecretStr(PASSWORD), timeout_s=timeout_s)
    secrets = (PASSWORD, b64encode(f"drift:{PASSWORD}".encode()).decode())
    return OverHttp(Alertmanager(settings), secrets, path="/api/v2/alerts")


def jira_settings(url: str, timeout_s: float = 5.0, **other: str) -> JiraSettings:
    token = SecretStr(TOKEN)
    return JiraSettings(url=url, user="me@example.com", token=token, project="OPS", timeout_s=timeout_s, **other)


def jira(url: str, timeout_s: float) -> Rig:
    secrets = (TOKEN, b64encode(f"me@example.com:{TOKEN}".encode()).decode())
    made = Jira(jira_settings(url, timeout_s))
    return OverHttp(made, secrets, 201, JIRA_OK, "/rest/api/3/issue", ("ambiguous",), keeps=True)


def confluence_settings(url: str, timeout_s: float = 5.0) -> ConfluenceSettings:
    return ConfluenceSettings(
        url=url, user="me@example.com", token=SecretStr(TOKEN), space_id=98_304, timeout_s=timeout_s
    )


def confluence(url: str, timeout_s: float) -> Rig:
    secrets = (TOKEN, b64encode(f"me@example.com:{TOKEN}".encode()).decode())
    made = Confluence(confluence_settings(url, timeout_s))
    answer = orjson.dumps({"id": "4711", "status": "current"})
    return OverHttp(made, secrets, 200, answer, "/wiki/api/v2/pages", ("ambiguous",), {"trigger": "resolve"})


FACTORIES: dict[str, Callable[[str, float], Rig]] = {
    "pagerduty": pagerduty,
    "webhook": webhook,
    "slack": slack,
    "slack_webhook": slack_webhook,
    "alertmanager": alertmanager,
    "jira": jira,
    "confluence": confluence,
}
NOT_FOR = {("confluence", "a_resolve_has_its_triggers_key"): "a page is made once, when the incident is over"}
