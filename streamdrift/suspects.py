"""Upstream changes shortly before an incident: suspects, no more. Nearest in time is often innocent."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from streamdrift.alerts import rfc3339
from streamdrift.escalate.policy import Incident, blast_radius
from streamdrift.events.change import REBASELINE, Change

BEFORE_MS = 24 * 3_600_000
AFTER_MS = 3_600_000
"""A change is a suspect from a day before the onset to an hour after it: an estimated onset can be early."""
SHOWN_MAX = 5


def suspects(incident: Incident, changes: Iterable[Change]) -> Sequence[Change]:
    """Return the changes that reach the incident's model and one of its features, nearest to the onset first."""
    radius = blast_radius(incident)
    found = [
        change
        for change in changes
        if change.kind != REBASELINE  # it changed how we see the model, not the model
        and -BEFORE_MS <= change.time - incident.onset_at <= AFTER_MS
        and (not change.models or incident.model in change.models)
        and (not change.features or set(change.features) & set(radius.features))
        and any(all(place.get(d, v) == v for d, v in change.segments.items()) for place in radius.segments)
    ]
    return sorted(found, key=lambda change: (abs(change.time - incident.onset_at), change.change_id))[:SHOWN_MAX]


def sentence(change: Change) -> str:
    """A suspect in one line."""
    more = "".join(f" ({part})" for part in (change.author, change.link) if part)
    return f"suspect: {change.kind} {change.change_id} at {rfc3339(change.time)}: {change.summary}{more}"
