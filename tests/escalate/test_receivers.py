import hashlib
import hmac
import shutil
import subprocess
from base64 import b64decode, b64encode
from pathlib import Path
from typing import Any

import orjson
import pytest
from pydantic import SecretStr

from streamdrift.alerts import digest
from streamdrift.checks.receivers import Check, Factory, Script, ScriptedServer, receiver_checks
from streamdrift.errors import SettingsProblem
from streamdrift.escalate.receivers import PagerDuty, Webhook, build_receivers
from streamdrift.settings import EscalateSettings, PagerDutySettings, Settings, WebhookSettings
from streamdrift.telemetry import Metrics
from tests.escalate.conftest import NOW
from tests.escalate.rigs import FACTORIES, KEY, NOT_FOR, SECRET, make_page, pagerduty

CHECKS = [
    pytest.param(FACTORIES[name], check, id=f"{name}-{check.__name__}")
    for name in FACTORIES
    for check in receiver_checks()
    if (name, check.__name__) not in NOT_FOR
]


@pytest.mark.parametrize(("make", "check"), CHECKS)
def test_every_receiver_over_http_passes_the_suite(make: Factory, check: Check) -> None:
    check(make)


def sent(server: ScriptedServer) -> Any:
    return orjson.loads(server.requests[-1].body)


# PagerDuty -----------------------------------------------------------------------------------------------------------


def test_a_trigger_is_what_events_v2_asks_for(server: ScriptedServer) -> None:
    assert pagerduty(server.url, 5).send("trigger", "c0ffee", 3).name == "delivered"
    event = sent(server)
    payload = event.pop("payload")
    assert event == {"routing_key": KEY, "event_action": "trigger", "dedup_key": "c0ffee", "client": "streamdrift"}
    details = payload.pop("custom_details")
    assert payload == {
        "summary": "flight-delay: null_rate on feature_0 in origin=EWR (36 % of traffic) since 2013-04-17 08:00 UTC; "
        "0.1 % → 10.2 % null; 3 features, 1 segment",
        "source": "flight-delay",
        "severity": "warning",
        "timestamp": "2013-04-17T10:00:00.000Z",
        "component": "feature_0",
        "group": "flight-delay",
        "class": "null_rate",
    }
    assert details["blast_radius"]["segment"] == {"origin": "EWR"}
    assert len(details["alerts"]) == details["alerts_in_all"] == 3


def test_a_resolve_needs_no_payload(server: ScriptedServer) -> None:
    pagerduty(server.url, 5).send("resolve", "c0ffee")
    assert sent(server) == {"routing_key": KEY, "event_action": "resolve", "dedup_key": "c0ffee"}


def test_only_twenty_alerts_go_along(server: ScriptedServer) -> None:
    pagerduty(server.url, 5).send("trigger", "c0ffee", 60)
    details = sent(server)["payload"]["custom_details"]
    assert (len(details["alerts"]), details["alerts_in_all"]) == (20, 60)


def test_a_body_too_large_loses_its_details_first(server: ScriptedServer) -> None:
    told = make_page()
    told.incident["blast_radius"]["features"] = ["f" * 1000] * 600
    receiver = PagerDuty(PagerDutySettings(routing_key=SecretStr(KEY), url=server.url))
    assert receiver.send(told, NOW).name == "delivered"
    payload = sent(server)["payload"]
    assert list(payload["custom_details"]) == ["left_out"]
    assert payload["summary"]
    assert len(server.requests[-1].body) < 512_000


def test_what_accepts_but_is_not_pagerduty_is_no_delivery(server: ScriptedServer) -> None:
    server.script.append(Script(200, body=b"<html>please log in</html>"))
    found = pagerduty(server.url, 5).send("trigger", "c0ffee")
    assert (found.name, "no acceptance" in found.reason) == ("retry", True)


def test_the_reason_of_a_refusal_is_kept(server: ScriptedServer) -> None:
    server.script.append(Script(400, body=b'{"status":"invalid event","errors":["bad key ' + KEY.encode() + b'"]}'))
    found = pagerduty(server.url, 5).send("trigger", "c0ffee")
    assert found.reason == 'HTTP 400: {"status":"invalid event","errors":["bad key **********"]}'


# Webhook -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("secret", "key"), [(SECRET, b64decode(SECRET[6:])), ("plain canary", b"plain canary")])
def test_the_signature_is_that_of_standard_webhooks(server: ScriptedServer, secret: str, key: bytes) -> None:
    Webhook(WebhookSettings(url=server.url, secret=SecretStr(secret))).send(make_page(), NOW)
    request = server.requests[0]
    signed = f"{request.header('webhook-id')}.{request.header('webhook-timestamp')}.".encode() + request.body
    expected = b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    assert request.header("webhook-signature") == f"v1,{expected}"
    assert request.header("webhook-timestamp") == str(int(NOW))
    assert request.header("webhook-id") == digest("trigger", "incident-1")


def test_the_body_tells_the_incident(server: ScriptedServer) -> None:
    Webhook(WebhookSettings(url=server.url)).send(make_page("resolve", "c0ffee", 2), NOW)
    told = sent(server)
    assert server.requests[0].header("webhook-signature") is None
    assert (told["type"], told["timestamp"]) == ("io.streamdrift.incident.v1", "2013-04-17T10:00:00.000Z")
    data = told["data"]
    assert (data["action"], data["dedup_key"]) == ("resolve", "c0ffee")
    assert data["headline"].startswith("flight-delay: null_rate on feature_0 in origin=EWR")
    assert data["incident"]["severity"] == "warning"
    assert [alert["feature"] for alert in data["alerts"]] == ["feature_0", "feature_1"]


def test_a_gone_webhook_is_told_as_such(server: ScriptedServer) -> None:
    server.script.append(Script(410))
    assert Webhook(WebhookSettings(url=server.url)).send(make_page(), NOW).name == "permanent"


# TLS -----------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("needs openssl to make a certificate")
    folder = tmp_path_factory.mktemp("tls")
    made, key = folder / "certificate.pem", folder / "key.pem"
    command = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(made)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    return made, key


def test_only_whom_a_known_authority_vouches_for_is_told(
    certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = ScriptedServer(Script(202), certificate)
    try:
        url = server.url.replace("http://127.0.0.1", "https://localhost")
        found = pagerduty(url, 5).send("trigger", "c0ffee")
        assert (found.name, server.requests) == ("retry", [])
        assert "TLS failed (CERTIFICATE_VERIFY_FAILED)" in found.reason
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
        assert pagerduty(url.replace("localhost", "127.0.0.1"), 5).send("trigger", "c0ffee").name == "retry"
        assert pagerduty(url, 5).send("trigger", "c0ffee").name == "delivered"
        server.script.append(Script(fault="drip"))
        assert pagerduty(url, 0.5).send("trigger", "c0ffee").name == "ambiguous"
    finally:
        server.stop()


# From the settings ---------------------------------------------------------------------------------------------------


def test_receivers_are_on_when_they_have_a_place_to_go() -> None:
    metrics = Metrics()
    assert build_receivers(Settings(), metrics) == ()
    both = EscalateSettings(
        pagerduty=PagerDutySettings(routing_key=SecretStr(KEY)), webhook=WebhookSettings(url="https://x.example/hook")
    )
    found = build_receivers(Settings(escalate=both), metrics)
    assert [receiver.name for receiver in found] == ["pagerduty", "webhook"]
    labels = {"receiver": "pagerduty", "outcome": "dead"}  # counted from 0, so that the first one is a rise
    assert metrics.registry.get_sample_value("streamdrift_deliveries_total", labels) == 0.0


def test_a_port_that_there_cannot_be_is_told_at_start() -> None:
    with pytest.raises(SettingsProblem, match=r"https://x\.example:99999 has a port that is not between"):
        Webhook(WebhookSettings(url="https://x.example:99999/secret"))
