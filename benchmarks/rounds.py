"""What all benchmarks share: contestants take turns, CPU time is what counts, and medians are told.

A machine that does other work as well is slow for seconds and quick for seconds. So each contestant runs once per round, and
a ratio is taken within a round; its median hardly moves where single figures do by a third.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from streamdrift import kernels

ROOT = Path(__file__).resolve().parents[1]
RIVALS = ROOT / ".cache" / "rivals" / "bin" / "python"
"""Rivals have an environment of their own (`make bench` makes it): they ask for older releases than streamdrift does."""

Run = Callable[[], int]
"""Does some work; returns how many units that was."""
Contestant = Callable[[], float]
"""Takes its turn; returns CPU seconds per unit."""
Times = dict[str, list[float]]
"""CPU seconds per unit of each contestant, round by round."""


class MissingError(Exception):
    """A contestant that can't take part; the message says why, for the table."""


def command(description: str | None, quick: str, rounds: int) -> argparse.ArgumentParser:
    """What each benchmark's command line has: ``--quick``, which says what it leaves out, and ``--rounds``."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help=f"a smoke test: {quick}")
    parser.add_argument("--rounds", type=int, default=rounds)
    return parser


def timed(run: Run) -> float:
    """CPU seconds per unit, of all threads of this process."""
    gc.collect()
    began = time.process_time()
    units = run()
    return (time.process_time() - began) / units


def turn(run: Run) -> Contestant:
    """A contestant of this process."""
    return lambda: timed(run)


def race(contestants: Mapping[str, Contestant], rounds: int, before: Callable[[], None] = lambda: None) -> Times:
    """Let all take turns; ``before`` prepares a round, outside of what is timed."""
    times: Times = {name: [] for name in contestants}
    gc.freeze()  # what is prepared is no work for the garbage collector of whoever has his turn
    for number in range(rounds):
        before()
        for name, contestant in contestants.items():
            times[name].append(contestant())
        progress(f"round {number + 1} of {rounds}")
    gc.unfreeze()
    return times


def median(times: Times, name: str) -> float:
    return statistics.median(times[name])


def middle(values: Sequence[float]) -> float:
    """Their median."""
    return statistics.median(values)


def ratios(times: Times, ours: str, theirs: str) -> list[float]:
    """How many times as fast ours is, round by round."""
    return [b / a for a, b in zip(times[ours], times[theirs], strict=True)]


@dataclass(frozen=True)
class Bar:
    """What was promised of a figure."""

    least: float | None = None
    most: float | None = None
    unit: str = ""

    def told(self, value: float) -> str:
        """The bar, the figure, and whether it is reached."""
        reached = value >= self.least if self.least is not None else value <= (self.most or 0.0)
        sign, bound = ("≥", self.least) if self.least is not None else ("≤", self.most)
        return f"{sign} {bound:,g}{self.unit}: {figure(value)}{self.unit} {'reached' if reached else '**missed**'}"


def compared(times: Times, ours: str, theirs: str, bar: Bar | None = None) -> str:
    """Cells of a table: how many times as fast, in which range of rounds, and the bar."""
    found = ratios(times, ours, theirs)
    middle, low, high = statistics.median(found), min(found), max(found)
    told = f"{figure(middle)} | {figure(low)} – {figure(high)}"
    return f"{told} | {'' if bar is None else bar.told(middle)}"


def figure(value: float) -> str:
    """Three digits, or all before the point."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}"


def table(head: Sequence[str], rows: Sequence[str]) -> str:
    return "\n".join([f"| {' | '.join(head)} |", "|---" * len(head) + "|", *(f"| {row} |" for row in rows)])


def told(count: int) -> str:
    """How many rounds, in words."""
    return "1 round" if count == 1 else f"{count} rounds"


def progress(text: str) -> None:
    """For whoever waits; what is printed to standard output is the document's."""
    print(text, file=sys.stderr, flush=True)


def machine() -> str:
    """What the figures were measured on, without naming it."""
    system = f"{processor()}, {os.cpu_count()} cores, {_memory_gb():.0f} GB, {platform.system()}"
    libraries = ", ".join(f"{name} {version(name)}" for name in ("numpy", "orjson", "kafka-python", "river", "scipy"))
    return f"{system}; Python {platform.python_version()}; {libraries}; engine {kernels.engine().name}"


def processor() -> str:
    """The processor's model, as the system tells it."""
    told = _first_line("/proc/cpuinfo", "model name")
    return told or platform.processor() or platform.machine()


def memory_available() -> int:
    """Bytes that a benchmark may take."""
    return int((_first_line("/proc/meminfo", "MemAvailable") or "0 kB").split()[0]) * 1_024


def _memory_gb() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30


def _first_line(path: str, name: str) -> str | None:
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), None)


class Turns:
    """A contestant in a process of its own, which times itself when it is told to take its turn (``benchmarks.rivals.turns``).

    Attributes
    ----------
    told
        What it said of itself when it was prepared.

    Raises
    ------
    MissingError
        It did not start.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self._process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        line = self._line()
        if not line:
            self.close()
            raise MissingError(f"did not run here (exit code {self._process.returncode})")
        self.told: dict[str, float] = json.loads(line)

    def __call__(self) -> float:
        if self._process.stdin is not None:
            self._process.stdin.write("turn\n")
            self._process.stdin.flush()
        return float(self._line())

    def close(self) -> None:
        """End it."""
        self._process.communicate(timeout=60)

    def _line(self) -> str:
        return "" if self._process.stdout is None else self._process.stdout.readline().strip()


def rival(module: str, *arguments: object) -> list[str]:
    """The command that runs a rival in the rivals' environment.

    Raises
    ------
    MissingError
        The environment isn't there.
    """
    if not RIVALS.exists():
        raise MissingError("not installed: `make rivals` brings the rivals")
    return [str(RIVALS), "-W", "ignore", "-m", f"benchmarks.rivals.{module}", *map(str, arguments)]
