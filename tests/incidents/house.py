"""What a story is played in: topics on a real broker, ``detect`` and ``escalate`` as processes, and the receivers that they call."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from kafka import KafkaConsumer, TopicPartition

from streamdrift.alerts import Alert
from streamdrift.checks.receivers import Script, ScriptedServer
from streamdrift.demo.receiver import Receiver
from streamdrift.embedded.incident_commands import Incidents, incidents
from streamdrift.settings import KafkaSettings
from streamdrift.settings.load import load
from streamdrift.transports.kafka import KafkaSink
from tests.incidents.launcher import StoryTime
from tests.incidents.serving import Serving
from tests.incidents.story import Message
from tests.transports.clock import RealClock

ROOT = Path(__file__).resolve().parents[2]
LAUNCHER = Path(__file__).with_name("launcher.py")
TOPICS = ("events", "labels", "changes", "alerts", "rejected", "blocks", "state")
SECRET = "the-secret-of-the-played-webhook"
ROUTING_KEY = "0123456789abcdef0123456789abcdef"
CHANNEL, THREAD = "C0123456789", "1712345678.000100"
PATIENCE_S = 600.0
SETTINGS = {
    "STREAMDRIFT_FREE_TEXT": '["question","answer"]',
    "STREAMDRIFT_REFERENCE__EVENTS": "100000",
}
"""Of detection, the same for all stories: what is free text, and a reference window that knows two days of the busiest model."""


class PlayError(RuntimeError):
    """Something of the play itself does not work; the message has the end of a log."""


@dataclass
class StoryClock(RealClock):
    """The story's wall clock, for receivers that check how old a signature is."""

    story: StoryTime

    def now(self) -> float:
        return self.story.now()


@dataclass(frozen=True)
class Told:
    """One message that a receiver got, and the story's time by then."""

    receiver: str
    at: int
    body: dict[str, Any]


class Process:
    """One service; its log is a file."""

    def __init__(self, command: str, environment: dict[str, str], log: Path) -> None:
        self.log = log
        self._out = log.open("ab")
        self._process = subprocess.Popen(
            [sys.executable, str(LAUNCHER), command],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=self._out,
            stderr=self._out,
        )
        self._port = 0

    def metric(self, name: str, **labels: str) -> float:
        """Sum of a metric's samples that have these labels; -1 where nobody answers yet."""
        if self._process.poll() is not None:
            raise PlayError(f"a service ended: {self.log.read_text(errors='replace')[-2_000:]}")
        if not self._port:
            line = next((n for n in self.log.read_text(errors="replace").splitlines() if '"starting"' in n), None)
            if line is None:
                return -1
            self._port = int(json.loads(line)["port"])
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/metrics", timeout=10) as answer:
                text = answer.read().decode()
        except OSError:
            return -1
        wanted = [f'{k}="{v}"' for k, v in labels.items()]
        samples = [s for s in text.splitlines() if s.startswith((f"streamdrift_{name} ", f"streamdrift_{name}{{"))]
        return sum(float(s.rsplit(" ", 1)[1]) for s in samples if all(w in s for w in wanted))

    def stop(self) -> int | None:
        """End it as an operator would."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(40)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            return None
        finally:
            self._out.close()


class House:
    """Feeds records, waits until all of them are through, runs commands, keeps what came out."""

    def __init__(self, bootstrap: str, prefix: str, folder: Path, start: int, parts: ExitStack) -> None:
        self.story_time = StoryTime(folder / "clock")
        self.story_time.set(start / 1000)
        self._folder, self._bootstrap = folder, bootstrap
        self._slack = ScriptedServer(
            Script(200, {}, orjson.dumps({"ok": True, "channel": CHANNEL, "ts": THREAD, "messages": []}))
        )
        self._pagerduty = ScriptedServer(Script(202, {}, b'{"status": "success"}'))
        self._webhook = Receiver(SECRET, StoryClock(self.story_time))
        self.serving = Serving()
        for part in (self._slack.stop, self._pagerduty.stop, self._webhook.close, self.serving.close):
            parts.callback(part)
        self.environment = self._settings(prefix)
        self.alerts: list[Alert] = []
        self.told: list[Told] = []
        self.fed = {"events": 0, "labels": 0, "changes": 0}
        self._rows = 0
        self._seen = {"slack": 0, "pagerduty": 0, "webhook": 0}
        created = self.run("topics", "create")
        if created.returncode:
            raise PlayError(created.stderr)
        self._sink = KafkaSink(KafkaSettings(bootstrap_servers=bootstrap), RealClock())
        parts.callback(self._sink.close)
        self._consumer = KafkaConsumer(
            bootstrap_servers=bootstrap, enable_auto_commit=False, isolation_level="read_committed"
        )
        parts.callback(self._consumer.close)
        self._partition = TopicPartition(self.topic("alerts"), 0)
        self._consumer.assign([self._partition])
        self._consumer.seek_to_beginning(self._partition)
        self.detect = Process("detect", self.environment, folder / "detect.log")
        parts.callback(self.detect.stop)
        self.escalate = Process("escalate", self.environment, folder / "escalate.log")
        parts.callback(self.escalate.stop)

    def _settings(self, prefix: str) -> dict[str, str]:
        """An ordinary configuration: where the broker is, what its topics are called, who is to be told."""
        mitigation = {}
        if self.serving.known:
            mitigation = {
                "STREAMDRIFT_ESCALATE__MITIGATION__URL": self.serving.url,
                "STREAMDRIFT_ESCALATE__MITIGATION__SECRET": SECRET,
            }
        return {
            **{k: v for k, v in os.environ.items() if not k.startswith("STREAMDRIFT_")},
            **SETTINGS,
            **{f"STREAMDRIFT_TOPICS__{name.upper()}": prefix + name for name in TOPICS},
            "STREAMDRIFT_KAFKA__BOOTSTRAP_SERVERS": self._bootstrap,
            "STREAMDRIFT_KAFKA__GROUP": prefix + "group",
            "STREAMDRIFT_KAFKA__PARTITIONS": "1",
            "STREAMDRIFT_TELEMETRY__PORT": "0",
            "STREAMDRIFT_TELEMETRY__HOST": "127.0.0.1",
            "STREAMDRIFT_ESCALATE__LEDGER": str(self._folder / "ledger.sqlite3"),
            "STREAMDRIFT_ESCALATE__WEBHOOK__URL": self._webhook.url,
            "STREAMDRIFT_ESCALATE__WEBHOOK__SECRET": SECRET,
            "STREAMDRIFT_ESCALATE__SLACK__TOKEN": "xoxb-played",
            "STREAMDRIFT_ESCALATE__SLACK__CHANNEL": CHANNEL,
            "STREAMDRIFT_ESCALATE__SLACK__URL": self._slack.url,
            "STREAMDRIFT_ESCALATE__PAGERDUTY__ROUTING_KEY": ROUTING_KEY,
            "STREAMDRIFT_ESCALATE__PAGERDUTY__URL": self._pagerduty.url,
            **mitigation,
            "STORY_CLOCK": str(self._folder / "clock"),
            "PYTHONPATH": str(ROOT),
        }

    def topic(self, name: str) -> str:
        """The topic's name on the broker."""
        return self.environment[f"STREAMDRIFT_TOPICS__{name.upper()}"]

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command of streamdrift at the story's time."""
        return subprocess.run(
            [sys.executable, str(LAUNCHER), *command],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )

    def shown(self) -> list[dict[str, Any]]:
        """What ``incidents show --json`` says of each incident, in the order in which they opened; without processes of their own."""
        settings, now = load(self.environment, root=ROOT).settings, self.story_time.now()
        if not Path(settings.escalate.ledger).exists():
            return []
        listed = orjson.loads(incidents(Incidents("list", everything=True, as_json=True), settings, now))
        ids = [one["incident_id"] for one in sorted(listed, key=lambda one: (one["opened_at"], one["incident_id"]))]
        return [orjson.loads(incidents(Incidents("show", one, as_json=True), settings, now)) for one in ids]

    def feed(self, messages: Sequence[Message], now: int) -> None:
        """Write records, and wait until they, and all that comes of them, are through; the story's time is ``now``."""
        self.story_time.set(now / 1000)
        for message in messages:
            self._sink.send(self.topic(message.topic), message.value, message.key)
            self.fed[message.topic] += 1
            if message.topic == "events":
                self._rows += 1 + len(orjson.loads(message.value)["segments"])
        self._sink.flush(60)
        commits = self._through()
        if messages:
            self._until(lambda: self.detect.metric("commits_total", stage="detect") > commits, "a commit", 3.0)
        self.settle(now)

    def settle(self, now: int) -> None:
        """Wait until escalation has taken all there is, and has told everybody; keep what was told."""
        records: list[Any] = []
        end = self._consumer.end_offsets([self._partition])[self._partition]
        while self._consumer.position(self._partition) < end:
            for found in self._consumer.poll(timeout_ms=500).values():
                records += found
        self.alerts += [Alert.from_cloudevent(record.value) for record in records]
        taken = len(self.alerts) + self.fed["changes"]
        self._until(lambda: self.escalate.metric("events_total", stage="escalate") >= taken, "escalating")
        self._until(lambda: self.escalate.metric("outbox_pending") == 0, "delivering")
        self._collect(now)

    def _through(self) -> float:
        """Wait for detection; return its commits when it had taken the last."""
        took = self.detect.metric
        self._until(lambda: took("events_total", stage="assemble") >= self.fed["events"], "assembling")
        self._until(lambda: took("events_total", stage="detect") >= self._rows, "detecting")
        commits = took("commits_total", stage="detect")
        self._until(lambda: took("lag_records") == 0, "catching up")
        return commits

    def _until(self, condition: Callable[[], bool], what: str, seconds: float = PATIENCE_S) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                if seconds < PATIENCE_S:  # nothing was left to commit
                    return
                raise PlayError(f"{what} did not come about in {seconds:g} s; {self.detect.log.read_text()[-2_000:]}")
            time.sleep(0.05)

    def _collect(self, now: int) -> None:
        bodies: dict[str, list[dict[str, Any]]] = {
            "slack": [_body(request.head, request.body) for request in self._slack.requests],
            "pagerduty": [orjson.loads(request.body) for request in self._pagerduty.requests],
            "webhook": [received.body for received in self._webhook.received],
        }
        for receiver, found in bodies.items():
            self.told += [Told(receiver, now, body) for body in found[self._seen[receiver] :]]
            self._seen[receiver] = len(found)


def _body(head: str, body: bytes) -> dict[str, Any]:
    """A call of Slack's API, with the method."""
    method = head.split(" ", 2)[1].rsplit("/", 1)[-1]
    try:
        return {"method": method, **orjson.loads(body)}
    except orjson.JSONDecodeError:
        return {"method": method}


@contextmanager
def house(bootstrap: str, prefix: str, folder: Path, start: int) -> Iterator[House]:
    """Give one with everything running; all of it is gone afterwards."""
    with ExitStack() as parts:
        yield House(bootstrap, prefix, folder, start, parts)
