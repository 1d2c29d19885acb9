"""How many workers, how much memory, changelog and time to restore: a table from a few measured figures.

    python -m benchmarks.capacity [--quick]

Measured here, in this order: resident memory per series, and bytes and CPU time per series of state that is put away and taken up. Events per CPU
second off a broker, with a share of cost for the exchange, are those of `docs/performance.md`, by `make bench`. Everything in the second table is
computed from these: no run had a million series.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks import footprint, rounds, state
from benchmarks.from_kafka import EXCHANGE, WHOLE
from benchmarks.rounds import ROOT
from streamdrift.settings import KafkaSettings

RATES, SERIES = (10_000, 100_000, 1_000_000), (10_000, 100_000, 1_000_000)
LOAD = 0.5
"""Share of a core that a worker has to do on ordinary days: the rest is for catching up."""
SERIES_EACH = 10_000
"""Series of one worker, as `series_max` has it by default."""
SPREAD = 2
"""Partitions per worker: keys are dealt out by their hash, and more workers may come."""
IDLE_MB = 75
FLUSH_S = KafkaSettings().state_flush_s
SERIES_PER_EVENT = 20
"""Ten features, in all traffic and in one segment."""


@dataclass(frozen=True)
class Units:
    """What was measured.

    Attributes
    ----------
    direct, exchange
        Events per CPU second, all traffic and one dimension of segments watched.
    memory
        Resident bytes per series.
    changed, restored
        Bytes per series of state that changed; CPU seconds per series to take it up.
    """

    direct: float
    exchange: float
    memory: float
    changed: float
    restored: float


@dataclass(frozen=True)
class Plan:
    """What a load takes; memory, and seconds to restore, of each worker, if all start at once."""

    workers: int
    partitions: int
    memory_mb: float
    changelog_mb_s: float
    restore_s: float


def plan(rate: float, series: float, units: Units, *, exchange: bool) -> Plan:
    """What so many events per second and series take."""
    per_core = (units.exchange if exchange else units.direct) * LOAD
    workers = max(math.ceil(rate / per_core), math.ceil(series / SERIES_EACH))
    each = series / workers
    changed = min(series, rate * FLUSH_S * SERIES_PER_EVENT)
    return Plan(
        workers,
        SPREAD * workers,
        IDLE_MB + each * units.memory / 1e6,
        changed * units.changed / FLUSH_S / 1e6,
        each * units.restored,
    )


def rates() -> tuple[float, float]:
    """Events per CPU second, direct and by the exchange, as the page on performance has them."""
    page = (ROOT / "docs" / "performance.md").read_text()
    found = [re.search(rf"^\| {re.escape(name)} \| ([\d,]+) \|", page, re.MULTILINE) for name in (WHOLE, EXCHANGE)]
    direct, exchange = (float(match[1].replace(",", "")) if match else math.nan for match in found)
    return direct, exchange


def measured(*, quick: bool) -> Units:
    """Measure."""
    few, many = (20, 200) if quick else (500, 2_000)
    memory = footprint.per_series(few, many)
    if isinstance(memory, str):
        raise rounds.MissingError(memory)
    costs = state.costs(2_000 if quick else state.EVENTS)
    return Units(*rates(), memory, costs.changed, costs.restored)


def page(units: Units) -> str:
    """Both tables."""
    facts = [
        f'events per CPU second, `exchange = "direct"` | {units.direct:,.0f} | `python -m benchmarks.from_kafka`',
        f'events per CPU second, `exchange = "topic"` | {units.exchange:,.0f} | `python -m benchmarks.from_kafka`',
        f"resident memory per series | {units.memory / 1e3:,.1f} KB | `python -m benchmarks.footprint`",
        f"changelog per series that changed | {units.changed:,.0f} bytes | `python -m benchmarks.state`",
        f"restoring, per series | {units.restored * 1e6:,.0f} µs | `python -m benchmarks.state`",
    ]
    rows = []
    for rate in RATES:
        for series in SERIES:
            p, d = (plan(rate, series, units, exchange=exchange) for exchange in (True, False))
            rows.append(
                f"{rate:,} | {series:,} | {p.workers:,} | {d.workers:,} | {p.partitions:,} | {p.memory_mb:,.0f} MB | "
                f"{p.changelog_mb_s:,.1f} MB/s | {p.restore_s:,.1f} s"
            )
    head = (
        *("events/s", "series", "workers, by the exchange", "workers, direct", "partitions", "memory per worker"),
        *("changelog", "restoring a worker"),
    )
    told = f"Measured on: {rounds.machine()}."
    return f"{told}\n\n{rounds.table(('', 'measured', 'by'), facts)}\n\n{rounds.table(head, rows)}"


def main(arguments: Sequence[str]) -> int:
    options = rounds.command(__doc__, "few series", 1).parse_args(arguments)
    try:
        print(page(measured(quick=options.quick)))
    except rounds.MissingError as e:
        print(f"Not measured: {e}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
