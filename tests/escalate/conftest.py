"""What the tests of the escalation share: a clock that they move, alerts, and a receiver that keeps what it is told."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from structlog.typing import FilteringBoundLogger

from streamdrift.alerts import Alert, series_id
from streamdrift.checks.receivers import Script, ScriptedServer
from streamdrift.errors import Standby
from streamdrift.escalate.burning import Promises
from streamdrift.escalate.heartbeat import Pulse
from streamdrift.escalate.ledger import Ledger
from streamdrift.escalate.mitigation import proof
from streamdrift.escalate.receivers import Delivered, Outcome, Page, Receiver
from streamdrift.escalate.routing.document import Routes
from streamdrift.escalate.worker import EscalationWorker
from streamdrift.ports import Partition, Record, Sink
from streamdrift.settings import Settings
from streamdrift.telemetry import Metrics
from streamdrift.transports.memory import MemoryBroker, MemorySource
from tests.postgresql import Postgresql

NOW = 1_366_192_800.0  # 17 April 2013, 10:00 UTC
ONSET = 1_366_185_600_000  # two hours before
MINUTE = 60_000
TOPIC = "drift-alerts"
BACK_TO_4 = """
DROP TABLE slo_counts; DROP TABLE slo_slices; DROP TABLE slo_standings;
DROP TABLE mitigations;
DROP TABLE past; DROP TABLE causes; DROP TABLE actions;
DROP TABLE source_reports; DROP TABLE revisions; DROP TABLE announcements;
DROP TABLE silences; DROP TABLE withheld; DROP TABLE escalations; DROP TABLE gathered; DROP INDEX outbox_lately;
DROP TABLE changes; DROP INDEX incidents_ended; ALTER TABLE outbox DROP COLUMN reported;
"""
BACK_TO_3 = f"""
{BACK_TO_4}
DROP TABLE timeline; DROP TABLE receiver_references; DROP INDEX incidents_open;
ALTER TABLE incidents DROP COLUMN reopened; ALTER TABLE incidents DROP COLUMN resolved_at;
CREATE INDEX incidents_open ON incidents (model) WHERE status = 'open';
"""
"""Make an older ledger of a new one, as far as nothing else tells them apart."""


def make_alert(
    feature: str = "dep_delay",
    segment: str = "origin=EWR",
    reason: str = "null_rate",
    *,
    at: int = 0,
    closes: Alert | None = None,
    **other: Any,
) -> Alert:
    """An alert, ``at`` minutes after ``NOW``; with ``closes``, the one that resolves another."""
    if closes is not None:
        return replace(closes, status="resolved", resolves=closes.alert_id, detected_at=int(NOW * 1000) + at * MINUTE)
    where = dict([segment.split("=")]) if segment else {}
    model = other.pop("model", "flight-delay")
    made = Alert(
        series_id=series_id(model, where, feature),
        status="firing",
        kind="drift" if reason.endswith("_shift") else "anomaly",
        reason=reason,
        severity="warning",
        model={"name": model, "version": "7"},
        segment=where,
        feature=feature,
        role="traffic" if feature.startswith("traffic.") else "feature",
        detector="scan",
        detectors=("scan",),
        detected_at=int(NOW * 1000) + at * MINUTE,
        onset_at=ONSET,
        events_since_onset=160,
        events_seen=12_000,
        statistic=32.0,
        threshold=16.0,
        effect_size=0.102,
        effect_unit="share",
        reference={"n": 5000, "null_rate": 0.001},
        current={"n": 500, "null_rate": 0.102},
        traffic_share=0.364 if where else 1.0,
        config_hash="c0ffee",
    )
    return replace(made, **other)


class FakeClock:
    def __init__(self, now: float = NOW) -> None:
        self.time = now

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time - NOW + 1_000.0

    def sleep(self, seconds: float) -> None:
        raise AssertionError(f"the worker sleeps for {seconds} s")


@dataclass
class KeepingReceiver:
    """Keeps what it is told; answers by script, then delivers."""

    name: str = "keeping"
    script: deque[Outcome] = field(default_factory=deque)
    pages: list[Page] = field(default_factory=list)

    def send(self, page: Page, now: float) -> Outcome:
        del now
        self.pages.append(page)
        return self.script.popleft() if self.script else Delivered()

    @property
    def told(self) -> list[tuple[str, str]]:
        return [(page.action, page.dedup_key) for page in self.pages]


def opened(place: Path | str, outbox_max: int = 10_000) -> Ledger:
    """Open a ledger whose last worker has just gone: PostgreSQL takes a moment to notice."""
    deadline = time.monotonic() + 10
    while True:
        try:
            return Ledger(place, outbox_max)
        except Standby:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.002)


class Joined:
    """Topics in memory as one source."""

    def __init__(self, sources: Sequence[MemorySource]) -> None:
        self._sources = sources

    def poll(self, records_max: int, timeout_s: float) -> Sequence[Record]:
        taken: list[Record] = []
        for source in self._sources:
            taken += source.poll(records_max - len(taken), timeout_s)
        return taken

    def commit(self, done: Mapping[Partition, int]) -> None:
        self._sources[0].commit(done)

    def lag(self) -> Mapping[Partition, int]:
        return {partition: lag for source in self._sources for partition, lag in source.lag().items()}

    def exhausted(self) -> bool:
        return False

    def close(self) -> None:
        """Nothing to let go of."""


@dataclass
class House:
    """A worker over a broker in memory and a ledger on disk, that can be torn down and built again."""

    path: Path | str
    receivers: tuple[Receiver, ...] = ()
    settings: Settings = field(default_factory=Settings)
    sink: Sink | None = None
    outbox_max: int = 10_000
    pulse: Pulse | None = None
    log: FilteringBoundLogger | None = None
    serving: Receiver | None = None
    routes: Routes | None = None
    promises: Promises | None = None
    broker: MemoryBroker = field(default_factory=MemoryBroker)
    clock: FakeClock = field(default_factory=FakeClock)
    metrics: Metrics = field(default_factory=Metrics)

    def __post_init__(self) -> None:
        self.start()

    def start(self) -> None:
        self.ledger = opened(self.path, self.outbox_max)
        topics = (TOPIC,) if self.promises is None else (TOPIC, self.promises.topic)
        source = Joined([MemorySource(self.broker, topic, "streamdrift-escalate") for topic in topics])
        self.worker = EscalationWorker(
            source,
            self.ledger,
            self.receivers,
            self.settings,
            self.clock,
            self.metrics,
            self.log,
            self.sink,
            pulse=self.pulse,
            routes=self.routes,
            promises=self.promises,
            serving=self.serving,
        )

    def crash(self) -> None:
        """What kill -9 leaves: whatever was not committed is gone."""
        self.ledger.close()
        self.start()

    def publish(self, *alerts: Alert) -> None:
        for alert in alerts:
            self.broker.append(TOPIC, alert.to_cloudevent(), alert.model_name.encode())

    def step(self, *alerts: Alert) -> None:
        self.publish(*alerts)
        self.worker.step(0.0)

    def wait(self, seconds: float) -> None:
        self.clock.time += seconds
        self.worker.step(0.0)

    def count(self, name: str, **labels: str) -> float:
        """Sum over the labels that are not given."""
        samples = (s for family in self.metrics.registry.collect() for s in family.samples)
        return sum(s.value for s in samples if s.name == f"streamdrift_{name}" and labels.items() <= s.labels.items())


@pytest.fixture
def receiver() -> KeepingReceiver:
    return KeepingReceiver()


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str:
    """Where a new ledger may be, in each of the databases."""
    if request.param == "sqlite":
        return tmp_path / "ledger.sqlite3"
    server: Postgresql = request.getfixturevalue("postgresql")
    return server.database()


@pytest.fixture
def house(place: Path | str) -> Iterator[Callable[..., House]]:
    made: list[House] = []

    def make(*receivers: Receiver, **other: Any) -> House:
        made.append(House(place, receivers, **other))
        return made[-1]

    yield make
    for one in made:
        one.worker.close()


@pytest.fixture
def patience_of_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings alone say how long recovery is waited for; how long alerts need to show it is in test_mitigation_proof."""
    monkeypatch.setattr(proof, "MARGIN", 0.0)


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    made = ScriptedServer(Script(202))
    yield made
    made.stop()
