"""Upstream changes: which are suspects, what speaks for and against each, and where they are told."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from streamdrift.escalate.changes import Changes
from streamdrift.escalate.incident import Incident
from streamdrift.escalate.policy import apply
from streamdrift.escalate.suspects import LOOKED_BACK_MS, no_deployment, suspects
from streamdrift.escalate.worker import EscalationWorker
from streamdrift.events.change import Change
from streamdrift.ports import Partition, Record
from streamdrift.settings import EscalateSettings
from streamdrift.transports.memory import MemoryBroker, MemorySource
from tests.escalate.conftest import MINUTE, NOW, ONSET, TOPIC, House, KeepingReceiver, make_alert

HOUR = 60 * MINUTE
MODEL = "flight-delay"


def made(change_id: str = "c", minutes: float = -30, kind: str = "deployment", **other: Any) -> Change:
    """A change, so many minutes after the onset."""
    fields = {"models": (MODEL,), "features": (), "segments": {}, "link": None, "author": None} | other
    return Change(change_id, ONSET + round(minutes * MINUTE), kind, f"summary of {change_id}", **fields)


def incident(*alerts: Any) -> Incident:
    found: Incident | None = None
    for alert in alerts or (make_alert(),):
        found = apply(found, alert, EscalateSettings()).incident
    assert found is not None
    return found


def ids(changes: Sequence[Change], found: Incident | None = None, alarmed: set[str] | None = None) -> list[str]:
    return [one.change.change_id for one in suspects(found or incident(), changes, alarmed)]


@pytest.mark.parametrize(
    ("more", "less"),
    [
        (made("near", -10), made("far", -600)),
        (made("before", -30), made("after", 20)),
        (made("named", features=("dep_delay",)), made("unnamed")),
        (made("mine"), made("anybody's", models=())),
        (made("deployed"), made("retrained", kind="training-data")),
        (made("the feature, an hour earlier", -90, features=("dep_delay",)), made("any, close by", -30)),
    ],
)
def test_what_makes_a_change_more_suspicious(more: Change, less: Change) -> None:
    assert ids([less, more]) == ids([more, less]) == [more.change_id, less.change_id]


@pytest.mark.parametrize(
    "innocent",
    [
        made(minutes=-25 * 60),
        made(minutes=61),
        made(models=("other",)),
        made(features=("arr_delay",)),
        made(segments={"origin": "JFK"}),
        made(kind="rebaseline"),
    ],
)
def test_what_can_have_nothing_to_do_with_it(innocent: Change) -> None:
    assert ids([innocent]) == []


def test_what_speaks_for_and_against_is_said() -> None:
    moved = incident(make_alert(), make_alert("taxi_out"))
    change = made(
        features=("dep_delay", "distance"), models=(MODEL, "cargo", "fares"), link="https://example.com/7", author="x"
    )
    (found,) = suspects(moved, [change], {MODEL, "fares"})
    assert found.why == ("30 min before the onset", "it names dep_delay", "fares in its scope is hit as well")
    assert found.against == (
        "distance that it names as well is quiet",
        "it does not name taxi_out",
        "cargo in its scope is quiet",
    )
    assert found.sentence.startswith("suspect: deployment c: summary of c; 30 min before the onset, ")
    assert "; but distance that it names" in found.sentence
    assert "cause" not in found.sentence
    (late,) = suspects(moved, [made(minutes=20, models=())])
    assert late.against == ("it came 20 min after the onset", "it names no feature", "it names no model")


def test_what_moved_slightly_is_not_called_quiet() -> None:
    moved = incident(make_alert(), make_alert("distance", severity="info"))
    (found,) = suspects(moved, [made(features=("dep_delay", "distance"))])
    assert found.why[1:] == ("it names dep_delay", "it names distance, which moved slightly")
    assert found.against == ()
    (of_slight,) = suspects(moved, [made(features=("distance",))])
    assert of_slight.why[1:] == ("it names distance, which moved slightly",)


def test_a_change_that_nothing_speaks_for_has_no_empty_clause() -> None:
    (found,) = suspects(incident(make_alert()), [made(minutes=20)])
    assert "summary of c; but it came 20 min after the onset" in found.sentence


def test_a_change_of_the_segment_that_moved_is_more_suspicious_than_one_of_all_or_of_others() -> None:
    same, other = made("same", segments={"origin": "EWR"}), made("other", segments={"carrier": "UA"})
    found = suspects(incident(make_alert()), [other, made("all"), same])
    assert [one.change.change_id for one in found] == ["same", "all", "other"]
    assert "it names origin=EWR" in found[0].why
    assert "it is of carrier=UA alone" in found[2].against
    everywhere = suspects(incident(make_alert(segment="")), [other, made("all")])
    assert [one.change.change_id for one in everywhere] == ["all", "other"]


def test_a_model_in_its_scope_that_is_quiet_makes_a_change_less_suspicious() -> None:
    quiet, own = made("a-quiet", models=(MODEL, "cargo")), made("b-own", models=(MODEL,))
    found = suspects(incident(make_alert()), [quiet, own], {MODEL})
    assert [one.change.change_id for one in found] == ["b-own", "a-quiet"]


def test_the_range_of_an_onset_counts() -> None:
    uncertain = incident(make_alert(onset_range=(ONSET - HOUR, ONSET + HOUR)))
    (within, after) = suspects(uncertain, [made("within", 50), made("after", 70)])
    assert within.why == ("at the time of the onset",)
    assert after.against[0] == "it came 10 min after the onset"


def test_no_deployment_is_said_as_plainly() -> None:
    week = LOOKED_BACK_MS // MINUTE
    old = made("old", -week - 60, kind="schema")
    assert no_deployment(incident(), [old], old.time) == "no deployment in the last 7 days before it"
    assert no_deployment(incident(), [old, made(minutes=-week + 1)], old.time) is None
    assert no_deployment(incident(), [old, made(minutes=-60, models=("other",))], old.time) is not None
    assert no_deployment(incident(), [old, made(minutes=30)], old.time) is not None, "a roll-back came after it"
    assert no_deployment(incident(), [], None) is None, "nothing is known"
    young = made("young", -90, kind="schema")
    told = no_deployment(incident(), [young], young.time)
    assert told == "no deployment in the 1 h 30 min before it for which changes are known"


def test_hostile_changes_stay_on_one_line() -> None:
    evil = "x\n\u202e<!channel>" * 50
    change = Change(evil, ONSET, evil, evil, (MODEL, evil), ("dep_delay", evil), {}, evil, evil)
    (found,) = suspects(incident(), [change], set())
    assert found.sentence.isprintable()
    assert len(found.sentence) < 1_000


# In the ledger and the worker ----------------------------------------------------------------------------------------


class Both:
    """Alerts and changes, as one consumer reads them."""

    def __init__(self, broker: MemoryBroker) -> None:
        self._sources = {name: MemorySource(broker, name, "streamdrift-escalate") for name in (TOPIC, "model-changes")}

    def poll(self, records_max: int, timeout_s: float) -> Sequence[Record]:
        return [record for source in self._sources.values() for record in source.poll(records_max, timeout_s)]

    def commit(self, done: Mapping[Partition, int]) -> None:
        for name, source in self._sources.items():
            source.commit({partition: offset for partition, offset in done.items() if partition.name == name})

    def lag(self) -> Mapping[Partition, int]:
        return {p: lag for source in self._sources.values() for p, lag in source.lag().items()}

    def exhausted(self) -> bool:
        return False

    def close(self) -> None:
        """Nothing to let go of."""


class Told(House):
    """A worker that reads changes as well."""

    def start(self) -> None:
        super().start()
        self.worker = EscalationWorker(
            Both(self.broker), self.ledger, self.receivers, self.settings, self.clock, self.metrics, changes=True
        )

    def change(self, minutes: float = -30, **other: Any) -> None:
        event = {
            "change_id": "c",
            "occurred_at": ONSET + round(minutes * MINUTE),
            "kind": "feature-store",
            "summary": "delays come from another table",
            "scope": {"models": [MODEL], "features": ["dep_delay"]},
        }
        self.broker.append("model-changes", json.dumps(event | other).encode())


@pytest.fixture
def told(place: Path | str, receiver: KeepingReceiver) -> Any:
    made = Told(place, (receiver,))
    yield made
    made.worker.close()


def kinds(house: House) -> list[str]:
    ((incident_id,),) = [[one.incident_id] for one in house.ledger.incidents.opened(MODEL)]
    return [entry.kind for entry in house.ledger.timeline.entries(incident_id)]


def test_a_page_names_the_suspects(told: Told, receiver: KeepingReceiver) -> None:
    told.change()
    told.change(-20 * 60 * 24, change_id="old", kind="schema")
    told.step()
    told.crash()
    told.step(make_alert())
    (page,) = receiver.pages
    (suspect,) = page.incident["suspects"]
    assert (suspect["change_id"], suspect["kind"]) == ("c", "feature-store")
    assert page.incident["no_deployment"] == "no deployment in the last 7 days before it"
    assert page.incident["explanation"][-2:] == [suspect["sentence"], page.incident["no_deployment"]]
    assert kinds(told).count("suspect") == 1


def test_the_timeline_names_suspects_by_all_that_came_at_once(told: Told) -> None:
    told.change(scope={"models": [MODEL], "features": ["dep_delay", "distance"]})
    told.step(make_alert(), make_alert("distance"))
    (opened,) = told.ledger.incidents.opened(MODEL)
    (entry,) = [one for one in told.ledger.timeline.entries(opened.incident_id) if one.kind == "suspect"]
    assert "it names dep_delay and distance" in entry.text
    assert "quiet" not in entry.text


def test_a_change_that_is_told_late_is_on_the_timeline_once(told: Told, receiver: KeepingReceiver) -> None:
    told.step(make_alert())
    assert "suspects" in receiver.pages[0].incident
    assert kinds(told).count("suspect") == 0
    for _ in range(2):
        told.change()
        told.change(change_id="of another", scope={"models": ["other"]})
        told.step()
    assert kinds(told).count("suspect") == 1
    told.broker.commit("streamdrift-escalate", {Partition("model-changes", 0): 0})
    told.crash()
    told.step()
    assert kinds(told).count("suspect") == 1


def test_what_is_no_change_is_passed_over(told: Told, receiver: KeepingReceiver) -> None:
    told.broker.append("model-changes", b"{")
    told.change(kind="rebaseline", change_id="order")
    told.change(change_id=None)
    told.change()
    told.step(make_alert())
    assert [found["change_id"] for found in receiver.pages[0].incident["suspects"]] == ["c"]
    assert told.count("rejected_total") == 2


def test_changes_are_bounded(house: Callable[..., House]) -> None:
    ledger = house().ledger
    kept = Changes(ledger._database, changes_max=3)
    with ledger.transaction():
        assert [kept.put(made(str(i), -i)) for i in (2, 1, 3, 1, 0)] == [True, True, True, False, None]
    assert [change.change_id for change in kept.before(ONSET)] == ["2", "1", "0"]
    assert kept.known_since() == ONSET - 2 * MINUTE
    with ledger.transaction():
        kept.prune(ONSET)
    assert [change.change_id for change in kept.before(ONSET)] == ["0"]
    ledger.prune(NOW + 31 * 86_400)
    assert kept.known_since() is None
