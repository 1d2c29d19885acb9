"""One suite for the broker in memory and the real one: a fake that nobody checks lies."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field

import pytest
from kafka import KafkaProducer

from streamdrift.checks.transports import Check, Transport, transport_checks
from streamdrift.errors import Retriable
from streamdrift.ports import Clock, Sink, Source
from streamdrift.settings import KafkaSettings
from streamdrift.transports.kafka import KafkaSink, KafkaSource, open_admin
from streamdrift.transports.memory import MemoryBroker, MemorySink, MemorySource
from tests.broker import Broker
from tests.transports.clock import RealClock


@dataclass
class MemoryTransport:
    topic: str = "events"
    clock: Clock = field(default_factory=RealClock)
    broker: MemoryBroker = field(default_factory=lambda: MemoryBroker(partitions=3))

    def source(self, restore_events_max: int = 0) -> Source:
        return MemorySource(self.broker, self.topic, "group", restore_events_max)

    def sink(self) -> Sink:
        return MemorySink(self.broker)

    def bury(self, key: bytes) -> None:
        self.broker.append(self.topic, None, key)

    @contextmanager
    def unacknowledged(self) -> Iterator[None]:
        self.broker.fail_next_flush(Retriable("scripted"))
        yield


@dataclass
class KafkaTransport:
    topic: str
    settings: KafkaSettings
    pause: Callable[[], AbstractContextManager[None]]
    in_bulk: bool
    clock: Clock = field(default_factory=RealClock)

    def source(self, restore_events_max: int = 0) -> Source:
        return KafkaSource(
            self.settings,
            self.topic,
            self.topic,
            clock=self.clock,
            restore_events_max=restore_events_max,
            in_bulk=self.in_bulk,
        )

    def sink(self) -> Sink:
        return KafkaSink(self.settings, self.clock)

    def bury(self, key: bytes) -> None:
        producer = KafkaProducer(bootstrap_servers=self.settings.bootstrap_servers)
        producer.send(self.topic, None, key).get(10)
        producer.close()

    def unacknowledged(self) -> AbstractContextManager[None]:
        return self.pause()


CHECKS = pytest.mark.parametrize("check", transport_checks(), ids=lambda check: check.__name__)


@CHECKS
def test_memory(check: Check) -> None:
    check(MemoryTransport)


@CHECKS
@pytest.mark.broker
@pytest.mark.parametrize("in_bulk", [False, True])
def test_kafka(
    check: Check, kafka_broker: Broker, kafka_settings: KafkaSettings, topic_prefix: str, in_bulk: bool
) -> None:
    def make() -> Transport:
        topic = f"{topic_prefix}{check.__name__}.{in_bulk}"
        admin = open_admin(kafka_settings, RealClock())
        admin.create_topics({topic: {"num_partitions": 3, "replication_factor": 1}}, wait_for_metadata=True)
        admin.close()
        return KafkaTransport(topic, kafka_settings, kafka_broker.paused, in_bulk)

    check(make)
