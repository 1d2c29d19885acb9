"""Traffic that is out to fill memory: names, values and ids without end, beside a model that is honest.

    python -m tests.attacks ATTACK EXCHANGE EVENTS [MEMORY_MB]

runs both stages in this process on so many hostile events, under a limit of memory where one is given, and prints what became of
it as JSON. ``all`` has all attacks, one after the other; ``calm`` has the honest model alone.
"""

from __future__ import annotations

import json
import math
import resource
import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import structlog

from streamdrift.alerts import Alert
from streamdrift.pipeline import Assemble, Detect, Direct
from streamdrift.ports import Partition, Record
from streamdrift.records import Run, Runs
from streamdrift.settings import Settings
from streamdrift.telemetry import Metrics
from tests.memory_limit import limited

START = 1_700_000_000_000
HONEST_FIRST, BATCH = 1_000, 5_000
HONEST_EVERY = 8
"""Of so many hostile events."""
SHARES = {"models": 48, "wide": 1}
"""Of all hostile events, others have 4: there is room for more models than for anything else."""

SETTINGS: dict[str, Any] = {
    "series_max": 600,
    "segments_per_model_max": 100,
    "categories_max": 100,
    "reference": {"events": 500, "first_events": 500, "segment_events": 100},
    "detectors": {"ks": {"window_events": 100}},
    "labels": {"join_events_max": 2_000, "join_memory_max": 500, "hold_events_max": 500},
    "anomalies": {"silence_min_s": 1e9, "replay_within_events": 2_000},
}

ATTACKS: dict[str, tuple[str, ...]] = {
    "categories": ("categories_max",),
    "versions": ("model_versions_max",),
    "ids": ("join_events_max", "hold_events_max"),
    "texts": (),
    "segments": ("segments_per_model_max",),
    "dimensions": ("dimensions_per_model_max",),
    "embeddings": ("features_per_model_max",),
    "features": ("features_per_model_max", "series_max"),
    "wide": ("features_per_model_max", "series_max"),
    "models": ("models_max", "series_max"),
}
"""Each with the limits that it must run into."""


def hostile(attack: str, i: int) -> dict[str, Any]:
    """The i-th event of an attack; no name or value comes again."""
    event: dict[str, Any] = {
        "prediction_id": f"{attack}-{i}",
        "model": f"bad-{attack}",
        "segments": {"region": "eu"},
        "features": {"x": i % 7, "colour": "red"},
        "prediction": {"label": "late"},
    }
    more: dict[str, dict[str, Any]] = {
        "segments": {"segments": {"user": f"u{i}"}},
        "dimensions": {"segments": {f"dimension-{i}": "x"}},
        "features": {"features": {f"feature-{i}-{j}": j for j in range(10)}},
        "wide": {"features": {f"feature-{i}-{j}": j for j in range(900)}},
        "categories": {"features": {"colour": f"colour {i}"}},
        "models": {"model": f"model-{i}"},
        "versions": {"model": {"name": "bad-versions", "version": f"v{i}"}},
        "embeddings": {"embeddings": {f"vector-{i}": [1.0, i, 2.0]}},
        "ids": {},
        "texts": {
            "prediction_id": "i" * 5_000 + str(i),
            "features": {"colour": "c" * 5_000 + str(i)},
            "prediction": {"probabilities": {f"class-{i}-{j}": 0.002 for j in range(500)}},
        },
    }
    return event | more[attack]


def stream(attack: str, n: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield topic and event: the honest model learns first, and drifts when seven tenths of all are through."""
    rng, time = np.random.default_rng(1), START
    kinds = [] if attack == "calm" else list(ATTACKS) if attack == "all" else [attack]
    turns = [kind for kind in kinds for _ in range(SHARES.get(kind, 4))]
    sent = dict.fromkeys(kinds, 0)
    for i in range(-HONEST_FIRST * HONEST_EVERY, n):
        time += 1_000
        if i % HONEST_EVERY == 0:
            x, region = rng.standard_normal() + 2.0 * (i > 0.7 * n), "eu" if rng.random() < 0.5 else "us"
            honest = {"model": "honest", "segments": {"region": region}, "features": {"x": float(x)}}
            yield "inference-events", honest | {"prediction_id": f"honest-{i}", "occurred_at": time}
        if i < 0 or not kinds:
            continue
        kind = turns[i * len(turns) // n]
        event = hostile(kind, sent[kind]) | {"occurred_at": time}
        sent[kind] += 1
        yield "hostile-events", event
        if kind == "ids":
            label = {"model": "bad-ids", "label": "late", "observed_at": time + 10_000_000}
            yield "inference-labels", label | {"prediction_id": f"nobody-{sent[kind]}"}


class Log:
    """Topics of one partition, whose records have offsets."""

    def __init__(self) -> None:
        self._ends: dict[str, int] = {}

    def records(self, topic: str, values: Sequence[bytes]) -> Run:
        begin = self._ends.get(topic, 0)
        self._ends[topic] = begin + len(values)
        offsets = np.arange(begin, begin + len(values), dtype=np.int64)
        return Run(values, Partition(topic, 0), offsets, np.full(len(values), START, np.int64))


def peak_mb() -> int:
    """What this process took at most. `ru_maxrss` alone begins with what its parent took: Linux keeps it over fork and exec."""
    status = Path("/proc/self/status")
    if status.exists():
        return int(status.read_text(encoding="ascii").partition("VmHWM:")[2].split()[0]) // 1_024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1_024


def run(attack: str, exchange: str, n: int) -> dict[str, Any]:
    """Play an attack; return peak memory, limits, and what was said of the honest model."""
    structlog.configure(processors=[lambda *_: _dropped()])
    settings, metrics, log = Settings.model_validate(SETTINGS), Metrics(), Log()
    stages: list[Any] = [Direct(settings, "config", metrics, labels=True)]
    if exchange == "topic":
        stages = [Assemble(settings, metrics, labels=True), Detect(settings, "config", metrics)]
    alerts: list[Alert] = []
    events, state = stream(attack, n), 0
    batches = chain([list(islice(events, HONEST_FIRST))], iter(lambda: list(islice(events, BATCH)), []))
    for number, batch in enumerate(batches):
        topics = sorted({topic for topic, _ in batch})
        records = Runs(log.records(t, [orjson.dumps(event) for topic, event in batch if topic == t]) for t in topics)
        state = _through(stages, records, log, alerts, number)
    return {
        "attack": attack,
        "exchange": exchange,
        "peak_mb": peak_mb(),
        "state_bytes": state,
        "cpu_s": round(sum(resource.getrusage(resource.RUSAGE_SELF)[:2]), 1),
        "series": metrics.registry.get_sample_value("streamdrift_series"),
        "limits": {
            sample.labels["limit"]: sample.value
            for family in metrics.registry.collect()
            for sample in family.samples
            if sample.name == "streamdrift_limit_hits_total"
        },
        "honest": [alert.alert_id for alert in alerts if alert.model_name == "honest" and alert.kind == "drift"],
        "alerts": len(alerts),
    }


def _through(stages: list[Any], records: Sequence[Record], log: Log, alerts: list[Alert], number: int) -> int:
    """Have the stages take the records, and put their state away; return its bytes."""
    output = stages[0].process(records)
    alerts += output.alerts
    if len(stages) > 1:
        blocks = [message.value for message in output.messages if message.topic == "streamdrift.blocks"]
        for begin in range(0, len(blocks), BATCH):
            alerts += stages[1].process(Runs([log.records("streamdrift.blocks", blocks[begin : begin + BATCH])])).alerts
    now: Callable[[], float] = lambda: math.inf if number % 8 == 7 else float(number)  # noqa: E731 - as its worker would
    return sum(len(record.value or b"") for stage in stages for record in stage.due(now()))


def _dropped() -> str:
    raise structlog.DropEvent


def main(attack: str, exchange: str, events: str, memory_mb: str = "0") -> None:
    """Print what became of it."""
    with limited(int(memory_mb)) as how:
        found = run(attack, exchange, int(events)) | {"limit_mb": int(memory_mb), "limited_by": how}
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
