import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs

from streamdrift.checks.receivers import Script, ScriptedServer
from streamdrift.errors import BrokerProblem, Retriable
from streamdrift.escalate.receivers import Ambiguous, Delivered, Outcome, Page, Permanent, RetryAt, build_receivers
from streamdrift.escalate.retry import backoff_s
from streamdrift.escalate.tables import METADATA
from streamdrift.ports import Partition
from streamdrift.settings import EscalateSettings, PagerDutySettings, RetrySettings, Settings, WebhookSettings
from streamdrift.telemetry import Metrics
from streamdrift.transports.memory import MemoryBroker, MemorySink
from tests.escalate.conftest import NOW, TOPIC, House, KeepingReceiver, make_alert

MakeHouse = Callable[..., House]
PARTITION = Partition(TOPIC, 0)


def settings(**retry: float) -> Settings:
    return Settings(escalate=EscalateSettings(retry=RetrySettings.model_validate(retry)))


def outcomes(house: House) -> list[tuple[str, str, str]]:
    return [(row.action, row.state, row.outcome) for row in house.ledger.outbox.rows()]


# The way through -----------------------------------------------------------------------------------------------------


def test_from_alerts_to_a_page_and_its_end(house: MakeHouse, receiver: KeepingReceiver) -> None:
    here, alert = house(receiver), make_alert()
    here.step(alert, make_alert(segment="origin=JFK", at=1))
    assert [(page.action, page.at) for page in receiver.pages] == [("trigger", alert.detected_at)]
    assert receiver.pages[0].headline.startswith("flight-delay: null_rate on dep_delay in origin=EWR")
    here.step(make_alert(closes=alert, at=2))
    assert len(receiver.pages) == 1
    here.step(make_alert(closes=make_alert(segment="origin=JFK", at=1), at=3))
    key = receiver.pages[0].dedup_key
    assert receiver.told == [("trigger", key), ("resolve", key)]
    assert here.broker.committed("streamdrift-escalate", PARTITION) == here.ledger.next_offset(PARTITION) == 4
    assert [here.count("incidents_total", action=action) for action in ("open", "join", "resolve")] == [1, 2, 1]
    assert here.count("deliveries_total", receiver="keeping", outcome="delivered") == 2
    assert (here.count("outbox_pending"), here.count("events_total", stage="escalate")) == (0, 4)


def test_growth_is_a_page_of_its_own_and_ends_with_the_first(house: MakeHouse, receiver: KeepingReceiver) -> None:
    here = house(receiver)
    alert, whole = make_alert(), make_alert(segment="", severity="critical", at=1)
    here.step(alert)
    here.step(whole)
    here.step(make_alert(closes=alert, at=2), make_alert(closes=whole, at=3))
    key = receiver.pages[0].dedup_key
    assert receiver.told == [("trigger", key), ("trigger", f"{key}.2"), ("resolve", key), ("resolve", f"{key}.2")]
    assert len({page.delivery_id for page in receiver.pages}) == 4


def test_without_receivers_incidents_are_recorded(house: MakeHouse) -> None:
    with capture_logs() as logs:
        here = house()
        here.step(make_alert())
    assert len(here.ledger.incidents.all()) == 1
    assert here.ledger.outbox.rows() == []
    assert "nobody is paged" in logs[0]["event"]


def test_old_and_slight_alerts_are_recorded_and_page_nobody(house: MakeHouse, receiver: KeepingReceiver) -> None:
    here = house(receiver)
    with capture_logs() as logs:
        here.step(make_alert("a", at=-1500, onset_at=0), make_alert("b", severity="info"))
    assert receiver.pages == []
    assert len(here.ledger.incidents.all()) == 2
    assert [log["reason"] for log in logs if log["event"] == "alert taken"] == ["too_old", "below_severity"]


def test_every_receiver_is_told(house: MakeHouse) -> None:
    receivers = KeepingReceiver("one"), KeepingReceiver("two")
    house(*receivers).step(make_alert())
    assert [len(receiver.pages) for receiver in receivers] == [1, 1]


# What is no alert ----------------------------------------------------------------------------------------------------

BAD = (
    b"",
    b"{",
    b"\xff\xfe",
    b"[]",
    b'{"type": "io.streamdrift.drift.v1"}',
    b"[" * 200_000,
    b" " * 300_000,
    b'{"type": "io.streamdrift.drift.v1", "data": 5}',
)


def test_what_is_no_alert_is_passed_over(house: MakeHouse, receiver: KeepingReceiver) -> None:
    dead = MemoryBroker()
    here = house(receiver, sink=MemorySink(dead))
    good = make_alert().to_cloudevent()
    broken = [dict(json.loads(good)["data"]) for _ in range(12)]
    for data, (name, value) in zip(
        broken,
        [
            ("model", "flight-delay"),
            ("model", {"name": None}),
            ("segment", ["origin"]),
            ("segment", {"origin": 3}),
            ("effect_size", "big"),
            ("statistic", True),
            ("current", None),
            ("status", "unsure"),
            ("detected_at", "yesterday"),
            ("onset_at", "0001-01-01T00:00:00+00:00"),
            ("series_id", ""),
            ("feature", "f" * 5000),
        ],
        strict=True,
    ):
        data[name] = value
    wrong = [json.dumps(json.loads(good) | {"data": data}).encode() for data in broken]
    for value in [*BAD, *wrong, good]:
        here.broker.append(TOPIC, value)
    here.broker.append(TOPIC, None, b"key")
    with capture_logs() as logs:
        here.step()
    assert len(receiver.pages) == 1
    letters = dead.records("streamdrift.rejected")
    n = len(BAD) + len(wrong) + 1
    assert [letter.value for letter in letters][: n - 1] == [*BAD, *wrong]
    headers = dict(letters[1].headers)
    assert (headers["reason"], headers["source"], headers["stage"]) == (b"not_json", b"drift-alerts/0/1", b"escalate")
    total = sum(here.count("rejected_total", reason=r) for r in ("empty", "too_large", "not_json", "not_an_alert"))
    assert total == n == len([log for log in logs if log["event"].startswith("not an alert")])
    assert here.ledger.next_offset(PARTITION) == n + 1


def test_dead_letters_are_safe_before_the_batch_is_done(house: MakeHouse, receiver: KeepingReceiver) -> None:
    dead = MemoryBroker()
    here = house(receiver, sink=MemorySink(dead))
    dead.fail_next_flush(Retriable("no answer"))
    here.broker.append(TOPIC, b"{")
    here.publish(make_alert())
    with pytest.raises(Retriable):
        here.worker.step(0.0)
    assert here.ledger.next_offset(PARTITION) is None
    here.crash()
    here.step()
    assert (len(receiver.pages), len(dead.records("streamdrift.rejected")) >= 1) == (1, True)


def test_a_dead_letter_that_is_refused_stops_no_page(house: MakeHouse, receiver: KeepingReceiver) -> None:
    dead = MemoryBroker()
    here = house(receiver, sink=MemorySink(dead))
    dead.fail_next_flush(BrokerProblem("not allowed"))
    here.broker.append(TOPIC, b"{")
    here.step(make_alert())
    assert len(receiver.pages) == 1
    assert here.count("transport_errors_total", transport="rejected") == 1


# The source ----------------------------------------------------------------------------------------------------------


def test_a_lost_commit_pages_nobody_twice(house: MakeHouse, receiver: KeepingReceiver) -> None:
    here = house(receiver)
    here.broker.fail_next_commit(Retriable("rebalanced"))
    here.step(make_alert(), make_alert("b", at=1))
    assert here.broker.committed("streamdrift-escalate", PARTITION) is None
    assert here.count("transport_errors_total", transport="alerts") == 1
    here.crash()
    here.step()
    assert len(receiver.pages) == 1
    assert here.count("duplicates_total", stage="escalate") == 2
    assert here.broker.committed("streamdrift-escalate", PARTITION) == 2


def test_alerts_that_come_twice_page_once(house: MakeHouse, receiver: KeepingReceiver) -> None:
    here = house(receiver)
    here.step(make_alert(), make_alert())
    here.broker.deliver_again(2)
    here.step()
    assert len(receiver.pages) == 1
    assert here.count("incidents_total", action="ignore") == 3


def test_a_topic_that_was_made_again_is_not_passed_over(house: MakeHouse, receiver: KeepingReceiver) -> None:
    here = house(receiver)
    here.step(*[make_alert(f"f{i}", at=i) for i in range(3)])
    told = len(receiver.pages)
    here.broker = MemoryBroker()
    here.crash()
    with capture_logs() as logs:
        here.step(make_alert("new", at=300, onset_at=0))
    assert len(receiver.pages) == told + 1
    assert here.ledger.next_offset(PARTITION) == 1
    assert any("was the topic made again" in log["event"] for log in logs)


def test_pages_go_out_while_the_broker_is_away(house: MakeHouse, receiver: KeepingReceiver) -> None:
    here = house(receiver)
    receiver.script.append(RetryAt(None, "HTTP 500"))
    here.step(make_alert())
    here.broker.fail_next_poll(Retriable("no broker"))
    here.clock.time += 60
    with pytest.raises(Retriable):
        here.worker.step(0.0)
    assert len(receiver.pages) == 2


# Delivery ------------------------------------------------------------------------------------------------------------


def test_a_failed_delivery_is_made_again_with_growing_waits(house: MakeHouse, receiver: KeepingReceiver) -> None:
    here = house(receiver, settings=settings(initial_s=10, max_s=100, attempts_max=50))
    receiver.script.extend([RetryAt(None, "HTTP 500")] * 8)
    here.step(make_alert())
    at = [here.clock.time]
    for _ in range(600):
        before = len(receiver.pages)
        here.wait(1.0)
        at += [here.clock.time] * (len(receiver.pages) - before)
    waits = [b - a for a, b in pairwise(at)]
    delivery_id = receiver.pages[0].delivery_id
    expected = [backoff_s(here.settings.escalate.retry, delivery_id, n) for n in range(1, 9)]
    assert waits == pytest.approx(expected, abs=1.0)
    assert max(waits) <= 100
    assert len({page.delivery_id for page in receiver.pages}) == 1
    assert outcomes(here) == [("trigger", "done", "delivered")]


def test_retry_after_is_obeyed_by_everything_for_that_receiver(house: MakeHouse) -> None:
    limited, other = KeepingReceiver("limited"), KeepingReceiver("other")
    here = house(limited, other, settings=settings(initial_s=1))
    limited.script.append(RetryAt(120.0, "HTTP 429"))
    here.step(make_alert("a", onset_at=0), make_alert("b", model="fraud"))
    assert (len(limited.pages), len(other.pages)) == (1, 2)
    here.wait(119)
    assert len(limited.pages) == 1
    here.wait(2)
    assert len(limited.pages) == 3


def test_a_pause_of_a_year_is_not_taken_at_its_word(house: MakeHouse, receiver: KeepingReceiver) -> None:
    here = house(receiver)
    receiver.script.append(RetryAt(3e7))
    here.step(make_alert())
    here.wait(3601)
    assert len(receiver.pages) == 2


def test_after_so_many_attempts_a_page_is_dead(house: MakeHouse, receiver: KeepingReceiver) -> None:
    here = house(receiver, settings=settings(initial_s=1, max_s=1, attempts_max=3))
    receiver.script.extend([RetryAt(None, "HTTP 500")] * 9)
    with capture_logs() as logs:
        here.step(make_alert())
        for _ in range(9):
            here.wait(2)
    assert len(receiver.pages) == 3
    assert outcomes(here) == [("trigger", "dead", "HTTP 500")]
    assert here.count("deliveries_total", receiver="keeping", outcome="dead") == 1
    assert [log["reason"] for log in logs if log["log_level"] == "error"] == ["HTTP 500"]


def test_a_refused_page_is_dead_at_once(house: MakeHouse, receiver: KeepingReceiver) -> None:
    here = house(receiver)
    receiver.script.append(Permanent("HTTP 400: bad key"))
    here.step(make_alert())
    here.wait(1000)
    assert len(receiver.pages) == 1
    assert outcomes(here) == [("trigger", "dead", "HTTP 400: bad key")]


def test_one_receiver_that_fails_does_not_hold_up_another(house: MakeHouse) -> None:
    class Broken:
        name = "broken"

        def send(self, page: Page, now: float) -> Outcome:
            raise RuntimeError(f"canary {page.dedup_key} {now}")

    fine = KeepingReceiver("fine")
    with capture_logs() as logs:
        here = house(Broken(), fine)
        here.step(make_alert())
    assert len(fine.pages) == 1
    assert [row.outcome for row in here.ledger.outbox.rows()] == ["the receiver has a bug: RuntimeError", "delivered"]
    assert "canary" not in repr(logs)


def test_a_step_makes_no_attempt_after_its_budget(house: MakeHouse) -> None:
    class Slow(KeepingReceiver):
        def send(self, page: Page, now: float) -> Outcome:
            here.clock.time += 4
            return super().send(page, now)

    slow = Slow()
    here = house(slow)
    here.step(*[make_alert(model=f"m{i}") for i in range(9)])
    assert len(slow.pages) == 3
    here.step()
    assert len(slow.pages) == 6
    here.worker.drain(100.0)
    assert len(slow.pages) == 9


def test_drain_delivers_what_is_due_and_leaves_the_rest(house: MakeHouse, receiver: KeepingReceiver) -> None:
    here = house(receiver)
    here.step(*[make_alert(model=f"m{i}") for i in range(30)])
    assert len(receiver.pages) == 20
    receiver.script.extend([Delivered()] * 5 + [RetryAt(None)])
    here.worker.commit()
    assert len(receiver.pages) == 26
    assert (here.count("outbox_pending"), here.count("outbox_oldest_seconds")) == (5, 0)


# Order ---------------------------------------------------------------------------------------------------------------


def test_what_is_over_before_it_was_told_is_not_told(house: MakeHouse, receiver: KeepingReceiver) -> None:
    here, alert = house(receiver), make_alert()
    receiver.script.append(RetryAt(None, "HTTP 503"))
    here.step(alert)
    here.step(make_alert(closes=alert, at=1))
    here.wait(1000)
    assert [page.action for page in receiver.pages] == ["trigger"]
    assert outcomes(here) == [("trigger", "done", "cancelled: resolved before it was delivered")]


def test_what_may_have_been_told_is_ended(house: MakeHouse, receiver: KeepingReceiver) -> None:
    here, alert = house(receiver), make_alert()
    receiver.script.append(Ambiguous("no answer"))
    here.step(alert)
    here.step(make_alert(closes=alert, at=1))
    here.wait(1000)
    assert [page.action for page in receiver.pages] == ["trigger", "resolve"]


def test_a_dead_trigger_needs_no_end(house: MakeHouse, receiver: KeepingReceiver) -> None:
    here, alert = house(receiver), make_alert()
    receiver.script.append(Permanent("HTTP 400"))
    here.step(alert)
    here.step(make_alert(closes=alert, at=1))
    assert [page.action for page in receiver.pages] == ["trigger"]


def test_a_later_page_stands_for_the_one_not_yet_told(house: MakeHouse, receiver: KeepingReceiver) -> None:
    here = house(receiver)
    receiver.script.append(RetryAt(None, "HTTP 503"))
    alert, grave = make_alert(), make_alert("b", severity="critical", at=1)
    here.step(alert)
    here.step(grave)
    here.wait(1000)
    key = here.ledger.incidents.all()[0].incident_id
    assert receiver.told == [("trigger", key), ("trigger", f"{key}.2")]
    assert receiver.pages[1].incident["severity"] == "critical"
    here.step(make_alert(closes=alert, at=2), make_alert(closes=grave, at=3))
    assert receiver.told[2:] == [("resolve", f"{key}.2")]


# Bounds --------------------------------------------------------------------------------------------------------------


def test_a_full_outbox_of_one_receiver_leaves_the_others_alone(house: MakeHouse) -> None:
    stuck, fine = KeepingReceiver("stuck"), KeepingReceiver("fine")
    stuck.script.append(RetryAt(3600.0))
    here = house(stuck, fine, outbox_max=2)
    here.step(make_alert(model="m0"), make_alert(model="m1"))
    here.step(make_alert(model="m2"), make_alert(model="m3"))
    assert len(fine.pages) == 4
    assert [row.state for row in here.ledger.outbox.rows() if row.receiver == "stuck"] == ["pending"] * 2 + ["dead"] * 2
    assert here.count("limit_hits_total", limit="outbox_max") == 2
    assert here.count("deliveries_total", receiver="stuck", outcome="dead") == 2


def test_open_incidents_of_one_model_have_a_bound(
    house: MakeHouse, receiver: KeepingReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamdrift.escalate.intake.OPEN_PER_MODEL_MAX", 3)
    here = house(receiver)
    here.step(*[make_alert(f"f{i}", at=90 * i, onset_at=10**7 * i) for i in range(5)])
    assert [incident.status for incident in here.ledger.incidents.all()] == ["resolved"] * 2 + ["open"] * 3
    assert here.count("limit_hits_total", limit="open_incidents_per_model_max") == 2
    assert [page.action for page in receiver.pages] == ["trigger"] * 5


def test_pages_to_a_receiver_that_is_gone_do_not_wait_for_ever(house: MakeHouse, receiver: KeepingReceiver) -> None:
    here = house(receiver)
    receiver.script.append(RetryAt(100.0))
    here.step(make_alert())
    here.receivers = (KeepingReceiver("new"),)
    with capture_logs() as logs:
        here.crash()
    assert outcomes(here) == [("trigger", "dead", "its receiver is no longer set up")]
    assert logs[0]["log_level"] == "error"


def test_a_clock_that_was_set_back_holds_no_page(house: MakeHouse, receiver: KeepingReceiver) -> None:
    here = house(receiver)
    receiver.script.append(RetryAt(None))
    here.step(make_alert())
    here.clock.time -= 400 * 86_400
    here.crash()
    here.clock.time += 2
    here.step()
    assert len(receiver.pages) == 2


# Secrets, over real HTTP ---------------------------------------------------------------------------------------------


def test_no_secret_is_logged_or_recorded(house: MakeHouse, tmp_path: Path) -> None:
    key, secret = "canary-key-0123456789", "canary-signing-secret"
    pager, hook = ScriptedServer(Script(202)), ScriptedServer(Script(200))
    escalate = EscalateSettings(
        pagerduty=PagerDutySettings(routing_key=SecretStr(key), url=pager.url, timeout_s=0.3),
        webhook=WebhookSettings(url=f"{hook.url}?token=canary-token", secret=SecretStr(secret), timeout_s=0.3),
        retry=RetrySettings(initial_s=1, max_s=1),
    )
    for server, own in ((pager, key), (hook, f"{secret} canary-token")):
        echo = f"{own} path-token-canary".encode()
        faults = [Script(status, {"Location": server.url}, echo) for status in (429, 500, 302)]
        server.script.extend([Script(fault="reset"), *faults])
    receivers = build_receivers(Settings(escalate=escalate), Metrics())
    assert "canary" not in repr(receivers)
    with capture_logs() as logs:
        here = house(*receivers, settings=Settings(escalate=escalate))
        here.step(make_alert())
        for _ in range(5):
            here.wait(2)
        here.step(make_alert(model="other"))
        pager.stop()
        hook.stop()
        here.step(make_alert(model="third"))
    assert (len(pager.requests), len(hook.requests)) == (5, 5)
    assert "canary" not in repr(logs)
    recorded = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    for table in METADATA.sorted_tables:
        recorded += repr(here.ledger._database.execute(table.select())).encode()
    assert b"null_rate" in recorded
    assert b"canary" not in recorded


def test_pages_survive_a_night_of_faults(house: MakeHouse, server: ScriptedServer) -> None:
    escalate = EscalateSettings(
        pagerduty=PagerDutySettings(routing_key=SecretStr("k" * 32), url=server.url, timeout_s=0.3),
        retry=RetrySettings(initial_s=1, max_s=8),
    )
    faults = [
        Script(429, {"Retry-After": "5"}),
        Script(500),
        Script(fault="reset"),
        Script(fault="silent"),
        Script(503),
    ]
    server.script.extend(faults)
    receivers = build_receivers(Settings(escalate=escalate), Metrics())
    here = house(*receivers, settings=Settings(escalate=escalate))
    alert = make_alert()
    here.step(alert)
    for _ in range(60):
        here.wait(1)
    here.step(make_alert(closes=alert, at=1))
    sent = [json.loads(request.body) for request in server.requests]
    assert [event["event_action"] for event in sent] == ["trigger"] * 6 + ["resolve"]
    assert len({event["dedup_key"] for event in sent}) == 1
    assert here.clock.time > NOW
    assert [row.state for row in here.ledger.outbox.rows()] == ["done", "done"]
