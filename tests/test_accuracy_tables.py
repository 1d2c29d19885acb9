from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PROGRAM = Path(__file__).resolve().parents[1] / "benchmarks" / "accuracy_tables.py"
NOTHING: dict[str, Any] = {
    "lanes": 0,
    "false_per_10k": 0.0,
    "false_per_10k_upper": 0.0029,
    "false_per_series_day": 12.5,
}
SHIFTS: dict[str, Any] = {"lanes": 50, "missed": 0.274, "delay_events": "inf", "f1_lane": None, "false_per_10k": 1234.6}


def report(folder: Path, name: str, *, failed: list[str]) -> Path:
    rows = ("normal", "ALL", "chance: clock", "chance: random")
    suites = {"stationary": dict.fromkeys(rows, NOTHING), "shifts": dict.fromkeys(rows, SHIFTS)}
    path = folder / name
    path.write_text(json.dumps({"suites": suites, "overall": {"failed": failed}}), encoding="utf-8")
    return path


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, PROGRAM, *map(str, arguments)], capture_output=True, text=True, check=False, encoding="utf-8"
    )


def test_ours_rivers_and_chance_stand_side_by_side(tmp_path: Path) -> None:
    ours, river = report(tmp_path, "ours.json", failed=[]), report(tmp_path, "river.json", failed=["car_loan"])
    done = run(ours, river)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    at = lines.index("### stationary")
    assert lines[at + 2 : at + 8] == [
        "| | false per 10k | false per series-day |",
        "|---|---|---|",
        "| **streamdrift** | <0.0029 | 12.5 |",
        "| river ADWIN, defaults | <0.0029 | 12.5 |",
        "| chance at our rate: clock | <0.0029 | 12.5 |",
        "| chance at our rate: random | <0.0029 | 12.5 |",
    ]
    assert "| normal | 0.274 | ∞ | – | 1,235 |" in lines
    assert "river failed on car_loan: counted as silent there." in lines


def test_the_tables_replace_what_stands_between_the_marks_and_nothing_else(tmp_path: Path) -> None:
    ours, document = report(tmp_path, "ours.json", failed=[]), tmp_path / "accuracy.md"
    document.write_text("before\n<!-- tables -->\nold\n<!-- /tables -->\nafter\n", encoding="utf-8")
    for _ in range(2):
        assert run(ours, "--write", document).returncode == 0
    text = document.read_text(encoding="utf-8")
    assert text.startswith("before\n<!-- tables -->\n\n`<`")
    assert text.endswith("|\n\n<!-- /tables -->\nafter\n")
    assert "old" not in text
    assert text.count("### stationary") == 1


@pytest.mark.parametrize(
    ("content", "sentence"), [("[]", "is no result of an evaluation"), ("{", "is no result of an evaluation")]
)
def test_what_is_no_result_is_told_in_a_sentence(tmp_path: Path, content: str, sentence: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(content, encoding="utf-8")
    done = run(path)
    assert (done.returncode, sentence in done.stderr, "Traceback" in done.stderr) == (1, True, False)


def test_a_document_without_marks_is_left_as_it_is(tmp_path: Path) -> None:
    ours, document = report(tmp_path, "ours.json", failed=[]), tmp_path / "accuracy.md"
    document.write_text("# Accuracy\n", encoding="utf-8")
    done = run(ours, "--write", document)
    assert (done.returncode, "add the two lines" in done.stderr) == (1, True)
    assert document.read_text(encoding="utf-8") == "# Accuracy\n"


def test_a_case_that_failed_fails_the_tables(tmp_path: Path) -> None:
    assert run(report(tmp_path, "ours.json", failed=["x"])).returncode == 1
