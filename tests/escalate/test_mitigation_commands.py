"""`streamdrift incidents mitigate` as it is typed, and acknowledgements that receivers are told of."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from streamdrift.checks.receivers import Script, ScriptedServer
from streamdrift.embedded.acknowledge import Acknowledge, acknowledge
from streamdrift.embedded.incident_commands import Incidents, incidents
from streamdrift.embedded.mitigate_command import Mitigate, mitigate
from streamdrift.errors import SettingsProblem
from streamdrift.escalate.receivers import PagerDuty, RetryAt
from streamdrift.settings import MitigationSettings, PagerDutySettings, Settings
from tests.command import streamdrift
from tests.escalate.conftest import NOW, House, KeepingReceiver, make_alert
from tests.escalate.hostile import HOSTILE
from tests.escalate.mitigations import NEW, OLD, URL, ServingSide, of, settings_of, states, status

pytestmark = pytest.mark.usefixtures("patience_of_the_settings")

Make = Callable[..., House]


@pytest.fixture
def here(house: Make, receiver: KeepingReceiver) -> House:
    made = house(receiver, serving=ServingSide(), settings=settings_of())
    for change in (OLD, NEW):
        made.ledger.changes.put(change)
    made.step(make_alert())
    return made


def settings(here: House) -> Settings:
    return Settings(escalate=here.settings.escalate.model_copy(update={"ledger": str(here.path)}))


def ask(here: House, *given: Any, **other: Any) -> str:
    (incident,) = here.ledger.incidents.all()
    return mitigate(Mitigate(incident.incident_id, *given, **other), settings(here), here.clock.now())[0]


# What it shows -------------------------------------------------------------------------------------------------------


def test_it_shows_what_could_be_done_and_changes_nothing(here: House) -> None:
    incident = here.ledger.incidents.all()[0]
    before = of(here)
    short = incident.incident_id[:8]
    said = ask(here)
    assert said.splitlines()[0] == f"incident {incident.incident_id}, open"
    assert (
        f"""
could
  roll back to version 6: version 6 does not read dep_delay (deploy-6 says what
    it reads)
    streamdrift incidents mitigate {short} --action roll_back --approve
  shadow mode: it answers nobody
    streamdrift incidents mitigate {short} --action shadow --approve
  stop segment origin=EWR
    streamdrift incidents mitigate {short} --action stop_segment --approve
  switch to the fallback
    streamdrift incidents mitigate {short} --action fallback --approve"""
        in said
    )
    assert max(map(len, ask(here, width=60).splitlines())) <= 75  # the commands are left whole
    detail = ask(here, "roll_back", dry_run=True)
    body = json.loads(detail[detail.index("{") :])
    assert (body["action"], body["to_version"], body["dry_run"]) == ("roll_back", "6", True)
    assert of(here) == before


def test_it_shows_what_is_under_way_and_what_was(here: House) -> None:
    ask(here, "shadow", refuse=True)
    ask(here, "roll_back", approve=True)
    assert "roll back to version 6: approved, approved by hand; given up in 30 min unless it can be" in " ".join(
        ask(here).split()
    )
    here.wait(60)
    said = " ".join(ask(here).split())
    assert (
        "under way roll back to version 6: sent, approved by hand; is taken back in 30 min unless the alerts recover"
        in said
    )
    assert "not offered roll back to version 6: another is running for this model" in said
    assert "before 2013-04-17 10:00 UTC shadow mode: it answers nobody: refused" in said


def test_json(here: House) -> None:
    told = json.loads(ask(here, as_json=True))
    assert [offer["action"] for offer in told["offers"] if offer["offered"]] == [
        *("roll_back", "shadow", "stop_segment", "fallback")
    ]
    assert told["mitigations"][0]["state"] == "proposed"
    done = json.loads(ask(here, "roll_back", approve=True, as_json=True))
    assert (done["mitigation"]["state"], done["mitigation"]["approved"]) == ("approved", "person")
    refused = json.loads(ask(here, "roll_back", refuse=True, as_json=True))
    assert refused["mitigation"]["state"] == "refused"


def test_another_version_and_another_segment(here: House) -> None:
    here.step(make_alert(segment="origin=JFK", at=1))
    ask(here, "roll_back", target="5", approve=True)
    assert ("roll_back", "approved") in states(here)
    one = of(here)[-1]
    assert (one.target, one.verdict, one.why) == ("5", "unknown", ("whether version 5 reads dep_delay is not known",))
    ask(here, "roll_back", refuse=True)
    ask(here, "stop_segment", segment="origin=JFK", approve=True)
    assert of(here)[-1].segment == {"origin": "JFK"}


MEANT_WRONG: list[tuple[dict[str, Any], str]] = [
    ({"approve": True}, "--approve needs --action"),
    ({"action": "roll_back", "approve": True, "refuse": True}, "are three different answers; give one of them"),
    ({"action": "shadow", "target": "6"}, "--to names the version of a rollback; add --action roll_back"),
    ({"segment": "a=b"}, "--segment names what is stopped; add --action stop_segment"),
    ({"action": "stop_segment", "segment": "EWR"}, "--segment EWR is not dimension=value"),
    ({"action": "roll_back", "target": ""}, "--to is empty, no text, or longer"),
    ({"action": "roll_back", "target": "\udcff"}, "--to is empty, no text, or longer"),
    ({"action": "roll_back", "target": "x" * 257}, "--to is empty, no text, or longer"),
    ({"action": "roll_back", "keep": True, "dry_run": True}, "--dry-run goes with --approve, or stands alone"),
    ({"action": "roll_back", "target": "7", "approve": True}, "version 7 is the one that serves"),
    ({"action": "stop_segment", "segment": "origin=JFK", "approve": True}, "no alert of it fires in origin=JFK"),
    ({"keep": True}, "is in force that could be kept"),
    ({"incident": "nothing"}, "no incident nothing in the ledger"),
]


def test_what_can_t_be_meant_is_refused_in_a_sentence(here: House) -> None:
    (incident,) = here.ledger.incidents.all()
    before = of(here)
    for given, problem in MEANT_WRONG:
        with pytest.raises(SettingsProblem) as e:
            mitigate(Mitigate(**{"incident": incident.incident_id} | given), settings(here), NOW)
        assert problem in str(e.value), given
        assert "\n" not in str(e.value), given
    assert of(here) == before


def test_what_the_settings_do_not_offer_and_what_is_over(here: House, receiver: KeepingReceiver) -> None:
    del receiver
    here.settings = settings_of(offers=("*=shadow",))
    with pytest.raises(SettingsProblem, match=r"roll_back is not offered for flight-delay: .* has shadow"):
        ask(here, "roll_back", approve=True)
    here.settings = settings_of(offers=("*=",))
    assert "has nothing for this model" in ask(here)
    here.settings = settings_of()
    here.step(make_alert(closes=make_alert(), at=1))
    with pytest.raises(SettingsProblem, match="is resolved; there is nothing left to mitigate"):
        ask(here, "fallback", approve=True)
    with pytest.raises(SettingsProblem, match="waits for an answer"):
        ask(here, refuse=True)
    assert "could\n" not in ask(here)


def test_hostile_versions_are_shown_on_one_line(tmp_path: Path) -> None:
    here = House(tmp_path / "ledger.sqlite3", (), settings_of(), serving=ServingSide())
    here.step(make_alert())
    for text in HOSTILE:
        if not 0 < len(text) <= 256 or text == "\ud800":
            continue
        for said in (ask(here, "roll_back", target=text), ask(here, "roll_back", target=text, approve=True)):
            assert all(line.isprintable() for line in said.splitlines()), ascii(text)
        assert of(here)[-1].target == text
        ask(here, "roll_back", refuse=True)
    (incident,) = here.ledger.incidents.all()
    shown = ask(here) + incidents(Incidents("show", incident.incident_id), settings(here), NOW)
    assert all(line.isprintable() for line in shown.splitlines())
    here.worker.close()


def test_typed(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite3"
    made = House(path, (), settings_of(), serving=ServingSide())
    made.step(make_alert())
    (incident,) = made.ledger.incidents.all()
    made.worker.close()
    on = {
        "STREAMDRIFT_ESCALATE__LEDGER": str(path),
        "STREAMDRIFT_ESCALATE__MITIGATION__URL": URL,
        "STREAMDRIFT_ESCALATE__MITIGATION__SECRET": "canary-signing-key",
    }
    done = streamdrift("incidents", "mitigate", incident.incident_id[:6], "--action", "fallback", "--json", settings=on)
    assert done.code == 0, done.said
    assert json.loads(done.out)["offers"][0]["offered"] is True
    off = streamdrift("incidents", "mitigate", "c0", settings={"STREAMDRIFT_ESCALATE__LEDGER": str(path)})
    assert (off.code, off.out) == (2, "")
    assert off.said.startswith("streamdrift: mitigation is off; set escalate.mitigation.url")
    wrong = streamdrift("incidents", "mitigate", "c0", "--action", "explode", settings=on)
    assert wrong.code == 2
    unsigned = streamdrift("config", "check", settings=on | {"STREAMDRIFT_ESCALATE__MITIGATION__SECRET": ""})
    assert unsigned.code == 2


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"url": URL}, "without a signature anybody who finds that URL could change production"),
        ({"secret": "key"}, "is given without url"),
        ({"approval": "automatic"}, "there is no url to send to"),
        ({"offers": ("roll_back",)}, "is no pattern=actions, as in fraud-"),
        ({"offers": ("*=explode",)}, "actions are roll_back, shadow, stop_segment, fallback"),
        ({"reverts": ("all",)}, "is none of roll_back, shadow, stop_segment, fallback"),
        ({"expiry_s": 1}, "greater than or equal to 30"),
        ({"verify_s": 1e9}, "less than or equal to 604800"),
        ({"cooldown_s": -1}, "greater than or equal to 0"),
    ],
)
def test_wrong_settings_are_told(given: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError) as e:
        MitigationSettings(**given)
    assert problem in str(e.value)


# Acknowledgements that receivers are told of -------------------------------------------------------------------------


def told(server: ScriptedServer) -> list[tuple[str, str]]:
    sent = [json.loads(request.body) for request in server.requests]
    return [(event["event_action"], event["dedup_key"]) for event in sent]


@pytest.fixture
def paged(house: Make, server: ScriptedServer) -> House:
    key = PagerDutySettings(routing_key=SecretStr("k" * 32), url=server.url)
    return house(PagerDuty(key), KeepingReceiver(), serving=ServingSide(), settings=settings_of())


def known(here: House, **other: Any) -> str:
    (incident,) = here.ledger.incidents.all()
    return acknowledge(Acknowledge(incident.incident_id, **other), settings(here), here.clock.now(), lambda *_: "")


def test_an_acknowledgement_is_told_once_for_each_page_to_who_knows_such(paged: House, server: ScriptedServer) -> None:
    paged.step(alert := make_alert())
    (incident,) = paged.ledger.incidents.all()
    said = json.loads(known(paged, as_json=True))
    assert said == {
        "incident_id": incident.incident_id,
        "status": "acknowledged",
        "done": "acknowledged; it pages again if it grows, and when it is over",
        "told": ["pagerduty"],
    }
    known(paged)
    paged.crash()
    paged.step()
    first, second = incident.incident_id, f"{incident.incident_id}.2"
    assert told(server) == [("trigger", first), ("acknowledge", first)]
    paged.step(make_alert(at=2, events_seen=13_000, updates=alert.alert_id, severity="critical"))
    assert known(paged).endswith("; the worker tells pagerduty")
    paged.step()
    paged.step(make_alert(closes=make_alert(at=2, updates=alert.alert_id), at=4))
    assert told(server)[2:] == [("trigger", second), ("acknowledge", second), ("resolve", first), ("resolve", second)]
    kinds = [(e.kind, e.text) for e in paged.ledger.timeline.entries(first)]
    assert ("delivered", "acknowledgement delivered to pagerduty") in kinds


def test_an_acknowledgement_comes_after_its_page_and_never_after_the_end(paged: House, server: ScriptedServer) -> None:
    server.script.extend([Script(503), Script(503)])
    paged.step(make_alert())
    known(paged)
    paged.wait(0.1)
    assert {action for action, _ in told(server)} == {"trigger"}
    for _ in range(5):
        paged.wait(5)
    assert [action for action, _ in told(server)] == ["trigger", "trigger", "trigger", "acknowledge"]


def test_what_nobody_was_told_of_is_not_acknowledged_there(paged: House, server: ScriptedServer) -> None:
    """The incident is over before its page came through: neither page, acknowledgement nor end is told."""
    refusing = paged.worker._deliverer
    refusing._paused_until["pagerduty"] = 1e12
    paged.step(make_alert())
    known(paged)
    paged.step(make_alert(closes=make_alert(), at=1))
    refusing._paused_until.clear()
    paged.wait(30)
    assert told(server) == []


def test_a_mitigation_that_is_in_force_is_acknowledged_too(paged: House, server: ScriptedServer) -> None:
    paged.step(make_alert())
    ask(paged, "fallback", approve=True)
    paged.step()
    paged.step()
    assert status(paged) == "mitigating"
    assert [action for action, _ in told(server)] == ["trigger", "acknowledge"]


def test_a_dead_acknowledgement_needs_nobody_once_it_is_over(paged: House, server: ScriptedServer) -> None:
    paged.step(make_alert())
    known(paged)
    server.script.append(Script(400))
    paged.step()
    (dead,) = paged.ledger.outbox.dead()
    assert (dead.action, dead.kept_back) == ("acknowledge", None)
    paged.step(make_alert(closes=make_alert(), at=1))
    (dead,) = paged.ledger.outbox.dead()
    assert dead.kept_back == "its incident is over"
    assert replace(dead, attempts=0).attempts == 0
    assert RetryAt.name == "retry"
