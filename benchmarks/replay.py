"""Events per CPU second, from bytes to alerts, against loops over the libraries' detectors, on the same events in one run.

    python -m benchmarks.replay [--quick] [--events N] [--rounds N]

Ten numeric features in one model, values N(0,1). Ours decodes, validates, assembles and detects with ADWIN, Page-Hinkley, exact
KS (reference 1,000, window 200), the confirming scan and data faults: default settings, but for references of 1,000 in
segments too. The rivals decode with orjson and update one detector per series and event, with their default settings.
All have learned and have full windows before the first round. Rivals get the first few of each round's events, since they
would take hours for all; rates are compared.

Three kinds of traffic: 200 segments and no series of all traffic (2,000 series, ten per event), 200 segments and all traffic as
by default (2,010 series, twenty per event, for the rivals too), and no segments (ten series).
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import rounds
from benchmarks.loops import Detect, KsLoop, Loop
from benchmarks.rounds import Bar, Contestant, Turns
from benchmarks.traffic import FEATURES, REFERENCE, Traffic, learned, settings_for

OURS = "**streamdrift**: ADWIN, Page-Hinkley, exact KS, scan, data faults"
RIVER, SHORT = "river: ADWIN, Page-Hinkley, KSWIN", "river: ADWIN, Page-Hinkley"
SCIPY, FROUROS = "scipy: `ks_2samp` alone", "frouros: ADWIN, Page-Hinkley, incremental KS"
BARS = {RIVER: Bar(least=800, unit="×"), SHORT: Bar(least=4, unit="×")}


@dataclass
class Sizes:
    """Events of a round for each."""

    ours: int
    rounds: int
    quick: bool = False
    segments: int = 200
    short: int = 5_000
    river: int = 100
    scipy: int = 20
    frouros: int = 30


@dataclass
class Scene:
    """One kind of traffic, all contestants on it."""

    title: str
    segments: int
    whole: bool
    """Whether all traffic is watched."""
    sizes: Sizes
    events: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._pipeline, self._traffic = learned(self.segments, settings_for(self.segments, whole=self.whole))
        rounds.progress(f"{self.title}: ours has learned")

    def contestants(self) -> dict[str, Contestant]:
        """Who takes part, all windows full."""
        sizes, count = self.sizes, max(self.segments, 1)
        seen = Traffic(self.segments, seed=2).take((100 if sizes.quick else 500) * count)
        loops: dict[str, tuple[int, Detect, int]] = {
            RIVER: (sizes.river, Loop(kswin=True), 100 * count),  # more would be tested, and take minutes
            SHORT: (sizes.short, Loop(kswin=False), len(seen)),
            SCIPY: (sizes.scipy, KsLoop(REFERENCE), 0),
        }
        found: dict[str, Contestant] = {OURS: self._ours}
        for name, (n, loop, learning) in loops.items():
            loop.whole = self.whole
            loop.see(seen[:learning])
            found[name] = self._turn(loop, n)
        return found

    def frouros(self, folder: str) -> Turns:
        """It has a process of its own, and takes the same events each time."""
        path = Path(folder) / "events.ndjson"
        path.write_bytes(b"\n".join(Traffic(self.segments, seed=3).take(self.sizes.frouros)))
        return Turns(rounds.rival("frouros_loop", path, int(self.whole)))

    def _ours(self) -> float:
        def run() -> int:
            self._pipeline.feed(self.events)
            return len(self.events)

        return rounds.timed(run)

    def _turn(self, loop: Detect, n: int) -> Contestant:
        return lambda: rounds.timed(lambda: loop.see(self.events[:n]))

    def more(self) -> None:
        """The next round's events."""
        self.events = self._traffic.take(self.sizes.ours)

    def moved(self) -> None:
        """Refuse a comparison with what wouldn't have found anything."""
        alerts = self._pipeline.feed(self._traffic.take(200 * max(self.segments, 1), level=1.0)).alerts
        if not alerts:
            raise AssertionError("a shift of one standard deviation in every feature was not told")

    def times(self) -> tuple[rounds.Times, dict[str, str]]:
        """What all took; and who didn't take part, with the reason."""
        contestants, missing = self.contestants(), {}
        with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
            try:
                contestants[FROUROS] = stack.enter_context(closing(self.frouros(folder)))
            except rounds.MissingError as e:
                missing[FROUROS] = str(e)
            return rounds.race(contestants, self.sizes.rounds, self.more), missing

    def section(self) -> str:
        """The table, as measured."""
        times, missing = self.times()
        self.moved()
        rows = []
        for name in times:
            bar = BARS.get(name) if self.segments and not self.sizes.quick else None
            rate = rounds.figure(1 / rounds.median(times, name))
            against = "1 | | " if name == OURS else rounds.compared(times, OURS, name, bar)
            rows.append(f"{name} | {rate} | {against}")
        rows += [f"{name} | – | – | {why} | " for name, why in missing.items()]
        size = sum(map(len, self.events)) / len(self.events)
        per_event = FEATURES * (self.whole + bool(self.segments))
        told = f"{self._pipeline.direct.bank.series:,} series, {per_event} of them in each event of {size:.0f} bytes"
        head = ("", "events per CPU second", "streamdrift is × as fast", "in the rounds", "bar")
        return f"#### {self.title}\n\n{told}; {rounds.told(self.sizes.rounds)}.\n\n{rounds.table(head, rows)}"


def main(arguments: Sequence[str]) -> int:
    parser = rounds.command(__doc__, "few events, one round", 7)
    parser.add_argument("--events", type=int, default=50_000)
    options = parser.parse_args(arguments)
    quick = Sizes(2_000, 1, quick=True, segments=2, short=500, river=10, scipy=2, frouros=2)
    sizes = quick if options.quick else Sizes(options.events, options.rounds)
    kinds: list[Callable[[], Scene]] = [
        lambda: Scene(f"{sizes.segments} segments", sizes.segments, whole=False, sizes=sizes),
        lambda: Scene(f"{sizes.segments} segments and all traffic", sizes.segments, whole=True, sizes=sizes),
        lambda: Scene("No segments", 0, whole=True, sizes=sizes),
    ]
    print("### From bytes to alerts\n")
    for kind in kinds:
        print(kind().section(), end="\n\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
