"""Delayed labels by their topic: the same alerts as by `replay --labels`, whichever stream is ahead, after a kill too."""

from __future__ import annotations

import signal
from pathlib import Path

import numpy as np
import orjson
import pytest

from streamdrift.alerts import Alert
from streamdrift.settings import KafkaSettings
from streamdrift.transports.kafka import KafkaSink
from tests.test_services import START, environment, metric, publish, run, service, stopped, until, values
from tests.transports.clock import RealClock

__all__ = ["environment"]
EVENTS = 6_000
DELAY_MS = 600_000
QUICK = {
    "STREAMDRIFT_REFERENCE__EVENTS": "500",
    "STREAMDRIFT_KAFKA__POLL_RECORDS_MAX": "1000",
    "STREAMDRIFT_KAFKA__COMMIT_INTERVAL_S": "0.2",
    "STREAMDRIFT_LABELS__JOIN_MEMORY_MAX": "500",
}


def traffic() -> tuple[list[bytes], list[bytes]]:
    """Events of a classifier, and its labels ten minutes later; from the middle on it is wrong more often in one region."""
    rng = np.random.default_rng(5)
    p, u, regions = rng.uniform(0.05, 0.95, EVENTS), rng.random(EVENTS), rng.choice(["eu", "us"], EVENTS)
    events, labels = [], []
    for i in range(EVENTS):
        worse = regions[i] == "eu" and i > EVENTS // 2
        truth = bool(u[i] < (1 - p[i] if worse else p[i]))
        told = {"label": bool(p[i] > 0.5), "score": float(p[i])}
        event = {"model": "shop", "segments": {"region": str(regions[i])}, "prediction": told, "prediction_id": f"p{i}"}
        events.append(orjson.dumps(event | {"occurred_at": START + i * 1_000}))
        label = {"model": "shop", "prediction_id": f"p{i}", "label": truth}
        labels.append(orjson.dumps(label | {"observed_at": START + i * 1_000 + DELAY_MS}))
    return events, labels


def replayed(events: list[bytes], labels: list[bytes], environment: dict[str, str], folder: Path) -> list[Alert]:
    (folder / "events").write_bytes(b"\n".join(events))
    (folder / "labels").write_bytes(b"\n".join(labels))
    paths = [str(folder / name) for name in ("events", "labels", "alerts")]
    done = run(["replay", paths[0], "--labels", paths[1], "--alerts", paths[2]], environment)
    assert done.returncode == 0, done.stderr
    return [Alert.from_cloudevent(line) for line in Path(paths[2]).read_bytes().splitlines()]


def published(kafka_settings: KafkaSettings, environment: dict[str, str]) -> list[Alert]:
    topic = environment["STREAMDRIFT_TOPICS__ALERTS"]
    return [Alert.from_cloudevent(value) for value in values(kafka_settings.bootstrap_servers, topic)]


@pytest.mark.broker
@pytest.mark.parametrize("exchange", ["topic", "direct"])
def test_labels_by_their_topic_give_the_alerts_of_replay(
    kafka_settings: KafkaSettings, environment: dict[str, str], tmp_path: Path, exchange: str
) -> None:
    environment |= QUICK | {"STREAMDRIFT_EXCHANGE": exchange}
    events, labels = traffic()
    expected = replayed(events, labels, environment, tmp_path)
    assert run(["topics", "create"], environment).returncode == 0
    publish(kafka_settings, environment["STREAMDRIFT_TOPICS__LABELS"], labels[: EVENTS // 2])  # before their events
    publish(kafka_settings, environment["STREAMDRIFT_TOPICS__EVENTS"], events)
    first, second = tmp_path / "first.log", tmp_path / "second.log"
    with service("detect", environment, first) as process:
        until(lambda: metric(first, "labels_total", outcome="joined") > 1_000, "joining", first)
        process.send_signal(signal.SIGKILL)
        process.wait()
    publish(kafka_settings, environment["STREAMDRIFT_TOPICS__LABELS"], labels[EVENTS // 2 :])
    with service("detect", environment, second) as process:
        wanted = {alert.alert_id for alert in expected}

        def all_told() -> bool:
            at_end = metric(second, "lag_records") == 0 and metric(second, "commits_total") > 0
            return at_end and {a.alert_id for a in published(kafka_settings, environment)} == wanted

        until(all_told, "alerts", second)
        assert metric(second, "labels_total", outcome="orphan") == 0
        assert stopped(process) == 0
    told = [(a.feature, a.segment, a.reason) for a in expected if a.status == "firing"]
    assert ("performance.error", {"region": "eu"}, "performance_drop") in told
    assert {alert.alert_id for alert in published(kafka_settings, environment)} == wanted


@pytest.mark.broker
def test_two_workers_join_labels_on_other_partitions_than_their_events(
    kafka_settings: KafkaSettings, environment: dict[str, str], tmp_path: Path
) -> None:
    environment |= QUICK | {"STREAMDRIFT_KAFKA__PARTITIONS": "3"}
    assert run(["topics", "create"], environment).returncode == 0
    events, labels = traffic()
    logs = tmp_path / "one.log", tmp_path / "two.log"

    def total(name: str, **of: str) -> float:
        return sum(metric(log, name, **of) for log in logs)

    with service("detect", environment, logs[0]) as one, service("detect", environment, logs[1]) as two:
        publish(kafka_settings, environment["STREAMDRIFT_TOPICS__EVENTS"], events)
        publish(kafka_settings, environment["STREAMDRIFT_TOPICS__LABELS"], labels)
        until(lambda: total("labels_total", outcome="joined") >= EVENTS, "joining", logs[0])
        assert total("labels_total", outcome="orphan") == 0
        assert total("labels_total", outcome="late") == 0
        assert [stopped(one), stopped(two)] == [0, 0]
    told = [
        value
        for i in range(3)
        for value in values(kafka_settings.bootstrap_servers, environment["STREAMDRIFT_TOPICS__ALERTS"], i)
    ]
    assert "performance_drop" in {Alert.from_cloudevent(value).reason for value in told}


@pytest.mark.broker
def test_without_a_topic_of_labels_the_service_says_so_and_runs(
    kafka_settings: KafkaSettings, environment: dict[str, str], tmp_path: Path
) -> None:
    assert run(["topics", "create"], environment).returncode == 0
    log = tmp_path / "detect.log"
    missing = environment["STREAMDRIFT_TOPICS__LABELS"] + "-missing"
    sink = KafkaSink(kafka_settings, RealClock())
    sink.send(environment["STREAMDRIFT_TOPICS__EVENTS"], traffic()[0][0])
    sink.flush(20)
    sink.close()
    with service("detect", environment | {"STREAMDRIFT_TOPICS__LABELS": missing}, log) as process:
        until(lambda: metric(log, "events_total", stage="detect") > 0, "detecting", log)
        assert stopped(process) == 0
    assert "no labels are read, so performance is not watched" in log.read_text()
    assert f"has no topic '{missing}'; run `streamdrift topics create`" in log.read_text()
