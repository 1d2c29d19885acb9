"""Names, values and ids without end: memory holds, each bound says that it was reached, and who is honest is watched as ever."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.attacks import ATTACKS

ROOT = Path(__file__).resolve().parents[1]
EVENTS, LIMIT_MB = 20_000, 400
"""What the same attacks took before the bounds were there: 2 GB, or the worker's end by an event that no block had room for."""


@cache
def played(attack: str, exchange: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.attacks", attack, exchange, str(EVENTS), str(LIMIT_MB)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, f"exit code {done.returncode}\n{done.stderr[-2_000:]}"
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("exchange", ["direct", "topic"])
def test_memory_holds_and_honest_series_are_watched(exchange: str) -> None:
    found = played("all", exchange)
    assert found["peak_mb"] < LIMIT_MB
    assert set(found["limits"]) == {limit for limits in ATTACKS.values() for limit in limits}
    assert found["honest"] == played("calm", exchange)["honest"]
    assert len(found["honest"]) == 3
    assert found["alerts"] < 20  # an attack is no reason to page for each of its names
