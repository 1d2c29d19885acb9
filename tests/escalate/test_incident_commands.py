"""`streamdrift incidents`: what it shows, and what it does beside the worker."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from streamdrift.embedded.acknowledge import Acknowledge, acknowledge
from streamdrift.embedded.incident_commands import Incidents, incidents
from streamdrift.errors import SettingsProblem
from streamdrift.escalate.incident import Incident
from streamdrift.escalate.receivers import Permanent
from streamdrift.settings import Settings
from tests.command import streamdrift
from tests.escalate.conftest import NOW, ONSET, House, KeepingReceiver, make_alert

MINUTE_S = 60


def do(house: House, action: str, incident: str | None = None, **other: Any) -> str:
    settings = Settings.model_validate({"escalate": {"ledger": house.path}})
    return incidents(Incidents(action, incident, **other), settings, house.clock.now())


def ids(house: House) -> list[str]:
    return [incident.incident_id for incident in house.ledger.incidents.all()]


def first(house: House) -> Incident:
    return house.ledger.incidents.all()[0]


def refused(house: House, action: str, incident: str | None = None, **other: Any) -> str:
    with pytest.raises(SettingsProblem) as e:
        do(house, action, incident, **other)
    return str(e.value)


# Reading -------------------------------------------------------------------------------------------------------------


def test_a_list_has_a_line_each_the_gravest_that_goes_on_first(house: Callable[..., House]) -> None:
    here = house()
    assert do(here, "list") == "no incidents"
    over = make_alert(model="over")
    here.step(over, make_alert(closes=over, at=1))
    here.step(make_alert(model="mild"), make_alert(model="grave", severity="critical"), make_alert(model="known"))
    known = next(i.incident_id for i in here.ledger.incidents.all() if i.model == "known")
    acknowledge(Acknowledge(known), Settings.model_validate({"escalate": {"ledger": here.path}}), NOW, lambda *_: "")
    lines = do(here, "list").splitlines()
    assert [line.split()[1:4] for line in lines[:4]] == [
        ["open", "critical", "grave:"],
        *sorted(
            [["open", "warning", "mild:"], ["acknowledged", "warning", "known:"]], key=lambda row: _id(here, row[2])
        ),
        ["resolved", "warning", "over:"],
    ]
    assert lines[0].split()[0] == _id(here, "grave:")[:8]
    assert lines[-1] == "3 open, 1 resolved"
    narrow = do(here, "list", width=80).splitlines()
    assert max(map(len, narrow)) == 80
    assert narrow[0].endswith("…")
    told = json.loads(do(here, "list", as_json=True))
    assert {row["status"] for row in told} == {"open", "acknowledged", "resolved"}
    assert told[0]["headline"].startswith(f"{told[0]['model']}: null_rate on dep_delay")


def _id(house: House, model: str) -> str:
    return next(i.incident_id for i in house.ledger.incidents.all() if i.model == model.rstrip(":"))


def test_what_ended_long_ago_is_listed_on_request(house: Callable[..., House]) -> None:
    here = house()
    for i in range(25):
        alert = make_alert(model=f"m{i}")
        here.step(alert, make_alert(closes=alert, at=i + 1))
    lines = do(here, "list").splitlines()
    assert (len(lines), lines[-1]) == (22, "0 open, 20 resolved; 5 more are over (--all)")
    assert "m24:" in lines[0]
    assert len(do(here, "list", everything=True).splitlines()) == 27


def test_one_is_shown_with_its_timeline_its_alerts_and_its_deliveries(
    receiver: KeepingReceiver, house: Callable[..., House]
) -> None:
    here, alert, other = house(receiver), make_alert(), make_alert("seats", at=1)
    receiver.script.append(Permanent("HTTP 403: no"))
    here.step(alert)
    here.step(other)
    here.step(make_alert(at=2, events_seen=13_000, updates=alert.alert_id, severity="critical"))
    here.step(make_alert("seats", closes=other, at=3))
    (incident_id,) = ids(here)
    lines = do(here, "show", incident_id[:6], width=80).splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0] == f"incident {incident_id}"
    assert "open, critical, detected 2013-04-17 10:00 UTC, 2 pages" in lines
    begins = [line[:40].rstrip() for line in lines]
    assert "  #1   2013-04-17 10:00  detected     nu" in begins
    assert "  #3   2013-04-17 10:00  undelivered  pa" in begins
    assert "alerts: 1 firing, 1 over" in lines
    assert "  firing  critical  null_rate on dep_delay in origin=EWR: 0.1 % → 10.2 % null," in lines
    assert f"  keeping        page  {incident_id[:8]}    dead after 1 attempt: HTTP 403: no" in lines
    assert f"  keeping        page  {incident_id[:8]}.2  delivered, 1 attempt" in lines
    told = json.loads(do(here, "show", incident_id, as_json=True))
    assert [entry["id"] for entry in told["timeline"]] == [f"{incident_id}#{n}" for n in range(1, 9)]
    assert [(row["state"], row["attempts"]) for row in told["deliveries"]] == [("dead", 1), ("done", 1)]
    assert [(row["feature"], row["over"]) for row in told["held"]] == [("dep_delay", False), ("seats", True)]


def test_what_is_hostile_is_one_line_of_plain_text(house: Callable[..., House]) -> None:
    here = house()
    here.step(make_alert("\x1b[31mred\r\n\u202eevil", "origin=\x1b]0;title\x07"))
    for said in (do(here, "list", width=80), do(here, "show", ids(here)[0], width=80)):
        assert not set(said) & {"\x1b", "\r", "\x07", "\u202e"}
    assert do(here, "list").count("\n") == 2


# Changing ------------------------------------------------------------------------------------------------------------


def test_one_is_over_by_hand_and_whoever_was_paged_is_told(
    receiver: KeepingReceiver, house: Callable[..., House]
) -> None:
    here, alert = house(receiver), make_alert()
    here.step(alert, make_alert("seats", at=1))
    (incident_id,) = ids(here)
    here.clock.time += 5 * MINUTE_S
    said = do(here, "resolve", incident_id[:8], reason=" the campaign\nis over ")
    assert said == f"{incident_id}: resolved, with 2 of its alerts still firing; the worker tells keeping"
    assert (first(here).status, first(here).firing) == ("resolved", ())
    here.step()
    assert receiver.told == [("trigger", incident_id), ("resolve", incident_id)]
    entry = here.ledger.timeline.entries(incident_id)[-2]
    assert (entry.kind, entry.at) == ("resolved", round((NOW + 300) * 1000))
    assert entry.text == "resolved by hand, with 2 alerts still firing: the campaign\\nis over"
    assert "is resolved already" in refused(here, "resolve", incident_id, reason="again")
    here.step(make_alert(closes=alert, at=6))
    assert first(here).reopened == 0
    here.step(make_alert("seats", at=7, events_seen=13_000, updates=make_alert("seats", at=1).alert_id))
    assert (first(here).status, first(here).reopened, len(first(here).firing)) == ("open", 1, 1)
    assert receiver.told[-1] == ("trigger", f"{incident_id}.2")


def test_where_nobody_was_paged_nobody_is_told(receiver: KeepingReceiver, house: Callable[..., House]) -> None:
    here = house(receiver)
    here.step(make_alert(severity="info"))
    said = json.loads(do(here, "resolve", ids(here)[0], reason="noise", as_json=True))
    assert said["done"] == "resolved, with 1 of its alerts still firing; nobody had been paged"
    here.step()
    assert receiver.told == []


def test_dead_deliveries_are_listed_and_sent_again(receiver: KeepingReceiver, house: Callable[..., House]) -> None:
    here = house(receiver, other := KeepingReceiver("other"))
    assert do(here, "redrive") == "no dead deliveries"
    receiver.script.extend([Permanent("HTTP 401: wrong key")] * 2)
    other.script.append(Permanent("HTTP 401: wrong key"))
    here.step(make_alert(), make_alert(model="fraud"))
    said = do(here, "redrive", width=80)
    assert said.count("given up after 1 attempt: HTTP 401: wrong key") == 3
    assert said.endswith("3 deliveries could be sent again: give the incident, or --all")
    assert max(map(len, said.splitlines())) <= 80
    here.step()
    assert (len(receiver.pages), len(other.pages)) == (2, 2)
    one = first(here)
    assert do(here, "redrive", one.incident_id, receiver="keeping").endswith(
        "1 delivery sent again: the worker makes the attempts"
    )
    here.step()
    assert [page.dedup_key for page in receiver.pages].count(one.incident_id) == 2
    told = here.ledger.timeline.entries(one.incident_id)
    assert [entry.kind for entry in told][-2:] == ["note", "delivered"]
    rows = json.loads(do(here, "redrive", everything=True, as_json=True))
    assert [row["sent_again"] for row in rows] == [True, True]
    here.step()
    assert do(here, "redrive") == "no dead deliveries"


def test_what_is_out_of_date_is_not_sent_again(receiver: KeepingReceiver, house: Callable[..., House]) -> None:
    here, alert = house(receiver), make_alert()
    receiver.script.extend([Permanent("no")] * 2)
    here.step(alert)
    here.step(make_alert(at=1, events_seen=13_000, updates=alert.alert_id, severity="critical"))
    rows = json.loads(do(here, "redrive", as_json=True))
    assert [row["kept_back"] for row in rows] == ["a later page of its incident stands for it", None]
    here.step(make_alert(closes=alert, at=2))
    assert "not sent again: its incident is over" in do(here, "redrive")
    assert do(here, "redrive", everything=True).endswith("none of them can be sent again")
    here.step()
    assert [page.action for page in receiver.pages] == ["trigger", "trigger"]


# The command ---------------------------------------------------------------------------------------------------------


def test_what_can_not_be_done_is_told_by_sentence_and_exit_code(house: Callable[..., House], tmp_path: Path) -> None:
    here = house()
    here.step(make_alert())
    ledger = {"STREAMDRIFT_ESCALATE__LEDGER": str(here.path)}
    nowhere = {"STREAMDRIFT_ESCALATE__LEDGER": str(tmp_path / "none")}
    for asked, settings, code, words in (
        (["list"], nowhere, 3, "there is no ledger"),
        (["show", "zz"], ledger, 2, "no incident zz in the ledger; the latest that is open is"),
        (["resolve", ids(here)[0]], ledger, 2, "--reason"),
        (["resolve", ids(here)[0], "--reason", " "], ledger, 2, "--reason is empty; say why it is over"),
        (["redrive", "zz"], ledger, 2, "no incident zz"),
        ([], ledger, 2, "ACTION"),
    ):
        done = streamdrift("incidents", *asked, settings=settings)
        assert (done.code, words in done.said) == (code, True), done.said
        assert done.out == ""
    done = streamdrift("incidents", "ack", ids(here)[0][:8], settings=ledger)
    assert (done.code, first(here).status) == (0, "acknowledged")
    assert "acknowledged; it pages again if it grows" in done.out
    done = streamdrift("incidents", "list", settings=ledger)
    assert "since 2013-04-17 08:00 UTC; 0.1 % → 10.2 % null" in done.out, "no terminal, so nothing is cut"


def test_on_a_terminal_a_line_is_no_wider_than_it(tmp_path: Path) -> None:
    here = House(tmp_path / "ledger.sqlite3")
    here.step(replace(make_alert(), onset_range=(ONSET, ONSET + 10**7)))
    here.worker.close()
    leader, follower = pty.openpty()
    environment = {**os.environ, "STREAMDRIFT_ESCALATE__LEDGER": str(here.path), "COLUMNS": "80"}
    command = [sys.executable, "-m", "streamdrift", "incidents", "list"]
    subprocess.run(command, stdout=follower, env=environment, check=True, timeout=60)
    os.close(follower)
    lines = os.read(leader, 10_000).decode().splitlines()
    os.close(leader)
    assert len(lines[0]) == 80
    assert lines[0].endswith("…")
