"""Thousands of schedules of faults against the workers in memory; a wrong one is named by its seed, and can be seen again.

    python -m tests.simulation [--seed N] [--schedules K] [--stage tally|direct] [--mutation NAME] [--plain]

With ``--schedules 1`` what befell whom is written down step by step.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Sequence

from tests.simulation.ends import MUTATIONS
from tests.simulation.schedules import SCENARIOS, play, quiet


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.simulation", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=1, help="of the first schedule")
    parser.add_argument("--schedules", type=int, default=1_000)
    parser.add_argument("--stage", choices=tuple(SCENARIOS), default="tally")
    parser.add_argument("--mutation", choices=tuple(MUTATIONS), default="", help="take a guard out")
    parser.add_argument("--plain", action="store_true", help="without transactions: at least once")
    options = parser.parse_args(arguments)
    began, struck, wrong, n = time.monotonic(), Counter[str](), 0, 0
    trace = print_line if options.schedules == 1 else None
    with quiet():
        for seed in range(options.seed, options.seed + options.schedules):
            outcome = play(options.stage, seed, mutation=options.mutation, plain=options.plain, trace=trace)
            n, struck = n + 1, struck + outcome.struck
            if outcome.wrong:
                wrong += 1
                again = f"--seed {seed} --schedules 1 --stage {options.stage}"
                again += f' --mutation "{options.mutation}"' if options.mutation else ""
                again += " --plain" if options.plain else ""
                print_line(f"seed {seed}: {'; '.join(outcome.problems)}\n  again: python -m tests.simulation {again}")
    seconds = time.monotonic() - began
    print_line(
        f"{n} schedules in {seconds:.1f} s ({n / seconds * 60:,.0f} a minute), {wrong} wrong; struck: {struck.total()}"
    )
    print_line("  " + ", ".join(f"{kind} {times}" for kind, times in struck.most_common(40)))
    return 1 if wrong else 0


def print_line(line: str) -> None:
    sys.stdout.write(line + "\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
