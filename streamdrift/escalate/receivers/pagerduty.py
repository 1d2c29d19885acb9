"""PagerDuty Events API v2: https://developer.pagerduty.com/docs/events-api-v2-overview."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import orjson

from streamdrift.alerts import rfc3339
from streamdrift.escalate import safe_text
from streamdrift.escalate.receivers.base import Outcome, Page
from streamdrift.escalate.receivers.http import HttpDoor, outcome
from streamdrift.settings import PagerDutySettings

BODY_BYTES_MAX = 512_000
"""The limit is 512 KB; Alertmanager reads it as this, too."""
SUMMARY_MAX, DEDUP_KEY_MAX, TEXT_MAX = 1_024, 255, 1_024
ALERTS_MAX = 20
ENQUEUE = "/enqueue"
HEADERS = {"Content-Type": "application/json"}
ACCEPTED = frozenset({202})
SEVERITIES = {"critical": "critical", "warning": "warning", "info": "info"}
BRIEF = (
    "series_id",
    "kind",
    "reason",
    "severity",
    "detected_at",
    "onset_at",
    "effect_size",
    "effect_unit",
    "traffic_share",
)
"""What is told of each alert."""


class PagerDuty:
    """One service's integration.

    An incident that is already open in PagerDuty under the same dedup key takes a repeated trigger as a line in its log, so
    an attempt whose answer was lost can be made again.
    """

    name = "pagerduty"

    def __init__(self, settings: PagerDutySettings, *, private: bool = True) -> None:
        if settings.routing_key is None:
            raise ValueError("PagerDuty needs a routing_key")
        self._key = settings.routing_key.get_secret_value()
        self._door = HttpDoor(settings.url, settings.timeout_s, [self._key], private=private)
        changes = settings.url.removesuffix(ENQUEUE) + "/change" + ENQUEUE
        self._changes = HttpDoor(changes, settings.timeout_s, [self._key], private=private)

    def __repr__(self) -> str:
        return f"PagerDuty({self._door.place})"

    def send(self, page: Page, now: float) -> Outcome:
        """Make one attempt; see ``Receiver``."""
        body = self._body(page)
        return outcome(self._door.post(body, HEADERS, now), ACCEPTED)

    def change(self, change: Mapping[str, Any], now: float) -> Outcome:
        """Tell of a change of the model or what it reads, which pages nobody: PagerDuty shows it beside incidents for 90 days.

        Parameters
        ----------
        change
            A change event (``docs/schemas/change-event.schema.json``). PagerDuty knows no dedup keys for these.
        """
        return outcome(self._changes.post(orjson.dumps(self._changed(change)), HEADERS, now), ACCEPTED)

    def _changed(self, change: Mapping[str, Any]) -> dict[str, Any]:
        scope = change.get("scope") or {}
        details = {name: change.get(name) for name in ("change_id", "kind", "author") if change.get(name)}
        details |= {
            name: safe_text.plain(scope[name], TEXT_MAX)
            for name in ("models", "features", "segments")
            if scope.get(name)
        }
        payload = {
            "summary": safe_text.plain(change.get("summary") or change.get("kind") or "a change", SUMMARY_MAX),
            "source": "streamdrift",
            "timestamp": change.get("occurred_at"),
            "custom_details": {name: safe_text.plain(value, TEXT_MAX) for name, value in details.items()},
        }
        event: dict[str, Any] = {
            "routing_key": self._key,
            "payload": {name: value for name, value in payload.items() if value},
        }
        link = str(change.get("link") or "")
        if re.fullmatch(
            r"https?://[\x21-\x7e]{1,1000}", link
        ):  # a link from an event is shown, and nobody but a person follows it
            event["links"] = [{"href": link, "text": "change"}]
        return event

    def _body(self, page: Page) -> bytes:
        event: dict[str, Any] = {
            "routing_key": self._key,
            "event_action": page.action,
            "dedup_key": page.dedup_key[:DEDUP_KEY_MAX],
        }
        if page.action == "trigger":
            event |= {"client": "streamdrift", "payload": _payload(page)}
        body = orjson.dumps(event)
        if len(body) > BODY_BYTES_MAX:
            event["payload"]["custom_details"] = {"left_out": f"{len(body)} bytes are more than PagerDuty takes"}
            body = orjson.dumps(event)
        return body


def _payload(page: Page) -> dict[str, Any]:
    radius = page.incident.get("blast_radius", {})
    payload = {
        "summary": safe_text.plain(page.headline, SUMMARY_MAX),
        "source": _text(page.incident.get("model")) or "streamdrift",
        "severity": SEVERITIES.get(str(page.incident.get("severity")), "warning"),
        "timestamp": rfc3339(page.at),
        "component": _text(radius.get("feature")),
        "group": _text(page.incident.get("model")),
        "class": _text(radius.get("reason")),
        "custom_details": {
            "incident_id": page.incident.get("incident_id"),
            "onset_at": page.incident.get("onset_at"),
            "blast_radius": radius,
            "explanation": page.incident.get("explanation", []),
            "alerts": [{name: alert.get(name) for name in BRIEF} for alert in page.alerts[:ALERTS_MAX]],
            "alerts_in_all": page.incident.get("alerts"),
        },
    }
    return {name: value for name, value in payload.items() if value}


def _text(value: Any) -> str:
    return safe_text.plain(value or "", TEXT_MAX)
