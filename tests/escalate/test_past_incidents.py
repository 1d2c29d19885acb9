"""Seen before: a new incident is held against those that are over, and those are found by words long afterwards."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from streamdrift.embedded.learning_commands import Learning, learning
from streamdrift.errors import SettingsProblem
from streamdrift.escalate.ledger import KEPT_S
from streamdrift.escalate.past import PAST_KEPT_S
from streamdrift.escalate.postmortem.likeness import LIKE_MIN, Marks, Past, likest
from streamdrift.escalate.postmortem.record import Cause
from streamdrift.escalate.tables import past
from streamdrift.settings import Settings
from tests.escalate.conftest import NOW, House, KeepingReceiver, make_alert
from tests.escalate.hostile import HOSTILE
from tests.test_schemas import schema

AT = int(NOW * 1000)
DAY_S = 86_400


def do(house: House, action: str, **other: Any) -> str:
    settings = Settings.model_validate({"escalate": {"ledger": house.path}})
    return learning(Learning(action, **other), settings, house.clock.now())[0]


def over(house: House, *features: str, minutes: int = 5, **other: Any) -> str:
    """An incident that began and ended; its id."""
    alerts = [make_alert(feature, **other) for feature in features]
    before = {incident.incident_id for incident in house.ledger.incidents.all()}
    house.step(*alerts)
    start = other.pop("at", 0)
    house.step(*(make_alert(closes=alert, at=start + minutes) for alert in alerts))
    (made,) = {incident.incident_id for incident in house.ledger.incidents.all()} - before
    return made


def later(house: House, minutes: int, feature: str = "dep_delay", **other: Any) -> str:
    """A new incident, so much later; its id."""
    before = {incident.incident_id for incident in house.ledger.incidents.all()}
    house.clock.time += minutes * 60
    alert = make_alert(feature, at=minutes, onset_at=AT + (minutes - 5) * 60_000, events_seen=90_000, **other)
    house.step(alert)
    (made,) = {incident.incident_id for incident in house.ledger.incidents.all()} - before
    return made


def seen(house: House, incident_id: str) -> list[str]:
    return [entry.text for entry in house.ledger.timeline.entries(incident_id) if "seen_before" in entry.detail]


# In the worker -------------------------------------------------------------------------------------------------------


def test_a_new_incident_says_which_past_one_it_is_like(receiver: KeepingReceiver, house: Callable[..., House]) -> None:
    here = house(receiver)
    first = over(here, "dep_delay")
    do(here, "postmortem", incident=first, cause="a join lost its key")
    again = later(here, 600)
    expected = (
        f"like {first[:8]} of 17 Apr 2013 (same feature, reason, segment): cause confirmed as a join lost its key; "
        "its alerts ended after 5 min"
    )
    assert seen(here, again) == [expected]
    page = receiver.pages[-1]
    assert page.incident["seen_before"]["sentence"] == expected
    assert page.incident["explanation"][-1] == expected
    assert "seen_before" not in receiver.pages[0].incident
    assert here.ledger.timeline.entries(again)[1].kind == "note", "told once, beside the page"


def test_the_page_of_the_webhook_keeps_to_its_schema(receiver: KeepingReceiver, house: Callable[..., House]) -> None:
    from streamdrift.escalate.receivers.webhook import encode

    here = house(receiver)
    over(here, "dep_delay")
    later(here, 600)
    Draft202012Validator(schema("incident-webhook")).validate(json.loads(encode(receiver.pages[-1])))
    assert "seen_before" in json.loads(encode(receiver.pages[-1]))["data"]["incident"]


def test_what_is_not_alike_says_nothing(house: Callable[..., House]) -> None:
    here = house()
    over(here, "dep_delay")
    assert seen(here, later(here, 600, "seats")) == []
    assert seen(here, later(here, 1_200, "dep_delay", reason="mean_shift", model="another")) == []


def test_what_came_back_is_not_like_itself_and_not_past(house: Callable[..., House]) -> None:
    here = house()
    first = over(here, "dep_delay")
    here.step(make_alert(at=10, onset_at=AT, events_seen=13_000))
    assert here.ledger.incidents.all()[0].reopened == 1
    assert seen(here, first) == []
    assert do(here, "search", text="dep_delay").startswith(f"{first[:8]}  open")
    other = later(here, 600, model="another")
    assert seen(here, other) == [], "it goes on"


def test_how_it_ended_is_told(house: Callable[..., House]) -> None:
    from streamdrift.embedded.incident_commands import Incidents, incidents

    here = house()
    here.step(make_alert())
    first = here.ledger.incidents.all()[0].incident_id
    settings = Settings.model_validate({"escalate": {"ledger": here.path}})
    incidents(Incidents("resolve", first, reason="the campaign is over"), settings, NOW + 600)
    (found,) = here.ledger.past.search("campaign", 5)
    assert found.ending == "resolved by hand after 10 min: the campaign is over"
    with here.ledger.transaction():
        here.ledger.timeline.add(first, AT, "mitigation_verified", "roll-back to 6 verified", {})
        here.ledger.learn(here.ledger.incidents.all()[0])
    expected = "over after 10 min, with a mitigation: roll-back to 6 verified"
    assert here.ledger.past.search("campaign", 5)[0].ending == expected


def test_what_was_paged_to_nobody_is_no_past_incident(house: Callable[..., House]) -> None:
    here = house()
    over(here, "dep_delay", severity="info")
    assert here.ledger.past.count() == 0


@pytest.mark.parametrize(
    "label", [label for label in HOSTILE if label and label != "\ud800"][::3], ids=lambda one: ascii(one)[:30]
)
def test_hostile_labels_are_kept_and_found(house: Callable[..., House], label: str) -> None:
    here = house()
    first = over(here, label[:900], model=label[:900])
    again = later(here, 600, label[:900], model=label[:900])
    assert first[:8] in seen(here, again)[0]
    words = label.split()
    if words and all(word.isprintable() and len(word) < 40 for word in words):
        assert first[:8] in do(here, "search", text=words[0])


# Kept ----------------------------------------------------------------------------------------------------------------


def test_what_was_learnt_outlasts_the_incident(house: Callable[..., House]) -> None:
    here = house()
    first = over(here, "dep_delay")
    do(here, "postmortem", incident=first, cause="a join lost its key")
    here.ledger.prune(here.clock.now() + KEPT_S + DAY_S)
    assert here.ledger.incidents.all() == []
    assert here.ledger.timeline.entries(first) == []
    (found,) = here.ledger.past.search("JOIN key", 5)
    assert (found.incident_id, found.cause and found.cause.text) == (first, "a join lost its key")
    here.ledger.prune(here.clock.now() + PAST_KEPT_S + DAY_S)
    assert here.ledger.past.count() == 0
    assert here.ledger.causes.get(first) is None


def test_incidents_that_an_older_release_ended_are_noted_at_start(house: Callable[..., House]) -> None:
    here = house()
    first = over(here, "dep_delay")
    here.ledger._database.execute(past.delete())
    here.crash()
    assert [one.incident_id for one in here.ledger.past.search("dep_delay", 5)] == [first]


# Searching -----------------------------------------------------------------------------------------------------------


def test_words_are_searched_as_they_are(house: Callable[..., House]) -> None:
    here = house()
    first = over(here, "a%b_c", model="50%")
    assert first[:8] in do(here, "search", text="A%B")
    assert do(here, "search", text="a%c") == "nothing found"
    assert do(here, "search", text="a_b") == "nothing found"
    assert do(here, "search", text="origin=ewr nothing") == "nothing found"
    assert json.loads(do(here, "search", text="origin=ewr", as_json=True))[0]["incident_id"] == first
    for wrong in ({}, {"text": " "}, {"text": "x", "like": first}):
        with pytest.raises(SettingsProblem, match="one of the two"):
            do(here, "search", **wrong)


def test_those_that_one_is_like_are_listed(house: Callable[..., House]) -> None:
    here = house()
    first = over(here, "dep_delay")
    again = later(here, 600)
    said = do(here, "search", like=again[:10], width=80)
    assert said.splitlines()[0].startswith(f"{first[:8]}  17 Apr 2013  warning  flight-delay: null_rate")
    assert max(map(len, said.splitlines())) <= 80
    assert "alike: same feature, reason, segment" in said
    (found,) = json.loads(do(here, "search", like=again, as_json=True))
    assert (found["incident_id"], found["past"]["cause"]) == (first, None)
    assert do(here, "search", like=first) == "no past incident is like it", "the other one goes on"


# Pure ----------------------------------------------------------------------------------------------------------------

MARKS = Marks("m", "a", frozenset({"a/null_rate"}), frozenset({"x=1"}), frozenset({"null_rate"}))


def past_one(marks: Marks = MARKS, incident_id: str = "p", cause: str | None = None, resolved_at: int = 0) -> Past:
    found = None if cause is None else Cause(incident_id, 0, "text", "c", cause)
    return Past(incident_id, marks, "warning", 0, resolved_at, "headline", "it ended", found)


def test_the_likest_is_first_then_one_with_a_cause_then_the_latest() -> None:
    other_place = replace(MARKS, segments=frozenset({"x=2"}))
    more = replace(MARKS, signals=frozenset({"a/null_rate", *(f"f{i}/values" for i in range(9))}))
    given = [
        past_one(other_place, "elsewhere", "schema"),
        past_one(more, "more"),
        past_one(MARKS, "early", resolved_at=1),
        past_one(MARKS, "late", resolved_at=2),
        past_one(MARKS, "explained", "schema"),
    ]
    assert [one.past.incident_id for one in likest(MARKS, given)] == ["explained", "late", "early", "more", "elsewhere"]
    only = likest(MARKS, given, {"schema"})[0]
    assert only.past.incident_id == "explained"
    assert only.same[-1] == "a suspect of the kind of its cause (schema)"
    assert only.score <= 1


def test_without_a_signal_in_common_nothing_is_alike() -> None:
    assert likest(replace(MARKS, signals=frozenset({"b/null_rate"})), [past_one()]) == []
    another = replace(MARKS, model="n")
    (found,) = likest(another, [past_one()])
    assert found.score >= LIKE_MIN
    assert found.same == ("same feature", "reason", "segment", "of model m")


def test_the_number_of_past_incidents_is_bounded(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from streamdrift.escalate import past as module

    monkeypatch.setattr(module, "PAST_MAX", 3)
    here = House(tmp_path / "ledger.sqlite3")
    ids = [over(here, "f", model=f"m{i}", at=10 * i) for i in range(5)]
    here.ledger.prune(here.clock.now())
    kept = {one.incident_id for one in here.ledger.past.search("null_rate", 9)}
    assert kept == set(ids[2:])
    here.worker.close()
