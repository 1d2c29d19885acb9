"""The real `streamdrift detect`, as a process that is watched from outside: its own metrics, its CPU time, its memory."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from kafka import KafkaProducer

from benchmarks.rounds import ROOT
from streamdrift.settings import KafkaSettings
from streamdrift.transports.kafka import KafkaSink
from tests.command import COMMAND, environment
from tests.transports.clock import RealClock

Messages = Sequence[tuple[bytes, bytes]]
"""Keys and values."""
TOPICS = ("events", "labels", "changes", "alerts", "rejected", "blocks", "state")
WAIT_S, LOOK_S = 300.0, 0.1


def settings_of(servers: str, prefix: str, **more: str) -> dict[str, str]:
    """The environment of services whose topics and group begin with a prefix; topics have one partition."""
    return environment(
        STREAMDRIFT_KAFKA__BOOTSTRAP_SERVERS=servers,
        STREAMDRIFT_KAFKA__GROUP=f"{prefix}group",
        STREAMDRIFT_KAFKA__PARTITIONS="1",
        STREAMDRIFT_TELEMETRY__HOST="127.0.0.1",
        STREAMDRIFT_TELEMETRY__PORT="0",
        **{f"STREAMDRIFT_TOPICS__{name.upper()}": prefix + name for name in TOPICS},
        **more,
    )


def create_topics(settings: Mapping[str, str]) -> None:
    """Run the command that does so."""
    subprocess.run([*COMMAND, "topics", "create"], env=dict(settings), cwd=ROOT, check=True, capture_output=True)


def publish(servers: str, topic: str, messages: Messages) -> None:
    """Send them to a topic."""
    sink = KafkaSink(KafkaSettings(bootstrap_servers=servers), RealClock())
    for key, value in messages:
        sink.send(topic, value, key)
    sink.flush(60)
    sink.close()


@contextmanager
def held_back(servers: str, topic: str, messages: Messages) -> Iterator[Callable[[], None]]:
    """Send them in a transaction; they are there, all at once, when what is given is called."""
    producer = KafkaProducer(
        bootstrap_servers=servers,
        transactional_id=secrets.token_hex(8),
        transaction_timeout_ms=600_000,
        batch_size=2**18,
        linger_ms=20,
        metrics_enabled=False,
    )
    producer.init_transactions()
    producer.begin_transaction()
    for key, value in messages:
        producer.send(topic, value, key)
    producer.flush(60)
    try:
        yield producer.commit_transaction
    finally:
        producer.close()


class Service:
    """A running service."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self._process, self._log = process, log
        self._port: int | None = None

    def told(self) -> dict[str, float]:
        """Its metrics: each sample by its name with labels. Empty until it answers."""
        if self._process.poll() is not None:
            raise AssertionError(f"the service ended:\n{self._log.read_text(errors='replace')[-3_000:]}")
        try:
            self._port = self._port or self._find_port()
            text = urllib.request.urlopen(f"http://127.0.0.1:{self._port}/metrics", timeout=10).read().decode()
        except (OSError, LookupError):
            return {}
        samples = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
        return {name: float(value) for name, _, value in samples}

    def until(self, name: str, value: float) -> dict[str, float]:
        """Wait until a sample has come to a value; return all samples of that moment."""
        deadline = time.monotonic() + WAIT_S
        while (told := self.told()).get(name, -1.0) < value:
            if time.monotonic() > deadline:
                raise AssertionError(f"{name} did not come to {value:,.0f}: {told.get(name)}")
            time.sleep(LOOK_S)
        return told

    def _find_port(self) -> int:
        lines = self._log.read_text(errors="replace").splitlines()
        found = [json.loads(line) for line in lines if '"starting"' in line]
        return int(found[0]["port"])


@contextmanager
def detecting(settings: Mapping[str, str]) -> Iterator[Service]:
    """Run `streamdrift detect`; it is gone afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "detect.log"
        with log.open("wb") as out:
            process = subprocess.Popen([*COMMAND, "detect"], env=dict(settings), cwd=ROOT, stdout=out, stderr=out)
        try:
            yield Service(process, log)
        finally:
            if process.poll() is None:
                process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def resident(pid: int) -> float:
    """Bytes of memory that a process has."""
    pages = Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]
    return float(pages) * os.sysconf("SC_PAGE_SIZE")
