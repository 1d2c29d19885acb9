"""More incidents than anybody can be called for: the most severe at once, the rest as one page, nothing lost."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest
from jsonschema import Draft202012Validator
from structlog.testing import capture_logs

from streamdrift.alerts import Alert
from streamdrift.escalate.receivers import Page, pagerduty, slack_blocks
from streamdrift.escalate.receivers.documents import of_page
from streamdrift.escalate.receivers.formats import to_text
from streamdrift.escalate.receivers.webhook import encode
from streamdrift.escalate.routing.document import read
from streamdrift.ports import Partition
from streamdrift.settings import EscalateSettings, KafkaSettings, Settings
from tests.escalate.conftest import NOW, TOPIC, House, KeepingReceiver, make_alert
from tests.test_schemas import schema

MakeHouse = Callable[..., House]
MODELS, ALERTS, BATCH = 300, 10_000, 500
ON_CALL = """
[route]
on_call = "x"
[on_call.x]
people = ["ada"]
start = 2013-01-05T09:00:00Z
shift_s = 604800
[people.ada]
slack = "U0ADA00000"
email = "ada@example.com"
"""
CRITICAL = {f"model-{i:03}" for i in range(7, MODELS, 60)}
"""Five of them, none among the first."""


def settings(**other: object) -> Settings:
    escalate = EscalateSettings.model_validate(other)
    return Settings(escalate=escalate, kafka=KafkaSettings(poll_records_max=BATCH))


def storm_of(seed: int) -> list[Alert]:
    """10,000 different alerts of 300 models within a minute, in no order."""
    drawn = random.Random(seed)
    alerts = []
    for i in range(ALERTS):
        model = f"model-{i % MODELS:03}"
        severity = "critical" if model in CRITICAL else "warning"
        feature, segment = f"feature_{i // MODELS % 5}", f"origin={i // MODELS // 5}"
        made = make_alert(feature, segment, model=model, severity=severity, events_seen=1_000 + i)
        alerts.append(replace(made, detected_at=int(NOW * 1000) + i * 6))
    drawn.shuffle(alerts)
    return alerts


def told(page: Page) -> set[str]:
    """Incidents that a page tells of."""
    listed = page.incident.get("storm", {}).get("incidents", [{"incident_id": page.incident["incident_id"]}])
    return {str(one["incident_id"]) for one in listed}


@pytest.mark.slow
@pytest.mark.parametrize("place", ["sqlite"], indirect=True)
def test_ten_thousand_alerts_in_a_minute_are_a_handful_of_pages_and_nothing_is_lost(house: MakeHouse) -> None:
    calls, machine = KeepingReceiver("calls"), KeepingReceiver("machine")
    here = house(calls, machine, settings=settings(pages_unlimited=["machine"], storm_summary_s=60))
    alerts = storm_of(7)
    for begin in range(0, ALERTS, BATCH):
        here.step(*alerts[begin : begin + BATCH])
        here.clock.time += 60 / (ALERTS / BATCH)
    in_the_minute = len(calls.pages)
    here.clock.time += 5
    for _ in range(30):
        here.worker.step(0.0)
    opened = {incident.incident_id for incident in here.ledger.incidents.all() if incident.is_open}
    assert here.ledger.next_offset(Partition(TOPIC, 0)) == ALERTS
    assert len(opened) >= MODELS
    # a handful
    assert in_the_minute <= 10
    assert len(calls.pages) <= 12
    assert Counter("storm" in page.incident for page in calls.pages)[True] == 1
    # the most severe first: each critical model is called for by itself, in the minute
    by_itself = {page.incident["model"] for page in calls.pages if "storm" not in page.incident}
    assert by_itself >= CRITICAL
    # nothing lost
    assert set.union(*map(told, calls.pages)) >= opened
    summary = next(page for page in calls.pages if "storm" in page.incident)
    rest = summary.incident["storm"]
    assert rest["incidents_in_all"] == len(rest["incidents"]) == sum(rest["severities"].values())
    assert summary.headline.startswith(f"{rest['incidents_in_all']} incidents of ")
    # what groups by itself has them all
    assert set.union(*map(told, machine.pages)) >= opened
    assert not any("storm" in page.incident for page in machine.pages)
    assert here.count("limit_hits_total", limit="pages_per_minute_max") > 0
    # a crash and a second delivery of all of it change nothing
    before = len(calls.pages)
    here.broker.deliver_again(ALERTS)
    here.crash()
    for _ in range(25):
        here.worker.step(0.0)
    here.wait(61)
    assert len(calls.pages) == before


def test_critical_ones_have_room_that_others_have_not(house: MakeHouse, receiver: KeepingReceiver) -> None:
    here = house(receiver, settings=settings(pages_per_minute_max=4))
    here.step(*[make_alert(model=f"w{i}") for i in range(4)])
    assert len(receiver.pages) == 2
    here.step(*[make_alert(model=f"c{i}", severity="critical") for i in range(3)])
    assert [page.incident["severity"] for page in receiver.pages] == ["warning"] * 2 + ["critical"] * 2


def test_of_one_batch_the_most_severe_are_first_whatever_came_first(
    house: MakeHouse, receiver: KeepingReceiver
) -> None:
    here = house(receiver, settings=settings(pages_per_minute_max=2))
    here.step(*[make_alert(model=f"w{i}") for i in range(5)], make_alert(model="c", severity="critical"))
    assert [page.incident["model"] for page in receiver.pages] == ["c"]


def test_what_fits_by_then_is_told_one_by_one(house: MakeHouse, receiver: KeepingReceiver) -> None:
    here = house(receiver, settings=settings(pages_per_minute_max=4))
    with capture_logs() as logs:
        here.step(*[make_alert(model=f"w{i}") for i in range(4)])
    assert any("the rest is told together" in log["event"] for log in logs)
    here.wait(59)
    assert len(receiver.pages) == 2
    here.crash()
    here.wait(1)
    here.wait(0)
    assert sorted(page.incident["model"] for page in receiver.pages) == [f"w{i}" for i in range(4)]
    assert len(set(receiver.told)) == 4


def test_a_summary_is_over_when_all_of_its_incidents_are(house: MakeHouse, receiver: KeepingReceiver) -> None:
    here = house(receiver, settings=settings(pages_per_minute_max=2, storm_summary_s=30))
    alerts = [make_alert(model=f"w{i}") for i in range(5)]
    here.step(*alerts)
    here.wait(30)
    (single, summary) = receiver.pages
    assert summary.incident["storm"]["incidents_in_all"] == 4
    assert summary.headline.startswith("4 incidents of 4 models within a short time (4 warning); first w")
    here.step(*[make_alert(closes=alert, at=1) for alert in alerts[:-1]])
    ended = [key for action, key in receiver.told if action == "resolve"]
    assert ended == [single.dedup_key]
    here.crash()
    here.step(make_alert(closes=alerts[-1], at=2))
    here.wait(0)
    here.wait(0)
    assert [key for action, key in receiver.told if action == "resolve"] == [single.dedup_key, summary.dedup_key]


def test_what_ended_or_is_known_is_in_no_summary(house: MakeHouse, receiver: KeepingReceiver) -> None:
    here = house(receiver, settings=settings(pages_per_minute_max=1))
    alerts = [make_alert(model=f"w{i}") for i in range(5)]
    here.step(*alerts)
    waiting = [held.incident_id for held in here.ledger.gathered.waiting("keeping")]
    known = here.ledger.incidents.get(waiting[0])
    assert known is not None
    here.ledger.incidents.save(replace(known, status="acknowledged"), known, here.clock.time)
    over = here.ledger.incidents.get(waiting[1])
    assert over is not None
    here.step(*[make_alert(closes=alert, at=1) for alert in over.firing])
    here.wait(59)
    here.wait(1)
    assert told(receiver.pages[-1]) == set(waiting[2:])
    assert ("trigger", waiting[1]) not in receiver.told


def test_growth_after_a_summary_is_a_page_by_itself(house: MakeHouse, receiver: KeepingReceiver) -> None:
    here = house(receiver, settings=settings(pages_per_minute_max=2, storm_summary_s=10))
    here.step(*[make_alert(model=f"w{i}") for i in range(4)])
    here.wait(10)
    grown = next(iter(told(receiver.pages[-1])))
    model = here.ledger.incidents.get(grown)
    assert model is not None
    here.wait(60)
    here.step(make_alert(segment="", model=model.model, severity="critical", at=2))
    assert receiver.told[-1] == ("trigger", f"{grown}.2")


def test_steps_are_limited_too(house: MakeHouse) -> None:
    one, two = KeepingReceiver("one"), KeepingReceiver("two")
    routes = read(
        '[route]\nreceivers = ["one"]\nsteps = [{ after_s = 300, receivers = ["two"] }]', "routes.toml", ("one", "two")
    )
    here = house(one, two, routes=routes, settings=settings(pages_per_minute_max=4))
    here.step(*[make_alert(model=f"w{i}") for i in range(20)])
    here.wait(300)
    assert len(two.pages) == 2
    here.wait(60)
    assert (len(two.pages), two.pages[-1].incident["storm"]["incidents_in_all"]) == (3, 18)


def test_a_clock_that_is_set_back_withholds_nothing(house: MakeHouse, receiver: KeepingReceiver) -> None:
    here = house(receiver, settings=settings(pages_per_minute_max=2))
    here.step(*[make_alert(model=f"w{i}") for i in range(4)])
    here.clock.time -= 3_600
    here.worker.step(0.0)
    assert len(receiver.pages) == 2
    assert set.union(*map(told, receiver.pages)) == {i.incident_id for i in here.ledger.incidents.all()}


# What receivers make of it -------------------------------------------------------------------------------------------


def test_every_receiver_shows_a_summary_and_whom_it_calls(house: MakeHouse, receiver: KeepingReceiver) -> None:
    routes = read(ON_CALL, "routes.toml", ("keeping",))
    here = house(receiver, settings=settings(pages_per_minute_max=1, storm_summary_s=5), routes=routes)
    hostile = "<!channel> [x](http://evil) \r\nBcc: a@b.c"
    here.step(*[make_alert(model=f"w{i}") for i in range(3)], make_alert(model=hostile, severity="critical"))
    here.wait(5)
    (single, page) = receiver.pages
    for one in receiver.pages:
        Draft202012Validator(schema("incident-webhook")).validate(json.loads(encode(one)))
    assert single.incident["on_call"] == [
        {"list": "x", "name": "ada", "slack": "U0ADA00000", "email": "ada@example.com"}
    ]
    blocks = slack_blocks.message(page)["blocks"]
    marked = [block["text"]["text"] for block in blocks if block.get("text", {}).get("type") == "mrkdwn"]
    assert marked == ["On call: <@U0ADA00000>"]
    assert slack_blocks.message(replace(page, action="resolve"))["blocks"] != blocks
    text = to_text(of_page(page))
    assert "Incidents: 3" in text
    assert "On call: ada" in text
    payload = pagerduty._payload(page)
    assert payload["summary"].startswith("3 incidents of 3 models")
    assert payload["custom_details"]["storm"]["incidents_in_all"] == 3
    assert payload["custom_details"]["on_call"][0]["name"] == "ada"
    assert len(page.headline) <= 250
