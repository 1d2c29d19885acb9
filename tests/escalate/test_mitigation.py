"""Mitigations from the page to their end: offered, approved, sent, verified by recovery, or taken back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import orjson
import pytest

from streamdrift.embedded.mitigate_command import Mitigate, mitigate
from streamdrift.errors import Retriable, SettingsProblem
from streamdrift.escalate.mitigation.states import STATES, State, moved
from streamdrift.settings import Settings
from tests.escalate.conftest import NOW, ONSET, House, KeepingReceiver, make_alert
from tests.escalate.mitigations import (
    DAY,
    NEW,
    OLD,
    ServingSide,
    deployment,
    kinds,
    of,
    settings_of,
    states,
    status,
)

pytestmark = pytest.mark.usefixtures("patience_of_the_settings")

Make = Callable[..., House]


@pytest.fixture
def serving() -> ServingSide:
    return ServingSide()


def begin(house: Make, receiver: KeepingReceiver, serving: ServingSide, **other: Any) -> House:
    """A house with known versions and one incident that is paged."""
    here = house(receiver, serving=serving, settings=settings_of(**other))
    for change in (OLD, NEW):
        here.ledger.changes.put(change)
    here.step(make_alert())
    return here


def ask(here: House, action: str | None = "roll_back", **other: Any) -> str:
    (incident,) = here.ledger.incidents.all()
    settings = here.settings.escalate.model_copy(update={"ledger": str(here.path)})
    asked = Mitigate(incident.incident_id[:8], action, **other)
    return mitigate(asked, Settings(escalate=settings), here.clock.now())[0]


# Offered -------------------------------------------------------------------------------------------------------------


def test_a_page_says_what_could_be_done_and_its_headline_stays_as_it_was(
    receiver: KeepingReceiver, house: Make, serving: ServingSide
) -> None:
    here = begin(house, receiver, serving)
    (page,) = receiver.pages
    incident_id = page.incident["incident_id"]
    lines = [line for line in page.incident["explanation"] if line.startswith("could: ")]
    assert lines[0] == (
        f"could: roll back to version 6 — approve with `streamdrift incidents mitigate {incident_id[:8]} --action roll_back "
        "--approve`; version 6 does not read dep_delay (deploy-6 says what it reads)"
    )
    assert "could" not in page.headline
    assert [one["action"] for one in page.incident["mitigations"]] == [
        "roll_back",
        "shadow",
        "stop_segment",
        "fallback",
    ]
    assert states(here) == [(a, "proposed") for a in ("roll_back", "shadow", "stop_segment", "fallback")]
    assert kinds(here).count("mitigation_proposed") == 4
    assert serving.bodies == []
    here.step(make_alert("alt", at=1))  # joins, pages nobody
    here.crash()
    here.step()
    assert kinds(here).count("mitigation_proposed") == 4


def test_without_settings_nothing_is_offered_and_nothing_said(receiver: KeepingReceiver, house: Make) -> None:
    here = house(receiver)
    here.step(make_alert())
    (page,) = receiver.pages
    assert "mitigations" not in page.incident
    assert of(here) == []
    with pytest.raises(SettingsProblem, match="mitigation is off; set escalate"):
        ask(here)


def test_an_older_version_that_reads_what_broke_is_not_offered(
    receiver: KeepingReceiver, house: Make, serving: ServingSide
) -> None:
    here = house(receiver, serving=serving, settings=settings_of())
    here.ledger.changes.put(deployment("6", ONSET - 9 * DAY, ("dep_delay", "seats")))
    here.ledger.changes.put(NEW)
    here.step(make_alert())
    assert "roll_back" not in [action for action, _ in states(here)]
    why = "version 6 reads dep_delay as well (deploy-6 says what it reads)"
    assert f"roll back to version 6: it would not help: {why}" in " ".join(ask(here, None).split())
    with pytest.raises(SettingsProblem, match="is not offered: it would not help: version 6 reads dep_delay"):
        ask(here, approve=True)
    assert states(here)[0] == ("shadow", "proposed")


def test_an_offer_ends_when_nobody_approves_it(receiver: KeepingReceiver, house: Make, serving: ServingSide) -> None:
    here = begin(house, receiver, serving, offers=("*=roll_back",), expiry_s=600)
    here.wait(599)
    assert states(here) == [("roll_back", "proposed")]
    here.wait(2)
    assert states(here) == [("roll_back", "expired")]
    assert kinds(here).count("mitigation_expired") == 1
    assert status(here) == "open"
    ask(here, approve=True)  # somebody who comes later is not held up by that
    here.step()
    assert states(here) == [("roll_back", "expired"), ("roll_back", "sent")]


def test_what_was_refused_is_not_offered_again(receiver: KeepingReceiver, house: Make, serving: ServingSide) -> None:
    here = begin(house, receiver, serving, offers=("*=roll_back,shadow",))
    assert "refused: roll back to version 6" in ask(here, refuse=True)
    here.step(make_alert(at=1, severity="critical", feature="alt"))
    assert len(receiver.pages) == 2
    assert states(here) == [("roll_back", "refused"), ("shadow", "proposed")]
    assert not any("roll back" in line for line in receiver.pages[1].incident["explanation"])


# Approved ------------------------------------------------------------------------------------------------------------


def test_approved_sent_and_verified_by_recovery(receiver: KeepingReceiver, house: Make, serving: ServingSide) -> None:
    here, alert = begin(house, receiver, serving, offers=("*=roll_back",)), make_alert()
    said = ask(here, approve=True)
    assert said.endswith(
        "roll back to version 6: approved; the worker sends it, and takes it back unless the alerts recover within 30 min"
    )
    assert serving.bodies == []
    here.step()
    assert (states(here), status(here)) == ([("roll_back", "sent")], "mitigating")
    (body,) = serving.bodies
    data = body["data"]
    assert (data["operation"], data["action"], data["to_version"], data["from_version"]) == (
        "mitigate",
        "roll_back",
        "6",
        "7",
    )
    assert (data["model"], data["approved"], data["dry_run"]) == ("flight-delay", "person", False)
    here.wait(600)
    here.step(make_alert(closes=alert, at=15))
    assert (states(here), status(here)) == ([("roll_back", "verified")], "resolved")
    here.wait(7200)
    assert serving.operations == ["mitigate"]
    assert [kind for kind in kinds(here) if kind.startswith("mitigation")] == [
        f"mitigation_{what}" for what in ("proposed", "approved", "sent", "verified")
    ]
    assert here.count("mitigations_total", action="roll_back", state="verified") == 1


def test_no_data_is_no_recovery_and_it_is_taken_back_and_somebody_is_called(
    receiver: KeepingReceiver, house: Make, serving: ServingSide
) -> None:
    here = begin(house, receiver, serving, offers=("*=roll_back",), verify_s=900)
    ask(here, approve=True)
    here.step()
    here.wait(899)
    assert serving.operations == ["mitigate"]
    here.wait(2)
    assert serving.operations == ["mitigate", "revert"]
    assert serving.bodies[0]["data"]["mitigation_id"] == serving.bodies[1]["data"]["mitigation_id"]
    assert len(serving.asked) == 2
    here.wait(1)
    assert (states(here), status(here)) == ([("roll_back", "reverted")], "open")
    assert [page.action for page in receiver.pages] == ["trigger", "trigger"]
    assert receiver.pages[1].headline.startswith("not recovered, roll back to version 6 was taken back: flight-delay: ")
    here.wait(3600)
    here.crash()
    here.step()
    assert len(receiver.pages) == 2
    here.step(make_alert(closes=make_alert(), at=200))
    assert [page.action for page in receiver.pages].count("resolve") == 2  # of both pages


def test_some_alerts_that_end_are_no_recovery(receiver: KeepingReceiver, house: Make, serving: ServingSide) -> None:
    here = begin(house, receiver, serving, offers=("*=roll_back",), verify_s=900)
    here.step(other := make_alert("alt", at=1))
    ask(here, approve=True)
    here.step()
    here.step(make_alert(closes=other, at=3))
    assert states(here) == [("roll_back", "sent")]
    here.wait(901)
    assert serving.operations[-1] == "revert"


def test_alerts_that_wait_unread_put_off_the_revert_but_not_for_ever(
    receiver: KeepingReceiver, house: Make, serving: ServingSide
) -> None:
    """The broker is away: the recovery may be there, unread."""
    here = begin(house, receiver, serving, offers=("*=roll_back",), verify_s=900)
    ask(here, approve=True)
    here.step()
    here.wait(800)
    poll = here.worker._source.poll

    def away(*_: object) -> Any:
        raise Retriable("the broker is away")

    here.worker._source.poll = away  # type: ignore[method-assign,assignment] # the broker's fault
    here.clock.time += 200
    with pytest.raises(Retriable):
        here.worker.step(0.0)
    assert states(here) == [("roll_back", "sent")]
    here.clock.time += 701
    with pytest.raises(Retriable):
        here.worker.step(0.0)
    assert states(here) == [("roll_back", "reverted")]
    here.worker._source.poll = poll  # type: ignore[method-assign] # it is back


def test_a_worker_that_has_just_begun_looks_before_it_takes_back(
    receiver: KeepingReceiver, house: Make, serving: ServingSide
) -> None:
    here = begin(house, receiver, serving, offers=("*=roll_back",), verify_s=900)
    ask(here, approve=True)
    here.step()
    here.clock.time += 5_000
    here.crash()
    here.step()
    assert states(here) == [("roll_back", "sent")]
    here.wait(4)
    assert serving.operations == ["mitigate"]
    here.wait(1)
    assert serving.operations == ["mitigate", "revert"]


def test_what_is_not_to_be_taken_back_stays_and_somebody_is_called(
    receiver: KeepingReceiver, house: Make, serving: ServingSide
) -> None:
    here = begin(house, receiver, serving, offers=("*=stop_segment",), reverts=("roll_back",))
    ask(here, "stop_segment", approve=True)
    here.step()
    assert serving.bodies[0]["data"]["segment"] == {"origin": "EWR"}
    here.wait(1801)
    here.wait(1)
    assert (states(here), status(here), serving.operations) == ([("stop_segment", "kept")], "open", ["mitigate"])
    assert receiver.pages[-1].headline.startswith("not recovered, stop segment origin=EWR stays in force: ")


def test_somebody_keeps_it(receiver: KeepingReceiver, house: Make, serving: ServingSide) -> None:
    here = begin(house, receiver, serving, offers=("*=fallback",))
    with pytest.raises(SettingsProblem, match="is in force that could be kept"):
        ask(here, None, keep=True)
    ask(here, "fallback", approve=True)
    here.step()
    assert "stays in force" in ask(here, None, keep=True)
    assert status(here) == "acknowledged"
    here.wait(4000)
    assert (states(here), serving.operations, len(receiver.pages)) == ([("fallback", "kept")], ["mitigate"], 1)


# Answers of the serving side -----------------------------------------------------------------------------------------


def test_an_ambiguous_attempt_is_repeated_under_the_same_key(
    receiver: KeepingReceiver, house: Make, serving: ServingSide
) -> None:
    here = begin(house, receiver, serving, offers=("*=roll_back",))
    serving.script = ["silent", "retry", "delivered"]
    ask(here, approve=True)
    for _ in range(4):
        here.wait(5)
    assert (list(serving.asked.values()), len(serving.in_force), states(here)) == ([2], 1, [("roll_back", "sent")])
    assert serving.bodies[0] == serving.bodies[1]


def test_a_refusal_of_the_serving_side_is_told(receiver: KeepingReceiver, house: Make, serving: ServingSide) -> None:
    here = begin(house, receiver, serving, offers=("*=roll_back",))
    serving.script = ["refused"]
    ask(here, approve=True)
    here.step()
    here.wait(1)
    assert (states(here), status(here)) == ([("roll_back", "failed")], "open")
    assert receiver.pages[-1].headline.startswith("roll back to version 6 failed: flight-delay: ")
    assert "mitigation_failed" in kinds(here)
    assert "no such version" in of(here)[0].said
    assert of(here)[0].sent_at is None  # so there is no cool-down
    ask(here, approve=True)


def test_what_may_have_been_done_and_was_never_answered_is_taken_back(
    receiver: KeepingReceiver, house: Make, serving: ServingSide
) -> None:
    """Nobody knows whether it is in force: after its time the revert goes out, for which that is all the same."""
    here = begin(house, receiver, serving, offers=("*=roll_back",), expiry_s=60)
    serving.script = ["silent", *["lost"] * 50]
    ask(here, approve=True)
    for _ in range(14):
        here.wait(5)
    assert "reverting" in states(here)[0]
    serving.script.clear()
    here.wait(5)
    here.wait(1)
    assert (states(here), serving.in_force) == ([("roll_back", "reverted")], set())
    assert receiver.pages[-1].headline.startswith("not recovered, roll back to version 6 was taken back: ")


def test_what_could_not_be_delivered_in_time_is_not_delivered_later(
    receiver: KeepingReceiver, house: Make, serving: ServingSide
) -> None:
    here = begin(house, receiver, serving, offers=("*=roll_back",), expiry_s=60)
    serving.script = ["retry"] * 20
    ask(here, approve=True)
    for _ in range(3):
        here.wait(5)
    here.clock.time += 6 * 3600  # the worker was down
    serving.script.clear()
    here.crash()
    here.step()
    assert (states(here), serving.bodies, status(here)) == ([("roll_back", "expired")], [], "open")


def test_a_revert_that_the_serving_side_refuses_is_told_and_can_be_sent_again(
    receiver: KeepingReceiver, house: Make, serving: ServingSide
) -> None:
    from streamdrift.embedded.incident_commands import Incidents, incidents

    here = begin(house, receiver, serving, offers=("*=roll_back",))
    serving.script = ["delivered", "refused"]
    ask(here, approve=True)
    here.step()
    here.wait(1801)
    here.wait(1)
    assert (states(here), status(here)) == ([("roll_back", "failed")], "open")
    assert "could not be taken back" in of(here)[0].said
    settings = Settings(escalate=here.settings.escalate.model_copy(update={"ledger": str(here.path)}))
    said = incidents(Incidents("redrive", everything=True), settings, here.clock.now())
    assert "1 delivery sent again" in said
    here.wait(1)
    assert (states(here), serving.in_force) == ([("roll_back", "reverted")], set())


# Between people and alerts -------------------------------------------------------------------------------------------


def test_recovery_before_it_is_sent_leaves_it_unsent(
    receiver: KeepingReceiver, house: Make, serving: ServingSide
) -> None:
    here = begin(house, receiver, serving, offers=("*=roll_back,shadow",))
    serving.script = ["retry"]
    ask(here, approve=True)
    here.step()
    here.step(make_alert(closes=make_alert(), at=1))
    here.wait(60)
    assert (states(here), serving.bodies) == ([("roll_back", "expired"), ("shadow", "expired")], [])


def test_recovery_while_nobody_knows_whether_it_was_done_says_so(
    receiver: KeepingReceiver, house: Make, serving: ServingSide
) -> None:
    here = begin(house, receiver, serving, offers=("*=roll_back",))
    serving.script = ["silent"]
    ask(here, approve=True)
    here.step()
    here.step(make_alert(closes=make_alert(), at=1))
    here.wait(60)
    assert states(here) == [("roll_back", "failed")]
    assert "look at the serving side whether it is in force" in of(here)[0].said
    assert len(serving.bodies) == 1


def test_recovery_just_before_the_revert_goes_out_keeps_it(
    receiver: KeepingReceiver, house: Make, serving: ServingSide
) -> None:
    here = begin(house, receiver, serving, offers=("*=roll_back",))
    ask(here, approve=True)
    here.step()
    here.worker._deliverer._paused_until["mitigation"] = 1e12  # the serving side asked for a pause
    here.wait(1801)
    assert states(here) == [("roll_back", "reverting")]
    here.step(make_alert(closes=make_alert(), at=40))
    here.worker._deliverer._paused_until.clear()
    here.wait(60)
    assert (states(here), serving.operations) == ([("roll_back", "verified")], ["mitigate"])


def test_resolved_by_hand_it_stays_and_is_not_called_verified(
    receiver: KeepingReceiver, house: Make, serving: ServingSide
) -> None:
    from streamdrift.embedded.incident_commands import Incidents, incidents

    here = begin(house, receiver, serving, offers=("*=roll_back,shadow",))
    ask(here, approve=True)
    here.step()
    (incident,) = here.ledger.incidents.all()
    settings = Settings(escalate=here.settings.escalate.model_copy(update={"ledger": str(here.path)}))
    said = incidents(Incidents("resolve", incident.incident_id, "seen to"), settings, here.clock.now())
    assert said.endswith("the worker tells keeping")
    here.wait(4000)
    assert states(here) == [("roll_back", "kept"), ("shadow", "expired")]
    assert (serving.operations, len(receiver.pages)) == (["mitigate"], 2)


def test_refused_as_long_as_nothing_was_sent(receiver: KeepingReceiver, house: Make, serving: ServingSide) -> None:
    here = begin(house, receiver, serving, offers=("*=roll_back",))
    ask(here, approve=True)
    ask(here, refuse=True)
    here.wait(60)
    assert (states(here), serving.bodies) == ([("roll_back", "refused")], [])
    ask(here, approve=True)
    serving.script = ["silent"]
    here.step()
    with pytest.raises(SettingsProblem, match="is on its way to the serving side, or there; nothing was refused"):
        ask(here, refuse=True)


def test_refused_between_the_worker_s_look_and_its_attempt(
    receiver: KeepingReceiver, house: Make, serving: ServingSide
) -> None:
    """The worker has read what is due; then somebody refuses; then the worker would send."""
    here = begin(house, receiver, serving, offers=("*=roll_back",))
    ask(here, approve=True)
    outbox = here.worker._deliverer._outbox
    attempting = outbox.attempting

    def late(delivery: Any) -> bool:
        if delivery.receiver == "mitigation" and of(here)[0].state == "approved":
            ask(here, refuse=True)
        return attempting(delivery)

    outbox.attempting = late  # type: ignore[method-assign] # the command comes in between
    here.wait(1)
    assert (states(here), serving.bodies) == ([("roll_back", "refused")], [])


def test_the_cool_down_holds_for_one_action_of_a_model(
    receiver: KeepingReceiver, house: Make, serving: ServingSide
) -> None:
    here = begin(house, receiver, serving, offers=("*=roll_back,fallback",), cooldown_s=7200, expiry_s=86_400)
    ask(here, approve=True)
    with pytest.raises(SettingsProblem, match=r"another is running for this model: roll back to version 6 \(approved"):
        ask(here, "fallback", approve=True)
    here.step()
    here.wait(1801)
    here.wait(1)
    assert states(here)[0] == ("roll_back", "reverted")
    with pytest.raises(
        SettingsProblem, match="in the cool-down for another 1 h 29 min: it was sent for this model 30 min"
    ):
        ask(here, approve=True)
    assert "roll back to version 6: in the cool-down for another" in " ".join(ask(here, None).split())
    ask(here, "fallback", approve=True)
    here.step()
    assert states(here)[1] == ("fallback", "sent")
    here.wait(1801)
    here.wait(7200)
    ask(here, approve=True)


def test_dry_run_changes_nothing_outside_and_is_not_taken_back(
    receiver: KeepingReceiver, house: Make, serving: ServingSide
) -> None:
    here = begin(house, receiver, serving, offers=("*=roll_back",))
    assert ask(here, approve=True, dry_run=True).endswith("approved; the worker sends it as a dry run")
    here.wait(1)
    assert serving.bodies[0]["data"]["dry_run"] is True
    assert (states(here), status(here), serving.in_force) == ([("roll_back", "sent")], "open", set())
    here.wait(9000)
    assert serving.operations == ["mitigate"]
    ask(here, approve=True)  # no cool-down
    here.step()
    assert (serving.bodies[1]["data"]["dry_run"], status(here)) == (False, "mitigating")


# By itself -----------------------------------------------------------------------------------------------------------


def test_what_the_settings_approve_is_sent_once_for_an_incident(
    receiver: KeepingReceiver, house: Make, serving: ServingSide
) -> None:
    here = begin(house, receiver, serving, approval="automatic", offers=("*=roll_back,shadow",))
    assert serving.bodies[0]["data"]["approved"] == "settings"
    assert states(here) == [("roll_back", "sent"), ("shadow", "proposed")]
    assert receiver.pages[0].incident["explanation"][0] == (
        "mitigation under way: roll back to version 6, approved, approved by the settings"
    )
    here.wait(1801)
    here.wait(10_000)
    here.step(make_alert(at=250, severity="critical", feature="alt"))
    assert len(receiver.pages) == 3
    assert serving.operations == ["mitigate", "revert"]  # what did not help is followed by nothing of itself


def test_what_is_not_known_waits_for_a_human(receiver: KeepingReceiver, house: Make, serving: ServingSide) -> None:
    here = house(receiver, serving=serving, settings=settings_of(approval="automatic", offers=("*=roll_back",)))
    here.ledger.changes.put(deployment("6", ONSET - 9 * DAY))
    here.step(make_alert())
    here.wait(10)
    assert (states(here), serving.bodies) == ([("roll_back", "proposed")], [])
    line = receiver.pages[0].incident["explanation"][0]
    assert line.endswith("; whether version 6 reads dep_delay is not known")
    said = ask(here, approve=True)
    assert "though whether version 6 reads dep_delay is not known" in said
    here.step()
    assert serving.bodies[0]["data"]["check"]["verdict"] == "unknown"


def test_growth_while_it_runs_pages_and_starts_nothing_else(
    receiver: KeepingReceiver, house: Make, serving: ServingSide
) -> None:
    here = begin(house, receiver, serving, approval="automatic")
    here.step(make_alert(at=1, severity="critical", feature="alt"))
    assert (len(receiver.pages), status(here), serving.operations) == (2, "mitigating", ["mitigate"])
    assert any("mitigation under way" in line for line in receiver.pages[1].incident["explanation"])


# Other ends ----------------------------------------------------------------------------------------------------------


def test_switched_off_while_it_is_in_force(receiver: KeepingReceiver, house: Make, serving: ServingSide) -> None:
    here = begin(house, receiver, serving, offers=("*=roll_back,shadow",))
    ask(here, approve=True)
    here.step()
    here.settings, here.serving = Settings(), None
    here.crash()
    here.step()
    here.wait(1)
    assert states(here) == [("roll_back", "kept"), ("shadow", "expired")]
    assert receiver.pages[-1].headline.startswith("not recovered, roll back to version 6 stays in force: ")
    here.crash()
    here.wait(1)
    assert len(receiver.pages) == 2


def test_a_backfill_offers_nothing(receiver: KeepingReceiver, house: Make, serving: ServingSide) -> None:
    here = house(receiver, serving=serving, settings=settings_of(approval="automatic"))
    here.clock.time = NOW + 3 * 86_400
    here.step(make_alert())
    assert (of(here), serving.bodies, receiver.pages) == ([], [], [])


def test_only_some_moves_are_possible(receiver: KeepingReceiver, house: Make, serving: ServingSide) -> None:
    here = begin(house, receiver, serving, offers=("*=roll_back",))
    (one,) = of(here)
    bad: tuple[State, ...] = ("sent", "verified", "reverted", "kept")
    for state in bad:
        with pytest.raises(ValueError, match=f"proposed can't become {state}"):
            moved(one, state)
    ends: tuple[State, ...] = ("refused", "expired", "verified", "kept", "reverted")
    for end in ends:
        for state in STATES:
            with pytest.raises(ValueError, match="can't become"):
                moved(replace(one, state=end), state)


def test_an_incident_has_a_bounded_number_of_them(
    receiver: KeepingReceiver, house: Make, serving: ServingSide, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamdrift.escalate.mitigation.offers.PER_INCIDENT_MAX", 2)
    monkeypatch.setattr("streamdrift.escalate.mitigation.course.PER_INCIDENT_MAX", 2)
    here = begin(house, receiver, serving, offers=("*=roll_back,shadow",), expiry_s=30)
    here.wait(31)
    here.step(make_alert(at=1, severity="critical", feature="alt"))
    assert len(of(here)) == 2
    assert here.count("limit_hits_total", limit="mitigations_per_incident_max") == 1
    with pytest.raises(SettingsProblem, match="has had 2 mitigations or offers"):
        ask(here, approve=True)


def test_the_message_is_the_one_that_was_approved(receiver: KeepingReceiver, house: Make, serving: ServingSide) -> None:
    """What changes between approval and attempt changes nothing of it: a receiver may keep it by its key."""
    here = begin(house, receiver, serving, offers=("*=roll_back",))
    serving.script = ["silent"]
    ask(here, approve=True)
    here.step()
    here.ledger.changes.put(deployment("6.1", ONSET - DAY // 2))
    here.step(make_alert("alt", at=1))
    here.wait(30)
    first, second = serving.bodies
    assert orjson.dumps(first) == orjson.dumps(second)
    assert first["data"]["to_version"] == "6"
