"""Routes, steps, silences and inhibition in the worker: who is told, when, and that it is once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from streamdrift.escalate.incident import Incident
from streamdrift.escalate.receivers import Page, RetryAt
from streamdrift.escalate.routing.document import Routes, read
from streamdrift.escalate.routing.matchers import parsed
from streamdrift.escalate.routing.quiet import Silence
from streamdrift.settings import EscalateSettings, Settings
from tests.escalate.conftest import House, KeepingReceiver, make_alert

MakeHouse = Callable[..., House]

ROUTES = """
[route]
receivers = ["one"]
steps = [{ after_s = 900, receivers = ["two"] }, { after_s = 1800, receivers = ["one", "two"] }]
on_call = "first"

[[route.routes]]
match = ["severity=critical"]
receivers = ["two"]
steps = []

[[route.routes]]
match = ["model=unheard"]
receivers = []
steps = []

[on_call.first]
people = ["ada", "grace"]
start = 2013-04-17T10:00:00Z
shift_s = 900

[people.ada]
email = "ada@example.com"
"""


def routed(house: MakeHouse, document: str = ROUTES, **other: Any) -> tuple[House, KeepingReceiver, KeepingReceiver]:
    one, two = KeepingReceiver("one"), KeepingReceiver("two")
    routes = read(document, "routes.toml", ("one", "two")) if document else Routes()
    return house(one, two, routes=routes, **other), one, two


def only(house: House) -> Incident:
    (incident,) = house.ledger.incidents.all()
    return incident


def timeline(house: House, incident: Incident) -> list[str]:
    return [entry.kind for entry in house.ledger.timeline.entries(incident.incident_id)]


def silence(house: House, *match: str, up_to: float | None = None, until: float = 3600, name: str = "5d2f") -> None:
    conditions = tuple(parsed(text) for text in match)
    made = Silence(name, conditions, house.clock.time, house.clock.time + until, "campaign", "ada", up_to)
    with house.ledger.transaction():
        assert house.ledger.silences.add(made, house.clock.time)


# Routes --------------------------------------------------------------------------------------------------------------


def test_an_incident_goes_where_its_route_says_and_its_end_to_whom_it_was_told(house: MakeHouse) -> None:
    here, one, two = routed(house)
    alert = make_alert()
    here.step(alert)
    key = only(here).incident_id
    assert (one.told, two.told) == ([("trigger", key)], [])
    assert one.pages[0].incident["on_call"] == [{"list": "first", "name": "ada", "email": "ada@example.com"}]
    grown = make_alert(segment="", severity="critical", at=1)
    here.step(grown)
    assert (one.told, two.told) == ([("trigger", key)], [("trigger", f"{key}.2")])
    here.step(make_alert(closes=alert, at=2), make_alert(closes=grown, at=2))
    assert one.told == [("trigger", key), ("resolve", key)]
    assert two.told == [("trigger", f"{key}.2"), ("resolve", f"{key}.2")]


def test_a_route_to_nobody_records(house: MakeHouse) -> None:
    here, one, two = routed(house)
    with capture_logs() as logs:
        here.step(make_alert(model="unheard"))
    assert (one.pages, two.pages, only(here).pages) == ([], [], 1)
    assert any("page to nobody" in log["event"] for log in logs)


# Steps ---------------------------------------------------------------------------------------------------------------


def test_steps_go_on_while_nobody_acknowledges_each_once(house: MakeHouse) -> None:
    here, one, two = routed(house)
    alert = make_alert()
    here.step(alert)
    key = only(here).incident_id
    here.wait(899)
    assert two.pages == []
    here.wait(1)
    here.wait(0)
    here.crash()
    here.wait(0)
    assert two.told == [("trigger", f"{key}.s1")]
    assert two.pages[0].headline.startswith("not acknowledged after 15 min: flight-delay: ")
    assert two.pages[0].incident["on_call"] == [{"list": "first", "name": "grace"}]
    here.wait(900)
    here.wait(100_000)
    assert (len(one.pages), len(two.pages)) == (2, 2)
    assert timeline(here, only(here)).count("paged") == 3
    here.step(make_alert(closes=alert, at=2000))
    assert [key for action, key in two.told if action == "resolve"] == [f"{key}.s1", f"{key}.s2"]


def test_a_step_that_was_due_while_the_worker_was_down_is_taken(house: MakeHouse) -> None:
    here, _, two = routed(house)
    here.step(make_alert())
    here.clock.time += 950
    here.crash()
    here.wait(0)
    assert len(two.pages) == 1


def test_who_acknowledges_stops_the_steps(house: MakeHouse) -> None:
    here, one, two = routed(house)
    here.step(make_alert())
    known = replace(only(here), status="acknowledged")
    here.ledger.incidents.save(known, only(here), here.clock.time)
    here.wait(5_000)
    assert (len(one.pages), two.pages, here.ledger.escalations.of(known.incident_id)) == (1, [], 0)


def test_an_end_stops_the_steps(house: MakeHouse) -> None:
    here, _, two = routed(house)
    alert = make_alert()
    here.step(alert)
    here.step(make_alert(closes=alert, at=1))
    here.wait(5_000)
    assert two.pages == []


def test_growth_begins_the_steps_anew(house: MakeHouse) -> None:
    here, _, two = routed(house, ROUTES.replace('match = ["severity=critical"]', 'match = ["model=other"]'))
    here.step(make_alert())
    here.wait(600)
    here.step(make_alert(segment="", at=10))
    here.wait(600)
    assert two.pages == []
    here.wait(300)
    assert [key for _, key in two.told] == [f"{only(here).incident_id}.2.s1"]


def test_a_step_waits_for_the_end_of_a_silence(house: MakeHouse) -> None:
    here, _, two = routed(house)
    here.step(make_alert())
    silence(here, "model=flight-delay", until=2000)
    here.wait(1000)
    assert two.pages == []
    here.wait(1001)
    assert [key.rpartition(".")[2] for _, key in two.told] == ["s1", "s2"] or len(two.pages) == 1


# Silences ------------------------------------------------------------------------------------------------------------


def test_a_silenced_page_is_kept_and_told_once_when_the_silence_is_over(house: MakeHouse) -> None:
    here, one, _ = routed(house)
    silence(here, "feature=dep_delay", up_to=0.3)
    here.step(make_alert())
    incident = only(here)
    assert (one.pages, incident.pages) == ([], 1)
    assert timeline(here, incident) == ["detected", "silenced"]
    here.wait(3_590)
    here.crash()
    assert one.pages == []
    for _ in range(4):
        here.wait(10)
    here.crash()
    here.wait(10)
    assert one.told == [("trigger", incident.incident_id)]
    assert timeline(here, incident)[:3] == ["detected", "silenced", "paged"]


def test_beyond_its_bound_a_silence_covers_nothing(house: MakeHouse) -> None:
    here, one, _ = routed(house)
    silence(here, "feature=dep_delay", up_to=0.15)
    first = make_alert()
    here.step(first)
    here.step(make_alert(at=1, effect_size=0.14, updates=first.alert_id, events_seen=13_000))
    assert one.pages == []
    here.step(make_alert(at=2, effect_size=0.16, updates=first.alert_id, events_seen=14_000))  # no growth by itself
    assert one.told == [("trigger", only(here).dedup_keys[-1])]
    here.wait(5_000)
    assert len(one.pages) == 2  # and its step


def test_another_alert_of_the_incident_breaks_the_silence(house: MakeHouse) -> None:
    here, one, _ = routed(house)
    silence(here, "segment=origin=EWR")
    here.step(make_alert())
    here.step(make_alert(segment="origin=JFK", at=1))
    assert len(one.pages) == 1


def test_what_is_over_or_known_before_its_silence_is_not_told(house: MakeHouse) -> None:
    here, one, two = routed(house)
    silence(here, "team!=x", until=600)
    over = make_alert(model="over")
    here.step(over, make_alert(model="known"))
    here.step(make_alert(closes=over, at=1))
    known = next(incident for incident in here.ledger.incidents.all() if incident.model == "known")
    here.ledger.incidents.save(replace(known, status="acknowledged"), known, here.clock.time)
    here.wait(700)
    here.wait(700)
    assert (one.pages, two.pages, here.ledger.withheld.count()) == ([], [], 0)


def test_who_ends_a_silence_lets_its_pages_go(house: MakeHouse) -> None:
    here, one, _ = routed(house)
    silence(here, "model=flight-delay")
    here.step(make_alert())
    here.ledger.silences.end("5d2f", here.clock.time + 1)
    here.wait(11)
    assert len(one.pages) == 1


def test_many_withheld_pages_are_looked_at_in_turn(house: MakeHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamdrift.escalate.paging.CHECKS_PER_ROUND_MAX", 2)
    here, one, _ = routed(house)
    silence(here, "severity=warning", until=20)
    here.step(*[make_alert(model=f"m{i}") for i in range(5)])
    here.wait(25)
    assert len(one.pages) == 2
    here.wait(0)
    here.wait(0)
    assert len(one.pages) == 5


def test_maintenance_withholds(house: MakeHouse) -> None:
    window = """
    [[maintenance]]
    name = "loading"
    days = ["wed"]
    at = 09:30:00
    length_s = 3600
    match = ["model=flight-delay"]
    """
    here, one, _ = routed(house, window)
    here.step(make_alert(), make_alert(model="other"))
    assert [page.incident["model"] for page in one.pages] == ["other"]
    here.wait(1_800)
    assert [page.incident["model"] for page in one.pages] == ["other", "flight-delay"]


# Inhibition ----------------------------------------------------------------------------------------------------------

INHIBIT = """
[[inhibit]]
name = "no data"
source = ["reason=silence"]
target = ["severity!=critical"]
"""


def test_an_incident_keeps_others_of_its_model_from_being_told_until_it_is_over(house: MakeHouse) -> None:
    here, one, _ = routed(house, INHIBIT)
    source = make_alert("traffic.rate", "", "silence", onset_at=0)
    apart: dict[str, Any] = {"reference": {"which": "first", "n": 9, "null_rate": 0.0}}
    here.step(source)
    here.step(make_alert("slow", **apart), make_alert("slow", model="other", **apart))
    assert sorted(page.incident["model"] for page in one.pages) == ["flight-delay", "other"]
    held = next(i for i in here.ledger.incidents.opened("flight-delay") if i.alerts[0].feature == "slow")
    entry = here.ledger.timeline.entries(held.incident_id)[-1]
    assert (entry.kind, "inhibition no data by incident" in entry.text) == ("silenced", True)
    here.step(make_alert(closes=source, at=1))
    here.wait(11)
    here.wait(11)
    assert one.told[-1] == ("trigger", held.incident_id)
    assert len([page for page in one.pages if page.action == "trigger"]) == 3


# Faults --------------------------------------------------------------------------------------------------------------


def test_a_crash_between_a_step_and_its_delivery_neither_loses_nor_doubles_it(house: MakeHouse) -> None:
    class Dying(KeepingReceiver):
        dies = False

        def send(self, page: Page, now: float) -> Any:
            if self.dies:
                self.dies = False
                raise KeyboardInterrupt
            return super().send(page, now)

    one, two = KeepingReceiver("one"), Dying("two")
    here = house(one, two, routes=read(ROUTES, "routes.toml", ("one", "two")))
    here.step(make_alert())
    two.dies = True
    with pytest.raises(KeyboardInterrupt):
        here.wait(900)
    here.crash()
    here.wait(0)
    here.wait(0)
    assert [key.rpartition(".")[2] for _, key in two.told] == ["s1"]


def test_a_round_that_is_not_written_leaves_its_steps_due(house: MakeHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    here, _, two = routed(house)
    here.step(make_alert())

    def fails(*_: object) -> bool:
        raise RuntimeError("the disk is full")

    monkeypatch.setattr(here.ledger.outbox, "put", fails)  # of this ledger, which the crash closes
    with pytest.raises(RuntimeError):
        here.wait(900)
    here.crash()
    here.wait(0)
    assert len(two.pages) == 1


def test_steps_go_on_while_the_first_receiver_is_down(house: MakeHouse) -> None:
    here, one, two = routed(house)
    one.script.extend([RetryAt(None, "HTTP 503")] * 40)
    here.step(make_alert())
    here.wait(900)
    assert len(two.pages) == 1


class Died(BaseException):
    """The process is gone."""


def stepped(here: House) -> None:
    here.step(make_alert())
    here.clock.time += 900


def unsilenced(here: House) -> None:
    silence(here, "model=flight-delay", until=100)
    here.step(make_alert())
    here.clock.time += 100


def stormed(here: House) -> None:
    here.step(*[make_alert(model=f"m{i}") for i in range(9)])
    here.clock.time += 60


@pytest.mark.parametrize(("prepare", "receiver_of"), [(stepped, "two"), (unsilenced, "one"), (stormed, "one")])
def test_death_at_any_statement_of_a_round_neither_loses_nor_doubles(
    tmp_path: Path, prepare: Callable[[House], None], receiver_of: str
) -> None:
    """Whatever statement is the last: one delivery, under one key; sent again only where its answer was lost."""
    routes = read(ROUTES, "routes.toml", ("one", "two"))
    settings = Settings(escalate=EscalateSettings(pages_per_minute_max=4))
    for last in range(200):
        told = KeepingReceiver(receiver_of)
        receivers = (told, KeepingReceiver("two" if receiver_of == "one" else "one"))
        here = House(tmp_path / f"{last}.sqlite3", receivers, routes=routes, settings=settings)
        prepare(here)
        before = len(told.pages)
        execute, left = here.ledger._database.execute, iter(range(last))

        def dying(statement: Any, execute: Any = execute, left: Any = left) -> Any:
            if next(left, None) is None:
                raise Died
            return execute(statement)

        here.ledger._database.execute = dying  # type: ignore[method-assign]
        try:
            here.worker.step(0.0)
            died = False
        except Died:
            died = True
        here.crash()
        for _ in range(3):
            here.wait(11)
        new = [page for page in told.pages[before:] if ".s2" not in page.dedup_key]
        assert len({page.delivery_id for page in new}) == 1, last
        assert len(new) <= (2 if died else 1), last
        here.worker.close()
        if not died:
            assert last > 10
            return
    raise AssertionError("a round has no end")
