"""The setting ``engine``: what runs is what was asked for, and is told."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from streamdrift import kernels
from streamdrift.settings import Settings
from tests.command import START, streamdrift
from tests.detect.test_bank import SMALL, detect, records, traffic
from tests.kernels.engines import needs_compiled

WITHOUT = "import sys; sys.modules['streamdrift.kernels._compiled'] = None; from streamdrift.__main__ import main; sys.exit(main())"
"""streamdrift where the compiled engine is not installed."""


@pytest.fixture
def events(tmp_path: Path) -> Path:
    """A file of a thousand events, with a step in the middle."""
    lines = (
        json.dumps(
            {"model": "m", "occurred_at": START + i * 1_000, "features": {"x": i * 7_919 % 97 + 200 * (i > 600)}}
        )
        for i in range(1_000)
    )
    path = tmp_path / "events.ndjson"
    path.write_text("\n".join(lines))
    return path


def without(*arguments: object, engine: str = "auto") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", WITHOUT, *map(str, arguments)],
        env=os.environ | {"STREAMDRIFT_ENGINE": engine, "STREAMDRIFT_REFERENCE__EVENTS": "200"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_without_the_compiled_engine_everything_runs_and_says_so(events: Path, tmp_path: Path) -> None:
    told = without("replay", events, "--summary", tmp_path / "summary.json")
    assert told.returncode == 0, told.stderr
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["engine"] == "reference"
    assert summary["alerts"] > 0
    shown = json.loads(without("config", "show", "--json").stdout)
    assert shown["engine"] == "reference"


@pytest.mark.parametrize("command", ["config show", "config check", "replay"])
def test_the_compiled_engine_where_it_isn_t_is_a_settings_problem(command: str, events: Path) -> None:
    arguments = command.split() if command != "replay" else [command, str(events)]
    told = without(*arguments, engine="compiled")
    assert told.returncode == 2
    assert "engine = compiled: the compiled engine isn't installed here" in told.stderr
    assert "STREAMDRIFT_ENGINE to auto or reference" in told.stderr
    assert "Traceback" not in told.stderr


@needs_compiled
@pytest.mark.parametrize(
    ("asked", "runs"), [("auto", "compiled"), ("compiled", "compiled"), ("reference", "reference")]
)
def test_what_was_asked_for_runs_and_is_told(asked: str, runs: str, events: Path) -> None:
    done = streamdrift("replay", events, "--summary", "-", settings={"STREAMDRIFT_ENGINE": asked})
    assert done.summary["engine"] == runs
    shown = json.loads(streamdrift("config", "show", "--json", settings={"STREAMDRIFT_ENGINE": asked}).out)
    assert shown["engine"] == runs


@needs_compiled
def test_alerts_are_the_same_to_the_last_byte() -> None:
    told = []
    for engine in ("reference", "compiled"):
        tree = Settings.model_validate(SMALL.model_dump() | {"engine": engine})
        told.append([alert.to_cloudevent() for alert in detect(records(traffic(3_000)), range(300, 3_000, 300), tree)])
    assert told[0]
    assert told[0] == told[1]


def test_what_is_told_after_an_installation_is_what_runs() -> None:
    assert kernels.told().startswith(f"engine: {kernels.engine().name}")
    assert kernels.engine("reference").name == "reference"
