"""simdjson's bare parse of each event: no value is taken out, nothing becomes a Python object."""

from __future__ import annotations

import sys
from pathlib import Path

from simdjson import Parser

from benchmarks.rivals.turns import take_turns


def main(path: str) -> None:
    events = Path(path).read_bytes().splitlines()
    parser = Parser()

    def run() -> int:
        for event in events:
            parser.parse(event)
        return len(events)

    take_turns(run)


if __name__ == "__main__":
    main(*sys.argv[1:])
