"""Both stages over the exchange, several partitions and workers: what is handed over says what would have been said."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any
from zlib import crc32

import numpy as np
import pytest
from hypothesis import Phase, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from streamdrift.pipeline import Assemble, Detect
from streamdrift.ports import Partition, Record
from streamdrift.settings import Settings
from streamdrift.telemetry import Metrics
from tests.state import much_traffic
from tests.state.much_traffic import BLOCKS, LABELS, START, Broker, Process

N, PARTITIONS = 1_600, 3
TREE = much_traffic.tree(anomalies={"silence_min_s": 1e9, "duplicate_within_events": 60, "replay_within_events": 120})
"""Without silence: one partition's events show that time has passed for the models of another, and which is ahead is chance."""
FOUND = much_traffic.events(N)


def blocks(
    logs: dict[Partition, list[Record]], lives: Sequence[int], labels: bool = False
) -> list[tuple[bytes, bytes]]:
    """Blocks of all records, by a stage that dies after so many steps, each time with a step that was not committed."""
    broker, told = Broker(logs), list[tuple[bytes, bytes]]()
    for steps in (*lives, 10_000):
        process = Process(Assemble(TREE, Metrics(), labels=labels), broker, 60)
        pending: list[tuple[bytes, bytes]] = []
        process_stage, inner = process.stage, process.stage.process

        def keyed(records: Sequence[Record], pending: list[tuple[bytes, bytes]] = pending, inner: Any = inner) -> Any:
            output = inner(records)
            pending += [(message.key or b"", message.value) for message in output.messages]
            return output

        process_stage.process = keyed  # type: ignore[method-assign]
        for step in range(steps):
            if not process.step():
                break
            if step < steps - 1:
                process.commit()
                told += pending
                pending.clear()
    assert broker.replayed == 0
    return told


def partitioned(found: Sequence[tuple[bytes, bytes]]) -> dict[Partition, list[Record]]:
    logs: dict[Partition, list[Record]] = {Partition(BLOCKS, index): [] for index in range(PARTITIONS)}
    for moment, (key, value) in enumerate(found):
        partition = Partition(BLOCKS, crc32(key) % PARTITIONS)
        logs[partition].append(Record(value, partition, len(logs[partition]), START + moment, key))
    return logs


@cache
def log() -> dict[Partition, list[Record]]:
    return partitioned(blocks(much_traffic.log(FOUND), ()))


def detect(settings: Settings = TREE) -> Detect:
    return Detect(settings, "config", Metrics())


def told(broker: Broker) -> list[bytes]:
    """What was published; by partition it is in order, and how these follow each other is chance."""
    return sorted(value for _, value in broker.out)


def test_blocks_after_a_crash_are_those_of_a_run_without() -> None:
    whole = blocks(much_traffic.log(FOUND, 2), ())
    for lives in ([3], [5, 1, 9], [20, 2]):
        assert blocks(much_traffic.log(FOUND, 2), lives) == whole


@cache
def undisturbed() -> tuple[list[bytes], dict[tuple[str, str, str], str]]:
    broker = Broker(log())
    stage = much_traffic.run(detect, broker, at_a_time=7)
    return told(broker), much_traffic.hashes(stage)  # type: ignore[arg-type]


@given(st.lists(st.tuples(st.integers(1, 25), st.integers(0, 4)), min_size=1, max_size=4), st.sampled_from([3, 7]))
@hypothesis_settings(max_examples=5, deadline=None, phases=[Phase.generate])
def test_deaths_of_the_detect_stage(found: list[tuple[int, int]], at_a_time: int) -> None:
    broker = Broker(log())
    stage = much_traffic.run(detect, broker, found, at_a_time)
    assert (told(broker), much_traffic.hashes(stage)) == undisturbed()  # type: ignore[arg-type]


def two_workers(moves: Sequence[int], make: Callable[[], Detect], *, clean: bool) -> tuple[Broker, dict[Any, str]]:
    """Two workers; every few steps a partition goes from the one that has most to the other."""
    broker = Broker(log())
    workers = [
        Process(make(), broker, 5, [Partition(BLOCKS, 0), Partition(BLOCKS, 1)]),
        Process(make(), broker, 5, [Partition(BLOCKS, 2)]),
    ]
    step = 0
    while sum(worker.step() for worker in workers):
        for worker in workers:
            worker.commit()
        step += 1
        if step in moves:
            one, other = sorted(workers, key=lambda worker: -len(worker.next))
            partition = min(one.next)
            if clean:
                one.commit(flush=True)
            one.revoke(partition)
            other.assign(partition)
    hashes: dict[Any, str] = {}
    for worker in workers:
        worker.commit()
        hashes |= much_traffic.hashes(worker.stage)  # type: ignore[arg-type]
        assert worker.stage.bank.series == len(list(worker.stage.bank.watched()))  # type: ignore[union-attr]
    return broker, hashes


@pytest.mark.parametrize("clean", [True, False])
def test_partitions_that_move(clean: bool) -> None:
    broker, hashes = two_workers([4, 5, 9, 17, 20, 31], detect, clean=clean)
    assert told(broker) == undisturbed()[0]
    assert hashes.keys() == undisturbed()[1].keys()
    assert hashes == undisturbed()[1]


def test_what_went_away_leaves_nothing_behind() -> None:
    stage = detect()
    process = Process(stage, Broker(log()), 7)
    while process.step():
        process.commit()
    assert stage.bank.series
    for partition in list(process.next):
        process.revoke(partition)
    bank = stage.bank
    assert bank.series == 0
    assert not bank.keys()
    assert bank.states["held_back"] == 0
    assert not +bank._segments_of
    assert not bank._traffic
    assert not bank._silence.models()


def labelled(n: int = N) -> dict[Partition, list[Record]]:
    """Events, and for most of them a label an hour later, worse from the middle on."""
    logs = much_traffic.log(FOUND[:n])
    rng = np.random.default_rng(5)
    truths = []
    for i, event in enumerate(FOUND[:n]):
        if rng.random() < 0.9:
            said = event["prediction"]["label"]
            right = rng.random() < (0.9 if i < n // 2 else 0.4)
            truths.append(
                {
                    "prediction_id": event["prediction_id"],
                    "model": event["model"]["name"],
                    "observed_at": event["occurred_at"] + 3_600_000,
                    "label": said if right else {"yes": "no", "no": "yes"}[said],
                }
            )
    place = Partition(LABELS, 0)
    logs[place] = [Record(json.dumps(truth).encode(), place, i, START + i) for i, truth in enumerate(truths)]
    return logs


def test_labels_are_joined_again_and_nothing_of_them_is_told_twice() -> None:
    logs = labelled()
    make = much_traffic.direct(TREE, labels=True)
    whole = Broker(logs)
    stage = much_traffic.run(make, whole)
    assert any(json.loads(value)["data"]["role"] == "performance" for _, value in whole.out)
    for deaths in ([(9, 2)], [(5, 1), (7, 0), (4, 2)]):
        broker = Broker(logs)
        again = much_traffic.run(make, broker, deaths)
        assert told(broker) == told(whole)
        assert much_traffic.hashes(again) == much_traffic.hashes(stage)  # type: ignore[arg-type]
