"""What it takes to be there: import time, an idle worker's memory, bytes per series, and cost per event from 10 to 100,000 series.

    python -m benchmarks.footprint [--quick] [--rounds N]

Import: fresh processes, bytecode compiled before; the wall time that `import` takes, a bare interpreter's start not counted, least
of several, since everything else that runs can only add to it. Idle worker: `streamdrift detect` on a real broker, five seconds after it
is ready. Bytes per series: growth of resident memory from 2,000 to 10,000 series, references of 1,000, everything that belongs to them
counted. Cost per event: ten features, as many segments as it takes, an event in ten series whatever their number; references of 200,
windows full; the sizes take turns. A size for which there is no room in memory is left out, and said to be.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path

from benchmarks import rounds, service
from benchmarks.rounds import ROOT, Bar, Turns
from benchmarks.traffic import FEATURES
from tests.broker import NoBrokerError, running

MODULES = {
    "streamdrift.detect.bank": "the core: blocks to alerts",
    "streamdrift.pipeline": "all from bytes to alerts",
    "streamdrift.app": "all commands",
}
IMPORT_S, IDLE_MIB, SERIES_KB = Bar(most=0.2, unit=" s"), Bar(most=80, unit=" MiB"), Bar(most=8, unit=" KB")
SIZES = (10, 1_000, 10_000, 100_000)
IDLE_AFTER_S = 5.0
ROOM = 0.5
"""Share of the memory that is free which a benchmark takes at most."""
MIB, KB = 2**20, 1_000


def import_seconds(module: str, processes: int) -> float:
    """Least wall time of an import in a fresh process."""
    code = f"import time; t = time.perf_counter(); import {module}; print(time.perf_counter() - t)"
    found = [
        float(subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True).stdout)
        for _ in range(processes + 1)
    ]
    return min(found[1:])


def idle_bytes(exchange: str) -> float:
    """Resident memory of a worker for which there is nothing to do."""
    with tempfile.TemporaryDirectory() as folder, running(Path(folder)) as broker:
        settings = service.settings_of(broker.plaintext, "idle.", STREAMDRIFT_EXCHANGE=exchange)
        service.create_topics(settings)
        with service.detecting(settings) as worker:
            worker.until("process_resident_memory_bytes", 1.0)
            time.sleep(IDLE_AFTER_S)
            return worker.told()["process_resident_memory_bytes"]


def grown(series: int, reference: int, events: int) -> Turns:
    """A pipeline in a process of its own, which holds so many series."""
    return Turns([sys.executable, "-m", "benchmarks.grown", str(series // FEATURES), str(reference), str(events)])


def per_series(few: int, many: int) -> float | str:
    """Bytes by which a process grows per series; or why that is not told."""
    held: list[float] = []
    for series in (few, many):
        if held and (expected := held[0] / few * many) > ROOM * rounds.memory_available():
            return f"not measured: takes some {expected / 2**30:.0f} GB, which are not free here"
        with closing(grown(series, reference=1_000, events=0)) as process:
            held.append(process.told["resident"])
            rounds.progress(f"{series:,} series: {held[-1] / MIB:,.0f} MiB")
    return (held[1] - held[0]) / (many - few)


def costs(sizes: Sequence[int], events: int, count: int) -> tuple[rounds.Times, dict[str, str]]:
    """CPU seconds per event by number of series; and why a size was left out."""
    missing: dict[str, str] = {}
    taken, before = 0.0, 0
    with ExitStack() as stack:
        found: dict[str, Turns] = {}
        for series in sizes:
            expected = taken / max(before, 1) * series
            if expected > ROOM * rounds.memory_available():
                missing[f"{series:,}"] = f"not measured: takes some {expected / 2**30:.0f} GB, which are not free here"
                continue
            process = stack.enter_context(closing(grown(series, reference=200, events=events)))
            found[f"{series:,}"] = process
            taken, before = process.told["resident"], series
            rounds.progress(f"{series:,} series: {taken / MIB:,.0f} MiB")
        return rounds.race(found, count), missing


def flatness(times: rounds.Times, missing: dict[str, str]) -> str:
    least = next(iter(times))
    rows = [
        f"{name} | {rounds.median(times, name) * 1e9:,.0f} | {statistics.median(rounds.ratios(times, least, name)):.2f}"
        for name in times
    ]
    rows += [f"{name} | {why} | " for name, why in missing.items()]
    return rounds.table(("series", "ns of CPU per event", f"× of {least} series"), rows)


def facts(*, quick: bool) -> str:
    """Import, idle memory, bytes per series."""
    processes = 1 if quick else 15
    rows = []
    for module, what in MODULES.items():
        seconds = import_seconds(module, processes)
        rows.append(f"import of {what} (`{module}`) | {seconds:.3f} s | {'' if quick else IMPORT_S.told(seconds)}")
    try:
        for exchange in () if quick else ("topic", "direct"):
            idle = idle_bytes(exchange) / MIB
            rows.append(
                f'idle `streamdrift detect`, `exchange = "{exchange}"` | {idle:,.0f} MiB resident | {IDLE_MIB.told(idle)}'
            )
    except NoBrokerError as e:
        rows.append(f"idle `streamdrift detect` | not measured: {e} | ")
    few, many = (20, 200) if quick else (2_000, 10_000)
    each = per_series(few, many)
    if isinstance(each, str):
        rows.append(f"memory per series | {each} | ")
    else:
        told = "" if quick else SERIES_KB.told(each / KB)
        rows.append(f"memory per series, {few:,} to {many:,} series | {each / KB:,.1f} KB | {told}")
    return rounds.table(("", "", "bar"), rows)


def main(arguments: Sequence[str]) -> int:
    options = rounds.command(__doc__, "few series, one round", 5).parse_args(arguments)
    sizes, count, events = ((10, 100), 1, 2_000) if options.quick else (SIZES, options.rounds, 30_000)
    print(f"### What it takes to be there\n\n{facts(quick=options.quick)}\n")
    print(f"### Cost per event by number of series\n\n{flatness(*costs(sizes, events, count))}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
