"""The README's ten lines are run, not only shown."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from streamdrift.settings import KafkaSettings, Settings, TopicSettings
from streamdrift.transports.kafka import KafkaSink, create_topics
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
    sink = KafkaSink(kafka_settings, RealClock())
    for alert in [*alerts, *alerts]:  # at least once
        sink.send(settings.topics.alerts, alert.to_cloudevent(), b"m", alert.headers())
    sink.flush(30)
    sink.close()
    (code,) = python_blocks()
    code = code.replace('"drift-alerts"', json.dumps(settings.topics.alerts))
    code = code.replace('"broker:9092"', json.dumps(kafka_settings.bootstrap_servers))
    code = code.replace('"my-team"', '"my-team", auto_offset_reset="earliest", consumer_timeout_ms=8000')
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    firing = [a for a in alerts if a.status == "firing"]
    assert len(done.stdout.splitlines()) == len(firing) > 3
    assert "mean_shift x {'d': 'a'}" in done.stdout
