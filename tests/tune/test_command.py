from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.command import Done, streamdrift
from tests.tune.histories import ENVIRONMENT, shop, written


@pytest.fixture(scope="module")
def shops(tmp_path_factory: pytest.TempPathFactory) -> str:
    return written(tmp_path_factory.mktemp("history") / "shop.ndjson", shop())


def tune(*arguments: object, **settings: str) -> Done:
    return streamdrift("tune", *arguments, settings={**ENVIRONMENT, **settings})


def test_it_shows_what_would_have_paged_and_writes_settings_that_are_valid(shops: str, tmp_path: Path) -> None:
    mine, out, figures = tmp_path / "mine.toml", tmp_path / "tuned.toml", tmp_path / "figures.json"
    mine.write_text('[telemetry]\nlog_level = "error"\n', encoding="utf-8")
    done = tune(shops, "--out", out, "--json", figures, STREAMDRIFT_CONFIG=str(mine))
    assert done.code == 0
    assert max(map(len, done.out.splitlines()[1:-1])) <= 100
    for words in ("OVER the budget of 1", "<- chosen", "price", "raw flags", "within an hour", "replayed again"):
        assert words in done.out
    told: dict[str, Any] = json.loads(figures.read_text(encoding="utf-8"))
    (model,) = told["models"]
    assert f"would have paged       {model['frontier'][0]['pages']} pages" in done.out
    assert (told["replays"], len(model["sensitivities"])) == (3, 15)
    checked = streamdrift("config", "show", "--json", settings={"STREAMDRIFT_CONFIG": str(out)})
    shown = json.loads(checked.out)["settings"]
    assert shown["telemetry.log_level"]["value"] == "error"
    (rule,) = told["changes"]["overrides"]
    assert shown[f"overrides.{rule}.policy.threshold"]["value"] == model["choice"]["rules"][0]["quiet_at"]
    assert streamdrift("config", "check", settings={"STREAMDRIFT_CONFIG": str(out)}).code == 0


def test_a_settings_file_is_not_written_over_but_by_force(shops: str, tmp_path: Path) -> None:
    out = tmp_path / "tuned.toml"
    out.write_text("mine", encoding="utf-8")
    refused = tune(shops, "--out", out)
    assert (refused.code, out.read_text(encoding="utf-8")) == (2, "mine")
    assert "--force" in refused.said
    assert tune(shops, "--out", out, "--force").code == 0
    assert "[policy]" in out.read_text(encoding="utf-8")


def test_nothing_is_left_where_nothing_was_found(tmp_path: Path) -> None:
    short = written(tmp_path / "short.ndjson", shop(50))
    done = tune(short, "--out", tmp_path / "tuned.toml", "--json", tmp_path / "figures.json")
    assert done.code == 3
    assert "too short" in done.said
    assert [path.name for path in tmp_path.iterdir()] == ["short.ndjson"]


def test_json_on_standard_output_is_json_alone(shops: str) -> None:
    done = tune(shops, "--json", "-", STREAMDRIFT_POLICY__FALSE_PAGES_PER_MODEL_WEEK="9")
    assert done.code == 0
    assert json.loads(done.out)["models"][0]["choice"]["changes"] is False
    assert "would have paged" in done.said


def test_the_environment_is_named_where_it_wins_over_the_file(shops: str, tmp_path: Path) -> None:
    done = tune(shops, "--out", tmp_path / "t.toml", STREAMDRIFT_POLICY__THRESHOLD="32")
    assert "STREAMDRIFT_POLICY__THRESHOLD is set, and wins" in done.out


def test_a_change_of_settings_is_told_as_markdown(shops: str, tmp_path: Path) -> None:
    old, new = tmp_path / "old.toml", tmp_path / "new.toml"
    old.write_text("", encoding="utf-8")
    new.write_text("[policy]\nthreshold = 32\n", encoding="utf-8")
    done = tune(shops, "--diff", old, new)
    assert done.code == 0
    assert "| `policy.threshold` | `16.0` | `32.0` |" in done.out
    before, after = (replayed(shops, threshold) for threshold in ("16", "32"))
    assert f"| incidents that page | {before['incidents']} | {after['incidents']} |  |  |" in done.out
    assert before["incidents"] > after["incidents"]
    lost = sum(line.startswith("| 20") for line in done.out.split("**Lost")[1].split("**Told")[0].splitlines())
    assert f"| alerts | {lost + after_alerts(done)} | {after_alerts(done)} | 0 | {lost} |" in done.out


def after_alerts(done: Done) -> int:
    (row,) = [line for line in done.out.splitlines() if line.startswith("| alerts |")]
    return int(row.split("|")[3])


def replayed(path: str, threshold: str) -> dict[str, Any]:
    settings = {**ENVIRONMENT, "STREAMDRIFT_POLICY__THRESHOLD": threshold}
    return streamdrift("replay", path, "--summary", "-", settings=settings).summary


def test_settings_that_decide_nothing_are_not_replayed(tmp_path: Path) -> None:
    old, new = tmp_path / "old.toml", tmp_path / "new.toml"
    old.write_text("", encoding="utf-8")
    events = written(tmp_path / "e.ndjson", shop(3))
    for text, words in (("", "No setting differs"), ('[telemetry]\nlog_level = "error"\n', "None of these settings")):
        new.write_text(text, encoding="utf-8")
        done = tune(events, "--diff", old, new)
        assert done.code == 0
        assert words in done.out


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ([], 2, "name files of recorded events, or one --topic"),
        (["e.ndjson", "--topic", "t"], 2, "not both"),
        (["-"], 2, "can be read only once"),
        (["nosuch.ndjson"], 3, "nosuch.ndjson does not exist"),
        (["nosuch.ndjson", "--from", "2013-04-01"], 2, "--from goes with --topic"),
        (["--topic", "t", "--last", "3", "--to", "2013-04-01"], 2, "give one"),
        (["--topic", "t", "--last", "-1"], 2, "no number of days above 0"),
        (["--topic", "t", "--from", "yesterday"], 2, "--from yesterday is no time"),
        (["e.ndjson", "--diff", "nosuch.toml", "nosuch.toml"], 2, "--diff nosuch.toml: 1 setting is wrong"),
        (["e.ndjson", "--diff", "a.toml", "b.toml", "--out", "c.toml"], 2, "leave out --out"),
        (["e.ndjson", "--diff", "a.toml"], 2, "expected 2 arguments"),
        (["e.ndjson", "--json", "-", "--out", "-"], 2, "can't both be standard output"),
    ],
)
def test_what_makes_no_sense_is_refused_in_a_sentence(arguments: list[str], code: int, words: str) -> None:
    done = tune(*arguments)
    assert (done.code, words in done.said) == (code, True), done.said
    assert done.out == ""


def test_the_budget_is_shown_in_words() -> None:
    shown = streamdrift("config", "show")
    assert "budget: at most 1 false page per model and week, over all its series" in shown.out
    assert "policy.false_pages_per_model_week" in shown.out
