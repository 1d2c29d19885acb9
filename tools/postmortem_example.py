"""Write docs/postmortem-example.md: the post-mortem of an incident of the demo, as the commands make it.

    python tools/postmortem_example.py           # write it
    python tools/postmortem_example.py --check   # compare alone; exit code 1 if it is stale

The demo's events come to the pipeline and its alerts to the escalation worker, by the events' own clock. Put in beside them are
what an operator's feeds and hands would: two upstream changes, of which one is innocent, an acknowledgement, a confirmed cause,
and a decision on the first corrective action.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import orjson
import structlog

from streamdrift.app import SystemClock
from streamdrift.demo.flights import milliseconds
from streamdrift.demo.incidents import NULLS, events
from streamdrift.embedded.acknowledge import Acknowledge, acknowledge
from streamdrift.embedded.demo import EventClock
from streamdrift.embedded.learning_commands import Learning, learning
from streamdrift.embedded.run import EmbeddedRun
from streamdrift.escalate.incident import Incident
from streamdrift.escalate.ledger import Ledger
from streamdrift.escalate.receivers import Delivered, Outcome, Page
from streamdrift.escalate.worker import EscalationWorker
from streamdrift.events.change import Change
from streamdrift.settings import Settings
from streamdrift.settings.identity import config_hash
from streamdrift.telemetry import Metrics
from streamdrift.transports.memory import MemoryBroker, MemorySink, MemorySource

PAGE = Path(__file__).resolve().parents[1] / "docs" / "postmortem-example.md"
UNTIL = milliseconds("2013-05-01T00:00")
MINUTE_S = 60.0
NOTE = "<!-- written by tools/postmortem_example.py: change that, or what it runs -->\n\n"
CHANGES = (
    Change("d-88", milliseconds("2013-04-16T21:00"), "deployment", "version 7 on new machines", ("flight-delay",), (), {},
           "https://deploy.example.com/88", None),
    Change("fs-1203", milliseconds("2013-04-17T07:40"), "feature-store", "departures at EWR joined by tail number",
           ("flight-delay",), ("dep_delay",), {"origin": "EWR"}, None, None),
)  # fmt: skip


class Pager:
    """Takes every page at once."""

    name = "pagerduty"

    def send(self, page: Page, now: float) -> Outcome:
        """See ``Receiver``."""
        del page, now
        return Delivered()


class Play:
    """The pipeline and the worker, joined by a broker in memory."""

    def __init__(self, ledger: Path) -> None:
        self.clock, broker, metrics = EventClock(SystemClock()), MemoryBroker(), Metrics()
        base = Settings()
        self.settings = base.model_copy(update={"escalate": base.escalate.model_copy(update={"ledger": ledger})})
        topics = self.settings.topics
        self._broker, self._topic = broker, topics.events
        self._events = MemorySource(broker, topics.events, "detect")
        self._run = EmbeddedRun(
            self.settings, config_hash(self.settings), metrics, MemorySink(broker), lambda _: None, self._tick
        )
        alerts = MemorySource(broker, topics.alerts, "escalate")
        log = structlog.wrap_logger(None, wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
        self.ledger = Ledger(ledger)
        self.worker = EscalationWorker(
            alerts, self.ledger, [Pager()], self.settings, self.clock, metrics, log, changes=True
        )

    def _tick(self, _read: int, time_ms: int) -> None:
        self.clock.time_ms = time_ms

    def steps(self) -> Iterator[None]:
        """Play the recording, in smaller steps while the incident is fresh, and yield after each."""
        waiting = 0
        for event in events():
            self._broker.append(self._topic, event)
            waiting += 1
            if waiting == (5 if NULLS.onset <= self.clock.time_ms < NULLS.onset + 6 * 3_600_000 else 250):
                self._step()
                waiting = 0
                yield
            if self.clock.time_ms >= UNTIL:
                return

    def _step(self) -> None:
        self._run.run_available(self._events)
        self.worker.step(0.0)

    def incident(self) -> Incident | None:
        """The one that was put in, once it is there."""
        found = (one for one in self.ledger.incidents.all() if one.opened_at >= NULLS.onset)
        return next((one for one in found if any(alert.reason in NULLS.reasons for alert in one.alerts)), None)

    def learn(self, action: str, **other: object) -> str:
        """Run a command on the incident at the present time."""
        return learning(Learning(action, **other), self.settings, self.clock.now())[0]  # type: ignore[arg-type] # as typed


def example() -> str:
    """Return the page."""
    with TemporaryDirectory() as folder:
        play = Play(Path(folder) / "ledger.sqlite3")
        with play.ledger.transaction():
            for change in CHANGES:
                play.ledger.changes.put(change)
        try:
            incident = _played(play)
            play.clock.time_ms += 3_600_000
            play.learn("postmortem", incident=incident, cause="fs-1203")
            first, *_ = orjson.loads(play.learn("list", incident=incident, as_json=True))
            play.learn("accept", corrective=first["action_id"])
            return NOTE + play.learn("postmortem", incident=incident, markdown=True) + "\n"
        finally:
            play.worker.close()


def _played(play: Play) -> str:
    known = False
    for _ in play.steps():
        incident = play.incident()
        if incident is None or incident.pages == 0:
            continue
        if not known and play.clock.now() >= incident.opened_at / 1000 + 12 * MINUTE_S:
            acknowledge(Acknowledge(incident.incident_id), play.settings, play.clock.now(), lambda *_: "")
            known = True
        if not incident.is_open:
            return incident.incident_id
    raise SystemExit("the demo's first incident did not come to its end: has detection changed?")


def main(arguments: list[str]) -> int:
    """Write the page, or compare it."""
    made = example()
    if "--check" not in arguments:
        PAGE.write_text(made, encoding="utf-8")
    elif not PAGE.exists() or PAGE.read_text(encoding="utf-8") != made:
        sys.stderr.write(f"{PAGE.name} is stale; run: python tools/postmortem_example.py\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
