"""The alert: what a detection becomes when it passed the evidence policy, and its form on the wire.

The wire form is a CloudEvents 1.0 structured JSON message; every field is in ``docs/schemas/alert.schema.json``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any, Literal

import orjson

from streamdrift.errors import Rejected
from streamdrift.ports import Headers

CONTENT_TYPE = "application/cloudevents+json; charset=utf-8"
DRIFT_TYPE = "io.streamdrift.drift.v1"
ANOMALY_TYPE = "io.streamdrift.anomaly.v1"
SCHEMA = "https://streamdrift.io/schemas/alert.v1.json"

Status = Literal["firing", "resolved"]
Kind = Literal["drift", "anomaly"]
Severity = Literal["info", "warning", "critical"]


def rfc3339(ms: int) -> str:
    """Milliseconds since the epoch as RFC 3339 in UTC.

    >>> rfc3339(1_364_804_100_000)
    '2013-04-01T08:15:00.000Z'
    """
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def digest(*parts: str) -> str:
    """32 hex digits of blake2b over the parts, each ended by a zero byte so that no two lists read alike."""
    h = blake2b(digest_size=16)
    for part in parts:
        h.update(part.encode("utf-8", "surrogatepass"))
        h.update(b"\0")
    return h.hexdigest()


def series_id(model: str, segment: dict[str, str], feature: str) -> str:
    """The stable name of a series, and the dedup key of its open alert.

    >>> series_id("flight-delay", {"origin": "EWR"}, "dep_delay")
    'flight-delay/origin=EWR/dep_delay'
    >>> series_id("flight-delay", {}, "dep_delay")
    'flight-delay//dep_delay'
    """
    return f"{model}/{segment_name(segment)}/{feature}"


def segment_name(segment: dict[str, str]) -> str:
    """``dimension=value``; empty for all traffic of a model."""
    return ",".join(f"{dimension}={value}" for dimension, value in sorted(segment.items()))


@dataclass(frozen=True, slots=True)
class Alert:
    """One drift or anomaly event. Times are event times, in milliseconds since the epoch.

    Attributes
    ----------
    statistic, threshold
        What the evidence policy compared; without unit (log-likelihood ratio, in nats).
    expected_false_per_week
        False alerts to be expected of the whole model in a week at this threshold; None where it is not known.
    effect_size, effect_unit
        How large the change is: ``sd`` of the reference, ``share`` of events, ``ks`` distance, ``ratio``.
    effect_robust
        The same without the outer fifths of the values, where the unit is ``sd`` or a ratio of sd; else None.
    reference, current
        Then and now: ``n``, ``mean``, ``sd``, ``null_rate``, and ``histogram`` (``edges``, ``counts``) or
        ``categories`` (name to share).
    position
        Where the event stands that triggered it: ``{topic, partition, offset}`` or ``{file, line}``.
        Not part of the identity: the same events by another way give the same alert.
    onset_range
        Earliest and latest plausible onset.
    updates
        Of an alert that tells how an open one grew: the ``alert_id`` of the one that opened. Not part of the identity.
    """

    series_id: str
    status: Status
    kind: Kind
    reason: str
    severity: Severity
    model: dict[str, str | None]
    segment: dict[str, str]
    feature: str
    role: str
    detector: str
    detectors: tuple[str, ...]
    detected_at: int
    onset_at: int
    events_since_onset: int
    events_seen: int
    statistic: float
    threshold: float
    effect_size: float
    effect_unit: str
    reference: dict[str, Any]
    current: dict[str, Any]
    traffic_share: float
    config_hash: str
    position: dict[str, Any] = field(default_factory=dict)
    p_value: float | None = None
    resolves: str | None = None
    onset_range: tuple[int, int] | None = None
    updates: str | None = None
    expected_false_per_week: float | None = None
    effect_robust: float | None = None

    @property
    def alert_id(self) -> str:
        """Deterministic: from what was seen and by which settings, never from when or where it was computed."""
        return digest(
            self.series_id,
            self.status,
            self.reason,
            self.detector,
            str(self.detected_at),
            str(self.events_seen),
            self.config_hash,
        )

    @property
    def opening_id(self) -> str:
        """Id of the alert that opened: its own, or that of the one it updates."""
        return self.updates or self.alert_id

    @property
    def model_name(self) -> str:
        """The model's name, the key of the alerts topic."""
        return str(self.model["name"])

    def to_cloudevent(self) -> bytes:
        """Return the message's value. ``Alert.from_cloudevent`` takes it back unchanged."""
        data: dict[str, Any] = {"alert_id": self.alert_id}
        for name in _FIELDS:
            value = getattr(self, name)
            if value is not None:
                data[name] = rfc3339(value) if name in _TIMES else value
        if self.onset_range is not None:
            data["onset_range"] = [rfc3339(ms) for ms in self.onset_range]
        return orjson.dumps(
            {
                "specversion": "1.0",
                "id": self.alert_id,
                "source": f"/streamdrift/{self.model_name}",
                "type": DRIFT_TYPE if self.kind == "drift" else ANOMALY_TYPE,
                "subject": self.series_id,
                "time": data["detected_at"],
                "datacontenttype": "application/json",
                "dataschema": SCHEMA,
                "partitionkey": self.model_name,
                "data": data,
            },
        )

    def headers(self) -> Headers:
        """Kafka headers of the message."""
        return (("content-type", CONTENT_TYPE.encode()),)

    @classmethod
    def from_cloudevent(cls, value: bytes) -> Alert:
        """Read a message of the alerts topic; unknown fields are passed over, as the schema rule asks.

        Raises
        ------
        Rejected
            ``not_json``, ``not_an_alert``.
        """
        try:
            envelope = orjson.loads(value)
        except orjson.JSONDecodeError as e:
            raise Rejected("not_json", str(e)) from e
        if not isinstance(envelope, dict) or envelope.get("type") not in {DRIFT_TYPE, ANOMALY_TYPE}:
            raise Rejected("not_an_alert", f"type is not {DRIFT_TYPE} or {ANOMALY_TYPE}")
        try:
            data = dict(envelope["data"])
            fields = {name: data[name] for name in _FIELDS if name in data}
            for name in _TIMES:
                fields[name] = _milliseconds(fields[name])
            if fields.get("onset_range") is not None:
                earliest, latest = map(_milliseconds, fields["onset_range"])
                fields["onset_range"] = (earliest, latest)
            fields["detectors"] = tuple(fields["detectors"])
            if fields.get("severity") not in {"info", "warning", "critical"}:
                fields["severity"] = "warning"
            return cls(**fields)
        except (KeyError, TypeError, ValueError) as e:
            raise Rejected("not_an_alert", f"field missing or of a wrong type: {e!r}") from e


def _milliseconds(iso: str) -> int:
    return round(datetime.fromisoformat(iso).timestamp() * 1000)


_FIELDS = tuple(Alert.__dataclass_fields__)
_TIMES = ("detected_at", "onset_at")
