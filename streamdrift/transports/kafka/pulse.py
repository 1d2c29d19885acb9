"""What the broker knows of detection: how much there is to read, and how much its groups have committed."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from kafka import TopicPartition
from kafka.errors import KafkaError

from streamdrift.escalate.heartbeat import Observation
from streamdrift.settings import Settings
from streamdrift.transports.kafka.client import open_consumer
from streamdrift.transports.kafka.explain import translate

ASK_MS = 5_000
"""How long the broker may take for an answer: the worker that asks has pages to deliver."""


class KafkaPulse:
    """Asks as each stage's group, without joining it; see ``escalate.heartbeat.Pulse``."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings.kafka
        topics = settings.topics
        self._stages = {"assemble": topics.events, "detect": topics.blocks}
        if settings.exchange == "direct":
            self._stages = {"detect": topics.events}
        self._consumers: dict[str, Any] = {}

    def look(self) -> Sequence[Observation]:
        """Return one observation for each stage."""
        try:
            return [self._observe(stage, topic) for stage, topic in self._stages.items()]
        except KafkaError as e:
            self.close()
            raise translate(e, self._settings, "looking at what detection has committed") from None

    def _observe(self, stage: str, topic: str) -> Observation:
        if stage not in self._consumers:
            self._consumers[stage] = open_consumer(self._settings, group_id=f"{self._settings.group}-{stage}")
        consumer = self._consumers[stage]
        places = [TopicPartition(topic, number) for number in sorted(consumer.partitions_for_topic(topic) or ())]
        ends = consumer.end_offsets(places, timeout_ms=ASK_MS) if places else {}
        read = sum(consumer.committed(place, timeout_ms=ASK_MS) or 0 for place in places)
        return Observation(stage, sum(ends.values()), read)

    def close(self) -> None:
        """Let go of the consumers."""
        for consumer in self._consumers.values():
            with suppress(KafkaError):
                consumer.close(autocommit=False, timeout_ms=ASK_MS)
        self._consumers.clear()


def pulse_of(settings: Settings) -> KafkaPulse | None:
    """Return what ``escalate.heartbeat_s`` asks for; None where it is off."""
    return KafkaPulse(settings) if settings.escalate.heartbeat_s else None
