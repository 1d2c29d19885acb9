"""Events per second and core off a real broker: `streamdrift detect` against quixstreams' exactly-once count, and bare consumers.

    python -m benchmarks.from_kafka [--quick] [--events N] [--rounds N]

Topics of one partition, the same events for all: ten features, eight segments, the segment as key. Each contestant is a process
of its own that starts at the topic's beginning. What the first quarter of the events costs is not counted: start, group, references;
CPU time is that of all threads of the process, from there to the last event. For `streamdrift detect` the other three quarters are
in a transaction that is committed once it has done with the first, so that neither of its stages is ahead. The broker runs on the
same machine, so events per second say less than events per CPU second. Rounds are interleaved, medians are told.

quixstreams counts events by key: state in RocksDB with a changelog, `processing_guarantee="exactly-once"`, a commit a second.
`streamdrift detect` has its default settings, but for what a row says.
"""

from __future__ import annotations

import json
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson

from benchmarks import rounds, service
from benchmarks.rounds import ROOT, Bar
from benchmarks.traffic import FEATURES, Traffic
from tests.broker import NoBrokerError, running

SEGMENTS = 8
WARM = 4
"""One part in so many is not counted."""
SETTLED_S = 1.0
DIRECT, WHOLE, EXCHANGE = (
    f"**streamdrift detect**, direct, {SEGMENTS * FEATURES} series",
    f"streamdrift detect, direct, all traffic too: {(SEGMENTS + 1) * FEATURES} series",
    f"streamdrift detect, by the exchange topic, {(SEGMENTS + 1) * FEATURES} series, both stages in one process",
)
QUIX, QUIX_OUT = "quixstreams: count, exactly once", "quixstreams: count, exactly once, each count sent on"
BULK = "kafka-python, records in bulk, nothing done with them"
EACH, PER_CORE = Bar(least=4, unit="×"), Bar(least=200_000)


@dataclass(frozen=True)
class Rates:
    """Events per second."""

    per_cpu_s: float
    per_s: float


@dataclass(frozen=True)
class Log:
    """A topic with events for those who only count."""

    servers: str
    prefix: str
    messages: service.Messages

    @property
    def topic(self) -> str:
        return f"{self.prefix}events"

    def place(self) -> list[str]:
        """What each consumer is told: servers, topic, a group of its own, where counting begins, where it ends."""
        n, group = len(self.messages), f"{self.prefix}{secrets.token_hex(4)}"
        return [self.servers, self.topic, group, str(n // WARM), str(n)]


def consumer(command: Sequence[str]) -> Rates:
    """Run a process that prints its marks (``benchmarks.rivals.marks``)."""
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, timeout=600, check=True)
    begin, end = (json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"events"'))
    n = end["events"] - begin["events"]
    return Rates(n / (end["cpu"] - begin["cpu"]), n / (end["wall"] - begin["wall"]))


def detect(log: Log, rows_per_event: int, **more: str) -> Rates:
    """Run `streamdrift detect` on topics of its own."""
    settings = service.settings_of(log.servers, f"b{secrets.token_hex(4)}.", **more)
    service.create_topics(settings)
    rows, cpu = 'streamdrift_events_total{stage="detect"}', "process_cpu_seconds_total"
    done = 'streamdrift_last_record_processed_timestamp_seconds{stage="detect"}'
    topic, warm, n = settings["STREAMDRIFT_TOPICS__EVENTS"], len(log.messages) // WARM, len(log.messages)
    service.publish(log.servers, topic, log.messages[:warm])
    with service.held_back(log.servers, topic, log.messages[warm:]) as let_go, service.detecting(settings) as worker:
        worker.until(rows, warm * rows_per_event)
        time.sleep(SETTLED_S)  # rows are counted before they are judged
        began, begin = time.time(), worker.told()
        let_go()
        worker.until(rows, n * rows_per_event)
        time.sleep(SETTLED_S)
        end = worker.told()
    return Rates((n - warm) / (end[cpu] - begin[cpu]), (n - warm) / (end[done] - began))


def contestants(log: Log) -> dict[str, Callable[[], Rates]]:
    segments_alone = {"STREAMDRIFT_OVERRIDES__WHOLE__SEGMENT": "", "STREAMDRIFT_OVERRIDES__WHOLE__ENABLED": "false"}
    direct = {"STREAMDRIFT_EXCHANGE": "direct"}

    def consume(how: str) -> Rates:
        return consumer([sys.executable, "-m", "benchmarks.kafka_consume", how, *log.place()])

    def rival(module: str, *more: str) -> Rates:
        return consumer(rounds.rival(module, *log.place(), *more))

    return {
        DIRECT: lambda: detect(log, 1, **direct, **segments_alone),
        WHOLE: lambda: detect(log, 1, **direct),
        EXCHANGE: lambda: detect(log, 2),
        QUIX: lambda: rival("quix_count", ""),
        QUIX_OUT: lambda: rival("quix_count", f"{log.prefix}counts"),
        BULK: lambda: consume("bulk"),
        "kafka-python, stock, nothing done with them": lambda: consume("stock"),
        "confluent-kafka, 5,000 at a time, nothing done with them": lambda: rival("confluent_consume"),
    }


def race(log: Log, count: int, only: Sequence[str] = ()) -> tuple[dict[str, list[Rates]], dict[str, str]]:
    """What each reached, round by round; and why those that are missing are."""
    found: dict[str, list[Rates]] = {}
    missing: dict[str, str] = {}
    for number in range(count):
        for name, run in contestants(log).items():
            if only and name not in only:
                continue
            try:
                found.setdefault(name, []).append(run())
            except rounds.MissingError as e:
                missing[name] = str(e)
            except subprocess.CalledProcessError as e:
                missing[name] = f"did not run here (exit code {e.returncode})"
        rounds.progress(f"round {number + 1} of {count}")
    return {name: rates for name, rates in found.items() if len(rates) == count}, missing


def rows(found: dict[str, list[Rates]], missing: dict[str, str], *, judged: bool) -> list[str]:
    """The table's rows; the bars are those of the first."""
    lines = []
    for name, rates in found.items():
        cpu, wall = (statistics.median(values) for values in zip(*((r.per_cpu_s, r.per_s) for r in rates), strict=True))
        ratio = statistics.median(mine.per_cpu_s / r.per_cpu_s for mine, r in zip(found[DIRECT], rates, strict=True))
        bar = {DIRECT: PER_CORE.told(cpu), QUIX: EACH.told(ratio), QUIX_OUT: EACH.told(ratio)}.get(name, "")
        lines.append(f"{name} | {cpu:,.0f} | {wall:,.0f} | {rounds.figure(ratio)} | {bar if judged else ''}")
    return lines + [f"{name} | – | – | – | {why}" for name, why in missing.items()]


def publish(servers: str, n: int) -> Log:
    """The events, on a topic for those who only count."""
    values = Traffic(SEGMENTS).take(n)
    messages = [(orjson.loads(value)["segments"]["shop"].encode(), value) for value in values]
    log = Log(servers, f"b{secrets.token_hex(4)}.", messages)
    service.create_topics(service.settings_of(servers, log.prefix))
    service.publish(servers, log.topic, messages)
    rounds.progress(f"{n:,} events published")
    return log


def main(arguments: Sequence[str]) -> int:
    parser = rounds.command(__doc__, "few events, one round, ours alone", 3)
    parser.add_argument("--events", type=int, default=400_000)
    options = parser.parse_args(arguments)
    n, count = (20_000, 1) if options.quick else (options.events, options.rounds)
    print("### Off a Kafka broker\n")
    try:
        with tempfile.TemporaryDirectory() as folder, running(Path(folder)) as broker:
            found, missing = race(publish(broker.plaintext, n), count, (DIRECT, BULK) if options.quick else ())
    except NoBrokerError as e:
        print(f"Not measured: {e}")
        return 0
    print(f"{n:,} events in one partition, {rounds.told(count)}; all on the machine that the broker runs on.\n")
    head = ("", "events per CPU second", "events per second", "streamdrift is × as fast, by CPU", "bar")
    print(rounds.table(head, rows(found, missing, judged=not options.quick)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
