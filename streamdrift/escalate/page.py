"""An incident as receivers are told of it, at the moment of the decision: a retry says what the first attempt said."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from streamdrift.alerts import Alert, rfc3339
from streamdrift.escalate.budgets import described as described_budgets
from streamdrift.escalate.contribution import Cell
from streamdrift.escalate.explanation import sentences
from streamdrift.escalate.incident import Incident
from streamdrift.escalate.mitigation import told as could
from streamdrift.escalate.mitigation.states import Mitigation
from streamdrift.escalate.objectives import State
from streamdrift.escalate.postmortem.likeness import Likeness
from streamdrift.escalate.receivers.base import Action, Page
from streamdrift.escalate.suspects import Upstream
from streamdrift.escalate.triage import blast_radius, first, headline
from streamdrift.escalate.words import effect

PAGE_BYTES_MAX = 500_000
"""Of one page's alerts; the lead comes first, those that don't fit are counted."""
CELLS_MAX, ALSO_MAX = 10, 10
"""Cells told, and alerts told with each."""


def compose(
    incident: Incident,
    at: int,
    others: int | None = None,
    upstream: Upstream | None = None,
    preface: str = "",
    on_call: Sequence[dict[str, str]] = (),
    mitigations: Sequence[Mitigation] = (),
    like: Likeness | None = None,
    budgets: Sequence[State] = (),
) -> bytes:
    """Return what a page says, apart from its action and ids.

    Parameters
    ----------
    at
        Event time of the alert that caused it.
    others
        Further incidents of the model that go on, where that is known.
    upstream
        What is known of changes, where the changes are read.
    preface
        What its headline begins with, such as that nobody has acknowledged.
    on_call
        Who is called: ``list``, ``name`` and handles of each.
    mitigations
        What could be done about it, and is: a line each, before what explains it.
    like
        A past incident that it is like.
    budgets
        How the model's objectives stand.
    """
    alerts, room = [], PAGE_BYTES_MAX
    lead = blast_radius(incident).lead
    for alert in sorted(incident.alerts, key=lambda held: (held is not lead, -held.detected_at)):
        data = orjson.dumps(alert_data(alert))
        room -= len(data)
        if room < 0:
            break
        alerts.append(orjson.Fragment(data))
    told = described(incident) | ({"on_call": list(on_call)} if on_call else {})
    if upstream is not None:
        told |= upstream.to_json() | {"explanation": [*told["explanation"], *upstream.sentences]}
    if mitigations:
        told["explanation"] = [*map(could.line, mitigations), *told["explanation"]]
        told["mitigations"] = [could.to_json(one) for one in mitigations]
    if like is not None:
        told |= {"seen_before": like.to_json(), "explanation": [*told["explanation"], like.sentence]}
    if left := described_budgets(budgets, at):
        told |= {"budgets": left, "explanation": [*told["explanation"], *(budget["text"] for budget in left)]}
    line = preface + headline(incident, others)
    return orjson.dumps({"at": at, "headline": line, "incident": told, "alerts": alerts})


def alert_data(alert: Alert) -> dict[str, Any]:
    """The ``data`` of an alert's CloudEvent."""
    data: dict[str, Any] = orjson.loads(alert.to_cloudevent())["data"]
    return data


def read(
    payload: bytes,
    delivery_id: str,
    action: Action,
    dedup_key: str,
    reference: str | None = None,
) -> Page:
    """Return the page that ``compose`` wrote; ``reference`` is what its receiver calls the incident by now."""
    told = orjson.loads(payload)
    alerts = tuple(told["alerts"])
    return Page(delivery_id, action, dedup_key, told["at"], told["headline"], told["incident"], alerts, reference)


def described(incident: Incident) -> dict[str, Any]:
    """The incident in JSON terms; times as RFC 3339."""
    radius = blast_radius(incident)
    onset_range = first(incident).onset_range
    told = {
        "incident_id": incident.incident_id,
        "model": incident.model,
        "status": incident.status,
        "severity": incident.severity,
        "opened_at": rfc3339(incident.opened_at),
        "updated_at": rfc3339(incident.updated_at),
        "onset_at": rfc3339(incident.onset_at),
        "alerts": len(incident.alerts) + len(incident.beyond),
        "alerts_resolved": len(incident.alerts) - len(incident.firing),
        "pages": incident.pages,
        "reopened": incident.reopened,
        "blast_radius": {
            "segment": radius.segment,
            "segments": [dict(segment) for segment in radius.segments],
            "all_traffic": radius.all_traffic,
            "traffic_share": radius.traffic_share,
            "feature": radius.lead.feature,
            "reason": radius.lead.reason,
            "features": radius.features,
        },
        "explanation": sentences(incident),
        "explained_by": [_cell(cell) for cell in radius.cells[:CELLS_MAX]],
        "cells": len(radius.cells),
    }
    if onset_range is not None:
        told["onset_range"] = [rfc3339(ms) for ms in onset_range]
    return told


def _cell(cell: Cell) -> dict[str, Any]:
    """One feature in one segment, what it explains, and in which alerts it was seen as well."""
    told = {
        "feature": cell.alert.feature,
        "segment": cell.segment,
        "reason": cell.alert.reason,
        "effect": effect(cell.alert),
        "traffic_share": cell.traffic_share,
        "explains": round(cell.explains, 3),
        "contribution": round(cell.contribution, 3),
        "also_seen_in": [
            {"segment": alert.segment, "reason": alert.reason, "effect": effect(alert)}
            for alert in cell.also[:ALSO_MAX]
        ],
        "also_seen": len(cell.also),
    }
    return told | ({"follows": cell.follows} if cell.follows else {})
