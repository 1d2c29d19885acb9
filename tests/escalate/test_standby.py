"""Two escalation processes over one PostgreSQL and a real broker."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamdrift.demo.receiver import Receiver
from streamdrift.settings import KafkaSettings
from tests.escalate.conftest import make_alert
from tests.postgresql import PASSWORD, Postgresql
from tests.test_services import environment as environment  # noqa: PLC0414 - a fixture
from tests.test_services import publish, run, service, stopped, until
from tests.transports.clock import RealClock


@pytest.mark.broker
def test_a_worker_that_stands_by_takes_over_when_the_other_is_killed(
    kafka_settings: KafkaSettings, environment: dict[str, str], postgresql: Postgresql, tmp_path: Path
) -> None:
    assert run(["topics", "create"], environment).returncode == 0
    alerts = environment["STREAMDRIFT_TOPICS__ALERTS"]
    environment |= {"STREAMDRIFT_ESCALATE__LEDGER": postgresql.database()}
    environment |= {"STREAMDRIFT_ESCALATE__EVENT_AGE_MAX_S": "1e12"}
    logs = [tmp_path / "first.log", tmp_path / "second.log"]
    with Receiver("signed-with-this", RealClock()) as receiver:
        environment |= {"STREAMDRIFT_ESCALATE__WEBHOOK__URL": receiver.url}
        environment |= {"STREAMDRIFT_ESCALATE__WEBHOOK__SECRET": "signed-with-this"}
        with service("escalate", environment, logs[0]) as first:
            publish(kafka_settings, alerts, [make_alert("a", model="one").to_cloudevent()])
            until(lambda: len(receiver.received) == 1, "the first page", logs[0])
            with service("escalate", environment, logs[1]) as second:
                until(lambda: '"standing by"' in logs[1].read_text(), "standing by", logs[1])
                publish(kafka_settings, alerts, [make_alert("b", model="two").to_cloudevent()])
                until(lambda: len(receiver.received) == 2, "the second page", logs[0])
                first.kill()
                publish(kafka_settings, alerts, [make_alert("c", model="three").to_cloudevent()])
                until(lambda: len(receiver.received) == 3, "the third page", logs[1])
                assert stopped(second) == 0
        told = [received.body["data"]["incident"]["model"] for received in receiver.received]
    assert told == ["one", "two", "three"]
    assert PASSWORD not in logs[0].read_text() + logs[1].read_text()
