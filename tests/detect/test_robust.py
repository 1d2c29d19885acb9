from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.stats import trim_mean
from scipy.stats.mstats import winsorize

from streamdrift.alerts import Alert
from streamdrift.blocks.column import Floats
from streamdrift.detect import robust
from streamdrift.settings import Settings
from tests.detect.test_bank import START, detect, records

TREE = Settings.model_validate({"reference": {"events": 1_000}})
RNG = np.random.default_rng(7)
IQR_SD = 1.349


@pytest.mark.parametrize("n", [5, 11, 100, 5_000])
def test_it_is_what_its_paper_says(n: int) -> None:
    then, now = RNG.lognormal(0, 1, n), RNG.lognormal(0.3, 1, n)
    expected = 0.642 * (trim_mean(now, 0.2) - trim_mean(then, 0.2)) / np.asarray(winsorize(then, (0.2, 0.2))).std()
    found = robust.shift(then, now)
    assert found == (None if n < 15 else pytest.approx(expected))


@pytest.mark.parametrize(
    ("draw", "shrunk"),
    [
        (lambda rng, n: rng.standard_normal(n), 1.0),
        (lambda rng, n: rng.standard_t(2, n), 0.7),
        (lambda rng, n: rng.lognormal(0, 1.5, n), 0.5),
        (lambda rng, n: rng.standard_cauchy(n), 0.2),
    ],
    ids=["normal", "t2", "lognormal", "cauchy"],
)
def test_a_shift_by_the_width_of_the_bulk_is_one_whatever_the_tails(
    draw: Callable[[np.random.Generator, int], Floats], shrunk: float
) -> None:
    """Error of the mean of 40 windows of 500: .01, of skewed values less than .2 by the skewness itself; of spreads .06."""
    rng = np.random.default_rng(7)  # its own: what is drawn must not hang on which tests ran before
    sizes: list[float | None] = []
    plain, spreads = [], []
    for _ in range(40):
        then, now = draw(rng, 5_000), draw(rng, 500)
        width = float(np.subtract(*np.percentile(then, [75, 25]))) / IQR_SD
        sizes.append(robust.shift(then, now + width))
        plain.append((now.mean() + width - then.mean()) / then.std())
        spreads.append(robust.spread(then, 3 * now))
    assert np.mean(np.array(spreads, float)) == pytest.approx(3, abs=0.25)
    assert np.mean(np.array(sizes, float)) == pytest.approx(1, abs=0.2)
    assert np.median(plain) <= shrunk * 1.05


@pytest.mark.parametrize(
    "then", [np.zeros(500), RNG.integers(0, 3, 500).astype(float), np.repeat([0.0, 9.0], [450, 50])]
)
def test_where_the_bulk_has_no_scale_there_is_none(then: Floats) -> None:
    assert robust.shift(then, then + 1) is None
    assert robust.spread(then, then + 1) is None


def first(values: Floats, reason: str) -> Alert:
    events: list[dict[str, Any]] = [
        {"model": "m", "occurred_at": START + i * 1_000, "features": {"x": float(v)}} for i, v in enumerate(values)
    ]
    found = next(a for a in detect(records(events), tree=TREE) if a.feature == "x" and a.reason == reason)
    assert Alert.from_cloudevent(found.to_cloudevent()) == found
    return found


def test_an_alert_tells_the_size_of_the_bulks_shift_under_heavy_tails() -> None:
    rng = np.random.default_rng(3)
    alert = first(rng.standard_t(2, 3_000) + 1.5 * (np.arange(3_000) >= 1_500), "mean_shift")
    assert alert.effect_robust is not None
    assert alert.effect_robust > 1.5 * alert.effect_size > 0


def test_of_a_variance_it_is_the_ratio_and_of_few_steps_the_plain_effect() -> None:
    rng = np.random.default_rng(4)
    wider = np.where(np.arange(3_000) >= 1_500, 2.5, 1.0)
    scattered = first(rng.standard_normal(3_000) * wider, "variance_shift")
    assert scattered.effect_robust == pytest.approx(scattered.effect_size, rel=0.3)
    steps = first(rng.integers(0, 4, 3_000) + 1.0 * (np.arange(3_000) >= 1_500), "mean_shift")
    assert steps.effect_robust == steps.effect_size


def test_a_share_has_none() -> None:
    rng = np.random.default_rng(5)
    events: list[dict[str, Any]] = [
        {
            "model": "m",
            "occurred_at": START + i * 1_000,
            "features": {"c": bool(rng.random() < (0.8 if i > 1_500 else 0.2))},
        }
        for i in range(2_500)
    ]
    alerts = detect(records(events), tree=TREE)
    assert {(a.reason, a.effect_robust) for a in alerts if a.feature == "c"} == {("category_shift", None)}
    assert b"effect_robust" not in alerts[0].to_cloudevent()
