"""One loop: poll, process, publish, commit. What runs in it is a ``Stage``: records in, messages out.

With a plain sink it is at least once: offsets are committed only after everything that the records before them caused is
acknowledged, and what a crash in between repeats has the ids that it had. With a ``TransactionalSink`` messages, state and
offsets come into view together, once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from streamdrift.alerts import Alert, rfc3339
from streamdrift.ports import Clock, Headers, LiveSource, Partition, Record, Sink, Stateful, TransactionalSink
from streamdrift.records import ends
from streamdrift.settings import Settings
from streamdrift.telemetry import Metrics
from streamdrift.waits import Waits

SOONER = 4
"""Where alerts wait, a commit may come so many times as soon as it is due: a transaction costs some milliseconds, and alerts are few."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message for a topic."""

    topic: str
    value: bytes
    key: bytes | None = None
    headers: Headers = ()
    everywhere: bool = False
    """For every partition of the topic."""


@dataclass(slots=True)
class Output:
    """What a stage made of some records."""

    messages: list[Message] = field(default_factory=list)
    alerts: list[Alert] = field(default_factory=list)


class Stage(Protocol):
    """Records in, messages out; pure but for its own state."""

    name: str

    def process(self, records: Sequence[Record]) -> Output:
        """Take the next records."""
        ...

    def idle(self, now_ms: int) -> Output:
        """Nothing came and nothing waits: say what follows from that alone."""
        ...

    def mark(self, now_ms: int, waited_ms: Mapping[Partition, int]) -> Output:
        """Say what follows from how long there has been nothing more to read of each partition, milliseconds; 0 where there is."""
        ...


class Worker:
    """Runs a stage between a source and a sink.

    Parameters
    ----------
    idle_allowed
        Asked before labels that are held are given up: an empty source may also mean that somebody else is behind.
    commit_interval_s
        ``kafka.commit_interval_s`` without.
    """

    def __init__(
        self,
        stage: Stage,
        source: LiveSource,
        sink: Sink,
        settings: Settings,
        clock: Clock,
        metrics: Metrics,
        idle_allowed: Callable[[], bool] = lambda: True,
        commit_interval_s: float | None = None,
    ) -> None:
        self.stage, self._source, self._sink, self._settings = stage, source, sink, settings
        self._clock, self._metrics, self._idle_allowed = clock, metrics, idle_allowed
        self._done: dict[Partition, int] = {}
        self._untold: list[Alert] = []
        self._committed_at = clock.monotonic()
        self._commit_s = settings.kafka.commit_interval_s if commit_interval_s is None else commit_interval_s
        self._restoring = False
        self._lagging: set[Partition] = set()
        self._waits = Waits(source, settings, self._committed_at)
        self._log = structlog.get_logger("streamdrift").bind(stage=stage.name)

    def step(self, timeout_s: float) -> int:
        """Poll once, process, and commit where it is time; return the number of records."""
        kafka = self._settings.kafka
        records = self._source.poll(kafka.poll_records_max, self._wait_s(timeout_s))
        began = self._clock.monotonic()
        if records:
            output = self.stage.process(records)
        elif self.caught_up() and self._idle_allowed():
            output = self.stage.idle(int(self._clock.now() * 1000))
        else:
            output = Output()
        self._publish(output)
        self._note(records, began)
        now = self._clock.monotonic()
        if self._waits.due(now):
            self._publish(self.stage.mark(int(self._clock.now() * 1000), self._waits.waited(now)))
        if self._due_s(now) <= 0 or self._full():
            self._commit(now)
        return len(records)

    def _publish(self, output: Output) -> None:
        for message in output.messages:
            if message.everywhere:
                self._sink.broadcast(message.topic, message.value)
            else:
                self._sink.send(message.topic, message.value, message.key, message.headers)
        self._untold += output.alerts

    def _due_s(self, now_s: float) -> float:
        """Time until the next commit."""
        return self._commit_s / (SOONER if self._untold else 1) - (now_s - self._committed_at)

    def _wait_s(self, timeout_s: float) -> float:
        """How long to wait for records: not past a commit."""
        return min(timeout_s, max(0.0, self._due_s(self._clock.monotonic())))

    def caught_up(self) -> bool:
        """Whether the source has nothing left for us."""
        return not any(self._source.lag().values())

    def commit(self) -> None:
        """Publish what there is, with all state that changed, and say how far we are: the end of an orderly run."""
        self._commit(math.inf)

    def close(self) -> None:
        """Let go of source and sink."""
        self._note_lags({})
        self._sink.close()
        self._source.close()

    def _full(self) -> bool:
        return isinstance(self._sink, TransactionalSink) and self._sink.full()

    def _commit(self, now_s: float) -> None:
        if isinstance(self._sink, TransactionalSink):
            keeps = self._sink.keeps_state and isinstance(self.stage, Stateful)
            self._sink.commit(self.stage.due(now_s) if keeps and isinstance(self.stage, Stateful) else ())
        else:
            self._sink.flush(self._settings.kafka.request_timeout_s)
            if self._done:
                self._source.commit(self._done)
        if self._done:
            self._metrics.commits.labels(self.stage.name).inc()
            self._done = {}
        self._tell()
        self._committed_at = self._clock.monotonic()

    def _tell(self) -> None:
        for alert in self._untold:
            self._log.info(
                "alert",
                status=alert.status,
                reason=alert.reason,
                series=alert.series_id,
                alert_id=alert.alert_id,
                event_time=rfc3339(alert.detected_at),
                onset=rfc3339(alert.onset_at),
                severity=alert.severity,
                effect=f"{alert.effect_size} {alert.effect_unit}",
            )
        self._untold = []

    def _note_lags(self, lags: Mapping[Partition, int]) -> None:
        for gone in self._lagging - lags.keys():  # went to another worker: its last value must not stand for ever
            self._metrics.lag.remove(gone.name, str(gone.index))
        self._lagging = set(lags)
        for partition, lag in lags.items():
            self._metrics.lag.labels(partition.name, str(partition.index)).set(lag)

    def _note(self, records: Sequence[Record], began: float) -> None:
        done = ends(records)
        self._waits.took(done, self._clock.monotonic())
        self._done |= done
        if isinstance(self._sink, TransactionalSink):
            self._sink.consumed(done)
        self._note_lags(self._source.lag())
        if not records:
            return
        self._metrics.stage_seconds.labels(self.stage.name).observe(self._clock.monotonic() - began)
        self._metrics.last_processed.labels(self.stage.name).set(self._clock.now())
        restoring = records[-1].replayed
        if restoring != self._restoring:
            self._restoring = restoring
            self._log.info("rebuilding state from the log" if restoring else "state rebuilt", offset=records[-1].offset)
