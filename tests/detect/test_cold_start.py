"""Segments begin with the time span of their model's reference; what is too short for what the series does is held back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from streamdrift.alerts import Alert
from streamdrift.blocks.column import NUMBER, Floats
from streamdrift.detect import baseline
from streamdrift.detect.calibration import calibrate, score_table
from streamdrift.detect.confirm import Scan
from streamdrift.settings import Settings
from tests.detect.test_bank import START, detect, records

TREE = Settings.model_validate({"reference": {"events": 2_000}})


def regions(share: float, shift: float, seed: int, n: int = 8_000) -> list[dict[str, Any]]:
    """A region with this share of the traffic moves at event 6,000; ten others share the rest."""
    rng = np.random.default_rng(seed)
    hot = rng.random(n) < share
    value = rng.standard_normal(n) + shift * (hot & (np.arange(n) >= 6_000))
    other = rng.integers(10, size=n)
    return [
        {
            "model": "m",
            "occurred_at": START + i * 1_000,
            "segments": {"region": "hot" if hot[i] else f"r{other[i]}"},
            "features": {"x": float(value[i])},
        }
        for i in range(n)
    ]


def firing(events: list[dict[str, Any]], *, exchange: bool = False) -> list[Alert]:
    return [a for a in detect(records(events), tree=TREE, exchange=exchange) if a.status == "firing"]


@pytest.mark.parametrize("share", [0.05, 0.1, 0.3])
def test_the_segment_that_moved_is_the_one_named(share: float) -> None:
    for seed in range(3):
        alerts = firing(regions(share, 3.0, seed))
        assert {a.segment.get("region") for a in alerts} <= {"hot", None}
        hot = next(a for a in alerts if a.segment)
        assert hot.reason in {"mean_shift", "variance_shift"}  # a stretch in which it fell is a mixture
        assert hot.detected_at <= START + (6_000 + 64 / share) * 1_000
        assert 100 <= hot.reference["n"] < 2_000


def test_small_segments_are_silent_where_nothing_moves() -> None:
    # 5 × 12 series × 6,000 events of the model: at .01 per series and 10,000 events 0.03 of its own
    assert not [a for seed in range(5) for a in firing(regions(0.06, 0.0, seed))]


def test_the_exchange_begins_a_segment_at_the_same_event() -> None:
    events = regions(0.1, 3.0, 9)
    here, there = ([a.to_cloudevent() for a in firing(events, exchange=e)] for e in (False, True))
    assert here
    assert sorted(here) == sorted(there)


def _ar(phi: float, n: int, rng: np.random.Generator) -> Floats:
    noise = rng.standard_normal(n) * np.sqrt(1 - phi * phi)
    for i in range(1, n):
        noise[i] += phi * noise[i - 1]
    return np.asarray(noise, np.float64)


@pytest.mark.parametrize("n", [100, 200, 500])
def test_the_level_holds_for_short_references(n: int) -> None:
    # 200 series × 5,000 events: at .01 per 10,000 events 1 alarm, three standard errors above it 4
    table, alarms = score_table(n), 0
    for seed in range(200):
        values = np.random.default_rng([seed, n]).standard_normal(n + 5_000)
        reference, known = baseline.build(NUMBER, values[:n], [], 0.0)
        evidence = Scan(calibrate(table[reference.rank(known)])).update(
            table[reference.rank(values[n:])], np.zeros(5_000, np.int64)
        )
        assert evidence is not None
        alarms += bool(evidence.t.max() >= 16)
    assert alarms <= 1


@pytest.mark.parametrize(("phi", "least"), [(0.5, 0.9), (0.9, 1.0)])
def test_a_dependent_series_is_held_back(phi: float, least: float) -> None:
    held = 0
    for seed in range(40):
        values = _ar(phi, 200, np.random.default_rng([seed, 2]))
        reference, known = baseline.build(NUMBER, values, [], 0.0)
        held += calibrate(score_table(200)[reference.rank(known)]).worth < 100
    assert held >= least * 40
