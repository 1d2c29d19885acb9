"""Alerts that tell how an open one grew: the same alert, whatever comes twice or in another order."""

import json
from collections.abc import Callable
from dataclasses import replace
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from streamdrift.alerts import Alert
from streamdrift.checks.receivers import ScriptedServer
from streamdrift.escalate.policy import Decision, Incident, apply, choose
from streamdrift.escalate.receivers import build_receivers
from streamdrift.settings import EscalateSettings, PagerDutySettings, Settings, WebhookSettings
from streamdrift.telemetry import Metrics
from tests.escalate.conftest import House, KeepingReceiver, make_alert

SETTINGS = EscalateSettings()
MakeHouse = Callable[..., House]


def grown(alert: Alert, at: int, **other: Any) -> Alert:
    """The same series, ``at`` minutes later and with as many more events."""
    fields: dict[str, Any] = {"updates": alert.opening_id, "events_seen": alert.events_seen + at} | other
    return make_alert(alert.feature, "origin=EWR", fields.pop("reason", alert.reason), at=at, **fields)


class Book:
    def __init__(self) -> None:
        self.incidents: dict[str, Incident] = {}

    def take(self, alert: Alert) -> Decision:
        opened = [i for i in self.incidents.values() if i.status == "open"]
        decision = apply(choose(opened, alert, SETTINGS), alert, SETTINGS)
        if decision.incident is not None:
            self.incidents[decision.incident.incident_id] = decision.incident
        return decision

    def told(self, alert: Alert) -> tuple[str, str, str | None]:
        decision = self.take(alert)
        return decision.action, decision.reason, decision.page

    @property
    def alerts(self) -> list[Alert]:
        (incident,) = self.incidents.values()
        return list(incident.alerts)


# The policy ----------------------------------------------------------------------------------------------------------


def test_an_update_takes_the_place_of_what_it_updates() -> None:
    book, first, other = Book(), make_alert(), make_alert("seats")
    book.take(first)
    book.take(other)
    second = grown(first, 10, effect_size=0.15, statistic=90.0)
    assert book.told(second) == ("join", "no_growth", None)
    assert book.alerts == [second, other]
    third = grown(second, 20, reason="missing_feature", effect_size=0.16)
    assert third.updates == first.alert_id
    assert book.told(third) == ("join", "no_growth", None)
    assert book.alerts == [other, third]


def test_an_effect_that_doubles_or_a_higher_severity_is_paged_again() -> None:
    book, first = Book(), make_alert(effect_size=0.1)
    book.take(first)
    assert book.told(grown(first, 1, effect_size=0.15)) == ("join", "no_growth", None)
    assert book.told(grown(first, 2, effect_size=0.2)) == ("grow", "effect", "trigger")
    assert book.told(grown(first, 3, effect_size=0.3)) == ("join", "no_growth", None)
    assert book.told(grown(first, 4, effect_size=0.3, severity="critical")) == ("grow", "severity", "trigger")
    assert book.told(grown(first, 5, effect_size=0.59, severity="critical")) == ("join", "no_growth", None)
    assert book.told(grown(first, 6, effect_size=0.61, severity="critical")) == ("grow", "effect", "trigger")
    (incident,) = book.incidents.values()
    assert (incident.severity, incident.pages) == ("critical", 4)


def test_what_joined_without_a_page_is_paged_when_it_doubles() -> None:
    book, first, second = Book(), make_alert(), make_alert("seats", at=1, effect_size=0.1)
    book.take(first)
    assert book.told(second) == ("join", "no_growth", None)
    assert book.told(grown(second, 2, effect_size=0.19)) == ("join", "no_growth", None)
    assert book.told(grown(second, 3, effect_size=0.2)) == ("grow", "effect", "trigger")


def test_an_effect_in_another_unit_is_not_compared() -> None:
    book, first = Book(), make_alert(reason="mean_shift", effect_size=0.6, effect_unit="sd")
    book.take(first)
    changed = grown(first, 1, reason="variance_shift", effect_size=4.0, effect_unit="ratio")
    assert book.told(changed) == ("join", "no_growth", None)
    assert book.alerts == [changed]


def test_what_was_too_slight_is_paged_when_it_grows() -> None:
    book, first = Book(), make_alert(severity="info")
    assert book.told(first) == ("open", "below_severity", None)
    assert book.told(grown(first, 1, severity="info")) == ("join", "below_severity", None)
    assert book.told(grown(first, 2)) == ("grow", "first_page", "trigger")


def test_what_comes_late_changes_nothing() -> None:
    book, first = Book(), make_alert()
    second, third = grown(first, 5), grown(first, 9)
    for alert in (first, third):
        book.take(alert)
    before = dict(book.incidents)
    assert book.told(second) == ("ignore", "stale", None)
    assert book.told(first) == ("ignore", "stale", None)
    assert book.told(third) == ("ignore", "duplicate", None)
    assert book.incidents == before
    other = make_alert("seats", at=10)
    book.take(other)
    assert book.told(make_alert(closes=first, at=11)) == ("join", "partly_resolved", None)
    assert book.told(grown(first, 10)) == ("ignore", "closed", None)
    assert book.told(make_alert(closes=other, at=12))[0] == "resolve"


@pytest.mark.parametrize("named", ["the first", "the update", "both"])
def test_an_end_may_name_the_first_or_the_update(named: str) -> None:
    book, first = Book(), make_alert()
    update = grown(first, 5)
    book.take(first)
    book.take(update)
    end = make_alert(closes=first if named == "the first" else update, at=9)
    assert book.told(end) == ("resolve", "all_resolved", "resolve")


def test_an_end_that_names_an_update_never_seen_may_tell_what_that_updated() -> None:
    book, first = Book(), make_alert()
    book.take(first)
    end = make_alert(closes=grown(first, 5), at=9)
    assert end.updates == first.alert_id
    assert book.told(end) == ("resolve", "all_resolved", "resolve")


def test_of_two_alerts_of_a_series_the_one_that_is_updated_is_replaced() -> None:
    book, nulls, shift = Book(), make_alert(), make_alert(reason="mean_shift", at=1, effect_unit="sd")
    for alert in (nulls, shift):
        book.take(alert)
    update = grown(nulls, 5)
    book.take(update)
    assert book.alerts == [update, shift]
    assert book.told(make_alert(closes=nulls, at=6)) == ("join", "partly_resolved", None)
    assert book.alerts == [update, shift]  # what is over is kept, for what it tells


def test_an_update_that_may_not_page_opens_nothing() -> None:
    book, first = Book(), make_alert()
    assert book.told(grown(first, 5, severity="info")) == ("ignore", "no_open_incident", None)
    assert book.told(grown(first, 6)) == ("open", "new_incident", "trigger")
    assert book.told(first) == ("ignore", "stale", None)


def test_where_it_is_does_not_change_because_it_was_told_again() -> None:
    """The origin had its alert before all traffic; its update was detected later than that."""
    few, more = {"n": 48, "null_rate": 0.0625}, {"n": 90, "null_rate": 0.08}
    first = make_alert(effect_size=0.0625, current=few)
    whole = make_alert(segment="", at=14, effect_size=0.125, current={"n": 16, "null_rate": 0.125})
    book = Book()
    for alert in (first, whole, grown(first, 20, effect_size=0.08, current=more)):
        assert book.take(alert).incident is not None
    (incident,) = book.incidents.values()
    assert (incident.pages, [alert.segment for alert in incident.alerts]) == (1, [{"origin": "EWR"}, {}])


# The worker ----------------------------------------------------------------------------------------------------------

FIRST = make_alert(effect_size=0.1)
ORDERS = list(permutations(range(4)))


@pytest.mark.parametrize("order", ORDERS, ids=lambda order: "".join(map(str, order)))
@pytest.mark.parametrize("named", [0, 1, 2])
def test_any_order_with_everything_twice_is_one_incident_that_ends(
    named: int, order: tuple[int, ...], tmp_path: Path
) -> None:
    history = [FIRST, grown(FIRST, 5, effect_size=0.12), grown(FIRST, 9, effect_size=0.13, reason="missing_feature")]
    history.append(make_alert(closes=history[named], at=20))
    history[-1] = Alert.from_cloudevent(history[-1].to_cloudevent().replace(b'"updates"', b'"other"'))
    receiver = KeepingReceiver()
    here = House(tmp_path / "ledger.sqlite3", (receiver,))
    for i in order:
        here.step(history[i])
        here.step(history[i])
        here.crash()
    here.step(*history)
    incidents = here.ledger.incidents.all()
    assert len(incidents) <= 1
    assert all(incident.status == "resolved" for incident in incidents)
    assert len(receiver.pages) in {0, 2}
    assert len({key for _, key in receiver.told}) == len(receiver.pages) / 2
    assert len(receiver.pages) == 2 or order[0] == 3
    here.worker.close()


def test_a_restart_keeps_what_was_paged_and_in_which_order(house: MakeHouse, receiver: KeepingReceiver) -> None:
    here = house(receiver)
    other = make_alert("seats", at=1)
    here.step(FIRST, other)
    here.crash()
    here.step(grown(FIRST, 2, effect_size=0.15))
    here.crash()
    (incident,) = here.ledger.incidents.all()
    assert [alert.feature for alert in incident.alerts] == ["dep_delay", "seats"]
    here.step(grown(FIRST, 3, effect_size=0.19))
    assert len(receiver.pages) == 1
    here.crash()
    here.step(grown(FIRST, 4, effect_size=0.21), grown(other, 4))
    assert [action for action, _ in receiver.told] == ["trigger", "trigger"]
    assert here.count("incidents_total", action="grow", reason="effect") == 1
    here.step(make_alert(closes=FIRST, at=9), make_alert(closes=other, at=9))
    assert [action for action, _ in receiver.told] == ["trigger", "trigger", "resolve", "resolve"]


def test_an_alert_that_comes_after_its_end_opens_nothing(house: MakeHouse, receiver: KeepingReceiver) -> None:
    here = house(receiver)
    here.step(make_alert(closes=FIRST, at=9))
    here.step(FIRST)
    assert (receiver.pages, here.ledger.incidents.all()) == ([], [])
    assert here.count("incidents_total", action="ignore", reason="closed") == 1


def test_an_incident_that_is_over_is_not_opened_by_a_late_update(house: MakeHouse, receiver: KeepingReceiver) -> None:
    here = house(receiver)
    here.step(FIRST, make_alert(closes=FIRST, at=9))
    here.step(grown(FIRST, 8, severity="critical"))
    assert [page.action for page in receiver.pages] == ["trigger", "resolve"] or receiver.pages == []
    assert len(here.ledger.incidents.all()) == 1


def test_growth_reaches_both_receivers_with_a_key_of_its_own(house: MakeHouse, server: ScriptedServer) -> None:
    hook = ScriptedServer(server._default)
    escalate = EscalateSettings(
        pagerduty=PagerDutySettings(routing_key=SecretStr("k" * 32), url=server.url),
        webhook=WebhookSettings(url=hook.url),
    )
    here = house(*build_receivers(Settings(escalate=escalate), Metrics()), settings=Settings(escalate=escalate))
    here.step(FIRST)
    here.step(grown(FIRST, 5, effect_size=0.15))
    here.step(grown(FIRST, 9, effect_size=0.25, current={"n": 900, "null_rate": 0.25}))
    here.step(make_alert(closes=FIRST, at=30))
    events = [json.loads(request.body) for request in server.requests]
    assert [event["event_action"] for event in events] == ["trigger", "trigger", "resolve", "resolve"]
    assert events[1]["dedup_key"] == f"{events[0]['dedup_key']}.2"
    assert "0.1 % → 25 % null" in events[1]["payload"]["summary"]
    bodies = [json.loads(request.body)["data"] for request in hook.requests]
    assert [(body["action"], body["incident"]["alerts"]) for body in bodies] == [
        ("trigger", 1),
        ("trigger", 1),
        ("resolve", 1),
        ("resolve", 1),
    ]
    assert bodies[1]["alerts"][0]["updates"] == FIRST.alert_id
    hook.stop()


def test_a_reason_that_is_over_is_not_forgotten_when_its_series_fires_for_another() -> None:
    book, nulls, elsewhere = Book(), make_alert(), make_alert("seats", at=1)
    book.take(nulls)
    book.take(elsewhere)
    book.take(make_alert(closes=nulls, at=5))
    shift = make_alert(reason="mean_shift", at=9, effect_unit="sd")
    book.take(shift)
    assert book.alerts == [nulls, elsewhere, shift]
    assert book.told(make_alert(closes=elsewhere, at=10)) == ("join", "partly_resolved", None)
    assert book.told(make_alert(closes=shift, at=11, reason="mean_shift")) == ("resolve", "all_resolved", "resolve")


def test_slow_drift_and_news_of_the_same_series_are_two_incidents_and_each_ends_with_its_own(
    receiver: KeepingReceiver, house: Callable[..., House]
) -> None:
    here = house(receiver)
    slow = make_alert("x", reason="mean_shift", effect_unit="sd", effect_size=2.1, reference={"n": 5, "which": "first"})
    news = replace(
        slow, detected_at=slow.detected_at + 60_000, events_seen=13_000, reference={"n": 5, "which": "rolling", "first_moved": True}
    )  # fmt: skip
    other = make_alert("y", reason="mean_shift", reference={"n": 5, "which": "first"}, at=2)
    here.step(slow, news, other)
    assert [len(incident.alerts) for incident in here.ledger.incidents.all()] == [2, 1]
    assert [page.action for page in receiver.pages] == ["trigger", "trigger"]
    here.step(make_alert(closes=news, at=3))
    assert [incident.status for incident in here.ledger.incidents.all()] == ["open", "resolved"]
    here.step(make_alert(closes=slow, at=4), make_alert(closes=other, at=4))
    assert [incident.status for incident in here.ledger.incidents.all()] == ["resolved", "resolved"]


def test_slow_drift_that_proves_to_be_sudden_stays_one_incident(
    receiver: KeepingReceiver, house: Callable[..., House]
) -> None:
    here = house(receiver)
    slow = make_alert("x", reason="mean_shift", severity="info", reference={"n": 5, "which": "first"})
    sudden = replace(
        slow, severity="warning", updates=slow.alert_id, events_seen=13_000, reference={"n": 5, "which": "both"}
    )
    here.step(slow, replace(sudden, detected_at=slow.detected_at + 60_000))
    (incident,) = here.ledger.incidents.all()
    assert receiver.told == [("trigger", incident.incident_id)]
