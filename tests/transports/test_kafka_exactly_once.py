"""Kills, zombies and rebalances on a real broker: what comes out is there once, as from one process that nobody touched."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition

from streamdrift.settings import KafkaSettings, Settings
from streamdrift.transports.kafka import KafkaSink
from tests.transports.clock import RealClock
from tests.transports.counting import EVERY

pytestmark = [pytest.mark.broker, pytest.mark.slow]
CLOCK = RealClock()
PROGRAM = Path(__file__).with_name("counting.py")
KEYS, PARTITIONS = 30, 4
PAUSE_S = 0.03
"""Between two steps of 40 records, so that signals hit work in progress."""


@pytest.fixture
def tree(admin: KafkaAdminClient, kafka_settings: KafkaSettings, topic_prefix: str) -> Settings:
    names = {name: topic_prefix + name for name in ("events", "alerts", "state")}
    for name in names.values():
        configs = {"cleanup.policy": "compact"} if name.endswith("state") else {}
        topic = {"num_partitions": PARTITIONS, "replication_factor": 1, "configs": configs}
        admin.create_topics({name: topic}, wait_for_metadata=True)
    kafka = kafka_settings.model_dump() | {
        "commit_interval_s": 0.001,
        "state_flush_s": 0.001,
        "poll_records_max": 40,
        "session_timeout_s": 2.0,
    }
    return Settings.model_validate({"topics": names, "kafka": kafka})


class Process:
    """One worker of the group."""

    def __init__(self, tree: Settings, instance: str, log: Path, die: str | None = None) -> None:
        given = tree.model_dump(mode="json", exclude_unset=True)
        plan = {"settings": given, "instance": instance, "die": die, "pause_s": PAUSE_S}
        self.log = log
        with log.open("ab") as out:
            self.process = subprocess.Popen(
                [sys.executable, str(PROGRAM), json.dumps(plan)], stdout=out, stderr=subprocess.STDOUT
            )

    def text(self) -> str:
        return self.log.read_text()

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
        self.process.wait()


@contextmanager
def processes() -> Iterator[Callable[..., Process]]:
    with ExitStack() as stack:

        def start(*args: object, **kwargs: object) -> Process:
            process = Process(*args, **kwargs)  # type: ignore[arg-type]
            stack.callback(process.end)
            return process

        yield start


def publish(tree: Settings, begin: int, n: int) -> None:
    sink = KafkaSink(tree.kafka, CLOCK)
    for i in range(begin, begin + n):
        sink.send(tree.topics.events, b"%d" % i, b"key-%d" % (i % KEYS))
    sink.flush(20.0)
    sink.close()


def expected(n: int) -> Counter[bytes]:
    return Counter(b"key-%d:%d" % (k, c) for k in range(KEYS) for c in range(EVERY, n // KEYS + 1, EVERY))


def found(tree: Settings) -> Counter[bytes]:
    consumer = KafkaConsumer(
        bootstrap_servers=tree.kafka.bootstrap_servers, enable_auto_commit=False, isolation_level="read_committed"
    )
    places = [TopicPartition(tree.topics.alerts, i) for i in range(PARTITIONS)]
    consumer.assign(places)
    consumer.seek_to_beginning(*places)
    ends = consumer.end_offsets(places)
    values: Counter[bytes] = Counter()
    while any(consumer.position(tp) < ends[tp] for tp in places):
        for records in consumer.poll(timeout_ms=100).values():
            values.update(record.value for record in records)
    consumer.close()
    return values


def until(condition: Callable[[], bool], what: str, *logs: Path, seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"{what}: not in {seconds} s\n" + "\n".join(log.read_text()[-1500:] for log in logs))
        time.sleep(0.1)


def all_there(tree: Settings, n: int, *logs: Path) -> None:
    """Wait until nothing is missing, and a little longer; then nothing is there twice."""
    until(lambda: not expected(n) - found(tree), "all messages", *logs)
    time.sleep(0.5)
    assert found(tree) == expected(n)


def test_killed_at_each_point_of_a_transaction(tree: Settings, tmp_path: Path) -> None:
    # were the id another after the restart, state would be readable only after this
    tree = tree.model_copy(update={"kafka": tree.kafka.model_copy(update={"transaction_timeout_s": 300.0})})
    points, n, log = ("produced", "state", "before", "after"), 3_000, tmp_path / "log"
    publish(tree, 0, n)
    with processes() as start:
        for point in points:
            dying = start(tree, "one", log, die=point)
            assert dying.process.wait(90) == -signal.SIGKILL, dying.text()
        assert not expected(n) <= found(tree), "everything was done before the last kill"
        last = start(tree, "one", log)
        all_there(tree, n, log)
        last.process.send_signal(signal.SIGTERM)
        assert last.process.wait(60) == 0
        publish(tree, n, 300)
        again = start(tree, "one", log)  # all state was put away at the end: counts go on
        all_there(tree, n + 300, log)
        assert "restored [0, 1, 2, 3]" in again.text()


def test_zombies_and_workers_that_come_and_go(tree: Settings, tmp_path: Path) -> None:
    logs = [tmp_path / f"log-{i}" for i in range(3)]
    with processes() as start:
        publish(tree, 0, 600)
        a, b = start(tree, "a", logs[0]), start(tree, "b", logs[1])
        until(lambda: "restored [" in a.text() and "restored [" in b.text(), "two workers", *logs[:2])
        all_there(tree, 600, *logs[:2])
        publish(tree, 600, 1_500)
        time.sleep(0.3)
        a.process.send_signal(signal.SIGSTOP)  # past the session: the others take over
        assert expected(2_100) - found(tree), "everything was done before the process was stopped"
        all_there(tree, 2_100, *logs[:2])
        publish(tree, 2_100, 900)
        a.process.send_signal(signal.SIGCONT)
        all_there(tree, 3_000, *logs[:2])
        c = start(tree, "c", logs[2])
        publish(tree, 3_000, 1_500)
        until(lambda: "restored [" in c.text(), "a third worker", *logs)
        b.process.send_signal(signal.SIGTERM)
        all_there(tree, 4_500, *logs)
        assert b.process.wait(60) == 0
    assert "Traceback" not in "".join(log.read_text() for log in logs)


def test_a_zombie_with_the_name_of_its_successor_is_shut_out(tree: Settings, tmp_path: Path) -> None:
    logs = [tmp_path / f"log-{i}" for i in range(2)]
    with processes() as start:
        publish(tree, 0, 300)
        old = start(tree, "one", logs[0])
        all_there(tree, 300, logs[0])
        publish(tree, 300, 3_000)
        time.sleep(0.2)
        old.process.send_signal(signal.SIGSTOP)
        assert expected(3_300) - found(tree), "everything was done before the process was stopped"
        start(tree, "one", logs[1])
        all_there(tree, 3_300, *logs)
        publish(tree, 3_300, 600)
        old.process.send_signal(signal.SIGCONT)
        all_there(tree, 3_900, *logs)
        assert old.process.wait(60) == 3
        assert "another process began with the same name, and took over" in old.text()
