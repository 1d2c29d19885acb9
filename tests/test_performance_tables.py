from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import rounds
from benchmarks.performance_tables import BENCHMARKS, tables
from benchmarks.rounds import Bar

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize(
    ("bar", "figure", "told"),
    [
        (Bar(least=800, unit="×"), 800.0, "≥ 800×: 800× reached"),
        (Bar(least=4, unit="×"), 3.99, "≥ 4×: 3.99× **missed**"),
        (Bar(most=0.2, unit=" s"), 0.2, "≤ 0.2 s: 0.20 s reached"),
        (Bar(most=200_000), 200_001.0, "≤ 200,000: 200,001 **missed**"),
    ],
)
def test_a_bar_says_whether_it_is_reached(bar: Bar, figure: float, told: str) -> None:
    assert bar.told(figure) == told


def test_a_ratio_is_taken_round_by_round() -> None:
    times = {"ours": [1.0, 10.0, 2.0], "theirs": [5.0, 50.0, 8.0]}
    assert rounds.ratios(times, "ours", "theirs") == [5.0, 5.0, 4.0]
    assert (
        rounds.compared(times, "ours", "theirs", Bar(least=5, unit="×")) == "5.00 | 4.00 – 5.00 | ≥ 5×: 5.00× reached"
    )


def test_contestants_take_turns_and_preparing_a_round_is_not_timed() -> None:
    turns: list[str] = []

    def run(name: str) -> int:
        turns.append(name)
        return 1

    race = {"a": rounds.turn(lambda: run("a")), "b": rounds.turn(lambda: run("b"))}
    times = rounds.race(race, 2, before=lambda: turns.append("-"))
    assert turns == ["-", "a", "b", "-", "a", "b"]
    assert [len(taken) for taken in times.values()] == [2, 2]


def test_a_rival_that_is_not_there_is_told_in_words(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(rounds, "RIVALS", tmp_path / "python")
    with pytest.raises(rounds.MissingError, match="`make rivals` brings"):
        rounds.rival("frouros_loop")


def test_the_bars_come_first_and_what_is_missing_is_named(tmp_path: Path) -> None:
    (tmp_path / "kernels.md").write_text(
        "### Detectors\n\n| | x | bar |\n|---|---|---|\n| ADWIN | river | 9.5 | ≥ 10×: 9.50× **missed** |\n"
    )
    text = tables(tmp_path, "two cores")
    assert text.index("| Detectors | ADWIN, against river | ≥ 10×: 9.50× **missed** |") < text.index("### Detectors")
    for name in BENCHMARKS:
        assert (f"### {name}\n\nNot measured: " in text) == (name != "kernels")


def test_benchmarks_are_those_that_make_runs() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    (line,) = [line for line in makefile.splitlines() if line.startswith("BENCHMARKS :=")]
    assert set(line.split(":=")[1].split()) == set(BENCHMARKS)
