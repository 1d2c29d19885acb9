"""Events per second of `replay` against a plain loop over river's detectors, on the same events, in one run.

    python benchmarks/replay.py [--quick] [--events N] [--rounds N]

Ten numeric features in one model, all traffic, values N(0,1). Ours decodes, validates, assembles and detects with ADWIN,
Page-Hinkley, exact KS (reference 1,000, window 200) and the confirming scan, as `streamdrift replay` does with its
default settings. The rivals decode with orjson and update one detector per feature and event:
ADWIN + Page-Hinkley + KSWIN(100, 30), and without KSWIN. CPU time of this process, rounds interleaved, medians; a
ratio is taken round by round. Absolute figures depend on the machine, the ratios hardly do.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from river import drift

from streamdrift import kernels
from streamdrift.pipeline import Direct
from streamdrift.settings import Settings
from streamdrift.settings.identity import config_hash
from streamdrift.telemetry import Metrics
from streamdrift.transports.files import FileSource

FEATURES = 10


def write_events(path: Path, n: int) -> None:
    rng = np.random.default_rng(1)
    values = rng.standard_normal((n, FEATURES)).round(5)
    with path.open("wb") as out:
        for i, row in enumerate(values.tolist()):
            features = {f"feature_{j:02d}": v for j, v in enumerate(row)}
            event = {
                "prediction_id": f"p-{i}",
                "occurred_at": 1_700_000_000_000 + i * 100,
                "model": {"name": "m", "version": "1"},
                "features": features,
            }
            out.write(orjson.dumps(event) + b"\n")


def ours(path: Path, limit: int) -> int:
    settings = Settings()
    direct = Direct(settings, config_hash(settings), Metrics())
    source = FileSource([str(path)], settings.max_event_bytes)
    seen = 0
    while seen < limit and not source.exhausted():
        records = source.poll(settings.block_events_max, 0)[: limit - seen]
        direct.process(records)
        seen += len(records)
    return seen


def river_loop(path: Path, limit: int, *, kswin: bool) -> int:
    detectors: dict[str, list[Any]] = {}
    seen = 0
    with path.open("rb") as lines:
        for line in lines:
            for name, value in orjson.loads(line)["features"].items():
                if name not in detectors:
                    detectors[name] = [drift.ADWIN(), drift.PageHinkley(), *([drift.KSWIN(seed=1)] if kswin else [])]
                for detector in detectors[name]:
                    detector.update(value)
                    _ = detector.drift_detected
            seen += 1
            if seen == limit:
                break
    return seen


def events_per_cpu_second(run: Callable[[], int]) -> float:
    began = time.process_time()
    n = run()
    return n / (time.process_time() - began)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a smoke test: few events, one round")
    parser.add_argument("--events", type=int, default=40_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args(arguments)
    n, rounds = (6_000, 1) if options.quick else (options.events, options.rounds)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "events.ndjson"
        write_events(path, n)
        runs: dict[str, Callable[[], int]] = {
            "streamdrift replay": lambda: ours(path, n),
            "river loop": lambda: river_loop(path, max(n // 50, 200), kswin=True),
            "river loop, no KSWIN": lambda: river_loop(path, n, kswin=False),
        }
        results: dict[str, list[float]] = {name: [] for name in runs}
        for _ in range(rounds):
            for name, run in runs.items():
                results[name].append(events_per_cpu_second(run))
    print(
        f"\n{FEATURES} features, {n} events, {rounds} rounds, engine {kernels.engine().name}, Python {platform.python_version()}\n"
    )
    print("| | events per CPU second | replay is × as fast |\n|---|---|---|")
    for name, rates in results.items():
        ratios = [mine / theirs for mine, theirs in zip(results["streamdrift replay"], rates, strict=True)]
        print(f"| {name} | {statistics.median(rates):,.0f} | {statistics.median(ratios):.2f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
