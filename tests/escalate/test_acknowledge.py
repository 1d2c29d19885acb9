"""Acknowledging an incident: somebody knows, until it grows; and as the new normal its references are learned anew."""

from __future__ import annotations

import itertools
import json
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from jsonschema import Draft202012Validator

from streamdrift.alerts import Alert, rfc3339
from streamdrift.embedded.acknowledge import Acknowledge, acknowledge, order_of
from streamdrift.errors import BrokerProblem, Fatal, InputProblem, Retriable, SettingsProblem
from streamdrift.escalate.incident import Incident
from streamdrift.escalate.migrations import VERSION
from streamdrift.events import change
from streamdrift.events.inference import Limits
from streamdrift.ports import Partition, Record
from streamdrift.settings import KafkaSettings, Settings
from tests.command import SMALL, START, event, streamdrift
from tests.escalate.conftest import BACK_TO_3, NOW, House, KeepingReceiver, make_alert
from tests.test_schemas import schema
from tests.test_services import environment as environment  # noqa: PLC0414 - a fixture
from tests.test_services import publish, run, service, stopped, until, values


class Topic:
    """Keeps what is published; fails as often as it is told to."""

    def __init__(self, failures: int = 0) -> None:
        self.failures, self.orders = failures, list[tuple[bytes, bytes]]()

    def __call__(self, value: bytes, key: bytes) -> str:
        if self.failures:
            self.failures -= 1
            raise Retriable("the broker went away")
        self.orders.append((value, key))
        return "published to model-changes"


def settings(house: House) -> Settings:
    return Settings.model_validate({"escalate": {"ledger": house.path}})


def only(house: House) -> Incident:
    (incident,) = house.ledger.incidents.all()
    return incident


# Known ---------------------------------------------------------------------------------------------------------------


def test_an_incident_that_is_known_calls_again_when_it_grows_and_its_end_is_told(
    receiver: KeepingReceiver, house: Callable[..., House]
) -> None:
    here, alert = house(receiver), make_alert()
    here.step(alert)
    incident = only(here)
    topic = Topic()
    said = acknowledge(Acknowledge(incident.incident_id[:8]), settings(here), NOW, topic)  # beside the worker
    assert said == f"{incident.incident_id}: acknowledged; it pages again if it grows, and when it is over"
    assert topic.orders == []
    assert (only(here).status, len(receiver.pages)) == ("acknowledged", 1)
    here.crash()
    here.step(make_alert("seats", at=1))
    assert (only(here).status, len(only(here).alerts), len(receiver.pages)) == ("acknowledged", 2, 1)
    here.step(make_alert(at=2, events_seen=13_000, updates=alert.alert_id, severity="critical"))
    assert (only(here).status, only(here).severity, only(here).pages) == ("open", "critical", 2)
    acknowledge(Acknowledge(incident.incident_id), settings(here), NOW + 180, topic)
    assert only(here).status == "acknowledged"
    here.step(*(make_alert(f, s, closes=a, at=4) for f, s, a in _all(only(here))))
    assert only(here).status == "resolved"
    keys = [incident.incident_id, f"{incident.incident_id}.2"]
    assert receiver.told == [*(("trigger", key) for key in keys), *(("resolve", key) for key in keys)]
    kinds = [entry.kind for entry in here.ledger.timeline.entries(incident.incident_id)]
    assert kinds.count("acknowledged") == 2


def _all(incident: Incident) -> list[tuple[str, str, Alert]]:
    return [(alert.feature, "", alert) for alert in incident.firing]


def test_without_it_growth_calls_again(receiver: KeepingReceiver, house: Callable[..., House]) -> None:
    here, alert = house(receiver), make_alert()
    here.step(alert)
    here.step(make_alert(at=1, events_seen=13_000, updates=alert.alert_id, severity="critical"))
    assert [page.action for page in receiver.pages] == ["trigger", "trigger"]


# The new normal ------------------------------------------------------------------------------------------------------


def incident_of(*alerts: Alert, **other: Any) -> Incident:
    first = alerts[0]
    told: dict[str, Any] = {"resolved": frozenset()} | other
    return Incident(
        "c0ffee",
        first.model_name,
        "open",
        "warning",
        first.detected_at,
        first.detected_at,
        first.onset_at,
        alerts,
        **told,
    )


@pytest.mark.parametrize(
    ("incident", "features", "segments"),
    [
        (incident_of(make_alert("x"), make_alert("y")), ["x", "y"], {"origin": "EWR"}),
        (incident_of(make_alert("x"), make_alert("x", "origin=JFK")), ["x"], {}),
        (incident_of(make_alert("x"), make_alert("x", "")), ["x"], {}),
        (incident_of(make_alert("x"), beyond=frozenset({"m/a=b/z"})), [], {}),
        (
            incident_of(
                make_alert("x"), (gone := make_alert("y", "")), resolved=frozenset({(gone.series_id, gone.reason)})
            ),
            ["x"],
            {"origin": "EWR"},
        ),
    ],
)
def test_the_order_has_the_scope_of_what_fires(
    incident: Incident, features: list[str], segments: dict[str, str]
) -> None:
    told = order_of(incident, START)
    assert told["scope"] == {"models": ["flight-delay"], "features": features, "segments": segments}
    Draft202012Validator(schema("change-event")).validate(told)
    read = change.decode(Record(orjson.dumps(told), Partition("c", 0), 0, 0), Limits.of(Settings()))
    assert (read.change_id, read.time, read.kind) == ("acknowledged-c0ffee", START, "rebaseline")


def test_an_order_that_was_not_written_is_written_by_the_next_try_and_twice_is_as_once(
    receiver: KeepingReceiver, house: Callable[..., House]
) -> None:
    here = house(receiver)
    here.step(make_alert())
    incident_id = only(here).incident_id
    asked = Acknowledge(incident_id, new_normal=True)
    topic = Topic(failures=1)
    with pytest.raises(BrokerProblem, match="may not have been written: the broker went away; give it again"):
        acknowledge(asked, settings(here), NOW, topic)
    assert (found := here.ledger.acknowledgements.get(incident_id)) is not None
    assert (found.order is not None, found.published) == (True, False)
    here.crash()
    here.step(make_alert("seats"))  # what fires by then is of no matter: the order was given
    for later in (60, 120):
        said = acknowledge(asked, settings(here), NOW + later, topic)
        assert f"acknowledged as the new normal; new reference for dep_delay of flight-delay in origin=EWR from {rfc3339(int(NOW * 1000))} on; published" in said  # fmt: skip
    assert topic.orders[0] == topic.orders[1] == (found.order, b"flight-delay")
    assert (again := here.ledger.acknowledgements.get(incident_id)) is not None
    assert again == replace(found, published=True)


def test_what_was_only_known_can_become_the_new_normal(house: Callable[..., House]) -> None:
    here = house()
    here.step(make_alert())
    incident_id = only(here).incident_id
    topic = Topic()
    acknowledge(Acknowledge(incident_id), settings(here), NOW, topic)
    acknowledge(Acknowledge(incident_id, new_normal=True, at="2013-04-17T10:30:00Z"), settings(here), NOW, topic)
    acknowledge(Acknowledge(incident_id), settings(here), NOW, topic)
    ((value, _),) = topic.orders
    assert orjson.loads(value)["occurred_at"] == "2013-04-17T10:30:00.000Z"
    here.step(make_alert(closes=only(here).alerts[0], at=40))
    assert "as the new normal" in acknowledge(Acknowledge(incident_id, new_normal=True), settings(here), NOW, topic)
    here.ledger.prune(NOW + 10**8)
    assert here.ledger.acknowledgements.get(incident_id) is None


# What goes wrong -----------------------------------------------------------------------------------------------------


def refused(asked: Acknowledge, tree: Settings) -> Fatal:
    with pytest.raises((InputProblem, SettingsProblem)) as caught:
        acknowledge(asked, tree, NOW, Topic())
    return caught.value


def test_what_can_not_be_acknowledged_is_told(house: Callable[..., House]) -> None:
    here = house()
    assert "no incident c0ffee in the ledger; none is open" in str(refused(Acknowledge("c0ffee"), settings(here)))
    alert = make_alert()
    here.step(alert, make_alert(at=600, onset_at=alert.onset_at + 10**8, feature="seats"))
    first, second = here.ledger.incidents.all()
    assert f"no incident zz in the ledger; the latest that is open is {second.incident_id}" in str(
        refused(Acknowledge("zz"), settings(here))
    )
    assert "no incident  " in str(refused(Acknowledge(" "), settings(here)))
    here.step(make_alert(closes=alert, at=601))
    assert f"incident {first.incident_id} is resolved; there is nothing left to acknowledge" in str(
        refused(Acknowledge(first.incident_id, new_normal=True), settings(here))
    )
    assert "--at noon: --at is not RFC 3339" in str(
        refused(Acknowledge(second.incident_id, new_normal=True, at="noon"), settings(here))
    )
    assert "add --new-normal" in str(
        refused(Acknowledge(second.incident_id, at="2013-04-17T10:30:00Z"), settings(here))
    )
    assert here.ledger.acknowledgements.get(second.incident_id) is None


def test_the_beginning_of_an_id_must_be_of_one_incident(house: Callable[..., House]) -> None:
    here = house()
    here.step(*(make_alert(f"f{i}", model=f"m{i}") for i in range(17)))  # of 17 ids, two begin alike
    ids = sorted(incident.incident_id for incident in here.ledger.incidents.all())
    alike = next(a[0] for a, b in itertools.pairwise(ids) if a[0] == b[0])
    assert f"2 or more incidents begin with {alike}; give the whole id" in str(
        refused(Acknowledge(alike), settings(here))
    )


def test_a_ledger_that_is_not_there_or_not_of_this_version_is_told(tmp_path: Path) -> None:
    nowhere = Settings.model_validate({"escalate": {"ledger": tmp_path / "none"}})
    told = refused(Acknowledge("c0ffee"), nowhere)
    assert (told.exit_code, "there is no ledger" in str(told)) == (3, True)
    assert not (tmp_path / "none").exists()
    here = House(tmp_path / "ledger.sqlite3")
    here.worker.close()
    with sqlite3.connect(here.path) as connection:
        connection.executescript(f"DROP TABLE acknowledgements; {BACK_TO_3} UPDATE schema SET version = 2;")
    connection.close()
    assert (
        f"has version 2, and this streamdrift works on {VERSION}; let `streamdrift escalate` of this version open it"
        in str(refused(Acknowledge("c0ffee"), settings(here)))
    )
    here.start()  # which it does
    assert "none is open" in str(refused(Acknowledge("c0ffee"), settings(here)))
    here.worker.close()


def test_the_command_says_so_too(house: Callable[..., House], tmp_path: Path) -> None:
    here = house()
    here.step(make_alert())
    ledger = {"STREAMDRIFT_ESCALATE__LEDGER": str(here.path)}
    incident_id = only(here).incident_id
    done = streamdrift("acknowledge", incident_id, "--new-normal", "--changes", "-", settings=ledger)
    assert done.code == 0, done.said
    assert json.loads(done.out)["change_id"] == f"acknowledged-{incident_id}"
    nobody = {"STREAMDRIFT_KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:1", "STREAMDRIFT_KAFKA__REQUEST_TIMEOUT_S": "2"}
    done = streamdrift("acknowledge", incident_id, "--new-normal", settings=ledger | nobody)
    assert done.code == 3
    assert "127.0.0.1:1" in done.said
    assert streamdrift("acknowledge", settings=ledger).code == 2
    done = streamdrift("acknowledge", "c0ffee", settings={"STREAMDRIFT_ESCALATE__LEDGER": str(tmp_path / "none")})
    assert done.code == 3


# The whole way -------------------------------------------------------------------------------------------------------


@pytest.mark.broker
def test_from_a_page_to_the_new_normal(
    kafka_settings: KafkaSettings, environment: dict[str, str], tmp_path: Path
) -> None:
    path = tmp_path / "ledger.sqlite3"
    given = {**environment, **SMALL, "STREAMDRIFT_ESCALATE__LEDGER": str(path)}
    assert run(["topics", "create"], given).returncode == 0
    rng = np.random.default_rng(3)
    lines = [event(i, x=float(rng.standard_normal() + 3 * (i > 400) + 3 * (i > 1_300))) for i in range(1_600)]
    logs = tmp_path / "detect", tmp_path / "escalate"
    topics = {name: environment[f"STREAMDRIFT_TOPICS__{name.upper()}"] for name in ("events", "alerts", "changes")}
    publish(kafka_settings, topics["events"], lines[:900])

    def told() -> list[Alert]:
        return [Alert.from_cloudevent(v) for v in values(kafka_settings.bootstrap_servers, topics["alerts"])]

    def incidents(status: str) -> list[str]:
        with sqlite3.connect(path) as connection:
            found = connection.execute("SELECT incident_id FROM incidents WHERE status = ?", [status]).fetchall()
        connection.close()
        return [row[0] for row in found]

    with service("detect", given, logs[0]) as detect, service("escalate", given, logs[1]) as escalate:
        until(lambda: len(told()) >= 2, "alerts", logs[0])
        until(lambda: path.exists() and '"running"' in logs[1].read_text().replace(" ", ""), "the ledger", logs[1])
        until(lambda: len(incidents("open")) == 1, "an incident", logs[1])
        (incident_id,) = incidents("open")
        for _ in range(2):  # twice is as once
            done = run(["acknowledge", incident_id, "--new-normal", "--at", rfc3339(START + 900_000)], given)
            assert done.returncode == 0, done.stderr
            assert f"published to {topics['changes']}" in done.stdout
        until(lambda: '"event":"rebaseline"' in logs[0].read_text().replace(" ", ""), "the order", logs[0])
        publish(kafka_settings, topics["events"], lines[900:1_250])
        until(lambda: incidents("resolved") == [incident_id], "its end", logs[1])
        publish(kafka_settings, topics["events"], lines[1_250:])  # by now it is judged by what is normal now
        until(lambda: any(a.status == "firing" and a.onset_at > START + 1_200_000 for a in told()), "news", logs[0])
        assert [stopped(detect), stopped(escalate)] == [0, 0]
    orders = [orjson.loads(v) for v in values(kafka_settings.bootstrap_servers, topics["changes"])]
    assert len(orders) == 2
    assert orders[0] == orders[1]
    assert orders[0]["scope"] == {"models": ["shop"], "features": ["x"], "segments": {}}
    resolved = [a for a in told() if a.status == "resolved" and "rebaseline" in a.current]
    assert {a.current["rebaseline"] for a in resolved} == {f"acknowledged-{incident_id}"}
    assert {a.series_id for a in resolved} == {"shop//x", "shop/region=eu/x"}
