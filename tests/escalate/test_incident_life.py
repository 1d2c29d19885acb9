"""An incident from its first alert to its end and back, with what its timeline says; and which alerts are one."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from streamdrift.alerts import Alert
from streamdrift.escalate.incident import Incident
from streamdrift.escalate.policy import apply, choose
from streamdrift.escalate.receivers import Permanent, RetryAt
from streamdrift.escalate.timeline import ENTRIES_MAX, GROWTH_MAX, Entry
from streamdrift.settings import EscalateSettings, Settings
from tests.escalate.conftest import MINUTE, NOW, ONSET, House, KeepingReceiver, make_alert

HOUR = 60
SETTINGS = EscalateSettings()


def only(house: House) -> Incident:
    (incident,) = house.ledger.incidents.all()
    return incident


def timeline(house: House) -> list[Entry]:
    return house.ledger.timeline.entries(only(house).incident_id)


def kinds(house: House) -> list[str]:
    return [entry.kind for entry in timeline(house)]


# The timeline --------------------------------------------------------------------------------------------------------


def test_every_change_of_an_incident_is_on_its_timeline(receiver: KeepingReceiver, house: Callable[..., House]) -> None:
    here, first, other = house(receiver), make_alert(), make_alert("seats", at=1)
    here.step(first)
    here.step(other)
    here.step(make_alert(at=2, events_seen=13_000, updates=first.alert_id, severity="critical"))
    here.step(make_alert("seats", closes=other, at=3))
    here.step(make_alert(closes=first, at=4))
    here.step(make_alert(at=5, events_seen=14_000))
    told = timeline(here)
    assert [entry.kind for entry in told] == [
        *("detected", "paged", "delivered", "grew", "grew", "paged", "delivered", "shrank"),
        *("recovered", "resolved", "delivered", "delivered", "reopened", "paged", "delivered"),
    ]
    incident = only(here).incident_id
    assert told[0].entry_id == f"{incident}#1"
    assert (told[0].at, told[0].detail["alert_id"]) == (first.detected_at, first.alert_id)
    texts = [entry.text for entry in told]
    assert texts[0].startswith("null_rate on dep_delay in origin=EWR: 0.1 % → 10.2 % null, since 2013-04-17 08:00 UTC")
    assert texts[1].startswith("paged, as it is new: flight-delay: null_rate on dep_delay in origin=EWR")
    assert texts[3].startswith("also null_rate on seats")
    assert texts[4].startswith("grew: null_rate on dep_delay")
    assert texts[5].startswith("paged, as its severity rose: ")
    assert texts[7] == "null_rate on seats in origin=EWR ended; 1 alert still firing"
    assert texts[8] == "null_rate on dep_delay in origin=EWR ended, the last that held it open"
    assert texts[9] == "over, 4 min after it was detected"
    assert texts[12].startswith("open again 1 min after its end: null_rate on dep_delay")
    assert told[14].detail == {
        "receiver": "keeping",
        "action": "trigger",
        "dedup_key": f"{incident}.3",
        "attempts": 1,
    }


def test_what_a_receiver_was_not_told_is_on_it_and_retries_are_counted(
    receiver: KeepingReceiver, house: Callable[..., House]
) -> None:
    here, alert = house(receiver), make_alert()
    receiver.script.extend([RetryAt(), RetryAt(), Permanent("no such\nservice")])
    here.step(alert)
    for _ in range(3):
        here.wait(600)
    assert kinds(here) == ["detected", "paged", "undelivered"]
    entry = timeline(here)[-1]
    assert entry.text == "page not delivered to keeping, given up after 3 attempts: no such\\nservice"
    assert entry.at == round((NOW + 1_200) * 1000)
    receiver.script.append(RetryAt())
    here.step(make_alert(severity="critical", at=1, updates=alert.alert_id, events_seen=13_000))
    here.wait(600)
    assert timeline(here)[-1].text == "page delivered to keeping, by attempt 2"


def test_a_batch_that_is_lost_leaves_no_entry_and_one_that_comes_again_no_second(
    receiver: KeepingReceiver, house: Callable[..., House], monkeypatch: pytest.MonkeyPatch
) -> None:
    here = house(receiver)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(here.ledger, "set_next_offset", killed)
        with pytest.raises(KeyboardInterrupt):
            here.step(make_alert())
    here.crash()
    assert here.ledger.incidents.all() == []
    here.step()
    before = timeline(here)
    assert [entry.kind for entry in before] == ["detected", "paged", "delivered"]
    here.step(make_alert())  # the same once more
    assert timeline(here) == before


def test_growth_without_end_leaves_room_for_the_end(house: Callable[..., House]) -> None:
    here, alert = house(), make_alert()
    here.step(alert)
    incident = only(here).incident_id
    with here.ledger.transaction():
        for i in range(GROWTH_MAX):
            here.ledger.timeline.add(incident, 0, "grew", str(i))
    assert len(timeline(here)) == GROWTH_MAX < ENTRIES_MAX
    here.step(make_alert("seats", at=1))
    assert here.count("limit_hits_total", limit="timeline_entries_max") == 1
    here.step(make_alert(closes=alert, at=2), make_alert("seats", closes=make_alert("seats", at=1), at=3))
    assert kinds(here)[-2:] == ["recovered", "resolved"]


# Back again ----------------------------------------------------------------------------------------------------------


def test_what_comes_back_soon_opens_its_incident_again_and_pages_once(
    receiver: KeepingReceiver, house: Callable[..., House]
) -> None:
    here = house(receiver)
    regions = [f"origin=R{i}" for i in range(3)]
    alerts = [make_alert(segment=name, traffic_share=0.02) for name in regions]
    here.step(*alerts)
    here.step(*(make_alert(closes=alert, at=10) for alert in alerts))
    assert (only(here).status, only(here).resolved_at) == ("resolved", int(NOW * 1000) + 10 * MINUTE)
    here.crash()
    later = int(NOW * 1000) + 40 * MINUTE
    again = [replace(alert, detected_at=later, onset_at=ONSET + 160 * MINUTE) for alert in alerts]
    here.step(*again[:2])
    here.step(*again[2:])
    incident = only(here)
    assert (incident.status, incident.reopened, incident.pages, incident.resolved_at) == ("open", 1, 2, None)
    assert [action for action, _ in receiver.told] == ["trigger", "resolve", "trigger"]
    assert receiver.pages[-1].dedup_key == f"{incident.incident_id}.2"
    assert receiver.pages[-1].incident["reopened"] == 1
    assert receiver.pages[-1].headline.endswith("; open again; everything else quiet")
    here.step(*(make_alert(closes=alert, at=50) for alert in again))
    assert only(here).status == "resolved"
    assert receiver.told[-1] == ("resolve", f"{incident.incident_id}.2")


@pytest.mark.parametrize(
    ("alert", "same"),
    [
        (make_alert(at=40, events_seen=13_000), True),
        (make_alert(at=41, events_seen=13_000), False),
        (make_alert(at=-1), False),  # older than what ended
        (make_alert(segment="origin=JFK", at=40, onset_at=ONSET + 9 * HOUR * MINUTE), True),  # the same, elsewhere
        (make_alert("seats", at=40), True),  # began when it did
        (make_alert("seats", at=11, onset_at=ONSET + 9 * HOUR * MINUTE), False),  # has nothing in common with it
        (make_alert(at=40, severity="info", events_seen=13_000), False),  # pages nobody
        (make_alert(at=40, model="fraud"), False),
    ],
)
def test_of_the_same_cause_within_half_an_hour(house: Callable[..., House], alert: Alert, same: bool) -> None:
    here, first = house(), make_alert()
    here.step(first, make_alert(closes=first, at=10))
    (ended,) = here.ledger.incidents.all()
    here.step(alert)
    after = here.ledger.incidents.get(ended.incident_id)
    assert after is not None
    assert (after.reopened, after.status) == ((1, "open") if same else (0, "resolved"))


def test_it_may_be_turned_off(house: Callable[..., House]) -> None:
    here, first = house(settings=Settings.model_validate({"escalate": {"reopen_s": 0}})), make_alert()
    here.step(first, make_alert(closes=first, at=10))
    here.step(make_alert(at=11, events_seen=13_000))
    assert [i.reopened for i in here.ledger.incidents.all()] == [0, 0]


def test_batches_do_not_matter_to_what_is_opened_again(house: Callable[..., House]) -> None:
    first, again = make_alert(), make_alert(at=20, events_seen=13_000)
    alerts = [first, make_alert(closes=first, at=10), again, make_alert(closes=again, at=25), make_alert("x", at=26)]
    here = house()
    here.step(*alerts)
    whole = only(here)
    assert (whole.reopened, whole.status) == (2, "open")
    incident: Incident | None = None
    for alert in alerts:
        known = [] if incident is None else [incident]
        incident = apply(choose(known, alert, SETTINGS), alert, SETTINGS).incident
    assert incident == whole


def test_silence_is_no_evidence_that_it_is_over(receiver: KeepingReceiver, house: Callable[..., House]) -> None:
    here = house(receiver)
    here.step(make_alert())
    for days in (1, 40, 400):
        here.clock.time = NOW + days * 86_400
        here.crash()
        here.step()
    assert only(here).status == "open"
    assert [action for action, _ in receiver.told] == ["trigger"]


# One cause, one incident ---------------------------------------------------------------------------------------------

REGIONS = [f"region={i}" for i in range(30)]


def shift(features: list[str], segments: list[str], onset: int, seed: int) -> list[Alert]:
    """A change of some features everywhere: noticed within minutes in all traffic, hours later where there is little."""
    rng = random.Random(seed)
    found: list[Alert] = []
    for feature, segment in itertools.product(features, segments):
        share = 1.0 if not segment else rng.uniform(0.005, 0.05)
        estimated = onset + rng.randint(-20, 20) * MINUTE
        late = round(rng.expovariate(share / 5)) if segment else rng.randint(3, 9)
        made: dict[str, Any] = {"reason": "mean_shift", "effect_unit": "sd", "effect_size": 0.8}
        alert = make_alert(feature, segment, traffic_share=share, onset_at=estimated, **made)
        found.append(replace(alert, detected_at=onset + min(late, 12 * HOUR) * MINUTE))
    return sorted(found, key=lambda alert: (alert.detected_at, alert.series_id))


def incidents_of(alerts: list[Alert]) -> list[Incident]:
    found: dict[str, Incident] = {}
    for alert in alerts:
        decision = apply(choose(found.values(), alert, SETTINGS), alert, SETTINGS)
        assert decision.incident is not None
        found[decision.incident.incident_id] = decision.incident
    return list(found.values())


@pytest.mark.parametrize("seed", range(20))
def test_a_shift_of_the_whole_model_is_one_incident(seed: int) -> None:
    (incident,) = incidents_of(shift([f"f{i}" for i in range(5)], ["", *REGIONS], ONSET, seed))
    assert len(incident.alerts) == 5 * 31
    assert incident.pages <= 3


@pytest.mark.parametrize("seed", range(20))
def test_thirty_segments_of_one_shift_are_one_incident(seed: int) -> None:
    (incident,) = incidents_of(shift(["price"], REGIONS, ONSET, seed))
    assert len(incident.alerts) == 30


@pytest.mark.parametrize("seed", range(20))
def test_two_causes_in_one_model_are_two_incidents_though_they_are_noticed_together(seed: int) -> None:
    one = shift(["price", "seats"], ["", *REGIONS], ONSET, seed)
    two = shift(["age", "income"], ["", *REGIONS], ONSET + 3 * HOUR * MINUTE, seed + 100)
    both = sorted([*one, *two], key=lambda alert: (alert.detected_at, alert.series_id))
    assert any(a.feature in {"price", "seats"} for a in both[both.index(two[0]) :]), "they overlap"
    found = incidents_of(both)
    assert [sorted({alert.feature for alert in incident.alerts}) for incident in found] == [
        ["price", "seats"],
        ["age", "income"],
    ]
