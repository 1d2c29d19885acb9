"""The change event: a deployment or another upstream change, a suspect when something drifts.

Wire contract: ``docs/schemas/change-event.schema.json``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from streamdrift.errors import Rejected
from streamdrift.events import fields, strict_json
from streamdrift.events.formats import cloudevents
from streamdrift.events.inference import Limits
from streamdrift.ports import Record

REBASELINE = "rebaseline"
"""The kind that is an order to us: references in its scope are learned anew."""
SOURCE_REPORT = "source-report"
"""The kind that changes nothing: what a source had when somebody looked; ``source_report`` reads it."""
_TEXTS = ("change_id", "kind", "summary", "link", "author")


@dataclass(frozen=True, slots=True)
class Change:
    """One decoded change; empty scope lists mean "everything".

    Attributes
    ----------
    version
        Of a deployment: the model's version from then on.
    reads
        Of a deployment: the features that this version reads; None where it doesn't say.
    """

    change_id: str
    time: int
    kind: str
    summary: str
    models: tuple[str, ...]
    features: tuple[str, ...]
    segments: dict[str, str]
    link: str | None
    author: str | None
    version: str | None = None
    reads: tuple[str, ...] | None = None


def decode(record: Record, limits: Limits) -> Change:
    """Read a record's change.

    Raises
    ------
    Rejected
        With the reason that becomes the dead letter's header and the metric's label.
    """
    event = cloudevents.unwrap(strict_json.loads(record.value, limits.max_event_bytes), record.headers)
    longest = limits.text_length_max
    texts = {name: fields.text(event, name, longest) for name in _TEXTS}
    scope = fields.mapping(event, "scope")
    moment = event.get("occurred_at")
    for name in ("change_id", "kind", "summary"):
        if not texts[name]:
            raise Rejected("missing_field", f"a change event needs `{name}`, as text")
    return Change(
        texts["change_id"] or "",
        record.timestamp_ms if moment is None else fields.time_ms(moment, "occurred_at"),
        texts["kind"] or "",
        texts["summary"] or "",
        _names(scope.get("models"), longest),
        _names(scope.get("features"), longest),
        fields.segments(scope, longest, limits.segments_per_event_max),
        texts["link"],
        texts["author"],
        _version(event, longest),
        _reads(event.get("reads"), longest),
    )


def _names(value: object, longest: int) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
        raise Rejected("wrong_type", "scope.models and scope.features are lists of text")
    return tuple(v[:longest] for v in value)


# These two came later: what producers had of their own under these names is no reason to lose a suspect.


def _version(event: Mapping[str, object], longest: int) -> str | None:
    try:
        return fields.text(event, "version", longest) or None
    except Rejected:
        return None


def _reads(value: object, longest: int) -> tuple[str, ...] | None:
    try:
        return None if value is None else _names(value, longest)
    except Rejected:
        return None
