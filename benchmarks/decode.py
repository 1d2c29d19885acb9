"""Event bytes to columns and segment codes, against `orjson.loads` alone on the same events and against the reference, in one run.

    python -m benchmarks.decode [--quick] [--events N] [--rounds N]

Events of about 357 bytes: id, time, model, two segments, ten numbers. Ours gives the blocks of 5,000 events each: all columns,
codes of segments and versions, places and counts. CPU time of this process, rounds interleaved, medians; a ratio is taken
round by round. Absolute figures depend on the machine, the ratios hardly do.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from pathlib import Path

import numpy as np
import orjson

from benchmarks import rounds
from benchmarks.rounds import Bar, Contestant, Turns
from streamdrift.blocks.assemble import Assembler
from streamdrift.kernels import compiled
from streamdrift.kernels.decode import CompiledAssembler
from streamdrift.ports import Partition, Record
from streamdrift.records import Run
from streamdrift.settings import Settings

FEATURES = 10
BATCH = 5_000
BAR = Bar(most=0.75)
"""Of the time of `orjson.loads` alone."""
ORJSON, BULK, SIMDJSON = (
    "`orjson.loads` alone",
    "**streamdrift**, records in bulk",
    "pysimdjson: bare parse, nothing taken out",
)


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


def turn(run: Callable[[], None], n: int) -> Contestant:
    def work() -> int:
        run()
        return n

    return lambda: rounds.timed(work)


def contestants(values: list[bytes], folder: str, stack: ExitStack) -> tuple[dict[str, Contestant], dict[str, str]]:
    """Who takes part; and who doesn't, with the reason."""
    n, settings, missing = len(values), Settings(), {}
    lines = Run(values, Partition("events"), np.arange(n), np.arange(n) * 1_000)
    columns = [lines[begin : begin + BATCH] for begin in range(0, n, BATCH)]
    singly = [list(batch) for batch in columns]
    found = {
        ORJSON: turn(lambda: parse(values), n),
        "the reference engine": turn(lambda: assemble(Assembler(settings), singly), n),
    }
    if compiled():
        found[BULK] = turn(lambda: assemble(CompiledAssembler(settings), columns), n)
        found["records one by one"] = turn(lambda: assemble(CompiledAssembler(settings), singly), n)
    path = Path(folder) / "events.ndjson"
    path.write_bytes(b"\n".join(values))
    try:
        found[SIMDJSON] = stack.enter_context(closing(Turns(rounds.rival("simdjson_parse", path))))
    except rounds.MissingError as e:
        missing[SIMDJSON] = str(e)
    return found, missing


def main(arguments: Sequence[str]) -> int:
    parser = rounds.command(__doc__, "few events, few rounds", 15)
    parser.add_argument("--events", type=int, default=20_000)
    options = parser.parse_args(arguments)
    n, count = (5_000, 3) if options.quick else (options.events, options.rounds)
    values = events(n)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        found, missing = contestants(values, folder, stack)
        times = rounds.race(found, count)
    rows = []
    for name in times:
        share = rounds.middle([1 / ratio for ratio in rounds.ratios(times, name, ORJSON)])
        bar = BAR.told(share) if name == BULK and not options.quick else ""
        rows.append(f"{name} | {rounds.median(times, name) * 1e9:,.0f} | {share:.2f} | {bar}")
    rows += [f"{name} | {why} | – | " for name, why in missing.items()]
    print(f"### Bytes to blocks\n\n{sum(map(len, values)) / n:.0f} bytes an event; {rounds.told(count)}.\n")
    print(rounds.table(("", "ns per event", "of the time of `orjson.loads` alone", "bar"), rows))
    if not compiled():
        print("\nThe compiled engine isn't installed here: no Rust compiler was found.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
