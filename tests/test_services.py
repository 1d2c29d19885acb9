"""The services as an operator runs them: processes of their own, against a real broker."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from kafka import KafkaConsumer, TopicPartition

from streamdrift.alerts import Alert
from streamdrift.demo.receiver import Receiver
from streamdrift.settings import KafkaSettings, TopicSettings
from streamdrift.transports.kafka import KafkaSink
from tests.transports.clock import RealClock

START = 1_700_000_000_000
TOPIC_NAMES = tuple(TopicSettings.model_fields)


@pytest.fixture
def environment(kafka_settings: KafkaSettings, topic_prefix: str) -> dict[str, str]:
    names = {f"STREAMDRIFT_TOPICS__{name.upper()}": topic_prefix + name for name in TOPIC_NAMES}
    return {
        **{k: v for k, v in os.environ.items() if not k.startswith("STREAMDRIFT_")},
        **names,
        "STREAMDRIFT_KAFKA__BOOTSTRAP_SERVERS": kafka_settings.bootstrap_servers,
        "STREAMDRIFT_KAFKA__GROUP": topic_prefix + "group",
        "STREAMDRIFT_KAFKA__PARTITIONS": "1",
        "STREAMDRIFT_TELEMETRY__PORT": "0",
        "STREAMDRIFT_TELEMETRY__HOST": "127.0.0.1",
    }


def run(command: list[str], environment: dict[str, str], timeout: float = 180) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "streamdrift", *command],
        env=environment,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


@contextmanager
def service(command: str, environment: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("ab") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "streamdrift", *command.split()], env=environment, stdout=out, stderr=out
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def stopped(process: subprocess.Popen[bytes]) -> int:
    process.send_signal(signal.SIGTERM)
    return process.wait(timeout=30)


def until(condition: Callable[[], bool], what: str, log: Path, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"{what} did not come about in {seconds} s; log:\n{log.read_text()[-3_000:]}")
        time.sleep(0.2)


def metric(log: Path, name: str, **labels: str) -> float:
    """Sum of a metric's samples that have these labels, asked of the running service."""
    line = next((line for line in log.read_text().splitlines() if '"starting"' in line), None)
    if line is None:
        return -1
    port = json.loads(line)["port"]
    text = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10).read().decode()
    wanted = [f'{k}="{v}"' for k, v in labels.items()]
    samples = [s for s in text.splitlines() if s.startswith((f"streamdrift_{name} ", f"streamdrift_{name}{{"))]
    return sum(float(s.rsplit(" ", 1)[1]) for s in samples if all(w in s for w in wanted))


def values(bootstrap: str, topic: str, index: int = 0) -> list[bytes]:
    """Every value of one partition of a topic that was committed."""
    consumer = KafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False, isolation_level="read_committed")
    partition = TopicPartition(topic, index)
    consumer.assign([partition])
    consumer.seek_to_beginning(partition)
    end = consumer.end_offsets([partition])[partition]
    found: list[bytes] = []
    while consumer.position(partition) < end:
        for records in consumer.poll(timeout_ms=500).values():
            found += [record.value for record in records]
    consumer.close()
    return found


def traffic(n: int, seed: int = 3) -> Iterator[bytes]:
    """One model, two dimensions; one feature moves in one region, one is null for a while, one region goes."""
    rng = np.random.default_rng(seed)
    x, y, u = rng.standard_normal(n), rng.random(n), rng.random(n)
    regions = rng.choice(["eu", "us", "asia"], n, p=[0.5, 0.3, 0.2])
    devices = rng.choice(["web", "app"], n)
    for i in range(n):
        region = str(regions[i])
        if region == "asia" and i > 0.8 * n:
            continue
        shifted = region == "eu" and i > 0.5 * n
        event = {
            "prediction_id": f"p-{i}",
            "occurred_at": START + i * 1_000,
            "model": {"name": "shop", "version": "1"},
            "segments": {"region": region, "device": str(devices[i])},
            "features": {
                "x": float(x[i] + 2 * shifted),
                "y": None if 0.3 * n < i < 0.35 * n and u[i] < 0.2 else float(y[i]),
            },
        }
        yield orjson.dumps(event)


def publish(kafka_settings: KafkaSettings, topic: str, events: list[bytes]) -> None:
    sink = KafkaSink(kafka_settings, RealClock())
    for event in events:
        sink.send(topic, event)
    sink.flush(60)
    sink.close()


def replayed(events: list[bytes], environment: dict[str, str], folder: Path) -> list[Alert]:
    path, alerts = folder / "events.ndjson", folder / "alerts.ndjson"
    path.write_bytes(b"\n".join(events) + b"\n")
    done = run(["replay", str(path), "--alerts", str(alerts)], environment)
    assert done.returncode == 0, done.stderr
    return [Alert.from_cloudevent(line) for line in alerts.read_bytes().splitlines()]


@pytest.mark.broker
def test_200_000_events_give_the_alerts_of_replay(
    kafka_settings: KafkaSettings, environment: dict[str, str], tmp_path: Path
) -> None:
    events, log = list(traffic(210_000)), tmp_path / "detect.log"
    assert len(events) >= 200_000
    created = run(["topics", "create"], environment)
    assert created.returncode == 0, created.stderr
    assert created.stdout.count("created") == len(TOPIC_NAMES)
    publish(kafka_settings, environment["STREAMDRIFT_TOPICS__EVENTS"], [*events[:1_000], b"nonsense", *events[1_000:]])
    with service("detect", environment, log) as process:
        until(lambda: metric(log, "events_total", stage="assemble") >= len(events), "assembling", log)
        until(
            lambda: (
                metric(log, "lag_records") == 0
                and metric(log, "last_record_processed_timestamp_seconds", stage="detect") > 0
            ),
            "detecting",
            log,
        )
        time.sleep(2)
        assert metric(log, "rejected_total", reason="not_json") == 1
        assert stopped(process) == 0
    expected = replayed(events, environment, tmp_path)
    got = [
        Alert.from_cloudevent(v)
        for v in values(kafka_settings.bootstrap_servers, environment["STREAMDRIFT_TOPICS__ALERTS"])
    ]
    assert {"mean_shift", "null_rate", "silence"} <= {a.reason for a in expected}
    assert sorted(a.alert_id for a in got) == sorted(a.alert_id for a in expected)
    assert values(kafka_settings.bootstrap_servers, environment["STREAMDRIFT_TOPICS__REJECTED"]) == [b"nonsense"]


@pytest.mark.broker
@pytest.mark.parametrize(("exchange", "delivery"), [("topic", "exactly-once"), ("direct", "at-least-once")])
def test_killed_in_the_middle_it_goes_on_with_the_same_alerts(
    kafka_settings: KafkaSettings, environment: dict[str, str], tmp_path: Path, exchange: str, delivery: str
) -> None:
    environment |= {
        "STREAMDRIFT_EXCHANGE": exchange,
        "STREAMDRIFT_KAFKA__DELIVERY": delivery,
        "STREAMDRIFT_REFERENCE__EVENTS": "1000",
        "STREAMDRIFT_KAFKA__POLL_RECORDS_MAX": "500",
        "STREAMDRIFT_KAFKA__COMMIT_INTERVAL_S": "0.2",
    }
    events = list(traffic(40_000))
    assert run(["topics", "create"], environment).returncode == 0
    publish(kafka_settings, environment["STREAMDRIFT_TOPICS__EVENTS"], events)
    killed_at = []
    for attempt in range(2):
        log = tmp_path / f"killed-{attempt}.log"
        with service("detect", environment, log) as process:
            until(lambda log=log: metric(log, "events_total", stage="detect") > 0, "detecting", log)  # type: ignore[misc]
            time.sleep(0.3 * attempt)
            killed_at.append(metric(log, "events_total", stage="detect"))
            process.send_signal(signal.SIGKILL)
            process.wait()
    log = tmp_path / "last.log"
    with service("detect", environment, log) as process:
        until(lambda: metric(log, "events_total", stage="detect") > 0, "detecting", log)
        until(lambda: metric(log, "lag_records") == 0, "catching up", log)
        time.sleep(2)
        assert stopped(process) == 0
    expected = replayed(events, environment, tmp_path)
    got = [
        Alert.from_cloudevent(v)
        for v in values(kafka_settings.bootstrap_servers, environment["STREAMDRIFT_TOPICS__ALERTS"])
    ]
    assert expected
    assert killed_at[0] < len(events) * (1 if exchange == "direct" else 3)
    ids = [a.alert_id for a in got]
    assert set(ids) == {a.alert_id for a in expected}
    assert len(ids) == len(expected) or delivery == "at-least-once"


@pytest.mark.broker
def test_an_alert_on_the_topic_becomes_one_page_and_a_restart_pages_nobody_twice(
    kafka_settings: KafkaSettings, environment: dict[str, str], tmp_path: Path
) -> None:
    assert run(["topics", "create"], environment).returncode == 0
    alerts = replayed(list(traffic(60_000)), environment, tmp_path)
    change = {"change_id": "c-7", "kind": "deployment", "occurred_at": alerts[0].onset_at - 60_000, "summary": "gates"}
    publish(kafka_settings, environment["STREAMDRIFT_TOPICS__CHANGES"], [json.dumps(change).encode()])
    publish(kafka_settings, environment["STREAMDRIFT_TOPICS__ALERTS"], [a.to_cloudevent() for a in alerts])
    with Receiver("canary-secret-of-the-webhook", RealClock()) as receiver:
        environment |= {
            "STREAMDRIFT_ESCALATE__LEDGER": str(tmp_path / "ledger.sqlite3"),
            "STREAMDRIFT_ESCALATE__EVENT_AGE_MAX_S": "1e12",
            "STREAMDRIFT_ESCALATE__WEBHOOK__URL": receiver.url,
            "STREAMDRIFT_ESCALATE__WEBHOOK__SECRET": "canary-secret-of-the-webhook",
        }
        log = tmp_path / "escalate.log"
        with service("escalate", environment, log) as process:
            until(lambda: metric(log, "events_total", stage="escalate") > len(alerts), "taking the alerts", log)
            until(lambda: metric(log, "outbox_pending") == 0, "delivering", log)
            assert stopped(process) == 0
        suspects = [r.body["data"]["incident"]["suspects"] for r in receiver.received]
        assert ["c-7"] in [[suspect["change_id"] for suspect in found] for found in suspects]
        first = [(r.message_id, r.body["data"]["action"]) for r in receiver.received]
        publish(kafka_settings, environment["STREAMDRIFT_TOPICS__ALERTS"], [alerts[0].to_cloudevent()])
        with service("escalate", environment, log) as process:
            time.sleep(6)
            assert stopped(process) == 0
        again = [(r.message_id, r.body["data"]["action"]) for r in receiver.received]
    assert [action for _, action in first].count("trigger") >= 1
    assert len({message for message, _ in first}) == len(first)
    assert again == first
    assert "canary-secret" not in log.read_text()


@pytest.mark.broker
def test_without_its_topics_detect_says_what_to_do(environment: dict[str, str]) -> None:
    done = run(["detect"], environment)
    assert done.returncode == 3
    assert "streamdrift topics create" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_log_line_is_json_and_a_wrong_setting_ends_the_service(tmp_path: Path) -> None:
    environment: dict[str, Any] = {k: v for k, v in os.environ.items() if not k.startswith("STREAMDRIFT_")}
    done = run(
        ["detect"],
        environment | {"STREAMDRIFT_KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:1", "STREAMDRIFT_TELEMETRY__PORT": "0"},
    )
    assert done.returncode == 3
    lines = done.stderr.splitlines()
    assert json.loads(lines[0])["event"] == "starting"
    assert "nobody listens on 127.0.0.1 port 1" in lines[-1]
    done = run(["escalate"], environment | {"STREAMDRIFT_ESCALATE__RETRY__MAX_S": "soon"})
    assert done.returncode == 2
    assert "escalate.retry.max_s" in done.stderr
    done = run(
        ["escalate"], environment | {"STREAMDRIFT_TELEMETRY__PORT": "0", "STREAMDRIFT_ESCALATE__LEDGER": str(tmp_path)}
    )
    assert done.returncode in {1, 2, 3}
    assert "Traceback" not in done.stderr
