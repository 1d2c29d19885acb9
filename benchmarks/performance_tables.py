"""The tables of `docs/performance.md`: what each benchmark printed, one after the other, and the machine that they ran on.

    python -m benchmarks.performance_tables FOLDER [--write docs/performance.md]

`make bench` leaves what a benchmark printed in `FOLDER/<name>.md`. First come the bars of all of them, reached or missed. With
`--write` all of it replaces what stands between `<!-- tables -->` and `<!-- /tables -->` in that document; without it, it is
printed.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks import rounds
from benchmarks.accuracy_tables import write

BENCHMARKS = ("replay", "from_kafka", "kernels", "decode", "stages", "detecting", "footprint")
"""In the order in which the document tells them."""
BAR = re.compile(r"^[≥≤] .* (reached|\*\*missed\*\*)$")


FIGURES = re.compile(r"-?[\d.,]+( |$)")


def bars(text: str) -> Iterator[str]:
    """A row for each row of the tables that has a bar: where it stands, of what it speaks, the bar."""
    heading = ""
    for line in text.splitlines():
        if line.startswith("#"):
            heading = line.lstrip("# ")
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("|") and BAR.match(cells[-1]):
            named = (cell for cell in cells[:-1] if cell and not FIGURES.match(cell))
            yield f"{heading} | {', against '.join(named)} | {cells[-1]}"


def tables(folder: Path, where: str) -> str:
    """All sections; a benchmark that left nothing is named."""
    sections = []
    for name in BENCHMARKS:
        path = folder / f"{name}.md"
        found = path.read_text(encoding="utf-8").strip() if path.exists() else ""
        sections.append(found or f"### {name}\n\nNot measured: `benchmarks/{name}.py` left no table.")
    text = "\n\n".join(sections)
    told = rounds.table(("table", "row", "bar"), list(bars(text)))
    return f"Measured by `make bench` on: {where}.\n\n### The bars\n\n{told}\n\n{text}"


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--write", type=Path, metavar="DOCUMENT")
    options = parser.parse_args(arguments)
    text = tables(options.folder, rounds.machine())
    if options.write is None:
        print(text)
    else:
        write(options.write, text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
