"""The serving side's webhook: signature, body, and what each answer and each fault means."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from pydantic import SecretStr

from streamdrift.checks.receivers import Script, ScriptedServer
from streamdrift.escalate import page
from streamdrift.escalate.mitigation.message import compose, encode
from streamdrift.escalate.mitigation.serving import Serving, serving_of
from streamdrift.escalate.mitigation.states import Mitigation, mitigation_id
from streamdrift.escalate.policy import apply
from streamdrift.escalate.receivers import Page
from streamdrift.settings import EscalateSettings, MitigationSettings
from tests.escalate.conftest import NOW, House, KeepingReceiver, make_alert
from tests.escalate.hostile import HOSTILE
from tests.escalate.mitigations import NEW, OLD, ServingSide, of, settings_of
from tests.test_schemas import schema, validator

SECRET = "whsec_Y2FuYXJ5LXNpZ25pbmctc2VjcmV0"


def serving(server: ScriptedServer, timeout_s: float = 0.5, **other: Any) -> Serving:
    mitigation = MitigationSettings(url=server.url, secret=SecretStr(SECRET), timeout_s=timeout_s)
    found = serving_of(EscalateSettings(mitigation=mitigation, **other))
    assert found is not None
    return found


def asked(operation: str = "mitigate", target: str = "6", segment: dict[str, str] | None = None, **other: Any) -> Page:
    incident = apply(None, make_alert(**other), EscalateSettings()).incident
    assert incident is not None
    one = Mitigation(
        mitigation_id(incident.incident_id, 1),
        incident.incident_id,
        1,
        incident.model,
        "roll_back" if segment is None else "stop_segment",
        "approved",
        target if segment is None else None,
        "7",
        segment or {},
        "clear",
        ("all is well",),
        NOW,
        by="person",
        due_at=NOW + 600,
    )
    what: Any = operation
    payload = compose(one, what, incident, NOW)
    return page.read(payload, "ab" * 16, what, one.mitigation_id)


def test_what_is_sent_is_signed_and_keeps_to_the_schema(server: ScriptedServer) -> None:
    for operation in ("mitigate", "revert"):
        assert serving(server).send(asked(operation), datetime.now(UTC).timestamp()).name == "delivered"
    for request in server.requests:
        headers = {
            name: request.header(name) or "" for name in ("webhook-id", "webhook-timestamp", "webhook-signature")
        }
        body = Verifier(SECRET).verify(request.body, headers)
        validator("mitigation-webhook").validate(body)
        assert headers["webhook-id"] == body["data"]["idempotency_key"]
        with pytest.raises(Exception, match="signature"):
            Verifier("whsec_b3RoZXI=").verify(request.body, headers)
    first, second = (json.loads(request.body)["data"] for request in server.requests)
    assert (first["operation"], second["operation"]) == ("mitigate", "revert")
    assert (first["expires_at"], second["expires_at"]) == ("2013-04-17T10:10:00.000Z", None)


def test_the_schema_refuses_what_is_no_mitigation() -> None:
    check = validator("mitigation-webhook")
    body = json.loads(encode(asked()))
    check.validate(body)
    for name in body["data"]:
        assert not check.is_valid(body | {"data": {k: v for k, v in body["data"].items() if k != name}}), name
    for wrong in (
        {"operation": "explode"},
        {"action": "delete"},
        {"to_version": None},
        {"dry_run": "no"},
        {"approved": ""},
        {"check": {"verdict": "hit", "why": []}},
        {"idempotency_key": "7"},
    ):
        assert not check.is_valid(body | {"data": body["data"] | wrong}), wrong
    stop = json.loads(encode(asked(segment={"origin": "EWR"})))
    check.validate(stop)
    assert not check.is_valid(stop | {"data": stop["data"] | {"segment": {}}})


@pytest.mark.parametrize("status", [200, 202, 204])
def test_2xx_is_done(server: ScriptedServer, status: int) -> None:
    server.script.append(Script(status))
    assert serving(server).send(asked(), NOW).name == "delivered"


@pytest.mark.parametrize("status", [301, 302, 400, 401, 403, 404, 409, 410, 422])
def test_a_refusal_is_final(server: ScriptedServer, status: int) -> None:
    server.script.append(Script(status, {"Location": server.url}, b"no such version"))
    found = serving(server).send(asked(), NOW)
    assert (found.name, len(server.requests)) == ("permanent", 1)
    assert str(status) in found.reason


@pytest.mark.parametrize("status", [408, 425, 429])
def test_what_passes_was_not_done(server: ScriptedServer, status: int) -> None:
    server.script.append(Script(status, {"Retry-After": "7"}))
    found = serving(server).send(asked(), NOW)
    assert (found.name, getattr(found, "seconds", None)) == ("retry", 7.0)


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_5xx_leaves_open_whether_it_was_done(server: ScriptedServer, status: int) -> None:
    server.script.append(Script(status, {"Retry-After": "7"}))
    found = serving(server).send(asked(), NOW)
    assert (found.name, getattr(found, "seconds", None)) == ("ambiguous", 7.0)


@pytest.mark.parametrize("fault", ["reset", "silent", "drip", "nonsense"])
def test_no_answer_leaves_it_open_too(server: ScriptedServer, fault: Any) -> None:
    server.script.append(Script(fault=fault))
    found = serving(server).send(asked(), NOW)
    assert found.name == "ambiguous"


def test_secrets_are_not_told_and_private_addresses_can_be_refused(server: ScriptedServer) -> None:
    server.script.append(Script(400, body=SECRET.encode() + b" " + b64decode(SECRET.removeprefix("whsec_"))))
    side = serving(server)
    told = side.send(asked(), NOW).reason + repr(side)
    assert "canary" not in told
    assert SECRET not in told
    found = serving(server, private_addresses=False).send(asked(), NOW)
    assert (found.name, len(server.requests)) == ("permanent", 1)


@pytest.mark.parametrize("text", [text for text in HOSTILE if text != "\ud800"], ids=lambda text: ascii(text[:12]))
def test_hostile_versions_and_segments(text: str) -> None:
    """They go out as they are, in JSON; what is for people is on one line; and the schema holds, but for a version that is empty."""
    for made in (asked(target=text), asked(segment={"origin": text})):
        body = json.loads(encode(made))
        if text:
            validator("mitigation-webhook").validate(body)
        assert text in {body["data"]["to_version"], body["data"]["segment"].get("origin")}
        assert body["data"]["title"].isprintable()
        assert len(body["data"]["title"]) < 120


@pytest.mark.parametrize("text", [text for text in HOSTILE if text not in {"\ud800", ""}], ids=lambda t: ascii(t[:12]))
def test_a_hostile_version_from_traffic_reaches_no_command(
    text: str, receiver: KeepingReceiver, tmp_path: Path
) -> None:
    """The line that somebody pastes into a shell at night has no text from traffic in it."""
    here = House(tmp_path / "ledger.sqlite3", (receiver,), settings_of(), serving=ServingSide())
    try:
        here.ledger.changes.put(NEW)
        here.step(make_alert("f", f"origin={text}", model={"name": "flight-delay", "version": text}, at=-60 * 24 * 9))
        here.step(make_alert(at=1, segment=f"origin={text}"))
        page_ = receiver.pages[-1]
        lines = [line for line in page_.incident["explanation"] if line.startswith("could: ")]
        assert lines
        for line in lines:
            assert line.isprintable()
            command = line.split(" — approve with `")[1].split("`")[0]
            assert command.removesuffix(" --approve").split(" --action ")[0] == (
                f"streamdrift incidents mitigate {page_.incident['incident_id'][:8]}"
            )
        check = Draft202012Validator(schema("incident-webhook")["properties"]["data"]["properties"]["incident"])
        del check
    finally:
        here.worker.close()


def test_a_page_with_offers_keeps_to_its_schema(receiver: KeepingReceiver, house: Callable[..., House]) -> None:
    from streamdrift.escalate.receivers import webhook

    here = house(receiver, serving=ServingSide(), settings=settings_of())
    for change in (OLD, NEW):
        here.ledger.changes.put(change)
    here.step(make_alert())
    assert len(of(here)) == 4
    validator("incident-webhook").validate(json.loads(webhook.encode(receiver.pages[0])))
