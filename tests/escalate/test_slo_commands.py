"""`streamdrift slo`, and budgets over recorded events."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from streamdrift.cli import run
from streamdrift.embedded.slo_commands import check, status
from streamdrift.errors import SettingsProblem
from streamdrift.settings import Settings
from tests.detect.test_bank import traffic
from tests.escalate.conftest import NOW, House, KeepingReceiver
from tests.escalate.test_objectives import burnt, promises, step
from tests.test_slo_files import EXAMPLE, SLO


def test_check_says_what_would_page(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["slo", "check", str(EXAMPLE)]) == 0
    told = capsys.readouterr().out
    assert "flight-delay-valid-events: 99.9 % valid-events of flight-delay, over 30 d" in told
    assert "critical: 1.4 % bad in 1 h and still in 5 min (14.4 ×: 2.0 % of the budget), of at least 209" in told
    assert "critical: 13.4 % bad in 1 h" in told  # of 28 days
    assert told.rstrip().endswith("5 objectives; the files are valid")
    assert run(["slo", "check", "--json", str(EXAMPLE)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [one["alerts"][0]["factor"] for one in found["objectives"]][:2] == pytest.approx([14.4, 13.44])


@pytest.mark.parametrize("arguments", [["slo"], ["slo", "check"], ["slo", "check", "nowhere.yaml"]])
def test_wrong_usage_is_said_in_a_sentence(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    try:
        code: Any = run(arguments)
    except SystemExit as e:
        code = e.code
    assert code == 2
    assert "Traceback" not in capsys.readouterr().err


def test_a_pair_that_can_never_fire_is_said(tmp_path: Path) -> None:
    low = json.loads(json.dumps(SLO))
    low["spec"]["objectives"][0]["target"] = 0.9
    (tmp_path / "slo.json").write_text(json.dumps(low))
    told, _ = check([str(tmp_path / "slo.json")], Settings())
    assert "critical: never in 1 h: 13.4 × is more than the 10 × of all being bad" in told


def test_status_tells_what_the_ledger_has(
    house: Callable[..., House], receiver: KeepingReceiver, place: Path | str, tmp_path: Path
) -> None:
    made = house(receiver, promises=promises())
    step(made, *burnt())
    (tmp_path / "slo.yaml").write_text(yaml.safe_dump(SLO))
    tree = Settings.model_validate({"escalate": {"ledger": str(place)}, "slo": {"files": [str(tmp_path / "slo.yaml")]}})
    told, code = status(tree, NOW - 3_600)
    assert code == 0
    assert told.splitlines()[0] == "valid  flight-delay: fires, over 1 h"
    assert "of the 30-day budget of valid left; at this rate gone in" in told
    assert told.splitlines()[-1] == "one  m: nothing was counted yet"
    found = json.loads(status(tree, NOW, as_json=True)[0])
    assert [(one["objective"], one["fires"], one["as_of"] is not None) for one in found] == [
        ("valid", True, True),
        ("one", False, False),
    ]
    assert found[0]["firing_windows_s"] == [3600]


def test_a_replay_tells_how_budgets_would_have_burnt(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    events = [{**event, "occurred_at": event["occurred_at"] * 1} for event in traffic(6_000)]
    for i, event in enumerate(events):
        event["features"]["b"] = "text" if i > 3_000 else bool(i % 2)
    (tmp_path / "events.ndjson").write_text("".join(json.dumps(event) + "\n" for event in events))
    slo = json.loads(json.dumps(SLO))
    (tmp_path / "slo.yaml").write_text(yaml.safe_dump(slo))
    monkeypatch.setenv("STREAMDRIFT_SLO__FILES", json.dumps([str(tmp_path / "slo.yaml")]))
    alerts = tmp_path / "alerts.ndjson"
    assert run(["replay", str(tmp_path / "events.ndjson"), "--alerts", str(alerts)]) == 0
    told = capsys.readouterr().out
    assert "one  m: fires, over 1 h" in told
    assert "% of the 28-day budget of one left" in told
    assert "slo_burn" not in alerts.read_text()  # these are what detection says; budgets are kept beside


def test_files_of_the_settings_that_are_wrong_are_said(tmp_path: Path) -> None:
    (tmp_path / "slo.yaml").write_text("a: [")
    tree = Settings.model_validate({"slo": {"files": [str(tmp_path / "slo.yaml")]}})
    with pytest.raises(SettingsProblem, match="is no YAML or JSON"):
        check([], tree)
