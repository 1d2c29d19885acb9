"""Publishes what the ledger has of incidents on their topic, at least once, and lets nothing wait for it."""

from __future__ import annotations

from structlog.typing import FilteringBoundLogger

from streamdrift.alerts import CONTENT_TYPE
from streamdrift.errors import Fatal, Retriable
from streamdrift.escalate.ledger import Ledger
from streamdrift.ports import Clock, Sink
from streamdrift.telemetry import Metrics

ROWS_MAX = 200
"""Published together."""
FLUSH_S = 5.0
"""So long a round of the worker may wait for the broker: pages come first."""
WAIT_S = (5.0, 300.0)
"""First and longest wait after the broker did not take them."""


class Announcer:
    """Works beside the worker's rounds, with a sink of its own: what can't be published must hold up nothing else.

    Without a sink (there is no topic, or no right to it) nothing is published, and the ledger keeps what there is to say of each
    incident, as far as its bound goes.
    """

    def __init__(
        self, ledger: Ledger, sink: Sink | None, topic: str, clock: Clock, metrics: Metrics, log: FilteringBoundLogger
    ) -> None:
        self._ledger, self._sink, self._topic = ledger, sink, topic
        self._clock, self._metrics, self._log = clock, metrics, log
        self._wait_s, self._next = 0.0, clock.monotonic()

    def run(self) -> int:
        """Publish what waits, if its time has come; return how many messages.

        Raises
        ------
        Fatal
            The ledger can't be read or written.
        """
        told = 0
        if self._sink is not None and self._clock.monotonic() >= self._next:
            told = self._published(self._sink)
        rows = self._ledger.announcements
        self._metrics.announcements_pending.set(rows.count())
        if rows.dropped:
            self._metrics.limit_hits.labels("announcements_max").inc(rows.dropped)
            rows.dropped = 0
        return told

    def _published(self, sink: Sink) -> int:
        waiting = self._ledger.announcements.pending(ROWS_MAX)
        if not waiting:
            return 0
        try:
            for one in waiting:
                headers = (("content-type", CONTENT_TYPE.encode()),) if one.body is not None else ()
                sink.send(self._topic, one.body, one.incident_id.encode(), headers)
            sink.flush(FLUSH_S)
        except (Retriable, Fatal) as e:
            self._put_off(sink, e)
            return 0
        with self._ledger.transaction():
            self._ledger.announcements.published(waiting)
        if self._wait_s:
            self._log.info("incidents are published again", topic=self._topic)
        self._wait_s = 0.0
        self._metrics.announcements.inc(len(waiting))
        return len(waiting)

    def _put_off(self, sink: Sink, error: Retriable | Fatal) -> None:
        """Try again later, with a producer that knows nothing of what it could not send: the ledger has it."""
        if not self._wait_s:
            self._log.warning("incidents are not published for now; the ledger keeps them", reason=str(error))
        self._metrics.transport_errors.labels("incidents").inc()
        sink.close()
        self._wait_s = min(max(2 * self._wait_s, WAIT_S[0]), WAIT_S[1])
        self._next = self._clock.monotonic() + self._wait_s

    def close(self) -> None:
        """Let go of the sink."""
        if self._sink is not None:
            self._sink.close()
