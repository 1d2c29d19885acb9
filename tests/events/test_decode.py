from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamdrift.errors import Rejected
from streamdrift.events import inference, label, strict_json
from streamdrift.events.inference import Limits
from streamdrift.ports import Partition, Record

LIMITS = Limits(max_event_bytes=1_000_000, features_per_event_max=1_000, segments_per_event_max=32, text_length_max=256)
EVENT: dict[str, Any] = {
    "prediction_id": "f-17",
    "occurred_at": "2013-04-01T08:15:00Z",
    "model": {"name": "flight-delay", "version": "7"},
    "segments": {"origin": "EWR", "carrier": "UA"},
    "features": {"dep_delay": 3.0, "carrier": "UA", "plane_age": None, "is_weekend": False},
    "prediction": {"score": 0.31, "label": "on-time", "probabilities": {"late": 0.31}},
}


def record(value: bytes | None, *headers: tuple[str, bytes]) -> Record:
    return Record(value, Partition("inference-events", 0), 7, 1_000, None, headers)


def decode(event: object, *headers: tuple[str, bytes]) -> inference.Inference:
    value = event if isinstance(event, bytes) else json.dumps(event).encode()
    return inference.decode(record(value, *headers), LIMITS)


def test_every_field_of_the_contract_arrives() -> None:
    event = decode(EVENT)
    assert (event.prediction_id, event.time, event.model, event.version) == (
        "f-17",
        1_364_804_100_000,
        "flight-delay",
        "7",
    )
    assert event.segments == {"origin": "EWR", "carrier": "UA"}
    assert event.signals == {
        "dep_delay": 3.0,
        "carrier": "UA",
        "plane_age": None,
        "is_weekend": False,
        "prediction.score": 0.31,
        "prediction.label": "on-time",
        "prediction.confidence": 0.69,
        "prediction.entropy": 0.619100664,
    }


def test_a_model_may_be_its_name_and_a_time_the_record_s_own() -> None:
    event = decode({"model": "m", "features": {"x": 1}})
    assert (event.model, event.version, event.time, event.prediction_id) == ("m", None, 1_000, None)


@pytest.mark.parametrize(
    ("value", "ms"),
    [
        ("1970-01-01T00:00:00.001Z", 1),
        ("2013-04-01T10:15:00+02:00", 1_364_804_100_000),
        ("2013-04-01T08:15:00.1239Z", 1_364_804_100_123),
        (1_364_804_100_000, 1_364_804_100_000),
        (1_364_804_100_000.7, 1_364_804_100_000),
    ],
)
def test_times(value: object, ms: int) -> None:
    assert decode(EVENT | {"occurred_at": value}).time == ms


def test_a_cloudevent_in_either_mode_gives_its_event() -> None:
    envelope = {"specversion": "1.0", "id": "e-1", "source": "/x", "type": "t", "time": "2013-04-01T08:15:00Z"}
    bare = {"model": "m", "features": {"x": 1}}
    structured = decode(envelope | {"data": bare})
    binary = decode(bare, *((f"ce_{k}", v.encode()) for k, v in envelope.items()))
    assert structured == binary
    assert (structured.prediction_id, structured.time) == ("e-1", 1_364_804_100_000)


@pytest.mark.parametrize(
    ("value", "reason", "says"),
    [
        (b"", "empty", "no content"),
        (None, "empty", "no content"),
        (b" \n", "empty", "no content"),
        (b"{", "not_json", "column"),
        (b"hello", "not_json", "column"),
        (b"\xef\xbb\xbf{}", "not_json", "BOM"),
        (b'{"model":"\xff"}', "not_json", "UTF-8"),
        (b"[" * 200_000, "not_json", "depth"),
        (b'{"model":"m","features":{"x":NaN}}', "not_json", "unexpected"),
        (b'{"model":"m","features":{"x":"\\ud800"}}', "not_json", "surrogate"),
        (b'{"model":"m","features":{"y":1e999,"x":"\\ud800"}}', "not_json", "surrogate"),
        (b'{"model":"m","features":{"y":1e999,"x":' + b"[" * 300 + b"]" * 300 + b"}}", "not_json", "deeper"),
        (b" " * 999_990 + b'{"model":"mm"}', "too_large", "max_event_bytes"),
        (b"[1]", "not_an_object", "list"),
        (b"7", "not_an_object", "number"),
        (b'{"specversion":"1.0","data":"x"}', "not_an_object", "data"),
        (b'{"features":{"x":1}}', "missing_model", "model.name"),
        (b'{"model":{"name":""},"features":{"x":1}}', "missing_model", "model.name"),
        (b'{"model":{"name":5},"features":{"x":1}}', "missing_model", "model.name"),
        (b'{"model":"m"}', "no_signal", "at least one"),
        (b'{"model":"m","features":{}}', "no_signal", "at least one"),
        (b'{"model":"m","features":[1]}', "wrong_type", "features must be an object"),
        (b'{"model":"m","prediction":0.3}', "wrong_type", "prediction must be an object"),
        (b'{"model":"m","features":{"x":1},"segments":{"a":{}}}', "wrong_type", "segments.a"),
        (b'{"model":"m","features":{"x":1},"prediction_id":[]}', "wrong_type", "prediction_id"),
        (b'{"model":"m","features":{"x":1},"occurred_at":"noon"}', "bad_time", "RFC 3339"),
        (b'{"model":"m","features":{"x":1},"occurred_at":"2013-04-01T08:15:00"}', "bad_time", "append 'Z'"),
        (b'{"model":"m","features":{"x":1},"occurred_at":true}', "bad_time", "a boolean"),
        (b'{"model":"m","features":{"x":1},"occurred_at":-5}', "bad_time", "1970"),
        (b'{"model":"m","features":{"x":1},"occurred_at":1e30}', "bad_time", "milliseconds"),
    ],
)
def test_what_is_no_event_is_refused_by_name(value: bytes | None, reason: str, says: str) -> None:
    with pytest.raises(Rejected) as e:
        inference.decode(record(value), LIMITS)
    assert e.value.reason == reason
    assert says in e.value.detail


def test_bounds_of_an_event() -> None:
    many = {f"f{i}": 1 for i in range(10_000)}
    with pytest.raises(Rejected, match="too_many_features: 10000 features; features_per_event_max is 1000"):
        decode({"model": "m", "features": many})
    with pytest.raises(Rejected, match="too_many_segments"):
        decode({"model": "m", "features": {"x": 1}, "segments": {f"d{i}": "v" for i in range(33)}})
    assert len(decode({"model": "m" * 1_000, "features": {"x": 1}}).model) == 256


def test_a_number_beyond_a_double_is_an_infinite_value_and_not_a_broken_event() -> None:
    event = decode(
        b'{"model":"m","features":{"x":1e999,"y":-1e999,"z":' + b"9" * 5_000 + b',"w":12345678901234567890123}}'
    )
    assert event.signals == {"x": float("inf"), "y": float("-inf"), "z": float("inf"), "w": 1.2345678901234568e22}


def test_of_a_key_that_stands_twice_the_last_value_counts() -> None:
    assert decode(b'{"model":"m","features":{"x":1,"x":2}}').signals == {"x": 2}
    assert decode(b'{"model":"m","features":{"y":1e999,"x":1,"x":2}}').signals["x"] == 2


@given(st.binary(max_size=200))
def test_any_bytes_are_decoded_or_refused(value: bytes) -> None:
    try:
        inference.decode(record(value), LIMITS)
    except Rejected as e:
        assert e.detail


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            name: json_values | st.just({"x": 1})
            for name in ("model", "features", "segments", "prediction", "embeddings", "occurred_at", "prediction_id")
        },
    )
)
def test_any_object_is_decoded_or_refused(event: dict[str, Any]) -> None:
    try:
        decoded = decode(event)
    except Rejected as e:
        assert e.reason.replace("_", "").isalpha()
    else:
        assert decoded.model
        assert decoded.time >= 0


@given(json_values)
def test_strict_json_agrees_with_the_standard_library(value: Any) -> None:
    text = json.dumps(value)
    try:
        assert strict_json.loads(text.encode(), 10**6) == json.loads(text)
    except Rejected:
        assert "\\ud" in text or abs_int_too_long(value)


def abs_int_too_long(value: object) -> bool:
    if isinstance(value, dict):
        return any(map(abs_int_too_long, value.values()))
    if isinstance(value, list):
        return any(map(abs_int_too_long, value))
    return isinstance(value, (int, float)) and abs(value) > 2**63


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({"model": "m", "label": "late"}, "missing_id"),
        ({"model": "m", "prediction_id": "1"}, "no_label"),
        ({"model": "m", "prediction_id": "1", "label": {}}, "no_label"),
        ({"model": "m", "prediction_id": "1", "value": "3"}, "no_label"),
        ({"prediction_id": "1", "value": 3}, "missing_model"),
    ],
)
def test_what_is_no_label_is_refused_by_name(value: dict[str, Any], reason: str) -> None:
    with pytest.raises(Rejected) as e:
        label.decode(record(json.dumps(value).encode()), LIMITS)
    assert e.value.reason == reason
