"""Time per value of each detector's kernel against the libraries that do the same, in one run.

    python -m benchmarks.kernels [--quick] [--lanes N] [--rounds N]

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

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import scipy.stats
from river import drift

from benchmarks import rounds
from benchmarks.rounds import Bar, Run
from streamdrift import kernels
from streamdrift.kernels.engine import Engine, Floats

BLOCK, PER_LANE, WARM = 8_192, 50, 2_000
R, W, ALPHA = 1_000, 200, 1e-6
OURS = "streamdrift"
REPEATS = 4
"""Of our own runs in a round, so that they are long enough to be timed."""


@dataclass
class Contest:
    """Ours and its rivals on the same work."""

    title: str
    ours: Run
    rivals: dict[str, Run]
    bars: dict[str, Bar]

    def contestants(self) -> dict[str, rounds.Contestant]:
        """All of them, by a name that no other contest has."""
        return {self._named(name): rounds.turn(run) for name, run in {OURS: self.ours, **self.rivals}.items()}

    def rows(self, times: rounds.Times, *, judged: bool) -> list[str]:
        """One row of the table for each rival."""
        ours, found = self._named(OURS), []
        for name in self.rivals:
            theirs = self._named(name)
            ns = " | ".join(rounds.figure(rounds.median(times, each) * 1e9) for each in (ours, theirs))
            against = rounds.compared(times, ours, theirs, self.bars.get(name) if judged else None)
            found.append(f"{self.title} | {name} | {ns} | {against}")
        return found

    def _named(self, name: str) -> str:
        return f"{self.title}: {name}"


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

    def each_kernel(self, engine: Engine) -> dict[str, Run]:
        """An engine's kernels, by name, with their default settings."""
        return {
            "Page-Hinkley": self.kernels(lambda _: engine.page_hinkley(0.005, 50.0, 30, 0.9999)),
            "ADWIN": self.kernels(lambda _: engine.adwin(0.002, 32, 10)),
            "exact KS": self.kernels(lambda reference: engine.ks(reference, W, ALPHA)),
        }

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
    ours, plain = lanes.each_kernel(kernels.engine()), lanes.each_kernel(kernels.engine("reference"))
    where = "1 series" if one else f"{lanes.n:,} series"
    per_event = {"scipy ks_2samp": lanes.windows(scipy_ks, events), "numpy": lanes.windows(numpy_ks, events)}
    return [
        Contest(
            f"ADWIN, {where}",
            ours["ADWIN"],
            {"river ADWIN": lanes.detectors(drift.ADWIN), "reference engine": plain["ADWIN"]},
            {"river ADWIN": Bar(least=10, unit="×")},
        ),
        Contest(
            f"Page-Hinkley, {where}",
            ours["Page-Hinkley"],
            {"river PageHinkley": lanes.detectors(drift.PageHinkley), "reference engine": plain["Page-Hinkley"]},
            {"river PageHinkley": Bar(least=100, unit="×")} if one else {},
        ),
        Contest(
            f"exact KS ({R:,}, {W}), {where}",
            ours["exact KS"],
            {**per_event, "reference engine": plain["exact KS"]},
            {"scipy ks_2samp": Bar(least=4_000 if one else 2_000, unit="×")},
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
    parser = rounds.command(__doc__, "few series, one round", 11)
    parser.add_argument("--lanes", type=int, default=2_000)
    options = parser.parse_args(arguments)
    many, count, events = (50, 1, 10) if options.quick else (options.lanes, options.rounds, 100)
    agree()
    found = [contest for n in (1, many) for contest in contests(Lanes(n, seed=n), events)]
    times = rounds.race({name: run for contest in found for name, run in contest.contestants().items()}, count)
    judged = not options.quick and kernels.engine().name == "compiled"
    rows = [row for contest in found for row in contest.rows(times, judged=judged)]
    head = ("", "against", "ns per value, ours", "theirs", "ours is × as fast", "in the rounds", "bar")
    print(f"### Detectors\n\n{rounds.told(count)}.\n\n{rounds.table(head, rows)}")
    if kernels.engine().name == "reference":
        print("\nThe compiled engine isn't installed here, so this is the reference engine: no bar was set for it.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
