"""From an event to its alert on the topic, at half load; and a backlog caught up, with the memory that it takes.

    python -m benchmarks.latency [--backlog N] [--seconds S] [--rate R] [--json FILE] [--quick]

A broker on this machine and one `streamdrift detect` in a process of its own, with a commit every 500 ms. First the backlog:
that many events are there before the service starts; events per second until none is left, and resident memory on the way.
Its slope is fitted to the second half, when all series have their reference windows. Then the load: half of that rate, or
``--rate``, and for each alert the time from the record that its ``position`` names to the moment when a consumer that reads
committed has it. Broker, feed and reader share the machine's cores with the service.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from streamdrift.settings import KafkaSettings
from streamdrift.settings.fields import environment_name
from tests.broker import NoBrokerError, running
from tests.soak.cluster import memory_kb, until
from tests.soak.traffic import traffic
from tests.soak.workers import Slot, Workers, command, settings_of

ROOT = Path(__file__).resolve().parents[1]
COMMIT_S = 0.5
DEFAULTS = KafkaSettings()
AS_SHIPPED = ("state_flush_s", "session_timeout_s", "transaction_timeout_s", "request_timeout_s")
"""What the soak has shorter, so that faults strike more often."""
P99_BAR_S = 1.0
PARTITIONS = 4
MODELS = 8
SAMPLE_S = 0.5
IDLE_S = 2.0
BUSY = 0.3
"""Cores by which a service is busy; one that has nothing to do takes a twentieth."""
CATCH_UP_S = 3_600.0


@dataclass
class Backlog:
    """How a backlog was caught up. ``memory`` has seconds and MB."""

    events: int
    seconds: float = 0.0
    memory: list[tuple[float, float]] = field(default_factory=list)

    @property
    def rate(self) -> float:
        return self.events / self.seconds

    def slope(self) -> float:
        """MB per million events, over the second half of the time."""
        samples = [(at, mb) for at, mb in self.memory if at >= self.seconds / 2]
        if len(samples) < 4:
            return float("nan")
        at, mb = np.array(samples).T
        return float(np.polyfit(at, mb, 1)[0] / self.rate * 1e6)


@contextmanager
def service(environment: Mapping[str, str], folder: Path) -> Iterator[Slot]:
    slot = Slot(0, folder, dict(environment), session_ms=10_000)
    try:
        yield slot
    finally:
        Workers([slot]).kill_all()


def produce(bootstrap: str, topic: str, events: Iterator[tuple[bytes, bytes]]) -> int:
    writer = KafkaProducer(bootstrap_servers=bootstrap, acks=1, linger_ms=20, batch_size=262_144)
    n = 0
    for n, (key, value) in enumerate(events, 1):  # noqa: B007 - how many there were
        writer.send(topic, value, key)
    writer.flush(120)
    writer.close()
    return n


def catch_up(slot: Slot, events: int) -> Backlog:
    """Start the service on what is there, and wait until nothing is left."""
    found, workers = Backlog(events), Workers([slot])
    slot.start()
    until(lambda: slot.up or not slot.running, 60)
    began, idle_at, cpu = time.monotonic(), 0.0, 0.0
    while time.monotonic() - began < CATCH_UP_S and slot.running and slot.process is not None:
        now = time.monotonic() - began
        found.memory.append((round(now, 1), memory_kb(slot.process.pid) / 1024))
        before, cpu = cpu, cpu_s(slot)
        busy = cpu - before > BUSY * SAMPLE_S  # with the last batch it has no lag, and much to do
        if busy or not workers.idle(PARTITIONS):
            idle_at = 0.0
        elif not idle_at:
            idle_at = now
        elif now - idle_at > IDLE_S:
            found.seconds = idle_at
            return found
        time.sleep(SAMPLE_S)
    raise SystemExit(f"the service did not catch up; its log:\n{slot.life_log.read_text()[-2_000:]}")


def cpu_s(slot: Slot) -> float:
    """Processor time that the service has had."""
    if slot.process is None:
        return 0.0
    fields = Path(f"/proc/{slot.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Reader:
    """Has each alert as soon as a consumer can have it, in a thread of its own."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        self._consumer = KafkaConsumer(
            bootstrap_servers=bootstrap,
            isolation_level="read_committed",
            enable_auto_commit=False,
            fetch_max_wait_ms=20,
        )
        self._consumer.assign([TopicPartition(topic, n) for n in self._consumer.partitions_for_topic(topic)])
        self._consumer.seek_to_end()
        for partition in self._consumer.assignment():
            self._consumer.position(partition)
        self.alerts: list[tuple[float, dict[str, Any]]] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.is_set():
            for records in self._consumer.poll(timeout_ms=50).values():
                now = time.time()
                self.alerts += [(now, orjson.loads(record.value)["data"]) for record in records]

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self._consumer.close(autocommit=False)


def under_load(
    bootstrap: str, environment: Mapping[str, str], events: list[tuple[bytes, bytes]], seconds: float
) -> list[float]:
    """Write the events evenly over so many seconds; return for each alert how long it took, in seconds."""
    writer = KafkaProducer(bootstrap_servers=bootstrap, acks=1, linger_ms=1)
    reader = Reader(bootstrap, environment["STREAMDRIFT_TOPICS__ALERTS"])
    topic = environment["STREAMDRIFT_TOPICS__EVENTS"]
    began, sent, futures = time.monotonic(), 0, []
    while sent < len(events):
        due = min(len(events), int((time.monotonic() - began) / seconds * len(events)) + 1)
        for key, value in events[sent:due]:
            now = time.time()
            futures.append((now, writer.send(topic, value, key)))
        sent = due
        time.sleep(0.005)
    writer.flush(60)
    time.sleep(4 * COMMIT_S + 1)
    reader.close()
    writer.close()
    written = ((at, future.get(0)) for at, future in futures)
    sent_at = {(metadata.partition, metadata.offset): at for at, metadata in written}
    places = ((at, alert["position"]) for at, alert in reader.alerts)
    ours = ((at, sent_at.get((place["partition"], place["offset"]))) for at, place in places)
    return [at - sent for at, sent in ours if sent is not None]  # not those of the backlog's last events


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    with running(folder) as broker:
        bootstrap = broker.plaintext
        environment = settings_of(bootstrap, "bench.", "bench.events", partitions=PARTITIONS, brokers=1) | {
            "STREAMDRIFT_KAFKA__COMMIT_INTERVAL_S": str(COMMIT_S),
            "STREAMDRIFT_EXCHANGE": options.exchange,
            **{environment_name(("kafka", name)): str(getattr(DEFAULTS, name)) for name in AS_SHIPPED},
        }
        created = command(["topics", "create"], environment)
        if created.returncode:
            raise SystemExit(created.stderr)
        # one stream, of which the backlog is the beginning: what comes under load finds its reference windows learned
        source = traffic(1, options.backlog + int(options.seconds * options.rate_max), MODELS)
        n = produce(bootstrap, environment["STREAMDRIFT_TOPICS__EVENTS"], islice(source, options.backlog))
        with service(environment, folder) as slot:
            backlog = catch_up(slot, n)
            cpu = cpu_s(slot)
            rate = options.rate or min(backlog.rate / 2, options.rate_max)
            took = under_load(
                bootstrap, environment, list(islice(source, int(rate * options.seconds))), options.seconds
            )
            cpu = cpu_s(slot) - cpu
            if slot.process is not None:
                slot.process.terminate()
                slot.process.wait(30)
    half = len(backlog.memory) // 2
    return {
        "backlog_events": n,
        "backlog_seconds": round(backlog.seconds, 1),
        "events_per_second": round(backlog.rate),
        "memory_mb": {"half": round(backlog.memory[half][1], 1), "end": round(backlog.memory[-1][1], 1)},
        "memory_mb_per_million_events": round(backlog.slope(), 1),
        "load_events_per_second": round(rate),
        "load_cores_used": round(cpu / options.seconds, 2),
        "alerts": len(took),
        "latency_s": {f"p{p}": round(float(np.percentile(took, p)), 3) for p in (50, 90, 99, 100)} if took else {},
        "exchange": options.exchange,
        "cores": os.cpu_count(),
        "load_average": round(os.getloadavg()[0], 1),
        "commit": subprocess.run(
            ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=False
        ).stdout.strip(),
    }


def told(found: Mapping[str, Any]) -> str:
    latency, memory = found["latency_s"], found["memory_mb"]
    lines = [
        "| | |",
        "|---|---|",
        f"| backlog | {found['backlog_events']:,} events in {found['backlog_seconds']} s: {found['events_per_second']:,} events/s |",
        f"| memory | {memory['half']} MB at half, {memory['end']} MB at the end: {found['memory_mb_per_million_events']} MB per million events |",
        f"| load | {found['load_events_per_second']:,} events/s by {found['exchange']}, {found['load_cores_used']} cores used, {found['alerts']} alerts |",
        f"| event to alert | p50 {latency.get('p50')} s, p90 {latency.get('p90')} s, p99 {latency.get('p99')} s, longest {latency.get('p100')} s |",
    ]
    return "\n".join(lines) + f"\n\n{found['cores']} cores, load average {found['load_average']}, {found['commit']}\n"


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backlog", type=int, default=500_000, help="events there before the service starts")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long the load lasts")
    parser.add_argument("--rate", type=float, help="events per second; without, half of what the backlog showed")
    parser.add_argument("--rate-max", type=float, default=5_000.0, help="what one feed in Python writes evenly")
    parser.add_argument("--exchange", choices=("topic", "direct"), default="topic")
    parser.add_argument("--json", type=Path, help="write the figures there, too")
    parser.add_argument("--quick", action="store_true", help="a smoke test")
    options = parser.parse_args(arguments)
    if options.quick:
        options.backlog, options.seconds, options.rate = 20_000, 10.0, options.rate or 500.0
    try:
        with tempfile.TemporaryDirectory() as folder:
            found = measure(options, Path(folder))
    except NoBrokerError as e:
        print(e)
        return 2
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    print(told(found))
    if not found["alerts"] or found["latency_s"]["p99"] > P99_BAR_S:
        print(f"the bar is p99 < {P99_BAR_S:g} s with a commit every {COMMIT_S:g} s")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
