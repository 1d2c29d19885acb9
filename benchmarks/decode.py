"""Event bytes to columns and segment codes, against `orjson.loads` alone on the same events and against the reference, in one run.

    python benchmarks/decode.py [--quick] [--events N] [--rounds N]

Events of about 357 bytes: id, time, model, two segments, ten numbers. Ours gives the blocks of 5,000 events each: all columns,
codes of segments and versions, places and counts. CPU time of this process, rounds interleaved, medians; a ratio is taken
round by round. Absolute figures depend on the machine, the ratios hardly do.
"""

from __future__ import annotations

import argparse
import gc
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence

import numpy as np
import orjson

from streamdrift.blocks.assemble import Assembler
from streamdrift.kernels import compiled
from streamdrift.kernels.decode import CompiledAssembler
from streamdrift.ports import Partition, Record
from streamdrift.records import Run
from streamdrift.settings import Settings

FEATURES = 10
BATCH = 5_000
BAR = 0.75
"""Of the time of `orjson.loads` alone."""


def events(n: int) -> list[bytes]:
    rng = np.random.default_rng(1)
    values = rng.standard_normal((n, FEATURES)).round(5).tolist()
    origins, carriers = rng.choice(["EWR", "JFK", "LGA"], n).tolist(), rng.choice(["UA", "AA", "DL", "B6"], n).tolist()
    return [
        orjson.dumps(
            {
                "prediction_id": f"p-{i}",
                "occurred_at": 1_700_000_000_000 + i * 100,
                "model": {"name": "m", "version": "1"},
                "segments": {"origin": origins[i], "carrier": carriers[i]},
                "features": {f"feature_{j:02d}": value for j, value in enumerate(row)},
            }
        )
        for i, row in enumerate(values)
    ]


def parse(values: list[bytes]) -> None:
    for value in values:
        orjson.loads(value)


def assemble(assembler: Assembler, batches: Sequence[Sequence[Record]]) -> None:
    for batch in batches:
        assembler.gather(batch)
        if sum(map(len, assembler.take().blocks)) != len(batch):
            raise AssertionError("an event is missing")


def ns_per_event(run: Callable[[], None], n: int) -> float:
    gc.collect()
    gc.disable()
    began = time.process_time()
    run()
    taken = time.process_time() - began
    gc.enable()
    return taken / n * 1e9


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a smoke test: few events, few rounds")
    parser.add_argument("--events", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args(arguments)
    n, rounds = (5_000, 3) if options.quick else (options.events, options.rounds)
    values, here = events(n), Partition("events")
    lines = Run(values, here, np.arange(n), np.arange(n) * 1_000)
    columns = [lines[begin : begin + BATCH] for begin in range(0, n, BATCH)]
    singly = [list(batch) for batch in columns]
    settings = Settings()
    runs: dict[str, Callable[[], None]] = {
        "orjson.loads alone": lambda: parse(values),
        "reference": lambda: assemble(Assembler(settings), singly),
    }
    if compiled():
        runs["compiled, records in bulk"] = lambda: assemble(CompiledAssembler(settings), columns)
        runs["compiled, records one by one"] = lambda: assemble(CompiledAssembler(settings), singly)
    results: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            results[name].append(ns_per_event(run, n))
    size = sum(map(len, values)) / n
    print(
        f"\nbytes to blocks: {size:.0f} bytes an event, {n} events, {rounds} rounds, Python {platform.python_version()}\n"
    )
    print("| | ns per event | of orjson.loads alone |\n|---|---|---|")
    for name, taken in results.items():
        ratios = [mine / theirs for mine, theirs in zip(taken, results["orjson.loads alone"], strict=True)]
        print(f"| {name} | {statistics.median(taken):,.0f} | {statistics.median(ratios):.2f} |")
    print(f"\nbar: {BAR} in bulk" if compiled() else "\nthe compiled engine is not installed: no Rust compiler")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
