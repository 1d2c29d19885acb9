"""`streamdrift demo`: the recorded flights with their incidents, from events to pages.

Everything is the real thing but the clock, which is the events' own: the pipeline, the escalation worker with its ledger, and a
webhook receiver on this machine that checks every signature.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from pydantic import SecretStr
from rich.console import Console

from streamdrift.alerts import Alert
from streamdrift.demo import flights
from streamdrift.demo.incidents import events
from streamdrift.demo.receiver import Receiver as WebhookReceiver
from streamdrift.demo.timeline import Timeline
from streamdrift.embedded.incidents import IncidentBook
from streamdrift.embedded.outputs import console as lines
from streamdrift.embedded.outputs import writable, write_text
from streamdrift.embedded.run import EmbeddedRun
from streamdrift.embedded.summary import Summary
from streamdrift.escalate.ledger import Ledger
from streamdrift.escalate.receivers import build_receivers
from streamdrift.escalate.receivers.base import Outcome, Page, Receiver
from streamdrift.escalate.worker import EscalationWorker
from streamdrift.ports import Clock
from streamdrift.report import Delivery, render
from streamdrift.settings import Settings, WebhookSettings
from streamdrift.settings.identity import config_hash
from streamdrift.telemetry import Metrics
from streamdrift.transports.memory import MemoryBroker, MemorySink, MemorySource

SECRET = "demo-" + "secret"  # not worth protecting: it signs messages to a receiver of our own, on this machine
BATCH = 500
"""Events at a time: few, so that pages go out while the events still come."""


class EventClock:
    """Tells the events' time; a deadline runs on the real clock."""

    def __init__(self, real: Clock) -> None:
        self._real, self.time_ms = real, 0

    def now(self) -> float:
        """Event time, seconds since the epoch."""
        return self.time_ms / 1000

    def monotonic(self) -> float:
        """Seconds that never go back."""
        return self._real.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait, in real time."""
        self._real.sleep(seconds)


def demo(report: str, settings: Settings, clock: Clock) -> int:
    """Play it, print the timeline, write the report."""
    writable(report)
    console, events_clock = lines(stderr=False), EventClock(clock)
    with WebhookReceiver(SECRET, events_clock) as webhook, TemporaryDirectory() as folder:
        play = _Play(_settings(settings, webhook.url, Path(folder)), events_clock, console)
        began = clock.monotonic()
        play.run()
        summary = Summary(play.events, play.book, clock.monotonic() - began, play.deliveries)
        taken, refused = len(webhook.received), webhook.refused
    what = "47,904 departures from New York, March and April 2013, with three incidents put in"
    write_text(report, render(summary.report("streamdrift demo", what, "streamdrift demo", ())))
    console.print(summary.sentence(), soft_wrap=True)
    console.print(f"{taken} signed messages came to the webhook receiver, {refused} were refused")
    console.print(f"report: {Path(report).resolve()}", soft_wrap=True)
    return 0


def _settings(settings: Settings, url: str, folder: Path) -> Settings:
    """The operator's own settings, but pages go to the receiver on this machine and nowhere else."""
    escalate = settings.escalate.model_copy(
        update={
            "ledger": folder / "ledger.sqlite3",
            "webhook": WebhookSettings(url=url, secret=SecretStr(SECRET)),
            "pagerduty": settings.escalate.pagerduty.model_copy(update={"routing_key": None}),
        },
    )
    return settings.model_copy(update={"escalate": escalate})


class _Play:
    """The parts, joined."""

    def __init__(self, settings: Settings, clock: EventClock, console: Console) -> None:
        self._clock, self._broker = clock, MemoryBroker()
        metrics = Metrics()
        self._timeline = Timeline(console, flights.EVENTS)
        self.book = IncidentBook(settings, self._timeline.incident)
        self.deliveries: list[Delivery] = []
        self.events = EmbeddedRun(
            settings, config_hash(settings), metrics, MemorySink(self._broker), self._alerts, self._progress
        )
        topics = settings.topics
        self._source = MemorySource(self._broker, topics.events, "detect")
        self._topic = topics.events
        receivers = [_Told(receiver, self) for receiver in build_receivers(settings, metrics)]
        alerts = MemorySource(self._broker, topics.alerts, "escalate")
        self._worker = EscalationWorker(alerts, Ledger(settings.escalate.ledger), receivers, settings, clock, metrics)

    def run(self) -> None:
        """Play the recording to its end."""
        try:
            for number, event in enumerate(events(), start=1):
                self._broker.append(self._topic, event)
                if number % BATCH == 0:
                    self._step()
            self._step()
            self.events.finish()
            self._worker.drain()
        finally:
            self._timeline.close()
            self._worker.close()

    def told(self, receiver: str, page: Page, outcome: Outcome) -> None:
        """Note what a receiver answered."""
        incident = self.book.incident(page.incident["incident_id"])
        answer = f"{outcome.name} {outcome.reason}".strip()
        self.deliveries.append(Delivery(page.incident["incident_id"], receiver, page.action, answer, page.at))
        if incident is not None:
            self._timeline.delivery(receiver, page.action, answer, incident)

    def _step(self) -> None:
        self.events.run_available(self._source)
        self._worker.step(0.0)

    def _progress(self, read: int, time_ms: int) -> None:
        self._clock.time_ms = time_ms
        self._timeline.progress(read, time_ms)

    def _alerts(self, alerts: Sequence[Alert]) -> None:
        heat = self.events.heat(alerts[0].model_name)
        for alert in alerts:
            self.book.take(alert, heat)


class _Told:
    """A receiver whose answers the timeline is told."""

    def __init__(self, receiver: Receiver, play: _Play) -> None:
        self._receiver, self._play = receiver, play

    @property
    def name(self) -> str:
        """The receiver's own."""
        return self._receiver.name

    def send(self, page: Page, now: float) -> Outcome:
        """Let the receiver make its attempt."""
        outcome = self._receiver.send(page, now)
        self._play.told(self.name, page, outcome)
        return outcome
