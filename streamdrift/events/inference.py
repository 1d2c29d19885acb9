"""The inference event: one prediction of a model, with what went in and what came out.

Wire contract: ``docs/schemas/inference-event.schema.json``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from streamdrift.errors import Rejected
from streamdrift.events import derived, fields, strict_json
from streamdrift.events.formats import cloudevents
from streamdrift.ports import Record
from streamdrift.settings import Settings


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds that one event must keep; see the settings of the same names."""

    max_event_bytes: int
    features_per_event_max: int
    segments_per_event_max: int
    text_length_max: int
    embeddings_per_event_max: int = 16
    embedding_dimension_max: int = 4_096
    free_text: tuple[str, ...] = ()

    @classmethod
    def of(cls, settings: Settings) -> Limits:
        """Return the bounds that the settings give."""
        return cls(
            settings.max_event_bytes,
            settings.features_per_event_max,
            settings.segments_per_event_max,
            settings.text_length_max,
            settings.embeddings_per_event_max,
            settings.embedding_dimension_max,
            settings.free_text,
        )


@dataclass(slots=True)
class Inference:
    """One decoded event.

    Attributes
    ----------
    signals
        The monitored features by name, derived ones dotted, values as in JSON.
    embeddings
        By name; each as ``derived.vector`` has it.
    """

    prediction_id: str | None
    time: int
    model: str
    version: str | None
    segments: dict[str, str]
    signals: dict[str, Any]
    embeddings: dict[str, Any] = field(default_factory=dict)


def decode(record: Record, limits: Limits) -> Inference:
    """Read a record's event.

    Raises
    ------
    Rejected
        With the reason that becomes the dead letter's header and the metric's label.
    """
    message = strict_json.loads(record.value, limits.max_event_bytes)
    event = cloudevents.unwrap(message, record.headers)
    model, version = fields.model(event, limits.text_length_max)
    signals, embeddings = _signals(event, limits.free_text), fields.mapping(event, "embeddings")
    if not (signals or embeddings or fields.mapping(event, "prediction")):
        raise Rejected("no_signal", "an event needs at least one of features, embeddings and prediction")
    if len(signals) > limits.features_per_event_max:
        raise Rejected(
            "too_many_features",
            f"{len(signals)} features; features_per_event_max is {limits.features_per_event_max}",
        )
    if len(embeddings) > limits.embeddings_per_event_max:
        raise Rejected(
            "too_many_embeddings",
            f"{len(embeddings)} embeddings; embeddings_per_event_max is {limits.embeddings_per_event_max}",
        )
    moment = event.get("occurred_at")
    return Inference(
        fields.text(event, "prediction_id", limits.text_length_max),
        record.timestamp_ms if moment is None else fields.time_ms(moment, "occurred_at"),
        model,
        version,
        fields.segments(event, limits.text_length_max, limits.segments_per_event_max),
        signals,
        {
            name[: limits.text_length_max]: derived.vector(value, limits.embedding_dimension_max)
            for name, value in embeddings.items()
        },
    )


def _signals(event: dict[str, Any], free_text: tuple[str, ...]) -> dict[str, Any]:
    features = fields.mapping(event, "features")
    prediction = fields.mapping(event, "prediction")
    for name in free_text:
        if name in features:
            features |= derived.of_text(name, features.pop(name))
    if "score" in prediction:
        features["prediction.score"] = prediction["score"]
    if "label" in prediction:
        features["prediction.label"] = prediction["label"]
    if "probabilities" in prediction:
        features |= derived.of_probabilities(prediction["probabilities"])
    return features
