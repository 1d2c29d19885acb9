"""A post-mortem as it goes into the outbox: to receivers that keep documents, once to each."""

from __future__ import annotations

import orjson

from streamdrift.escalate.postmortem.draft import Draft
from streamdrift.escalate.receivers.documents import to_json

DOCUMENT_RECEIVERS = ("confluence", "markdown", "jira")
"""Those that a post-mortem may be published to; the others call people."""


def payload(made: Draft, ticket: str | None) -> bytes:
    """Return what is delivered.

    Parameters
    ----------
    ticket
        What the receiver calls the incident: a ticket that it may be added to.
    """
    incident = {"incident_id": made.incident_id, "model": made.model, "postmortem": to_json(made.document())}
    told = incident | ({"ticket": ticket} if ticket else {})
    return orjson.dumps({"at": made.made_at, "headline": made.title, "incident": told, "alerts": []})
