"""The label event: what came true of a prediction, when it became known.

Wire contract: ``docs/schemas/label-event.schema.json``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from streamdrift.errors import Rejected
from streamdrift.events import fields, strict_json
from streamdrift.events.formats import cloudevents
from streamdrift.events.inference import Limits
from streamdrift.ports import Record


@dataclass(slots=True)
class Label:
    """One decoded label. ``truth`` is the label (text, number or boolean) or the numeric value."""

    prediction_id: str
    time: int
    model: str
    truth: Any
    numeric: bool
    prediction: dict[str, Any] | None
    segments: dict[str, str]


def decode(record: Record, limits: Limits) -> Label:
    """Read a record's label.

    Raises
    ------
    Rejected
        With the reason that becomes the dead letter's header and the metric's label.
    """
    event = cloudevents.unwrap(strict_json.loads(record.value, limits.max_event_bytes), record.headers)
    model, _ = fields.model(event, limits.text_length_max)
    prediction_id = fields.text(event, "prediction_id", limits.text_length_max)
    if prediction_id is None:
        raise Rejected("missing_id", "a label needs the prediction_id that it belongs to")
    numeric = event.get("label") is None
    truth = event.get("value") if numeric else event["label"]
    if truth is None or type(truth) in {dict, list} or (numeric and type(truth) not in {int, float}):
        raise Rejected("no_label", "a label event needs `label` (text, number or boolean) or `value` (number)")
    moment = event.get("observed_at")
    return Label(
        prediction_id,
        record.timestamp_ms if moment is None else fields.time_ms(moment, "observed_at"),
        model,
        truth,
        numeric,
        fields.mapping(event, "prediction") or None,
        fields.segments(event, limits.text_length_max, limits.segments_per_event_max),
    )
