"""The tables of `docs/accuracy.md`: ours, river's defaults and chance side by side, from the files of an evaluation.

    python benchmarks/accuracy_tables.py ours.json river.json [--write docs/accuracy.md]

A file is what `make accuracy` leaves: `suites`, and in each the figures by row, over all of them (`ALL`), and of two chance
rows (`chance: clock`, `chance: random`). With `--write` the tables replace what stands between `<!-- tables -->` and
`<!-- /tables -->` in that document; without it they are printed.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

Figures = dict[str, Any]
Columns = list[tuple[str, str]]
BEGIN, END = "<!-- tables -->", "<!-- /tables -->"

DELAY = ("median delay, events", "delay_events")
LANES = ("F1 lanes", "f1_lane")
PAGES = ("F1 pages", "f1")
PER_10K, PER_DAY = ("false per 10k", "false_per_10k"), ("false per series-day", "false_per_series_day")
PAGED = ("pages per model-day", "pages_per_model_day")
RECALL = ("recall", "recall")
PLACE, REASON = ("right segment", "right_segment"), ("right reason", "right_reason")
COLUMNS: dict[str, Columns] = {
    "stationary": [PER_10K, PER_DAY],
    "shifts": [("missed", "missed"), DELAY, LANES, PER_10K],
    "segments": [RECALL, PAGES, PLACE, ("alerts per incident", "alerts_per_incident"), DELAY, PER_10K],
    "quality": [
        RECALL,
        ("after the fault", "after"),
        PAGES,
        REASON,
        ("median affected events", "delay_affected"),
        PER_10K,
    ],
    "incidents": [RECALL, PAGES, LANES, PLACE, REASON, PER_DAY, PAGED],
    "real": [RECALL, PAGES, ("lane recall", "lane_recall"), LANES, PER_DAY],
    "negatives": [PER_DAY, PER_10K, PAGED],
}
CHANCE = {"chance: clock": "chance at our rate: clock", "chance: random": "chance at our rate: random"}


def cell(figures: Figures, key: str) -> str:
    """One figure in three digits; `<` is the upper bound where nothing was counted, ∞ a delay that most cases exceed."""
    value, bound = figures.get(key), figures.get(f"{key}_upper")
    if bound is not None:
        return f"<{bound:g}"
    if value is None or value == "inf":
        return "∞" if value or (key.startswith("delay") and figures.get("lanes")) else "–"
    return f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:.3g}"


def table(columns: Columns, rows: list[tuple[str, Figures]]) -> str:
    lines = [f"| | {' | '.join(title for title, _ in columns)} |", "|---" * (len(columns) + 1) + "|"]
    lines += [f"| {name} | {' | '.join(cell(figures, key) for _, key in columns)} |" for name, figures in rows]
    return "\n".join(lines)


def side_by_side(suite: str, ours: dict[str, Figures], river: dict[str, Figures] | None) -> str:
    rows = [("**streamdrift**", ours["ALL"])]
    rows += [("river ADWIN, defaults", river["ALL"])] if river else []
    rows += [(title, ours[name]) for name, title in CHANCE.items() if name in ours]
    return table(COLUMNS[suite], rows)


def by_row(suite: str, ours: dict[str, Figures]) -> str:
    return table(COLUMNS[suite], [(name, f) for name, f in ours.items() if name != "ALL" and name not in CHANCE])


def tables(ours: dict[str, Any], river: dict[str, Any] | None) -> str:
    """Markdown: a section per suite that ours has."""
    parts = ["`<`: none at all, and so the 95 % Poisson upper bound. ∞: most are missed."]
    for suite in COLUMNS:
        if (found := ours["suites"].get(suite)) is not None:
            theirs = river["suites"].get(suite) if river else None
            parts += [f"### {suite}", side_by_side(suite, found, theirs), "By row, streamdrift:", by_row(suite, found)]
    for name, report in (("streamdrift", ours), ("river", river)):
        if report and (failed := report.get("overall", {}).get("failed")):
            parts.append(f"{name} failed on {', '.join(failed)}: counted as silent there.")
    return "\n\n".join(parts)


def write(path: Path, text: str) -> None:
    """Put the text between the markers of a document.

    Raises
    ------
    SystemExit
        The document has no such markers.
    """
    before, begin, rest = path.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise SystemExit(f"{path} has no {BEGIN} … {END} to put the tables between; add the two lines")
    path.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}", encoding="utf-8")


def read(path: Path | None) -> dict[str, Any] | None:
    if path is None:
        return None
    try:
        report: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        report["suites"].items()
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as problem:
        raise SystemExit(f"{path} is no result of an evaluation (JSON with `suites`): {problem!r}") from None
    return report


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ours", type=Path)
    parser.add_argument("river", type=Path, nargs="?")
    parser.add_argument("--write", type=Path, metavar="DOCUMENT")
    options = parser.parse_args(arguments)
    ours = read(options.ours) or {}
    text = tables(ours, read(options.river))
    if options.write is None:
        print(text)
    else:
        write(options.write, text)
    return 1 if ours.get("overall", {}).get("failed") else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
