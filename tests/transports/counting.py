"""A small stateful stage that counts per key, and a process that runs it: where it is killed, its counts show.

``python counting.py PLAN`` with PLAN a JSON object: see ``main``. Every tenth record of a key is a message ``key:count``.
"""

from __future__ import annotations

import json
import math
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from kafka import KafkaProducer

from streamdrift.errors import Fatal, Retriable
from streamdrift.ports import Partition, Record, StateRecord
from streamdrift.settings import Settings
from streamdrift.telemetry import Metrics
from streamdrift.transports.kafka import Changelog, KafkaSource, KafkaTransactions, Kept
from streamdrift.worker import Message, Output, Worker
from tests.transports.clock import RealClock

EVERY = 10
MARK = b"mark"
"""State of it is the offset behind the last record that the other states have."""
CLOCK = RealClock()


class Counting:
    """Counts records by partition and key."""

    name = "count"

    def __init__(self, out: str, flush_s: float) -> None:
        self._out, self._flush_s = out, flush_s
        self.counts: dict[Partition, dict[bytes, int]] = {}
        self._ends: dict[Partition, int] = {}
        self._changed: dict[Partition, set[bytes]] = {}
        self._flushed_at = CLOCK.monotonic()
        self.restored: list[Partition] = []

    def process(self, records: Sequence[Record]) -> Output:
        output = Output()
        for record in records:
            key, partition = record.key or b"", record.partition
            if record.offset < self._ends.get(partition, 0):
                continue
            counts = self.counts.setdefault(partition, {})
            counts[key] = counts.get(key, 0) + 1
            self._ends[partition] = record.offset + 1
            self._changed.setdefault(partition, set()).add(key)
            if counts[key] % EVERY == 0 and not record.replayed:
                output.messages.append(Message(self._out, b"%s:%d" % (key, counts[key]), key))
        return output

    def idle(self, now_ms: int) -> Output:
        del now_ms
        return Output()

    def mark(self, now_ms: int, waited_ms: Mapping[Partition, int]) -> Output:
        del now_ms, waited_ms
        return Output()

    def due(self, now_s: float) -> Sequence[StateRecord]:
        if now_s - self._flushed_at < self._flush_s and not math.isinf(now_s):
            return ()
        self._flushed_at = CLOCK.monotonic()
        due = []
        for partition, keys in self._changed.items():
            due += [StateRecord(partition, key, b"%d" % self.counts[partition][key]) for key in sorted(keys)]
            due.append(StateRecord(partition, MARK, b"%d" % self._ends[partition]))
        self._changed = {}
        return due

    def restore(self, partition: Partition, records: Mapping[bytes, bytes]) -> int | None:
        self.drop(partition)
        self.restored.append(partition)
        if MARK not in records:
            return None
        self.counts[partition] = {key: int(value) for key, value in records.items() if key != MARK}
        self._ends[partition] = int(records[MARK])
        return self._ends[partition]

    def drop(self, partition: Partition) -> None:
        for kept in (self.counts, self._ends, self._changed):
            kept.pop(partition, None)


def worker(tree: Settings, instance: str | None, metrics: Metrics | None = None) -> Worker:
    """Build the loop of one process of the group."""
    metrics = metrics or Metrics()
    stage = Counting(tree.topics.alerts, tree.kafka.state_flush_s)
    group = f"{tree.kafka.group}-count"
    changelog = Changelog(tree.kafka, tree.topics.state, group, CLOCK, keyed=True, in_bulk=True)
    source = KafkaSource(
        tree.kafka,
        tree.topics.events,
        group,
        clock=CLOCK,
        restore_events_max=0,  # so that counts come from the topic of state, or not at all
        in_bulk=True,
        instance=instance,
        keeper=Kept(stage, stage.name, changelog, CLOCK, metrics),
    )
    name = f"{group}-{instance}"
    sink = KafkaTransactions(
        tree.kafka, source, name, clock=CLOCK, metrics=metrics, stage=stage.name, changelog=changelog
    )
    return Worker(stage, source, sink, tree, CLOCK, metrics)


class Doom:
    """Kills this process in its nth transaction that has state, at a point of it."""

    def __init__(self, point: str, nth: int, state: str) -> None:
        self._point, self._nth, self._state = point, nth, state
        self._seen, self._open = 0, False

    def install(self) -> None:
        send, flush, commit = KafkaProducer.send, KafkaProducer.flush, KafkaProducer.commit_transaction

        def dooming_send(producer: Any, topic: str, *args: Any) -> Any:
            if topic == self._state and not self._open:
                self._open = True
                self._seen += 1
                flush(producer, timeout=10)
                self._at("produced")
            return send(producer, topic, *args)

        def dooming_flush(producer: Any, timeout: float | None = None) -> None:
            flush(producer, timeout=timeout)
            self._at("state")

        def dooming_commit(producer: Any) -> None:
            self._at("before")
            commit(producer)
            self._at("after")
            self._open = False

        KafkaProducer.send, KafkaProducer.flush = dooming_send, dooming_flush
        KafkaProducer.commit_transaction = dooming_commit

    def _at(self, point: str) -> None:
        if point == self._point and self._open and self._seen == self._nth:
            os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    plan = json.loads(sys.argv[1])
    tree = Settings.model_validate(plan["settings"])
    if plan.get("die"):
        Doom(plan["die"], 5, tree.topics.state).install()
    stopping: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: stopping.append(number))
    while not stopping:
        running = worker(tree, plan["instance"])
        try:
            while not stopping:
                running.step(0.2)
                CLOCK.sleep(plan["pause_s"])
                sys.stdout.write(f"restored {[p.index for p in running.stage.restored]}\n")  # type: ignore[attr-defined]
                sys.stdout.flush()
            running.commit()
        except Retriable as e:
            sys.stdout.write(f"anew: {e}\n")
            sys.stdout.flush()
        except Fatal as e:
            sys.stdout.write(f"ended: {e}\n")
            sys.exit(e.exit_code)
        finally:
            running.close()


if __name__ == "__main__":
    main()
