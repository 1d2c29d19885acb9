"""Corrective actions: proposed once, decided by people, tickets in Jira until they are done; and the commands about them."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import orjson
import pytest

from streamdrift.checks.receivers import Script, ScriptedServer
from streamdrift.embedded.learning_commands import Learning, learning
from streamdrift.errors import SettingsProblem
from streamdrift.escalate.actions import Actions
from streamdrift.escalate.ledger import KEPT_S
from streamdrift.escalate.past import PAST_KEPT_S
from streamdrift.escalate.postmortem.action import Action
from streamdrift.escalate.receivers.jira_actions import JiraActions
from streamdrift.settings import EscalateSettings, Settings
from tests.command import streamdrift
from tests.escalate.conftest import NOW, House, KeepingReceiver, make_alert
from tests.escalate.hostile import HOSTILE
from tests.escalate.rigs import jira_settings
from tests.escalate.test_conversations import told

DAY_S = 86_400.0
FOUND_NONE: dict[str, Any] = {"issues": []}
MADE = {"id": "1", "key": "OPS-17"}


def do(here: House, action: str, **other: Any) -> str:
    settings = Settings(escalate=here.settings.escalate.model_copy(update={"ledger": here.path}))
    return learning(Learning(action, **other), settings, here.clock.now())[0]


def over(here: House, *features: str) -> str:
    alerts = [make_alert(feature) for feature in features or ("dep_delay",)]
    here.step(*alerts)
    here.step(*(make_alert(closes=alert, at=5) for alert in alerts))
    return here.ledger.incidents.all()[0].incident_id


def proposed(here: House, incident: str) -> list[Action]:
    do(here, "postmortem", incident=incident)
    return here.ledger.actions.of(incident)


# In the ledger -------------------------------------------------------------------------------------------------------


def test_proposals_are_kept_once_and_decided_on(house: Callable[..., House]) -> None:
    here = house()
    incident = over(here, "dep_delay", "seats")
    first = proposed(here, incident)
    assert [(action.state, action.rule["feature"]) for action in first] == [
        ("proposed", "dep_delay"),
        ("proposed", "seats"),
    ]
    assert proposed(here, incident) == first
    one, two = first
    assert do(here, "accept", corrective=one.action_id[:6]) == f"{one.action_id}: accepted ({one.title})"
    do(here, "drop", corrective=two.action_id, reason=" seats go\naway ")
    found = {action.action_id: action for action in proposed(here, incident)}
    assert (found[one.action_id].state, found[two.action_id].state) == ("accepted", "dropped")
    assert found[two.action_id].reason == "seats go away"
    assert do(here, "list").splitlines()[0].startswith(f"{one.action_id}  accepted  {incident[:8]}")
    assert two.action_id not in do(here, "list")
    assert {row["state"] for row in json.loads(do(here, "list", everything=True, as_json=True))} == {
        *("accepted", "dropped")
    }
    kinds = [entry.text for entry in here.ledger.timeline.entries(incident) if "action" in entry.detail]
    assert kinds[0] == f"corrective action {one.action_id} accepted ({one.title})"
    assert kinds[1].startswith(f"corrective action {two.action_id} dropped: seats go away")
    assert f"{one.action_id} (accepted)" in do(here, "postmortem", incident=incident)


def test_what_can_not_be_decided_is_told(house: Callable[..., House]) -> None:
    here = house()
    incident = over(here)
    (one,) = proposed(here, incident)
    for action, other, words in (
        ("accept", {"corrective": "zz"}, "no corrective action zz"),
        ("accept", {"corrective": " "}, "no corrective action"),
        ("drop", {"corrective": one.action_id, "reason": " "}, "--reason is empty"),
    ):
        with pytest.raises(SettingsProblem, match=words):
            do(here, action, **other)
    do(here, "done", corrective=one.action_id)
    with pytest.raises(SettingsProblem, match="is done already"):
        do(here, "done", corrective=one.action_id)
    do(here, "accept", corrective=one.action_id)  # it was not done after all
    assert here.ledger.actions.of(incident)[0].state == "accepted"


def test_what_is_open_outlasts_its_incident_and_what_is_over_goes_in_the_end(house: Callable[..., House]) -> None:
    here = house()
    incident = over(here, "dep_delay", "seats")
    one, two = proposed(here, incident)
    do(here, "accept", corrective=one.action_id)
    here.ledger.prune(NOW + KEPT_S + DAY_S)
    assert here.ledger.incidents.all() == []
    assert do(here, "done", corrective=two.action_id).startswith(f"{two.action_id}: done"), (
        "it has no timeline any more"
    )
    assert here.ledger.timeline.entries(incident) == []
    here.ledger.prune(NOW + PAST_KEPT_S + DAY_S)
    assert [action.action_id for action in here.ledger.actions.of(incident)] == [one.action_id]


def test_the_number_of_actions_is_bounded(house: Callable[..., House]) -> None:
    here = house()
    few = Actions(here.ledger._database, actions_max=2)
    few.propose([Action(f"a{i}", "c0ffee", "range", "t", "x") for i in range(4)], NOW)
    assert [action.action_id for action in few.of("c0ffee")] == ["a0", "a1"]
    with pytest.raises(ValueError, match="no state"):
        few.move(few.of("c0ffee")[0], "lost", NOW)  # type: ignore[arg-type] # what no command asks for


@pytest.mark.parametrize(
    "label", [one for one in HOSTILE if one and one != "\ud800"][::4], ids=lambda one: ascii(one)[:30]
)
def test_hostile_labels_are_text_on_a_terminal(house: Callable[..., House], label: str) -> None:
    here = house()
    incident = over(here, label[:900])
    for said in (do(here, "postmortem", incident=incident), do(here, "list"), do(here, "search", text="null_rate")):
        assert all(character.isprintable() or character == "\n" for character in said)
    assert max(map(len, do(here, "postmortem", incident=incident, width=70).split("SCHEMA")[0].splitlines()[:8])) <= 70


# In Jira -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def here(server: ScriptedServer, house: Callable[..., House]) -> House:
    settings = EscalateSettings().model_copy(update={"jira": jira_settings(server.url)})
    return house(KeepingReceiver(), settings=Settings(escalate=settings))


def answers(server: ScriptedServer, *bodies: Any, status: int = 200) -> None:
    server.script.extend(Script(status, body=orjson.dumps(body)) for body in bodies)


def test_one_that_is_accepted_has_a_ticket_and_is_done_when_that_is(here: House, server: ScriptedServer) -> None:
    incident = over(here)
    (one,) = proposed(here, incident)
    here.step()
    assert told(server) == [], "what is only proposed is nobody's ticket"
    assert do(here, "accept", corrective=one.action_id).endswith(f"the worker makes its ticket ({one.title})")
    answers(server, FOUND_NONE, MADE)
    here.step()
    search, made = told(server)
    assert search[0] == "/rest/api/3/search/jql"
    assert made[1]["fields"]["summary"] == one.title
    assert f"streamdrift-action-{one.action_id}" in made[1]["fields"]["labels"]
    assert here.ledger.actions.of(incident)[0].ticket == "OPS-17"
    here.step()
    assert told(server) == [], "not asked in each step"
    answers(server, {"issues": [{"key": "OPS-17", "fields": {"status": {"name": "In work"}}}]})
    here.wait(300)
    assert told(server)[0][1]["jql"] == 'key in ("OPS-17")'
    assert (found := here.ledger.actions.of(incident)[0]).ticket_status == "In work"
    assert found.state == "accepted"
    shipped = {"name": "Shipped", "statusCategory": {"key": "done"}}
    answers(server, {"issues": [{"key": "OPS-17", "fields": {"status": shipped}}]})
    here.wait(300)
    assert here.ledger.actions.of(incident)[0].state == "done"
    notes = [entry for entry in here.ledger.timeline.entries(incident) if entry.kind == "note"]
    texts = [entry.text for entry in notes if "action" in entry.detail]
    assert texts[1:] == [
        f"corrective action {one.action_id} is ticket OPS-17 ({one.title})",
        f"corrective action {one.action_id} done: ticket OPS-17 is Shipped ({one.title})",
    ]
    told(server)
    here.wait(3_600)
    assert told(server) == [], "what is done is followed no more"


def test_an_answer_that_is_lost_makes_no_second_ticket(here: House, server: ScriptedServer) -> None:
    (one,) = proposed(here, over(here))
    do(here, "accept", corrective=one.action_id)
    answers(server, FOUND_NONE)
    server.script.append(Script(fault="reset"))
    here.step()
    assert len(told(server)) == 2
    here.wait(30)
    assert told(server) == [], "the search does not know it yet"
    answers(server, {"issues": [{"key": "OPS-9"}]})
    here.wait(40)
    assert [path for path, _ in told(server)] == ["/rest/api/3/search/jql"]
    assert here.ledger.actions.get(one.action_id) is not None
    assert here.ledger.actions.in_states(["accepted"])[0].ticket == "OPS-9"


def test_a_crash_between_the_ticket_and_its_note_makes_no_second(
    here: House, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    (one,) = proposed(here, over(here))
    do(here, "accept", corrective=one.action_id)
    answers(server, FOUND_NONE, MADE)

    real = JiraActions.open

    def dies(self: JiraActions, action: Any, now: float) -> Any:
        real(self, action, now)
        raise Killed

    monkeypatch.setattr(JiraActions, "open", dies)
    with pytest.raises(Killed):
        here.step()
    monkeypatch.undo()
    assert len(told(server)) == 2
    here.crash()
    here.step()
    assert told(server) == [], "whether it was made is not known before the search knows it"
    answers(server, {"issues": [{"key": "OPS-17"}]})
    here.wait(60)
    assert len(told(server)) == 1
    assert here.ledger.actions.in_states(["accepted"])[0].ticket == "OPS-17"


def test_jira_that_refuses_is_asked_an_hour_later_and_keeps_no_page_waiting(
    here: House, server: ScriptedServer
) -> None:
    (one,) = proposed(here, over(here))
    do(here, "accept", corrective=one.action_id)
    server.script.append(Script(403))
    here.step()
    assert len(told(server)) == 1
    here.step(make_alert("temp", at=100, model="another"))
    receiver = here.receivers[0]
    assert isinstance(receiver, KeepingReceiver)
    assert [page.action for page in receiver.pages] == ["trigger", "resolve", "trigger"]
    here.wait(1_800)
    assert told(server) == []
    answers(server, FOUND_NONE, MADE)
    here.wait(1_801)
    assert len(told(server)) == 2


def test_jira_that_is_away_is_asked_once_whatever_waits(here: House, server: ScriptedServer) -> None:
    for one in proposed(here, over(here, "a", "b", "c")):
        do(here, "accept", corrective=one.action_id)
    server.script.append(Script(503))
    for _ in range(5):
        here.step()
    assert len(told(server)) == 1, "each attempt may take as long as its timeout, and pages wait for it"


def test_what_a_person_finished_meanwhile_stays_finished(
    here: House, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    incident = over(here)
    (one,) = proposed(here, incident)
    do(here, "accept", corrective=one.action_id)
    answers(server, FOUND_NONE, MADE)
    here.step()
    shipped = {"name": "Done", "statusCategory": {"key": "done"}}
    answers(server, {"issues": [{"key": "OPS-17", "fields": {"status": shipped}}]})
    real = JiraActions.progress

    def meanwhile(self: JiraActions, keys: Any, now: float) -> Any:
        do(here, "drop", corrective=one.action_id, reason="not needed")
        return real(self, keys, now)

    monkeypatch.setattr(JiraActions, "progress", meanwhile)
    here.wait(300)
    assert here.ledger.actions.of(incident)[0].state == "dropped"


# The commands --------------------------------------------------------------------------------------------------------


def test_causes_are_changes_that_are_known_or_sentences(house: Callable[..., House]) -> None:
    from streamdrift.events.change import Change

    here = house()
    incident = over(here)
    with here.ledger.transaction():
        here.ledger.changes.put(
            Change(
                "fs-12", int(NOW * 1000) - 10**7, "feature-store", "joined anew", ("flight-delay",), (), {}, None, None
            )
        )
    with pytest.raises(SettingsProblem, match=r"fs-13 is no change that is known here \(suspects: fs-12\)"):
        do(here, "postmortem", incident=incident, cause="fs-13")
    with pytest.raises(SettingsProblem, match="--cause is empty"):
        do(here, "postmortem", incident=incident, cause=" ")
    said = do(here, "postmortem", incident=incident, cause="fs-12")
    assert said == f"{incident}: cause confirmed as feature-store fs-12: joined anew"
    do(here, "postmortem", incident=incident, cause="it was the  weather")
    found = here.ledger.causes.get(incident)
    assert found is not None
    assert (found.change_id, found.text) == (None, "it was the weather")
    whole = do(here, "postmortem", incident=incident)
    number = here.ledger.timeline.entries(incident)[-1].seq
    assert "Cause, as confirmed: it was the weather" in whole
    assert found.seq == number
    assert json.loads(do(here, "postmortem", incident=incident, as_json=True))["actions"][0]["state"] == "proposed"
    assert do(here, "postmortem", incident=incident, markdown=True).startswith(f"# Post-mortem {incident}")


def test_the_commands_from_a_shell(house: Callable[..., House]) -> None:
    here = house()
    incident = over(here)
    ledger = {"STREAMDRIFT_ESCALATE__LEDGER": str(here.path)}
    done = streamdrift("incidents", "postmortem", incident[:8], settings=ledger)
    assert (done.code, done.out.splitlines()[0]) == (0, f"Post-mortem {incident}: flight-delay")
    assert "RCA: 5 WHYS" in done.out
    made = json.loads(streamdrift("incidents", "postmortem", incident, "--json", settings=ledger).out)
    (action,) = made["actions"]
    assert streamdrift("incidents", "actions", "accept", action["action_id"], settings=ledger).code == 0
    listed = json.loads(streamdrift("incidents", "actions", "list", incident, "--json", settings=ledger).out)
    assert [row["state"] for row in listed] == ["accepted"]
    assert incident[:8] in streamdrift("incidents", "search", "dep_delay", "ewr", settings=ledger).out
    for asked, code, words in (
        (["postmortem", "zz"], 2, "no incident zz"),
        (["postmortem"], 2, "INCIDENT"),
        (["search"], 2, "one of the two"),
        (["actions", "drop", "x"], 2, "--reason"),
        (["actions"], 2, "ACTION"),
        (["postmortem", incident, "--publish"], 2, "no receiver that keeps documents is set up"),
    ):
        failed = streamdrift("incidents", *asked, settings=ledger)
        assert (failed.code, words in failed.said) == (code, True), failed.said


def test_on_a_terminal_lines_are_no_wider_than_it(tmp_path: Any) -> None:
    here = House(tmp_path / "ledger.sqlite3")
    incident = over(here)
    here.worker.close()
    leader, follower = pty.openpty()
    environment = {**os.environ, "STREAMDRIFT_ESCALATE__LEDGER": str(here.path), "COLUMNS": "60"}
    command = [sys.executable, "-m", "streamdrift", "incidents", "postmortem", incident]
    subprocess.run(command, stdout=follower, env=environment, check=True, timeout=60)
    os.close(follower)
    lines = os.read(leader, 100_000).decode().splitlines()
    os.close(leader)
    assert max(len(line) for line in lines[: lines.index("CORRECTIVE ACTIONS")]) <= 60
