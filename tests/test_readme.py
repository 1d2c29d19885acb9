"""The README's ten lines are run, not only shown."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from kafka import KafkaProducer

from streamdrift.settings import KafkaSettings, Settings, TopicSettings
from streamdrift.transports.kafka import create_topics
from tests.detect.test_bank import detect, records, traffic
from tests.transports.clock import RealClock

README = Path(__file__).resolve().parents[1] / "README.md"


def python_blocks() -> list[str]:
    return re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.broker
def test_the_consumer_prints_each_firing_alert_once(kafka_settings: KafkaSettings, topic_prefix: str) -> None:
    settings = Settings(kafka=kafka_settings, topics=TopicSettings(alerts=f"{topic_prefix}drift-alerts"))
    create_topics(settings, RealClock())
    alerts = detect(records(traffic()))
    producer = KafkaProducer(bootstrap_servers=kafka_settings.bootstrap_servers, transactional_id=topic_prefix)
    producer.init_transactions()
    for end in (producer.abort_transaction, producer.commit_transaction):  # a crash, and what came after it
        producer.begin_transaction()
        for alert in alerts:
            producer.send(settings.topics.alerts, alert.to_cloudevent(), b"m", list(alert.headers()))
        producer.flush(30)
        end()
    producer.close()
    (code,) = python_blocks()
    code = code.replace('"drift-alerts"', json.dumps(settings.topics.alerts))
    code = code.replace('"broker:9092"', json.dumps(kafka_settings.bootstrap_servers))
    code = code.replace('"my-team"', '"my-team", auto_offset_reset="earliest", consumer_timeout_ms=8000')
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    firing = [a for a in alerts if a.status == "firing"]
    assert len(done.stdout.splitlines()) == len(firing) > 3
    assert "mean_shift x {'d': 'a'}" in done.stdout
