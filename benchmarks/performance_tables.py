"""The tables of `docs/performance.md`: what each benchmark printed, one after the other, and the machine that they ran on.

    python -m benchmarks.performance_tables FOLDER [--write docs/performance.md]

`make bench` leaves what a benchmark printed in `FOLDER/<name>.md`. With `--write` all of it replaces what stands between
`<!-- tables -->` and `<!-- /tables -->` in that document; without it, it is printed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.accuracy_tables import write
from benchmarks.rounds import machine

BENCHMARKS = ("replay", "from_kafka", "kernels", "decode", "stages", "detecting", "footprint")
"""In the order in which the document tells them."""


def text(folder: Path, where: str) -> str:
    """All sections; a benchmark that left nothing is named."""
    parts = [f"Measured by `make bench` on: {where}."]
    for name in BENCHMARKS:
        path = folder / f"{name}.md"
        found = path.read_text(encoding="utf-8").strip() if path.exists() else ""
        parts.append(found or f"### {name}\n\nNot measured: `benchmarks/{name}.py` left no table.")
    return "\n\n".join(parts)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--write", type=Path, metavar="DOCUMENT")
    options = parser.parse_args(arguments)
    found = text(options.folder, machine())
    if options.write is None:
        print(found)
    else:
        write(options.write, found)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
