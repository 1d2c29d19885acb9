"""Orders to learn a reference anew, by the real command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from jsonschema import Draft202012Validator

from streamdrift.alerts import Alert, rfc3339
from streamdrift.orders import OrderReader, Orders
from streamdrift.pipeline import Assemble, Detect, Direct
from streamdrift.settings import KafkaSettings
from streamdrift.telemetry import Metrics
from streamdrift.transports.memory import MemoryBroker, MemorySource
from tests.command import SMALL, START, event, read, streamdrift, written
from tests.detect.test_bank import SMALL as TREE
from tests.test_pipeline import FakeClock, drain, published, worker
from tests.test_schemas import schema
from tests.test_services import environment as environment  # noqa: PLC0414 - a fixture
from tests.test_services import publish, run, service, stopped, until, values

MOVED = 400
AT = rfc3339(START + 900_000)


@pytest.fixture
def events(tmp_path: Path) -> Path:
    rng = np.random.default_rng(3)
    lines = [event(i, x=float(rng.standard_normal() + 3 * (i > MOVED)), y=float(rng.random())) for i in range(1_600)]
    return written(tmp_path / "events.ndjson", lines)


def test_an_order_in_a_file_is_followed_by_replay(tmp_path: Path, events: Path) -> None:
    changes, alerts = tmp_path / "changes.ndjson", tmp_path / "alerts"
    changes.write_bytes(b'{"change_id": "d", "kind": "deployment", "summary": "s"}')  # its line is not ended
    order = ("rebaseline", "--model", "shop", "--feature", "x", "--segment", "region=eu", "--at", AT)
    done = streamdrift(*order, "--changes", changes)
    assert done.code == 0, done.said
    assert f"new reference for x of shop in region=eu from {AT} on; appended to {changes}" in done.out
    assert streamdrift(*order, "--changes", changes).code == 0  # twice is as once
    written_ = read(changes)
    assert [e["kind"] for e in written_] == ["deployment", "rebaseline", "rebaseline"]
    assert written_[1] == written_[2]
    Draft202012Validator(schema("change-event")).validate(written_[1])
    done = streamdrift("replay", events, "--changes", changes, "--alerts", alerts, "--report", tmp_path / "report.html")
    assert done.code == 0, done.said
    told = [(a["data"]["series_id"], a["data"]["status"]) for a in read(alerts)]
    assert told == [("shop//x", "firing"), ("shop/region=eu/x", "firing"), ("shop/region=eu/x", "resolved")]
    resolved = read(alerts)[-1]["data"]
    assert resolved["detected_at"] == AT
    assert resolved["current"] == {"n": 0, "rebaseline": written_[1]["change_id"]}
    assert f"suspect: {written_[1]['kind']}" not in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_an_order_to_standard_output_is_the_event_alone() -> None:
    done = streamdrift("rebaseline", "--model", "shop", "--at", START, "--changes", "-")
    assert json.loads(done.out) == {
        "change_id": json.loads(done.out)["change_id"],
        "occurred_at": rfc3339(START),
        "kind": "rebaseline",
        "summary": "new reference for every feature of shop",
        "scope": {"models": ["shop"], "features": [], "segments": {}},
    }


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        ([], 2, "--model"),
        (["--model", " "], 2, "--model is empty; name the model"),
        (["--model", "m", "--segment", "EWR"], 2, "--segment EWR is not DIM=VALUE, as in origin=EWR"),
        (["--model", "m", "--at", "noon"], 2, "--at noon: --at is not RFC 3339"),
        (["--model", "m", "--at", "2013-04-01T08:15:00"], 2, "no UTC offset"),
        (["--model", "m", "--changes", "."], 3, ". can't be written: is a directory; name another file"),
    ],
)
def test_a_wrong_order_is_told_in_a_sentence(arguments: list[str], code: int, says: str) -> None:
    done = streamdrift("rebaseline", *arguments)
    assert done.code == code
    assert says in done.said


# On the topic --------------------------------------------------------------------------------------------------------


def changes_of(*arguments: str) -> bytes:
    return streamdrift("rebaseline", "--model", "shop", *arguments, "--changes", "-").out.encode()


def resolved(alerts: list[Alert]) -> list[tuple[str, int]]:
    return [(a.series_id, a.detected_at) for a in alerts if "rebaseline" in a.current]


@pytest.mark.parametrize("exchange", ["direct", "topic"])
def test_orders_on_the_changes_topic_reach_the_detect_stage_and_again_after_a_restart(
    events: Path, exchange: str
) -> None:
    broker, clock = MemoryBroker(), FakeClock()
    topics = TREE.topics
    for line in events.read_bytes().splitlines():
        broker.append(topics.events, line)
    for value in (b"nonsense", b'{"change_id": "d", "kind": "deployment", "summary": "s"}', changes_of("--at", AT)):
        broker.append(topics.changes, value)
    if exchange == "topic":
        drain(worker(Assemble(TREE, Metrics()), broker, clock))
    expected = [("shop//x", START + 900_000), ("shop/region=eu/x", START + 900_000)]
    for _ in range(2):  # the second time all of it is muted, and nothing is said twice
        orders = Orders()
        reader = OrderReader(MemorySource(broker, topics.changes, "any"), orders, TREE, clock)
        assert [reader.step(0.0), reader.step(0.0)] == [3, 0]
        assert reader.caught_up()
        reader.commit()
        reader.close()
        stage = (
            Detect(TREE, "config", Metrics(), orders)
            if exchange == "topic"
            else Direct(TREE, "config", Metrics(), orders=orders)
        )
        drain(worker(stage, broker, clock))
        assert resolved(published(broker)) == expected


def test_an_order_that_comes_late_acts_from_the_next_row_on(events: Path) -> None:
    broker, clock, orders = MemoryBroker(), FakeClock(), Orders()
    stage = Direct(TREE, "config", Metrics(), orders=orders)
    lines = events.read_bytes().splitlines()
    for line in lines[:1_200]:
        broker.append(TREE.topics.events, line)
    running = worker(stage, broker, clock)
    drain(running)
    broker.append(TREE.topics.changes, changes_of("--at", AT))
    reader = OrderReader(MemorySource(broker, TREE.topics.changes, "any"), orders, TREE, clock)
    reader.step(0.0)
    for line in lines[1_200:]:
        broker.append(TREE.topics.events, line)
    drain(running)
    assert {at for _, at in resolved(published(broker))} == {START + 1_200_000}


def test_without_the_topic_nothing_waits() -> None:
    orders, clock = Orders(), FakeClock()
    reader = OrderReader(None, orders, TREE, clock)
    orders.wait(clock, lambda: False)
    assert (reader.step(0.3), reader.caught_up()) == (0, True)
    Orders().wait(clock, lambda: False)  # one that never completes holds nobody up for ever


@pytest.mark.broker
def test_the_command_reaches_a_running_service(
    kafka_settings: KafkaSettings, environment: dict[str, str], events: Path, tmp_path: Path
) -> None:
    given = {**environment, **SMALL}
    assert run(["topics", "create"], given).returncode == 0
    lines, log = events.read_bytes().splitlines(), tmp_path / "log"
    topics = {name: environment[f"STREAMDRIFT_TOPICS__{name.upper()}"] for name in ("events", "alerts")}
    publish(kafka_settings, topics["events"], lines[:900])

    def told() -> list[Alert]:
        return [Alert.from_cloudevent(v) for v in values(kafka_settings.bootstrap_servers, topics["alerts"])]

    with service("detect", given, log) as process:
        until(lambda: len(told()) >= 2, "alerts", log)
        done = run(["rebaseline", "--model", "shop", "--at", AT], given)
        assert done.returncode == 0, done.stderr
        assert f"published to {environment['STREAMDRIFT_TOPICS__CHANGES']}" in done.stdout
        until(lambda: '"event":"rebaseline"' in log.read_text().replace(" ", ""), "the order", log)
        publish(kafka_settings, topics["events"], lines[900:])
        until(lambda: len(resolved(told())) == 2, "resolution", log)
        assert stopped(process) == 0
    assert resolved(told()) == [("shop//x", START + 900_000), ("shop/region=eu/x", START + 900_000)]
