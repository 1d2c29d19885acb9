"""The short form of the run that `make soak` makes long: two workers, one broker, each kind of fault once."""

from __future__ import annotations

import os
from pathlib import Path

import orjson
import pytest

from tests.broker import NoBrokerError
from tests.soak.soak import Plan, soak
from tests.soak.verdict import markdown


@pytest.mark.broker
@pytest.mark.slow
def test_under_faults_the_alerts_are_those_of_a_calm_run(tmp_path: Path) -> None:
    try:
        run = soak(Plan(), tmp_path)
    except NoBrokerError as e:
        if os.environ.get("CI") == "true":
            pytest.fail(str(e))
        pytest.skip(str(e))
    summary = run.to_json(bars=False)
    told = markdown(summary) + "\n".join(summary["notes"]) + orjson.dumps(summary["alerts"]["examples"]).decode()
    assert run.alerts.expected >= 200, told
    assert not run.not_struck, told
    assert not run.alerts.lost, told
    assert not run.alerts.foreign, told
    assert not run.letters.lost, told
    assert run.drained, told
    assert not run.hanging, told
    assert not run.alerts.fields, told
    assert not run.letters.different, told
    assert not run.states.get("different"), told
    assert run.states["compared"] or not run.transactional, told
    if run.transactional:  # without, what a crash repeats comes twice, with the same id
        assert not run.alerts.twice, told
        assert not run.letters.twice, told
