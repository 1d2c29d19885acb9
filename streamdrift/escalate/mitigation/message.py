"""What the serving side is sent (``docs/schemas/mitigation-webhook.schema.json``). Pure.

It is written when somebody approves, and kept: every attempt says the same, under the same ``webhook-id``.
"""

from __future__ import annotations

from typing import Any, Literal

import orjson

from streamdrift.alerts import rfc3339
from streamdrift.escalate.incident import Incident
from streamdrift.escalate.mitigation.states import Mitigation
from streamdrift.escalate.mitigation.told import title
from streamdrift.escalate.receivers.base import Page
from streamdrift.escalate.triage import headline

TYPE = "io.streamdrift.mitigation.v1"
Operation = Literal["mitigate", "revert"]


def compose(mitigation: Mitigation, operation: Operation, incident: Incident, now: float) -> bytes:
    """Return what stands in the outbox for an attempt."""
    until = None if operation == "revert" or mitigation.due_at is None else rfc3339(round(mitigation.due_at * 1000))
    asked = {
        "mitigation_id": mitigation.mitigation_id,
        "action": mitigation.action,
        "title": title(mitigation),
        "model": mitigation.model,
        "from_version": mitigation.current,
        "to_version": mitigation.target,
        "segment": mitigation.segment,
        "dry_run": mitigation.dry_run,
        "approved": mitigation.by,
        "expires_at": until,
        "check": {"verdict": mitigation.verdict, "why": list(mitigation.why)},
        "incident": {
            "incident_id": incident.incident_id,
            "severity": incident.severity,
            "onset_at": rfc3339(incident.onset_at),
            "headline": headline(incident),
        },
    }
    at = round(now * 1000)
    return orjson.dumps({"at": at, "headline": asked["title"], "incident": asked, "alerts": []})


def encode(page: Page) -> bytes:
    """Return the body: ``type``, ``timestamp`` and ``data``."""
    data: dict[str, Any] = {"operation": page.action, "idempotency_key": page.delivery_id, **page.incident}
    return orjson.dumps({"type": TYPE, "timestamp": rfc3339(page.at), "data": data})
