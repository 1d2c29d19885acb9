"""Time per value of each detector's kernel against the libraries that do the same, in one run.

    python benchmarks/kernels.py [--quick] [--lanes N] [--rounds N]

Values are N(0,1), standardised as the bank standardises them, so that all decide alike (tests hold that). One series takes a
block of 8,192 values; many series take 50 values each per call, one series after the other, as events of a batch do. Rivals
are fed value by value, which is all that they offer, and asked for their decision after each. CPU time of this process; rounds
are interleaved, a ratio is taken round by round, and medians are told: absolute figures depend on the machine, the ratios
hardly do.

river's ADWIN is compiled as well, so no large factor can be had over it. scipy's `ks_2samp` is called on the sorted reference
and the window after every event; `numpy` is the bare statistic in four lines, without a p-value. Both get no further than a
sample of the events.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from itertools import pairwise
from typing import Any

import numpy as np
import scipy.stats
from river import drift

from streamdrift import kernels
from streamdrift.kernels.engine import Engine, Floats

BLOCK, PER_LANE, WARM = 8_192, 50, 2_000
R, W, ALPHA = 1_000, 200, 1e-6
REPEATS = 4
"""Of our own runs in a round, so that they are long enough to be timed."""

Run = Callable[[], int]
"""Does some work; returns how many values that was."""


@dataclass
class Contest:
    """Ours and its rivals on the same work."""

    title: str
    ours: Run
    rivals: dict[str, Run]
    goals: dict[str, float]
    times: dict[str, list[float]] = field(default_factory=dict)

    def round(self) -> None:
        """Let each run once."""
        for name, run in {"ours": self.ours, **self.rivals}.items():
            began = time.process_time()
            n = run()
            self.times.setdefault(name, []).append((time.process_time() - began) / n * 1e9)

    def rows(self) -> list[str]:
        """One row of the table for each rival."""
        ours = self.times["ours"]
        found = []
        for name in self.rivals:
            ratio = statistics.median(theirs / mine for theirs, mine in zip(self.times[name], ours, strict=True))
            goal = self.goals.get(name)
            told = "" if goal is None else f"{goal:,.0f} {'reached' if ratio >= goal else 'MISSED'}"
            figures = f"{statistics.median(ours):,.1f} | {statistics.median(self.times[name]):,.0f} | {ratio:,.1f}"
            found.append(f"| {self.title} | {name} | {figures} | {told} |")
        return found


class Lanes:
    """Series that take turns: a block in one, or some values in each of many."""

    def __init__(self, n: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.n, self.size = n, BLOCK if n == 1 else PER_LANE
        self.blocks = list(rng.standard_normal((n, self.size)))
        self.values = [block.tolist() for block in self.blocks]
        self.warm = rng.standard_normal(WARM)
        self.references = [np.sort(rng.standard_normal(R)) for _ in range(n)]

    def kernels(self, make: Callable[[Floats], Any]) -> Run:
        """Our kernels over the blocks."""
        lanes = [make(reference) for reference in self.references]
        for kernel in lanes:
            kernel.update(self.warm)

        def run() -> int:
            for _ in range(REPEATS):
                for kernel, block in zip(lanes, self.blocks, strict=True):
                    kernel.update(block)
            return self.n * self.size * REPEATS

        return run

    def detectors(self, make: Callable[[], Any]) -> Run:
        """river's detectors, value by value."""
        lanes = [make() for _ in range(self.n)]
        for detector in lanes:
            for value in self.warm.tolist():
                detector.update(value)

        def run() -> int:
            for detector, values in zip(lanes, self.values, strict=True):
                for value in values:
                    detector.update(value)
                    _ = detector.drift_detected
            return self.n * self.size

        return run

    def windows(self, statistic: Callable[[Floats, Floats], float], events: int) -> Run:
        """A statistic of reference and window after each of some events, each in another series if there are several."""
        stream = np.concatenate([self.warm, *self.blocks])[: W + events]
        work = [(self.references[i % self.n], stream[i : i + W]) for i in range(events)]

        def run() -> int:
            for reference, window in work:
                statistic(reference, window)
            return events

        return run


def scipy_ks(reference: Floats, window: Floats) -> float:
    return float(scipy.stats.ks_2samp(reference, window).statistic)


def numpy_ks(reference: Floats, window: Floats) -> float:
    everything = np.concatenate([reference, window])
    below = np.searchsorted(reference, everything, side="right") / len(reference)
    now = np.searchsorted(np.sort(window), everything, side="right") / len(window)
    return float(np.abs(below - now).max())


def contests(lanes: Lanes, events: int) -> list[Contest]:
    one = lanes.n == 1
    ours, plain = kernels.engine(), kernels.engine("reference")
    where = "1 series" if one else f"{lanes.n:,} series"

    def adwin(engine: Engine) -> Run:
        return lanes.kernels(lambda _: engine.adwin(0.002, 32, 10))

    def page_hinkley(engine: Engine) -> Run:
        return lanes.kernels(lambda _: engine.page_hinkley(0.005, 50.0, 30, 0.9999))

    def ks(engine: Engine) -> Run:
        return lanes.kernels(lambda reference: engine.ks(reference, W, ALPHA))

    per_event = {"scipy ks_2samp": lanes.windows(scipy_ks, events), "numpy": lanes.windows(numpy_ks, events)}
    return [
        Contest(
            f"ADWIN, {where}",
            adwin(ours),
            {"river ADWIN": lanes.detectors(drift.ADWIN), "reference engine": adwin(plain)},
            {"river ADWIN": 10},
        ),
        Contest(
            f"Page-Hinkley, {where}",
            page_hinkley(ours),
            {"river PageHinkley": lanes.detectors(drift.PageHinkley), "reference engine": page_hinkley(plain)},
            {"river PageHinkley": 100} if one else {},
        ),
        Contest(
            f"exact KS ({R:,}, {W}), {where}",
            ks(ours),
            {**per_event, "reference engine": ks(plain)},
            {"scipy ks_2samp": 4_000 if one else 2_000},
        ),
    ]


def agree() -> None:
    """Refuse to compare what doesn't decide alike."""
    stream = np.concatenate([np.random.default_rng(3).standard_normal(4_000) + level for level in (0, 1, 0, 2)])
    pairs: list[tuple[Any, Any]] = [
        (drift.ADWIN(), kernels.engine().adwin(0.002, 32, 10)),
        (drift.PageHinkley(), kernels.engine().page_hinkley(0.005, 50.0, 30, 1 - 0.0001)),
    ]
    for river, kernel in pairs:
        flags = []
        for i, value in enumerate(stream.tolist()):
            river.update(value)
            if river.drift_detected:
                flags.append(i)
        assert kernel.update(stream).tolist() == flags
    reference = np.sort(stream[:R])
    ks = kernels.engine().ks(reference, W, ALPHA)
    for begin, end in pairwise([0, *range(W, 2_000, 100)]):
        ks.update(stream[begin:end])
        window = stream[end - W : end]
        assert abs(ks.distance - scipy_ks(reference, window)) < 1e-12
        assert abs(ks.distance - numpy_ks(reference, window)) < 1e-12


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a smoke test: few series, one round")
    parser.add_argument("--lanes", type=int, default=2_000)
    parser.add_argument("--rounds", type=int, default=11)
    options = parser.parse_args(arguments)
    many, rounds, events = (50, 1, 10) if options.quick else (options.lanes, options.rounds, 100)
    agree()
    found = [contest for n in (1, many) for contest in contests(Lanes(n, seed=n), events)]
    for _ in range(rounds):
        for contest in found:
            contest.round()
    print(
        f"\nengine {kernels.engine().name}, {rounds} rounds, Python {platform.python_version()}, river {version('river')}\n"
    )
    print("| | against | ns per value, ours | theirs | ours is × as fast | goal |\n|---|---|---|---|---|---|")
    for contest in found:
        print("\n".join(contest.rows()))
    if kernels.engine().name == "reference":
        print("\nThe compiled engine isn't installed here, so this is the reference engine: no goal was set for it.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
