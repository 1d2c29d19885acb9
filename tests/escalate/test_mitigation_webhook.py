"""The serving side's webhook: signature, body, and what each answer and each fault means."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
from base64 import b64decode
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from streamdrift.checks.receivers import Script, ScriptedServer
from streamdrift.escalate import page
from streamdrift.escalate.mitigation.message import compose, encode
from streamdrift.escalate.mitigation.serving import Serving, serving_of
from streamdrift.escalate.mitigation.states import Mitigation, mitigation_id
from streamdrift.escalate.policy import apply
from streamdrift.escalate.receivers import Page
from streamdrift.escalate.receivers.webhook import signature, signing_key
from streamdrift.settings import EscalateSettings, MitigationSettings
from tests.escalate.conftest import NOW, House, KeepingReceiver, make_alert
from tests.escalate.hostile import HOSTILE
from tests.escalate.mitigations import NEW, OLD, ServingSide, of, settings_of
from tests.test_schemas import validator

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
        body = json.loads(request.body)
        validator("mitigation-webhook").validate(body)
        message_id, at = request.header("webhook-id") or "", int(request.header("webhook-timestamp") or 0)
        assert message_id == body["data"]["idempotency_key"]
        assert request.header("webhook-signature") == signature(signing_key(SECRET), message_id, at, request.body)
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
        version, place = text[:200], {"origin": text[:200]}
        before = replace(make_alert("f", at=-12_960), segment=place, model={"name": "flight-delay", "version": version})
        here.step(before)
        here.step(replace(make_alert(at=1), segment=place))
        page_ = receiver.pages[-1]
        lines = [line for line in page_.incident["explanation"] if line.startswith("could: ")]
        assert lines
        for line in lines:
            assert line.isprintable()
            command = line.split(" — approve with `")[1].split("`")[0]
            assert command.removesuffix(" --approve").split(" --action ")[0] == (
                f"streamdrift incidents mitigate {page_.incident['incident_id'][:8]}"
            )
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


def test_the_receiving_side_of_the_documentation(tmp_path: Path) -> None:
    """The twenty lines of docs/mitigation.md: they take what is signed, once for each key, and nothing else."""
    text = (Path(__file__).resolve().parents[2] / "docs" / "mitigation.md").read_text(encoding="utf-8")
    (program,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (tmp_path / "receiving.py").write_text(program, encoding="utf-8")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = os.environ | {"MITIGATION_SECRET": "a-signing-key"}
    command = [sys.executable, str(tmp_path / "receiving.py"), str(port)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        try:
            url = f"http://127.0.0.1:{port}/"
            good, bad = (
                Serving(EscalateSettings(mitigation=MitigationSettings(url=url, secret=SecretStr(secret))))
                for secret in ("a-signing-key", "another-key")
            )
            now = time.time()
            first, second = asked(), replace(asked("revert"), delivery_id="cd" * 16)
            deadline = time.monotonic() + 20
            while (found := good.send(first, now)).name == "retry" and time.monotonic() < deadline:
                time.sleep(0.05)
            assert found.name == "delivered"
            assert [good.send(page_, now).name for page_ in (first, second, second)] == ["delivered"] * 3
            assert [one.send(first, at).name for one, at in ((bad, now), (good, now - 1_000))] == ["permanent"] * 2
        finally:
            process.terminate()
        assert process.stdout is not None
        done = process.stdout.read().decode().splitlines()
    made = first.incident["mitigation_id"]
    assert done == [f"mitigate roll_back {made}", f"revert roll_back {made}"]
