"""What detecting costs, part by part; and its kernels against what their algorithms can't do without.

    python -m benchmarks.detecting [--quick] [--rounds N]

Parts, on 20 segments (200 series), where a block has some 400 rows of each: what an event costs more because one more part is
switched on. Kernels by themselves, on one series in blocks of 8,192 values: cycles per value, by a ruler. The ruler is a chain of
dependent steps whose length is known, a byte of a table-driven CRC-16 (shift, exclusive or, load, exclusive or: 8 cycles, give or
take one), timed in the same rounds; the clock that a system tells is not the one that it runs at. The least cycles are counted from
the algorithms, with the latencies of today's processors (3 for an addition or a product, 5 for a load): estimates, no measurements.
"""

from __future__ import annotations

import binascii
import os
import sys
from collections.abc import Sequence
from typing import Any

from benchmarks import rounds
from benchmarks.kernels import Lanes
from benchmarks.rounds import turn
from benchmarks.stages import Scene
from benchmarks.traffic import FEATURES, learned, settings_for
from streamdrift import kernels
from streamdrift.settings import Settings

TITLE = "Parts of detecting"
RULER_BYTES, RULER_CYCLES = 1 << 20, 8
LEAST = {
    "Page-Hinkley": (9, "its mean needs the last one: a subtraction, a product, an addition"),
    "ADWIN": (20, "one bucket written, one merged on average, each with a division; total and variance"),
    "exact KS": (75, "ten halvings of the reference, each a load and a move; four blocks of 64 cells read and written"),
}  # fmt: skip
"""Cycles per value that the algorithm can't do without, and why."""


def ruler() -> float:
    """CPU seconds per cycle."""
    data = os.urandom(RULER_BYTES)
    return rounds.timed(lambda: binascii.crc_hqx(data, 0) * 0 + RULER_BYTES * RULER_CYCLES)


def cycles(count: int) -> str:
    """Cycles per value of each kernel, against the least."""
    runs = Lanes(1, seed=1).each_kernel(kernels.engine())
    times = rounds.race({"ruler": ruler, **{name: turn(run) for name, run in runs.items()}}, count)
    rows = []
    for name, (least, why) in LEAST.items():
        taken = rounds.middle(rounds.ratios(times, "ruler", name))
        rows.append(
            f"{name} | {rounds.figure(rounds.median(times, name) * 1e9)} | {taken:,.0f} | {least} | {least / taken:.0%} | {why}"
        )
    clock = 1e-9 / rounds.median(times, "ruler")
    head = ("kernel", "ns per value", "cycles", "the least", "share reached", "why that is the least")
    return f"{rounds.table(head, rows)}\n\nBy the ruler, this machine ran at {clock:.1f} GHz."


DETECTORS = ("page_hinkley", "adwin", "ks")


def without(*detectors: str) -> dict[str, Any]:
    """Settings by which these are off."""
    return {"detectors": {name: {"enabled": False} for name in detectors}}


PARTS: dict[str, dict[str, Any]] = {
    "the confirming scan, and what all need": {"anomalies": {"enabled": False}, **without(*DETECTORS)},
    "missing and invalid values, traffic, duplicates": without(*DETECTORS),
    "Page-Hinkley": without("adwin", "ks"),
    "ADWIN": without("ks"),
    "KS": {},
}
"""What is added, one after the other, and the settings by which the rest is still off."""


def parts(segments: int, size: int, count: int) -> str:
    """What an event costs more with each part of detecting."""
    plain = settings_for(segments).model_dump(exclude_unset=True)
    scenes: dict[str, Scene] = {}
    for name, off in PARTS.items():
        settings = Settings.model_validate(plain | {"policy": {"require": "none"}} | off)
        scenes[name] = Scene(*learned(segments, settings), size)
        rounds.progress(f"up to {name}: has learned")

    def more() -> None:
        for scene in scenes.values():
            scene.more()
            scene.decode()

    times = rounds.race({name: turn(scene.detect) for name, scene in scenes.items()}, count, more)
    rows, before = [], [0.0] * count
    for name, taken in times.items():
        added = rounds.middle([now - then for now, then in zip(taken, before, strict=True)]) * 1e9
        rows.append(f"{name} | {added:,.0f} | {added / FEATURES:,.1f} | {rounds.median(times, name) * 1e9:,.0f}")
        before = taken
    head = ("switched on, one after the other", "ns more per event", "per value", "ns per event so far")
    return rounds.table(head, rows)


def publish(count: int) -> str:
    """What an alert takes from the bank's word to the bytes that are sent."""
    pipeline, traffic = learned(2, settings_for(2))
    alerts = pipeline.feed(traffic.take(2_000, level=1.0)).alerts

    def run() -> int:
        for alert in alerts:
            alert.to_cloudevent()
        return len(alerts)

    times = rounds.race({"publish": turn(run)}, count)
    return f"An alert as a CloudEvent takes {rounds.median(times, 'publish') * 1e6:,.0f} µs, of {len(alerts)} alerts."


def main(arguments: Sequence[str]) -> int:
    options = rounds.command(__doc__, "few events, one round", 9).parse_args(arguments)
    if not kernels.compiled():
        print(f"### {TITLE}\n\nNot measured: {kernels.told()}.")
        return 0
    segments, size, count = (1, 2_000, 1) if options.quick else (20, 24_576, options.rounds)
    print(f"### {TITLE}, {segments * FEATURES} series\n\n{parts(segments, size, count)}\n\n{publish(count)}\n")
    print(f"### Kernels against their algorithms\n\n{cycles(count)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
