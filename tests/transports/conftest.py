"""What the tests of the Kafka transport share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from kafka import KafkaAdminClient

from streamdrift.settings import KafkaSettings
from streamdrift.transports.kafka import open_admin
from tests.transports.clock import RealClock


@pytest.fixture
def admin(kafka_settings: KafkaSettings) -> Iterator[KafkaAdminClient]:
    client = open_admin(kafka_settings, RealClock())
    yield client
    client.close()
