"""`streamdrift changes serve`: the hook and its publisher; ``app`` runs the publisher, and builds it again after a passing fault."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from structlog.typing import FilteringBoundLogger

from streamdrift.feeds.hook import Hook
from streamdrift.feeds.inbox import Inbox
from streamdrift.feeds.publisher import AWAY, STAGE, Publisher
from streamdrift.feeds.server import Server, listen
from streamdrift.ports import Clock
from streamdrift.settings import Settings
from streamdrift.telemetry import Health, Metrics
from streamdrift.transports import kafka


@dataclass
class Taking:
    """What the service is made of. The hook listens from the beginning: it says itself that nothing can be taken yet."""

    settings: Settings
    clock: Clock
    metrics: Metrics
    health: Health
    log: FilteringBoundLogger
    inbox: Inbox = field(default_factory=Inbox)

    @contextmanager
    def listening(self) -> Iterator[Server]:
        """Take requests for as long as it is open.

        Raises
        ------
        SettingsProblem
            No endpoint has a secret, or the address can't be had.
        """
        hook = Hook(self.settings, self.inbox, self.clock)
        server = listen(self.settings.changes, hook, self.clock, self.metrics, self.log)
        self.log.info("taking changes", port=server.port)
        try:
            yield server
        finally:
            server.stop()

    def build(self) -> Publisher:
        """Return a publisher with a producer of its own.

        Raises
        ------
        BrokerProblem, Retriable
            The broker can't be had, or refuses us.
        """
        topic = self.settings.topics.changes
        self.inbox.shut(AWAY)
        kafka.require(self.settings.kafka, self.clock, writes=(topic,))
        sink = kafka.KafkaSink(self.settings.kafka, self.clock)
        timeout_s = self.settings.changes.publish_timeout_s
        return Publisher(self.inbox, sink, topic, timeout_s, self.clock, self.metrics, self._ended)

    def _ended(self, reason: str) -> None:
        """Requests are turned away: let nobody send them here."""
        self.health.set_ready(False, reason)


__all__ = ["STAGE", "Taking"]
