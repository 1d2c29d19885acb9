"""Traffic that has something of everything, and a log with commits, crashes and a changelog to run it through."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from streamdrift.pipeline import Assemble, Detect, Direct
from streamdrift.ports import Partition, Record, StateRecord
from streamdrift.settings import Settings
from streamdrift.telemetry import Metrics

START = 1_700_000_000_000
EVENTS, LABELS, BLOCKS = "inference-events", "inference-labels", "streamdrift.blocks"
MEASURES = "streamdrift.measures"


def tree(**changes: Any) -> Settings:
    """Small windows, so that everything is learned, drifts and is resolved within some thousand events."""
    return Settings.model_validate(
        {
            "reference": {"events": 200, "segment_events": 100, "first_events": 150} | changes.pop("reference", {}),
            "detectors": {"ks": {"window_events": 100}},
            "policy": {"resolve_events": 128, "alert_cooldown_s": 600.0, "require": "none"},
            "anomalies": {"duplicate_within_events": 60, "replay_within_events": 120},
            "kafka": {"state_flush_s": 3.0},
            "slo": {"publish": True},
        }
        | changes
    )


def events(n: int, seed: int = 1) -> list[dict[str, Any]]:
    """Three models: one with everything, one that falls silent and comes back, one in one segment alone."""
    rng = np.random.default_rng(seed)
    moment, found = START, []
    for i in range(n):
        late = 2 * n // 5 < i < 7 * n // 10
        moment += int(rng.exponential(240_000))
        quiet = n // 2 < i < 13 * n // 20
        model = "one" if i % 10 == 5 else "odd" if i % 4 == 3 and not quiet else "m"
        region = ["eu", "us", "asia"][int(rng.choice(3, p=[0.5, 0.4, 0.1]))]
        numbers = rng.standard_normal(5)
        features: dict[str, Any] = {
            "x": float(numbers[0] + (2 if late and region == "eu" else 0)),
            "nullable": None if rng.random() < (0.4 if late else 0.03) else float(numbers[1]),
            "category": "new" if late and rng.random() < 0.2 else ["red", "green", "blue"][int(rng.integers(3))],
            "flag": bool(rng.random() < (0.6 if late else 0.2)),
            "frozen": 1.0 if late else float(numbers[2]),
            "odd": "text" if rng.random() < (0.1 if late else 0.001) else float(numbers[3]),
            "units": float(numbers[4]) * (1_000 if late and rng.random() < 0.3 else 1),
        }
        if model == "one":
            features["daily"] = math.sin(moment * 2 * math.pi / 86_400_000) + float(numbers[0]) / 4
        if i % 9 == 0:
            features["rare"] = float(rng.random())
        version = "1" if i < n // 2 else "2" if i < 4 * n // 5 or i % 2 else "3"
        label = "yes" if rng.random() < (0.3 if version == "1" else 0.6) else "no"
        found.append(
            {
                "prediction_id": f"p{i - 41 if late and i % 4 == 0 else i}",
                "occurred_at": moment,
                "model": {"name": model, "version": version},
                "segments": {"region": region} if model != "one" else {"only": "this"},
                "features": features,
                "embeddings": {"photo": (rng.standard_normal(8) + 2 * late).tolist()} if i % 2 else {},
                "prediction": {"label": label, "score": float(rng.beta(2, 5) if version == "1" else rng.beta(3, 3))},
            }
        )
    return found


def log(found: Sequence[dict[str, Any]], partitions: int = 1) -> dict[Partition, list[Record]]:
    """The events as records of one or more partitions, each model in one of them."""
    logs: dict[Partition, list[Record]] = {Partition(EVENTS, index): [] for index in range(partitions)}
    for event in found:
        partition = Partition(EVENTS, len(event["model"]["name"]) % partitions)
        here = logs[partition]
        here.append(Record(json.dumps(event).encode(), partition, len(here), START + len(here)))
    return logs


Stage = Assemble | Detect | Direct


@dataclass
class Broker:
    """What outlives a process: the input, what was committed, the changelog, and what came out."""

    logs: dict[Partition, list[Record]]
    committed: dict[Partition, int] = field(default_factory=dict)
    changelog: dict[Partition, dict[bytes, bytes]] = field(default_factory=dict)
    out: list[tuple[str, bytes]] = field(default_factory=list)
    measures: list[tuple[str, bytes]] = field(default_factory=list)
    replayed: int = 0
    written: int = 0

    def write(self, records: Sequence[StateRecord]) -> None:
        for record in records:
            kept = self.changelog.setdefault(record.partition, {})
            if record.value is None:
                kept.pop(record.key, None)
            else:
                self.written += len(record.value)
                kept[record.key] = record.value


class Process:
    """One life of a worker that has these partitions: restores, replays muted, goes on, commits, and may die."""

    def __init__(
        self, stage: Stage, broker: Broker, at_a_time: int = 100, partitions: Sequence[Partition] | None = None
    ) -> None:
        self.stage, self.broker, self.n, self.now = stage, broker, at_a_time, 0.0
        self.next: dict[Partition, int] = {}
        self.pending: list[tuple[str, bytes]] = []
        for partition in broker.logs if partitions is None else partitions:
            self.assign(partition)

    def assign(self, partition: Partition) -> None:
        found = self.stage.restore(partition, self.broker.changelog.get(partition, {}))
        done = self.broker.committed.get(partition, 0)
        assert found is None or found <= done
        self.next[partition] = 0 if found is None else found
        self.broker.replayed += done - self.next[partition]

    def revoke(self, partition: Partition) -> None:
        del self.next[partition]
        self.stage.drop(partition)

    def step(self) -> bool:
        """Take the next records of every partition; return whether there were any."""
        taken: list[Record] = []
        for partition, begin in self.next.items():
            done = self.broker.committed.get(partition, 0)
            batch = self.broker.logs[partition][begin : begin + self.n]
            taken += [replace(record, replayed=record.offset < done) for record in batch]
            self.next[partition] += len(batch)
        if taken:
            output = self.stage.process(taken)
            self.pending += [(message.topic, message.value) for message in output.messages]
        self.now += 1
        return bool(taken)

    def commit(self, *, flush: bool = False) -> None:
        self.broker.write(self.stage.due(math.inf if flush else self.now))
        for partition, offset in self.next.items():
            self.broker.committed[partition] = max(offset, self.broker.committed.get(partition, 0))
        self.broker.measures += [one for one in self.pending if one[0] == MEASURES]
        self.broker.out += [one for one in self.pending if one[0] != MEASURES]
        self.pending = []


def run(
    make: Callable[[], Stage], broker: Broker, deaths: Sequence[tuple[int, int]] = (), at_a_time: int = 100
) -> Stage:
    """Run to the end of the log; each of the deaths comes after so many steps, the last so many of which were not committed."""
    for steps, lost in deaths:
        process = Process(make(), broker, at_a_time)
        for step in range(steps):
            if not process.step():
                break
            if step < steps - lost:
                process.commit()
    process = Process(make(), broker, at_a_time)
    while process.step():
        process.commit()
    process.commit()
    return process.stage


def hashes(stage: Detect | Direct) -> dict[tuple[str, str, str], str]:
    """The state of every group, in short."""
    return {key: stage.bank.state_hash(key) for key in sorted(stage.bank.keys())}


def direct(settings: Settings, *, labels: bool = False) -> Callable[[], Direct]:
    return lambda: Direct(settings, "config", Metrics(), labels=labels)
