"""What putting state away and taking it up costs: ``python -m benchmarks.state``.

A model of twenty features in a hundred segments, with references of a thousand events; CPU time of this process.
"""

from __future__ import annotations

import json
import math
import time
from dataclasses import dataclass

import numpy as np

from benchmarks.rounds import progress
from streamdrift.pipeline import Direct
from streamdrift.ports import Partition, Record
from streamdrift.settings import Settings
from streamdrift.telemetry import Metrics

FEATURES, SEGMENTS, EVENTS = 20, 100, 60_000
PLACE = Partition("inference-events", 0)


def records(n: int) -> list[Record]:
    """Calm traffic: what most series do most of the time."""
    rng = np.random.default_rng(1)
    values, segments = rng.standard_normal((n, FEATURES)), rng.integers(0, SEGMENTS - 1, n).tolist()
    events = (
        {
            "model": "m",
            "occurred_at": 1_700_000_000_000 + i * 1_000,
            "segments": {"region": f"r{segment}"},
            "features": {f"f{j}": x for j, x in enumerate(row)},
        }
        for i, (segment, row) in enumerate(zip(segments, values.tolist(), strict=True))
    )
    return [Record(json.dumps(event).encode(), PLACE, i, 0) for i, event in enumerate(events)]


@dataclass(frozen=True)
class Costs:
    """Bytes per series of state that is put away first and later, CPU seconds per series to take it up; series."""

    first: float
    changed: float
    restored: float
    series: int


def main() -> None:
    """Print a table."""
    costs(EVENTS)


def costs(events: int) -> Costs:
    """Measure, and print a table on the way."""
    settings = Settings.model_validate({"reference": {"events": 1_000}})
    stage, found = Direct(settings, "config", Metrics()), records(events)
    half = events // 2
    feed(stage, found[:half])
    first, seconds = timed(stage)
    series = stage.bank.series
    progress(f"{series} series")
    show("first, references included", first, seconds, series)
    feed(stage, found[half : half + 5_000])
    later, seconds = timed(stage)
    show("each further time", later, seconds, series)
    changelog = {key: value for key, value in (*first, *later) if value is not None}
    again = Direct(settings, "config", Metrics())
    began = time.process_time()
    again.restore(PLACE, changelog)
    seconds = time.process_time() - began
    show("restored", list(changelog.items()), seconds, series)
    return Costs(_bytes(first) / series, _bytes(later) / series, seconds / series, series)


def feed(stage: Direct, found: list[Record]) -> None:
    for begin in range(0, len(found), 5_000):
        stage.process(found[begin : begin + 5_000])


def timed(stage: Direct) -> tuple[list[tuple[bytes, bytes | None]], float]:
    began = time.process_time()
    due = stage.due(math.inf)
    return [(record.key, record.value) for record in due], time.process_time() - began


def show(what: str, found: list[tuple[bytes, bytes | None]], seconds: float, series: int) -> None:
    size = _bytes(found)
    progress(
        f"{what:28} {size / series:8.0f} bytes/series {1e6 * seconds / series:6.0f} µs/series "
        f"{seconds:6.2f} s {size / 1e6:6.1f} MB {len(found):5} records"
    )


def _bytes(found: list[tuple[bytes, bytes | None]]) -> int:
    return sum(len(value or b"") for _, value in found)


if __name__ == "__main__":
    main()
