"""An alert opens, grows, is held open where it flaps, and is resolved with evidence."""

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


def test_what_comes_and_goes_is_held_open_and_ends_when_it_has_been_quiet() -> None:
    values = np.random.default_rng(3).standard_normal(40_000)
    for begin in range(2_000, 20_000, 3_000):
        values[begin : begin + 500] += 2
    alerts = alerts_of(values)
    assert [a.status for a in alerts] == ["firing", "resolved"] * 3
    last = alerts[-1]
    ended = START + (17_000 + 500) * MINUTE
    assert last.detected_at >= ended + 7 * 86_400_000 - 500 * MINUTE
    # and with the rule off each time is an alert
    off = Settings.model_validate({"reference": {"events": 1_000}, "policy": {"flapping_quiet_s": 0}})
    assert [a.status for a in alerts_of(values, off)] == ["firing", "resolved"] * 6


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
