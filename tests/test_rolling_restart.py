"""Workers are replaced one by one while events flow: what is said is what one process says that nobody touched."""

from __future__ import annotations

import signal
from collections import Counter
from itertools import islice
from pathlib import Path

import orjson
import pytest
from kafka import KafkaProducer

from streamdrift.pipeline import Direct
from streamdrift.ports import Partition, Record
from streamdrift.settings import load
from streamdrift.settings.identity import config_hash
from streamdrift.telemetry import Metrics
from tests.soak.cluster import until
from tests.soak.streams import read
from tests.soak.traffic import traffic
from tests.soak.workers import ROOT, Slot, Workers, command, settings_of

pytestmark = [pytest.mark.broker, pytest.mark.slow]
PARTITIONS, EVENTS, MODELS = 3, 4_800, 6
WITHIN_S = 120.0
BEFORE = {"STREAMDRIFT_ENGINE": "reference"}
"""What the workers are replaced by is this release too: what one puts away and sends is the other's, whichever engine it runs on."""


def expected(bootstrap: str, topic: str, settings: dict[str, str]) -> Counter[str]:
    """Ids of the alerts that one process gives, which was there all the time."""
    tree = load(settings, root=ROOT).settings
    stage = Direct(tree, config_hash(tree), Metrics())
    records = [
        Record(r.value, Partition(topic, r.partition), r.offset, r.timestamp, r.key) for r in read(bootstrap, topic)
    ]
    return Counter(alert.alert_id for alert in stage.process(records).alerts)


def test_a_rolling_restart_under_traffic_loses_nothing_and_says_nothing_twice(
    broker: str, topic_prefix: str, tmp_path: Path
) -> None:
    settings = settings_of(broker, topic_prefix, f"{topic_prefix}events", partitions=PARTITIONS, brokers=1)
    assert command(["topics", "create"], settings).returncode == 0
    slots = [Slot(number, tmp_path, settings | BEFORE, session_ms=6_000) for number in range(2)]
    workers = Workers(slots)
    source = traffic(3, EVENTS, MODELS)
    producer = KafkaProducer(bootstrap_servers=broker, linger_ms=5)

    def feed(n: int) -> None:
        for key, value in islice(source, n):
            producer.send(f"{topic_prefix}events", value, key)
        producer.flush(30)

    try:
        for slot in slots:
            slot.start()
        assert until(lambda: all(slot.up for slot in slots), WITHIN_S), [s.life_log.read_text()[-800:] for s in slots]
        feed(EVENTS // 3)
        for slot in slots:
            feed(EVENTS // 6)  # some of it is under way when the worker goes
            slot.signal(signal.SIGTERM)
            assert slot.process is not None
            assert slot.process.wait(40) == 0
            feed(EVENTS // 6)  # and some comes while it is away
            slot.environment = settings
            slot.start()
            assert until(lambda slot=slot: slot.up, WITHIN_S), slot.life_log.read_text()[-800:]  # type: ignore[misc]
        feed(EVENTS)
        assert until(lambda: workers.idle(PARTITIONS), WITHIN_S, every=1.0)
        assert workers.stop_all() == [0, 0]
    finally:
        producer.close()
        workers.kill_all()
    events, alerts = read(broker, f"{topic_prefix}events"), read(broker, f"{topic_prefix}alerts")
    assert len(events) >= EVENTS
    said = Counter(orjson.loads(record.value)["id"] for record in alerts)
    assert sum(said.values()) > 20
    assert said == expected(broker, f"{topic_prefix}events", settings)
    logs = "".join(slot.log.read_text() for slot in slots if slot.log.exists())
    assert "state discarded" not in logs
