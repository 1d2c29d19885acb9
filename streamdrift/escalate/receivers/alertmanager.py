"""Alertmanager's API v2: https://github.com/prometheus/alertmanager/blob/main/api/v2/openapi.yaml

Each dedup key is an alert. Alertmanager calls one over that it isn't told of for some minutes, unless the alert itself says
until when it fires: that is ``hold_s`` from now, and the resolve ends it. So the outbox tells each page once, as everywhere.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import orjson

from streamdrift.alerts import rfc3339
from streamdrift.escalate import safe_text
from streamdrift.escalate.receivers.base import Delivered, Outcome, Page
from streamdrift.escalate.receivers.documents import of_page
from streamdrift.escalate.receivers.formats import to_text
from streamdrift.escalate.receivers.http import HttpDoor, basic, outcome
from streamdrift.settings import AlertmanagerSettings

ALERT_NAME = "StreamdriftIncident"
SEVERITIES = ("info", "warning", "critical")
LABEL_MAX, SUMMARY_MAX, DESCRIPTION_MAX = 200, 1_000, 8_000


class Alertmanager:
    """One Alertmanager."""

    name = "alertmanager"

    def __init__(self, settings: AlertmanagerSettings, *, private: bool = True) -> None:
        if settings.url is None:
            raise ValueError("Alertmanager needs a url")
        password = settings.password.get_secret_value() if settings.password is not None else None
        login = None if password is None else basic(settings.username or "", password)
        secrets = [] if password is None else [password]
        self._door = HttpDoor(settings.url, settings.timeout_s, secrets, login=login, private=private)
        self._hold_s = settings.hold_s

    def __repr__(self) -> str:
        return f"Alertmanager({self._door.place})"

    def send(self, page: Page, now: float) -> Outcome:
        """Make one attempt; see ``Receiver``."""
        if page.action == "acknowledge":
            return Delivered("Alertmanager knows no acknowledgements; a silence there is one")
        body = orjson.dumps(alerts(page, now, self._hold_s))
        answer = self._door.ask("POST", "/api/v2/alerts", now, body=body, headers={"Content-Type": "application/json"})
        return outcome(answer)


def alerts(page: Page, now: float, hold_s: float) -> list[dict[str, Any]]:
    """The alert of a page; at its end one for each severity that it may have had, for a label is part of its identity."""
    begun = min(_ms(page.incident.get("opened_at")) or page.at, int(now * 1000) - 1_000)
    if page.action == "resolve":
        return [_alert(page, severity, begun, now) for severity in SEVERITIES]
    severity = str(page.incident.get("severity"))
    return [_alert(page, severity if severity in SEVERITIES else "warning", begun, now + hold_s)]


def _alert(page: Page, severity: str, begun: int, until: float) -> dict[str, Any]:
    labels = {
        "alertname": ALERT_NAME,
        "model": safe_text.plain(page.incident.get("model") or "", LABEL_MAX),
        "incident": safe_text.plain(page.incident.get("incident_id") or page.dedup_key, LABEL_MAX),
        "page": safe_text.plain(page.dedup_key, LABEL_MAX),
        "severity": severity,
    }
    annotations = {
        "summary": safe_text.plain(page.headline, SUMMARY_MAX),
        "description": to_text(of_page(page))[:DESCRIPTION_MAX],
    }
    return {
        "labels": {name: value for name, value in labels.items() if value},
        "annotations": annotations,
        "startsAt": rfc3339(begun),
        "endsAt": rfc3339(int(until * 1000)),
    }


def _ms(text: Any) -> int | None:
    try:
        return int(datetime.fromisoformat(str(text)).astimezone(UTC).timestamp() * 1000)
    except (ValueError, OverflowError):
        return None
