"""Our own change event, as ``docs/schemas/change-event.schema.json`` has it; without an id it is given one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from streamdrift.events import fields
from streamdrift.feeds.drafts import Scope, event, identity, undated

READ = ("change_id", "occurred_at", "kind", "summary", "scope", "link", "author")


def read(body: Mapping[str, Any], scope: Scope, now: float) -> dict[str, Any]:
    """Return the change; where it names no models or features, those of the URL.

    Raises
    ------
    Rejected
        Its scope is none.
    """
    given = fields.mapping(body, "scope")
    said = {name: body[name] for name in READ if body.get(name) is not None}
    if "change_id" in said:
        change_id = said["change_id"]
    elif "occurred_at" in said:
        change_id = identity("change", undated(said, 0)[0])
    else:
        change_id = identity("change", *undated(said, now))
    made = event(
        change_id, body.get("occurred_at"), body.get("kind") or scope.kind or "", body.get("summary") or ""
    )  # of what type they are is found where it is read
    return made | {
        "scope": {
            "models": given.get("models") or list(scope.models),
            "features": given.get("features") or list(scope.features),
            "segments": given.get("segments"),
        },
        "link": body.get("link"),
        "author": body.get("author"),
    }
