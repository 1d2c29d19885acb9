"""The loop that brings what requests said to the broker, and tells them when it is safe there."""

from __future__ import annotations

from collections.abc import Callable

from streamdrift.errors import Fatal, Retriable
from streamdrift.feeds.inbox import Inbox, Parcel
from streamdrift.ports import Clock, Sink
from streamdrift.telemetry import Metrics

STAGE = "changes"
AWAY = "the broker is away"
PARCELS_MAX = 64
"""Requests that are published together."""


class Publisher:
    """One life between two faults of the broker: the inbox is open for as long as it lasts.

    Parameters
    ----------
    ended
        Called when requests are turned away from now on, with the reason.
    """

    def __init__(
        self,
        inbox: Inbox,
        sink: Sink,
        topic: str,
        timeout_s: float,
        clock: Clock,
        metrics: Metrics,
        ended: Callable[[str], None],
    ) -> None:
        self._inbox, self._sink, self._topic, self._timeout_s = inbox, sink, topic, timeout_s
        self._clock, self._metrics, self._ended = clock, metrics, ended
        self._reason = "the service stops"
        inbox.open()

    def step(self, timeout_s: float) -> int:
        """Publish what waits; return the number of messages.

        Raises
        ------
        Retriable
            The broker did not acknowledge: build it anew.
        Fatal
            It refuses us.
        """
        parcels = self._inbox.take(PARCELS_MAX, timeout_s)
        if not parcels:
            return 0
        began = self._clock.monotonic()
        try:
            count = self._publish(parcels)
        except (Retriable, Fatal):
            self._reason = AWAY
            raise
        finally:
            for parcel in parcels:
                if not parcel.done.is_set():
                    parcel.settle(AWAY)
        self._metrics.events.labels(STAGE).inc(count)
        self._metrics.stage_seconds.labels(STAGE).observe(self._clock.monotonic() - began)
        self._metrics.last_processed.labels(STAGE).set(self._clock.now())
        return count

    def _publish(self, parcels: list[Parcel]) -> int:
        for parcel in parcels:
            for message in parcel.messages:
                self._sink.send(self._topic, message.value, message.key)
        self._sink.flush(self._timeout_s)
        for parcel in parcels:
            parcel.settle(None)
        return sum(len(parcel.messages) for parcel in parcels)

    def commit(self) -> None:
        """Publish what waits, for the last time."""
        while self.step(0.0):
            pass

    def caught_up(self) -> bool:
        """Whatever waits, its sender waits for it."""
        return True

    def close(self) -> None:
        """Turn requests away, and let go of the sink."""
        self._ended(self._reason)
        self._inbox.shut(self._reason)
        self._sink.close()
