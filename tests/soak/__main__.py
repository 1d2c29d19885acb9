"""No alert lost, none twice, none different: real workers and brokers under faults, against the same input without.

    python -m tests.soak [--minutes 30] [--seed 1] [--brokers 3] [--workers 3] [--out soak]

Writes ``soak.json`` and ``soak.md``; exit code 1 where anything is not as it must be. The same seed gives the same traffic and
the same schedule; what they hit in the time that they hit it is the machine's.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import orjson

from tests.soak.schedule import LONG
from tests.soak.soak import Plan, soak
from tests.soak.verdict import markdown


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.soak", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=30.0, help="how long faults strike; default: %(default)s")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--brokers", type=int, default=3, choices=(1, 3))
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--partitions", type=int, default=4)
    parser.add_argument("--rate", type=float, default=150.0, help="events per second; default: %(default)s")
    parser.add_argument("--exchange", choices=("topic", "direct"), default="topic")
    parser.add_argument(
        "--out", type=Path, default=Path("soak"), help="folder of summary and logs; default: %(default)s"
    )
    parser.add_argument("--no-bars", action="store_true", help="a run too short for the bars of the long one")
    options = parser.parse_args(arguments)
    seconds = options.minutes * 60
    share = min(1.0, max(0.1, options.minutes / 30)) if options.no_bars else max(1.0, options.minutes / 30)
    plan = Plan(
        seed=options.seed,
        seconds=seconds,
        events=int(options.rate * seconds),
        workers=options.workers,
        brokers=options.brokers,
        partitions=options.partitions,
        exchange=options.exchange,
        counts={
            kind: max(1, round(n * share)) for kind, n in LONG.items() if kind != "leader_loss" or options.brokers > 1
        },
    )
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        run = soak(plan, Path(folder), logs=options.out)
    summary = run.to_json(bars=not options.no_bars)
    (options.out / "soak.json").write_bytes(orjson.dumps(summary, option=orjson.OPT_INDENT_2))
    text = markdown(summary)
    (options.out / "soak.md").write_text(text, encoding="utf-8")
    sys.stdout.write(text)
    return 0 if summary["passed"] else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
