"""An alert opens, grows, is resolved with evidence, and is not told again where it comes and goes."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from streamdrift.alerts import Alert
from streamdrift.blocks.column import Floats
from streamdrift.settings import Settings
from tests.detect.test_bank import START, detect, records

TREE = Settings.model_validate({"reference": {"events": 1_000}})
MINUTE = 60_000


def alerts_of(values: Floats, tree: Settings = TREE) -> list[Alert]:
    events = [
        {"model": "m", "occurred_at": START + i * MINUTE, "features": {"x": None if np.isnan(v) else float(v)}}
        for i, v in enumerate(values.tolist())
    ]
    return [a for a in detect(records(events), tree=tree) if a.feature == "x"]


def test_growth_is_told_and_names_the_alert_that_opened() -> None:
    rng = np.random.default_rng(1)
    values = rng.standard_normal(5_000)
    share = np.zeros(5_000)
    share[2_000:], share[2_400:], share[3_000:] = 0.05, 0.2, 0.7
    values[rng.random(5_000) < share] = np.nan
    nulls = [a for a in alerts_of(values) if a.reason == "null_rate"]
    opened, grown = nulls[0], nulls[1:]
    assert opened.updates is None
    assert grown
    assert all(a.updates == opened.alert_id and a.status == "firing" for a in grown)
    sizes = [a.effect_size for a in nulls]
    became_critical = [a.severity == "critical" and b.severity != "critical" for b, a in itertools.pairwise(nulls)]
    assert all(b >= 2 * a or told for (a, b), told in zip(itertools.pairwise(sizes), became_critical, strict=True))
    assert [a.severity for a in nulls][-1] == "critical"
    assert len({a.alert_id for a in nulls}) == len(nulls)
    assert all(b.events_seen > a.events_seen for a, b in itertools.pairwise(nulls))


def test_an_alert_that_stays_as_it_is_is_not_sent_again() -> None:
    values = np.random.default_rng(2).standard_normal(9_000)
    values[2_000:] += 1.5
    assert [a.status for a in alerts_of(values)] == ["firing"]


def spells(*told: tuple[int, int, float], n: int = 40_000) -> Floats:
    """Standard normal values, with shifts of (first, events, sd)."""
    values = np.random.default_rng(3).standard_normal(n)
    for begin, events, shift in told:
        values[begin : begin + events] += shift
    return values


def test_what_came_and_went_twice_is_told_again_only_where_it_stands_out() -> None:
    alike = [(begin, 500, 2.0) for begin in range(2_000, 20_000, 3_000)]
    alerts = alerts_of(spells(*alike))
    assert [a.status for a in alerts] == ["firing", "resolved"] * 2
    assert [a.current.get("came_and_went") for a in alerts if a.status == "firing"] == [None, 1]
    # much larger, and much longer
    larger = alerts_of(spells(*alike, (24_000, 500, 6.0)))
    assert [a.status for a in larger] == ["firing", "resolved"] * 3
    assert larger[4].effect_size > 2 * alerts[0].effect_size
    longer = alerts_of(spells(*alike, (24_000, 6_000, 2.0)))
    assert [a.status for a in longer] == ["firing", "resolved"] * 3
    late = longer[4]
    assert late.onset_at == pytest.approx(
        START + 24_000 * MINUTE, abs=50 * MINUTE
    )  # when it began, not when it was told
    assert 2 * 500 <= (late.detected_at - late.onset_at) / MINUTE <= 4_200
    assert late.current["came_and_went"] == 6
    # and with the rule off each time is an alert
    off = Settings.model_validate({"reference": {"events": 1_000}, "policy": {"flapping_s": 0}})
    assert [a.status for a in alerts_of(spells(*alike), off)] == ["firing", "resolved"] * 6


def test_what_lasts_is_told_however_often_it_came_and_went() -> None:
    alike = [(begin, 500, 2.0) for begin in range(2_000, 20_000, 3_000)]
    alerts = alerts_of(spells(*alike, (24_000, 16_000, 2.0)))
    assert [a.status for a in alerts] == ["firing", "resolved"] * 2 + ["firing"]


def test_what_came_and_went_is_forgotten_in_time() -> None:
    values = spells((2_000, 500, 2.0), (5_000, 500, 2.0), (8_000, 500, 2.0), (30_000, 500, 2.0))
    for days, told in ((7, 3), (30, 2)):
        tree = Settings.model_validate({"reference": {"events": 1_000}, "policy": {"flapping_s": days * 86_400}})
        assert [a.status for a in alerts_of(values, tree)].count("firing") == told


def test_a_broken_pipeline_is_told_each_time() -> None:
    values = spells(n=24_000)
    for begin in range(2_000, 20_000, 3_000):
        values[begin : begin + 500] *= 1_000
    told = [a for a in alerts_of(values) if a.status == "firing" and a.updates is None]
    assert [a.reason for a in told].count("unit_change") == 6


@pytest.mark.parametrize("shift", [0.5, 1.0])
def test_the_range_of_the_onset_holds_it(shift: float) -> None:
    # twenty to one: of 60 series 57 in expectation, three standard errors below it 52
    inside, widths = 0, []
    for seed in range(60):
        values = np.random.default_rng([seed, 5]).standard_normal(4_000)
        values[2_500:] += shift
        alert = alerts_of(values)[0]
        assert alert.onset_range is not None
        earliest, latest = alert.onset_range
        assert earliest <= alert.onset_at <= latest <= alert.detected_at
        inside += earliest <= START + 2_500 * MINUTE <= latest
        widths.append((latest - earliest) / MINUTE)
    assert inside >= 52
    assert np.median(widths) <= (200 if shift < 1 else 64)
