"""Many incidents told as one page, in the form of a page about the most severe of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import orjson

from streamdrift.alerts import digest
from streamdrift.escalate.incident import RANK, Incident
from streamdrift.escalate.page import alert_data, described
from streamdrift.escalate.triage import HEADLINE_MAX, blast_radius, headline
from streamdrift.escalate.words import named

LISTED_MAX = 1_000
"""Incidents listed; the rest is counted, and in the ledger."""
TOLD_MAX, ALERTS_MAX = 10, 20
"""Headlines in sentences, and alerts, of the most severe."""


def summary_id(receiver: str, incidents: Sequence[Incident], now: float) -> str:
    """Return the id, and dedup key, of a summary."""
    return digest("summary", receiver, str(now), *(incident.incident_id for incident in incidents))


def by_severity(incident: Incident) -> tuple[int, float, int, str]:
    """A key that puts the most severe first, and of equals the one with most traffic."""
    share = 0.0 if incident.paged is None else incident.paged.traffic_share
    return -RANK[incident.severity], -share, incident.opened_at, incident.incident_id


def compose(made_id: str, incidents: Sequence[Incident], on_call: Sequence[dict[str, str]]) -> bytes:
    """Return what a summary says, as ``page.compose`` does of one incident; ``incidents`` is not empty."""
    worst_first = sorted(incidents, key=by_severity)
    worst, lines = worst_first[0], [headline(incident) for incident in worst_first[:LISTED_MAX]]
    models = len({incident.model for incident in incidents})
    severities = Counter(incident.severity for incident in incidents)
    counts = ", ".join(f"{severities[name]:,} {name}" for name in sorted(severities, key=lambda s: -RANK[s]))
    first = f"{_count(len(incidents), 'incident')} of {_count(models, 'model')} within a short time ({counts}); first {lines[0]}"
    rest = len(incidents) - TOLD_MAX
    told: dict[str, Any] = described(worst) | {
        "incident_id": made_id,
        "model": worst.model if models == 1 else f"{models:,} models",
        "alerts": sum(len(incident.alerts) + len(incident.beyond) for incident in incidents),
        "alerts_resolved": sum(len(incident.alerts) - len(incident.firing) for incident in incidents),
        "pages": 1,
        "explanation": lines[:TOLD_MAX] + ([f"and {rest:,} more"] if rest > 0 else []),
        "on_call": list(on_call),
        "storm": {
            "incidents_in_all": len(incidents),
            "models": models,
            "severities": dict(severities),
            "incidents": [_line(*pair) for pair in zip(worst_first, lines, strict=False)],
        },
    }
    alerts = [alert_data(blast_radius(incident).lead) for incident in worst_first[:ALERTS_MAX]]
    at = max(incident.updated_at for incident in incidents)
    return orjson.dumps({"at": at, "headline": named(first, HEADLINE_MAX), "incident": told, "alerts": alerts})


def _line(incident: Incident, line: str) -> dict[str, str]:
    return {
        "incident_id": incident.incident_id,
        "model": incident.model,
        "severity": incident.severity,
        "headline": line,
    }


def _count(n: int, one: str) -> str:
    return f"{n:,} {one if n == 1 else one + 's'}"
