"""The machine-readable contract against real messages: what the schemas take, the code takes, and the other way."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml
from jsonschema import Draft202012Validator

from streamdrift.alerts import SCHEMA, Alert
from streamdrift.demo.incidents import events
from streamdrift.errors import Rejected
from streamdrift.escalate import page, policy
from streamdrift.escalate.receivers import webhook
from streamdrift.events import change, inference, label
from streamdrift.ports import Partition, Record
from streamdrift.settings import Settings, TopicSettings

DOCS = Path(__file__).resolve().parents[1] / "docs"
SCHEMAS = sorted((DOCS / "schemas").glob("*.schema.json"))
LIMITS = inference.Limits(1_000_000, 1_000, 32, 256)
NO_OBJECTS = ("not an object", ["a list"], 17, None)


def schema(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((DOCS / "schemas" / f"{name}.schema.json").read_text(encoding="utf-8"))
    return loaded


def validator(name: str) -> Draft202012Validator:
    return Draft202012Validator(schema(name), format_checker=Draft202012Validator.FORMAT_CHECKER)


def record(message: object) -> Record:
    return Record(orjson.dumps(message), Partition("t", 0), 0, 0)


def alert(**fields: Any) -> Alert:
    given: dict[str, Any] = {
        "series_id": "flight-delay/origin=EWR/dep_delay",
        "status": "firing",
        "kind": "anomaly",
        "reason": "null_rate",
        "severity": "warning",
        "model": {"name": "flight-delay", "version": "7"},
        "segment": {"origin": "EWR"},
        "feature": "dep_delay",
        "role": "feature",
        "detector": "scan",
        "detectors": ("scan",),
        "detected_at": 1_366_191_600_000,
        "onset_at": 1_366_185_660_000,
        "events_since_onset": 60,
        "events_seen": 5_730,
        "statistic": 17.4,
        "threshold": 16.0,
        "effect_size": 0.1,
        "effect_unit": "share",
        "reference": {"n": 5_000, "null_rate": 0.0, "mean": 3.0, "sd": 1.0},
        "current": {"n": 60, "mean": None, "sd": None, "categories": {"UA": 0.5}},
        "traffic_share": 0.36,
        "position": {"topic": "inference-events", "partition": 3, "offset": 2_841},
        "config_hash": "5e0d5e0d5e0d",
    }
    return Alert(**given | fields)


@pytest.mark.parametrize("path", SCHEMAS, ids=lambda p: p.name)
def test_each_schema_is_one_takes_its_examples_and_is_open(path: Path) -> None:
    loaded = json.loads(path.read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(loaded)
    assert loaded["$id"].startswith("https://streamdrift.io/schemas/")
    assert loaded["examples"]
    check = validator(path.name.removesuffix(".schema.json"))
    for example in loaded["examples"]:
        check.validate(example)
        check.validate(example | {"a_field_of_a_later_version": {"any": "thing"}})
    assert '"additionalProperties": false' not in path.read_text(encoding="utf-8")


MODEL = {"model": "m"}
FEATURES = {"features": {"x": 1}}
TRUTH = {"prediction_id": "p", "model": "m", "label": "late"}
CHANGE = {"change_id": "c", "kind": "deployment", "summary": "s"}

TAKEN: dict[str, list[Any]] = {
    "inference-event": [
        MODEL | FEATURES,
        {"model": {"name": "m", "version": 7}} | FEATURES,
        {"model": {"name": "m", "version": None}} | FEATURES,
        MODEL | {"prediction": {"label": True}},
        MODEL | {"prediction": {"score": 0.5}, "features": None},
        MODEL | {"embeddings": {"photo": [0.5, 1]}},
        MODEL | {"embeddings": {"photo": None}},
        MODEL | {"prediction": {"probabilities": {"late": 0.31}}},
        MODEL | {"features": {"a": None, "b": "text", "c": False, "d": -1.5e300}},
        MODEL | FEATURES | {"occurred_at": "2013-04-01T08:15:00.123+02:00"},
        MODEL | FEATURES | {"occurred_at": 1_364_804_100_000},
        MODEL | FEATURES | {"segments": {"gate": 7, "night": True, "none": None}},
        MODEL | FEATURES | {"segments": None},
    ],
    "label-event": [
        TRUTH,
        TRUTH | {"label": 1},
        TRUTH | {"label": False},
        {"prediction_id": "p", "model": {"name": "m"}, "value": 2.5},
        TRUTH | {"observed_at": "2013-04-01T08:15:00Z", "prediction": {"label": "late"}, "segments": {"origin": "EWR"}},
    ],
    "change-event": [
        CHANGE,
        CHANGE | {"kind": "a-kind-of-tomorrow", "occurred_at": 0},
        CHANGE | {"scope": {"models": ["m"], "features": None, "segments": {"origin": "EWR"}}, "link": None},
    ],
}
REFUSED: dict[str, list[Any]] = {
    "inference-event": [
        *NO_OBJECTS,
        {},
        FEATURES,
        MODEL,
        {"model": ""} | FEATURES,
        {"model": 7} | FEATURES,
        {"model": {"version": "7"}} | FEATURES,
        {"model": {"name": None}} | FEATURES,
        MODEL | {"features": {}},
        MODEL | {"features": None},
        MODEL | {"features": [1, 2]},
        MODEL | {"features": "x"},
        MODEL | FEATURES | {"prediction": "late"},
        MODEL | FEATURES | {"segments": ["EWR"]},
        MODEL | FEATURES | {"segments": {"origin": {"code": "EWR"}}},
        MODEL | FEATURES | {"occurred_at": "yesterday"},
        MODEL | FEATURES | {"occurred_at": "2013-04-01T08:15:00"},
        MODEL | FEATURES | {"occurred_at": True},
        MODEL | FEATURES | {"occurred_at": -1},
        MODEL | FEATURES | {"occurred_at": 1e300},
    ],
    "label-event": [
        *NO_OBJECTS,
        {"model": "m", "label": "late"},
        {"prediction_id": "p", "label": "late"},
        {"prediction_id": "p", "model": "m"},
        {"prediction_id": "p", "model": "m", "label": None},
        {"prediction_id": "p", "model": "m", "label": ["late"]},
        {"prediction_id": "p", "model": "m", "value": "2.5"},
        {"prediction_id": "p", "model": "m", "value": True},
        TRUTH | {"observed_at": "later"},
    ],
    "change-event": [
        *NO_OBJECTS,
        {"kind": "deployment", "summary": "s"},
        {"change_id": "c", "summary": "s"},
        {"change_id": "c", "kind": "deployment"},
        CHANGE | {"summary": ""},
        CHANGE | {"scope": ["m"]},
        CHANGE | {"scope": {"models": "m"}},
        CHANGE | {"scope": {"features": [1]}},
        CHANGE | {"occurred_at": "soon"},
    ],
}
DECODE: dict[str, Callable[[Record, inference.Limits], object]] = {
    "inference-event": inference.decode,
    "label-event": label.decode,
    "change-event": change.decode,
}


@pytest.mark.parametrize(("name", "message"), [(n, m) for n, messages in TAKEN.items() for m in messages])
def test_what_the_schema_takes_is_decoded(name: str, message: object) -> None:
    validator(name).validate(message)
    DECODE[name](record(message), LIMITS)


@pytest.mark.parametrize(("name", "message"), [(n, m) for n, messages in REFUSED.items() for m in messages])
def test_what_the_decoder_rejects_the_schema_refuses(name: str, message: object) -> None:
    assert not validator(name).is_valid(message)
    with pytest.raises(Rejected):
        DECODE[name](record(message), LIMITS)


@pytest.mark.parametrize("name", DECODE)
def test_examples_are_decoded_bare_and_in_a_cloudevent(name: str) -> None:
    for example in schema(name)["examples"]:
        bare = DECODE[name](record(example), LIMITS)
        wrapped = {"specversion": "1.0", "id": "e-1", "source": "/shop", "type": "any", "data": example}
        if "occurred_at" in example and ("prediction_id" in example or name == "change-event"):
            assert DECODE[name](record(wrapped), LIMITS) == bare
        else:
            DECODE[name](record(wrapped), LIMITS)


def test_the_demo_s_events_keep_to_the_schema() -> None:
    check = validator("inference-event")
    for event in islice(events(), 1_000):
        check.validate(orjson.loads(event))


def test_alerts_keep_to_the_schema() -> None:
    firing = alert()
    drift = alert(kind="drift", reason="mean_shift", effect_unit="sd", p_value=1e-9, position={"file": "f", "line": 1})
    resolved = alert(status="resolved", resolves=firing.alert_id, model={"name": "m", "version": None}, position={})
    grown = alert(updates=firing.alert_id, onset_range=(1_366_185_600_000, 1_366_186_200_000), events_seen=13_000)
    for a in (firing, drift, resolved, grown):
        assert Alert.from_cloudevent(a.to_cloudevent()) == a
        message = orjson.loads(a.to_cloudevent())
        validator("alert").validate(message)
        assert message["id"] == message["data"]["alert_id"] == a.alert_id
        assert message["subject"] == message["data"]["series_id"]
        assert message["time"] == message["data"]["detected_at"]
        assert message["dataschema"] == SCHEMA == schema("alert")["$id"]


def test_the_alert_schema_s_fields_are_those_of_alerts() -> None:
    fields = set(Alert.__dataclass_fields__) | {"alert_id"}
    data = schema("alert")["$defs"]["data"]
    assert set(data["properties"]) == fields
    optional = {"p_value", "resolves", "updates", "onset_range", "expected_false_per_week", "effect_robust"}
    assert set(data["required"]) == fields - optional


def test_readers_take_alerts_of_tomorrow_and_the_schema_too() -> None:
    message = orjson.loads(alert().to_cloudevent())
    message["data"] |= {"severity": "emergency", "reason": "seasonality_lost", "suspects": [{"change_id": "c"}]}
    validator("alert").validate(message)
    assert Alert.from_cloudevent(orjson.dumps(message)).severity == "warning"


def _without(place: tuple[str, ...]) -> Callable[[dict[str, Any]], None]:
    def change(message: dict[str, Any]) -> None:
        inner = message
        for name in place[:-1]:
            inner = inner[name]
        del inner[place[-1]]

    return change


def _with(**fields: Any) -> Callable[[dict[str, Any]], None]:
    return lambda message: message["data"].update(fields)


@pytest.mark.parametrize(
    "change",
    [
        *(_without((name,)) for name in schema("alert")["required"]),
        *(_without(("data", name)) for name in schema("alert")["$defs"]["data"]["required"]),
        lambda message: message.update(specversion="0.3"),
        lambda message: message.update(type="io.streamdrift.drift.v2"),
        lambda message: message.update(type="io.streamdrift.drift.v1"),  # its data says anomaly
        lambda message: message.update(time="yesterday"),
        _with(status="closed"),
        _with(status="resolved"),  # without `resolves`
        _with(kind="drift"),
        _with(alert_id="7"),
        _with(detected_at=1_366_191_600_000),
        _with(events_seen=1.5),
        _with(events_seen=-1),
        _with(statistic="17"),
        _with(statistic=None),
        _with(effect_unit="metres"),
        _with(traffic_share=1.5),
        _with(segment={"origin": 7}),
        _with(segment=None),
        _with(model="flight-delay"),
        _with(detectors=[]),
        _with(position={"topic": "t"}),
        _with(role="unknown"),
        _with(reference={"n": "many"}),
        _with(updates="7"),
        _with(onset_range=["2013-04-17T08:00:00Z"]),
        _with(onset_range=["yesterday", "today"]),
        _with(current={"n": 1, "histogram": {"edges": [0, 1]}}),
    ],
)
def test_the_alert_schema_refuses(change: Callable[[dict[str, Any]], None]) -> None:
    message = copy.deepcopy(orjson.loads(alert().to_cloudevent()))
    assert validator("alert").is_valid(message)
    change(message)
    assert not validator("alert").is_valid(message)


def test_pages_to_the_webhook_keep_to_the_schema() -> None:
    check = validator("incident-webhook")
    firing = alert()
    more = alert(series_id="flight-delay//seats", segment={}, feature="seats", severity="critical", traffic_share=1.0)
    closing = [alert(status="resolved", resolves=a.alert_id, series_id=a.series_id) for a in (firing, more)]
    incident, pages = None, []
    for a in (firing, more, *closing):
        decision = policy.apply(incident, a, Settings().escalate)
        incident = decision.incident
        if incident is not None and decision.page is not None:
            told = page.compose(incident, a.detected_at)
            body = webhook.encode(page.read(told, "d-1", decision.page, incident.incident_id))
            pages.append(orjson.loads(body))
    assert [body["data"]["action"] for body in pages] == ["trigger", "trigger", "resolve"]
    data = Draft202012Validator(schema("alert")["$defs"]["data"] | {"$defs": schema("alert")["$defs"]})
    for body in pages:
        check.validate(body)
        for listed in body["data"]["alerts"]:
            data.validate(listed)
        for name in ("type", "timestamp", "data"):
            assert not check.is_valid({key: value for key, value in body.items() if key != name})
        for name in body["data"]:
            assert not check.is_valid(body | {"data": {k: v for k, v in body["data"].items() if k != name}})
        assert not check.is_valid(body | {"type": "io.streamdrift.incident.v2"})
        assert not check.is_valid(body | {"data": body["data"] | {"action": "shout"}})


def asyncapi() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((DOCS / "asyncapi.yaml").read_text(encoding="utf-8"))
    return loaded


def references(node: object) -> list[str]:
    if isinstance(node, list):
        return [found for item in node for found in references(item)]
    if isinstance(node, dict):
        own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
        return own + [found for value in node.values() for found in references(value)]
    return []


def resolve(document: dict[str, Any], reference: str) -> Any:
    path, _, pointer = reference.partition("#")
    if path:
        return json.loads((DOCS / path).read_text(encoding="utf-8"))
    found: Any = document
    for name in pointer.strip("/").split("/"):
        found = found[name]
    return found


def test_every_reference_of_the_asyncapi_document_resolves() -> None:
    document = asyncapi()
    assert document["asyncapi"].startswith("3.")
    assert all(resolve(document, reference) for reference in references(document))
    named = {reference for reference in references(document) if reference.startswith("#/components/messages/")}
    assert named == {f"#/components/messages/{name}" for name in document["components"]["messages"]}


def test_the_asyncapi_channels_are_the_topics_that_are_made() -> None:
    from streamdrift.transports.kafka.topics import wanted

    channels = {channel["address"]: channel for channel in asyncapi()["channels"].values()}
    made = wanted(Settings())
    assert set(channels) == {topic.name for topic in made} == set(TopicSettings().model_dump().values())
    for topic in made:
        assert channels[topic.name]["messages"]
        binding = channels[topic.name]["bindings"]["kafka"]
        assert binding["partitions"] == topic.partitions
        for name, value in binding["topicConfiguration"].items():
            assert (",".join(value) if isinstance(value, list) else str(value)) == topic.configs[name]


def test_the_asyncapi_operations_name_the_consumer_groups() -> None:
    document = asyncapi()
    for operation in document["operations"].values():
        assert operation["action"] in {"send", "receive"}
        assert resolve(document, operation["channel"]["$ref"])
        if operation["action"] == "receive" and not operation["channel"]["$ref"].endswith("/state"):  # by no group
            (group,) = operation["bindings"]["kafka"]["groupId"]["enum"]
            assert group.startswith(f"{Settings().kafka.group}-")


def test_the_asyncapi_messages_take_what_is_sent() -> None:
    messages = asyncapi()["components"]["messages"]
    headers = Draft202012Validator(messages["alert"]["headers"])
    headers.validate({name: value.decode() for name, value in alert().headers()})
    message = messages["inferenceCloudEvent"]["payload"]
    message["properties"]["data"] = schema("inference-event")
    for example in schema("inference-event")["examples"]:
        wrapped = {"specversion": "1.0", "id": "e", "source": "/shop", "type": messages["inferenceEvent"]["name"]}
        Draft202012Validator(message).validate(wrapped | {"data": example})
        assert not Draft202012Validator(message).is_valid(wrapped | {"data": "text"})
