"""Values near the ends of what a double can tell, in units of any size, and constants."""

from __future__ import annotations

import json

import numpy as np
import pytest

from streamdrift.alerts import Alert
from streamdrift.blocks.column import NUMBER, Floats
from streamdrift.detect import baseline, robust
from streamdrift.detect.frozen import Frozen
from streamdrift.settings import Settings
from tests.detect.test_bank import START, detect, records

TREE = Settings.model_validate({"reference": {"events": 1_000}})
LARGEST = baseline.LARGEST


def alerts_of(values: Floats) -> list[Alert]:
    events = [
        {"model": "m", "occurred_at": START + i * 1_000, "features": {"x": v}} for i, v in enumerate(values.tolist())
    ]
    return [a for a in detect(records(events), tree=TREE) if a.status == "firing"]


def absurd(told: object) -> bool:
    if isinstance(told, dict):
        return any(absurd(value) for key, value in told.items() if key != "version")
    return any(map(absurd, told)) if isinstance(told, list) else told is None


RNG = np.random.default_rng(3)
NOISE = RNG.standard_normal(4_000)
LATE = np.arange(4_000) >= 2_000


@pytest.mark.parametrize(
    "values",
    [
        np.where(RNG.random(4_000) < np.where(LATE, 0.9, 0.3), LARGEST, -LARGEST),
        np.where(LATE, 1.0, RNG.uniform(-1, 1, 4_000) * LARGEST),
        np.where(LATE, -LARGEST, LARGEST),
        np.where(LATE, 3.0, 1.0) * NOISE * 1e300,
        np.where(LATE & (NOISE > 0), 5e-324, 0.0),
    ],
    ids=["a sentinel at either end", "all of the range", "a constant at its end", "large", "the least there is"],
)
@pytest.mark.filterwarnings("error")
def test_values_at_the_ends_of_a_double_s_range_are_told_in_figures(values: Floats) -> None:
    alerts = alerts_of(values)
    assert alerts
    for alert in alerts:
        data = json.loads(alert.to_cloudevent())["data"]
        assert not [name for name in ("effect_size", "statistic", "reference", "current") if absurd(data[name])]
        assert data.get("effect_robust") is None or np.isfinite(data["effect_robust"])


@pytest.mark.parametrize("unit", [1e-300, 1e-12, 1.0, 1e12, 1e300])
def test_the_unit_does_not_matter(unit: float) -> None:
    alert = alerts_of((NOISE + LATE * 1.0) * unit)[0]
    assert (alert.reason, alert.severity) == ("mean_shift", "warning")
    assert alert.effect_size == pytest.approx(1, abs=0.6)
    assert alert.effect_robust == pytest.approx(1, abs=0.6)


def test_a_small_spread_about_a_large_mean_is_a_spread() -> None:
    assert alerts_of(1e6 + (NOISE + LATE * 1.0) * 1e-4)[0].effect_size == pytest.approx(1, abs=0.6)


@pytest.mark.parametrize("values", [np.full(100, LARGEST), np.repeat([LARGEST, -LARGEST], 50), np.full(9, 5e-324)])
def test_moments_are_never_beyond_a_double(values: Floats) -> None:
    mean, sd = baseline.moments(values)
    assert np.isfinite([mean, sd]).all()
    assert values.min() <= mean <= values.max()
    assert np.isfinite(robust.Bulk.of(values).scale)
    assert np.isfinite(baseline.build(NUMBER, values, [], 0.0)[0].edges()).all()


@pytest.mark.parametrize(("share", "within"), [(1.0, 16), (0.02, 800)])
def test_what_departs_from_a_constant_is_told_without_a_detector(share: float, within: int) -> None:
    # no detector has a scale there; the share is far below what moves a mean by a standard deviation
    values = np.where(LATE & (np.random.default_rng(1).random(4_000) < share), 3.4, 3.3)
    assert 2_000 < alerts_of(values)[0].events_seen <= 2_000 + within + 16


def test_the_end_of_a_frozen_run_is_told_alike_however_it_is_cut() -> None:
    values = np.concatenate([np.full(40, 1.0), np.repeat(np.arange(12.0), 9)])
    whole = Frozen(np.arange(100.0)).update(values, np.arange(len(values)))
    frozen = Frozen(np.arange(100.0))
    cut = [freeze for i in range(len(values)) for freeze in frozen.update(values[i : i + 1], np.arange(i, i + 1))]
    assert [(f.opens, f.run, f.onset, f.value) for f in cut] == [(f.opens, f.run, f.onset, f.value) for f in whole]
    assert len(whole) == 2


@pytest.mark.parametrize("share", [0.03, 0.1])
def test_the_onset_of_something_rare_is_when_it_began(share: float) -> None:
    off = []
    for seed in range(12):
        values = np.where(LATE & (np.random.default_rng(seed).random(4_000) < share), np.nan, NOISE)
        events = [
            {"model": "m", "occurred_at": START + i * 1_000, "features": {"x": None if np.isnan(v) else v}}
            for i, v in enumerate(values.tolist())
        ]
        nulls = next(a for a in detect(records(events), tree=TREE) if a.reason == "null_rate")
        off.append((nulls.onset_at - START) / 1_000 - 2_000)
    # the first hit comes 1/share events after the change; Gaussian evidence saw it at the latest cluster, 4/share after it
    assert np.median(off) <= 2 / share
