"""PagerDuty change events, as ``POST /v2/change/enqueue`` takes them.

Source: PagerDuty's developer documentation, *Events API v2*, "Send a Change Event": ``routing_key`` and ``payload.summary`` are
required; ``payload.timestamp``, ``payload.source``, ``payload.custom_details`` and ``links`` (``href``, ``text``) may be there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from streamdrift.errors import Rejected
from streamdrift.events import fields
from streamdrift.feeds.drafts import Scope, event, identity, undated

KIND = "deployment"
"""What senders mean mostly; ``custom_details.kind`` or the URL's ``?kind=`` say otherwise."""


def read(body: Mapping[str, Any], scope: Scope, now: float) -> dict[str, Any]:
    """Return the change. Models, features and segments may be in ``custom_details``, else they are the URL's.

    Raises
    ------
    Rejected
        A field is missing, or can't be read.
    """
    payload = fields.mapping(body, "payload")
    details = fields.mapping(payload, "custom_details")
    summary, source = (fields.text(payload, name, 1024) for name in ("summary", "source"))
    if not summary:
        raise Rejected("missing_field", "a change event needs `payload.summary`, as text")
    at = payload.get("timestamp")
    parts = undated(payload, 0.0 if at is not None else now)
    return event(
        identity("pagerduty", *parts),
        at,
        _text(details.get("kind")) or scope.kind or KIND,
        f"{summary} ({source})" if source else summary,
        models=_named(details, "model") or scope.models,
        features=_named(details, "feature") or scope.features,
        link=_link(body.get("links")),
        author=_text(details.get("author")),
        segments=_segments(details.get("segments")),
    )


def _named(details: Mapping[str, Any], one: str) -> list[str]:
    """``model`` as one name, or ``models`` as a list of them."""
    many = details.get(f"{one}s")
    if isinstance(many, list) and all(isinstance(name, str) for name in many):
        return many
    name = details.get(one)
    return [name] if isinstance(name, str) and name else []


def _text(value: Any) -> str | None:
    """``custom_details`` are the sender's own: what is no text there was not meant for us."""
    return value if isinstance(value, str) and value else None


def _segments(value: Any) -> dict[str, str]:
    if not isinstance(value, dict):
        return {}
    return {name: chosen for name, chosen in value.items() if isinstance(chosen, str)}


def _link(links: Any) -> str | None:
    if not isinstance(links, list) or not links or not isinstance(links[0], dict):
        return None
    href = links[0].get("href")
    return href if isinstance(href, str) else None
