from __future__ import annotations

import numpy as np
import pytest

from streamdrift.blocks.column import BOOLEAN, NUMBER, TEXT, Floats
from streamdrift.detect import baseline
from streamdrift.detect.calibration import calibrate, score_table
from streamdrift.detect.confirm import Scan
from streamdrift.detect.policy import Lane
from streamdrift.detect.value_watch import ValueWatch, WatchSettings
from streamdrift.settings import AnomalySettings, DetectorSettings, PolicySettings, ReferenceSettings
from streamdrift.tune.sensitivity import HOURS_PER_WEEK, Sensitivity, evidence, sensitivity

RNG = np.random.default_rng(11)
POLICY = PolicySettings(require="none")


def watch(values: Floats, kind: int = NUMBER, texts: list[str] | None = None) -> ValueWatch:
    return watch_with(values, kind, texts or [], null_rate=0.0)


def watch_with(values: Floats, kind: int, texts: list[str], null_rate: float) -> ValueWatch:
    reference, own = baseline.build(kind, values, texts, null_rate)
    calibration = calibrate(score_table(reference.n)[reference.rank(own)])
    settings = WatchSettings(DetectorSettings(), POLICY, AnomalySettings(), ReferenceSettings(), 1_000)
    return ValueWatch(reference, calibration, None, own, settings)


def found(watched: ValueWatch, per_hour: float, threshold: float = 16.0) -> Sensitivity:
    return sensitivity("m//x", watched, per_hour * HOURS_PER_WEEK, threshold)


def share_seen(watched: ValueWatch, shift: float, per_hour: int, runs: int = 100) -> float:
    """How often a shift opens an alert within its first hour: by simulation, with the scan and the lane themselves."""
    hits = 0
    for _ in range(runs):
        scan, lane = Scan(watched.calibration), Lane(POLICY)
        before = 1_600 + int(RNG.integers(16))
        values = RNG.standard_normal(before + per_hour)
        values[before:] += shift
        times = np.arange(len(values))
        judged = scan.update(watched.table[watched.reference.rank(values)], times)
        assert judged is not None
        hits += any(v.step == "opens" and v.end >= before for v in lane.judge(judged, times, lambda _: True))
    return hits / runs


@pytest.mark.parametrize("per_hour", [64, 256])
def test_the_smallest_shift_is_the_one_that_is_seen_in_about_every_second_hour(per_hour: int) -> None:
    watched = watch(RNG.standard_normal(5_000))
    smallest = found(watched, per_hour).smallest
    assert smallest is not None
    assert smallest == pytest.approx(
        np.sqrt(2 * 16 / per_hour), rel=0.12
    )  # T = n·d²/2, a little more for the reference's own error
    assert 0.25 <= share_seen(watched, smallest, per_hour) <= 0.75  # 100 runs: standard error .05
    assert share_seen(watched, 0.6 * smallest, per_hour) <= 0.1
    assert share_seen(watched, 1.6 * smallest, per_hour) >= 0.95


def test_it_is_in_sd_of_the_reference_whatever_the_unit() -> None:
    values = RNG.standard_normal(2_000)
    assert found(watch(values), 100).smallest == pytest.approx(found(watch(1e6 + 500 * values), 100).smallest)


def test_a_higher_threshold_and_a_slower_series_take_a_larger_shift() -> None:
    watched = watch(RNG.standard_normal(2_000))
    sizes = [found(watched, rate, threshold).smallest for rate, threshold in ((200, 16.0), (200, 24.0), (40, 24.0))]
    assert None not in sizes
    assert sizes == sorted(sizes, key=lambda size: size or 0)


@pytest.mark.parametrize(("per_hour", "threshold"), [(15.9, 16.0), (16, 200.0), (0, 16.0)])
def test_none_shows_in_less_than_a_window_nor_beyond_what_a_window_can_prove(per_hour: float, threshold: float) -> None:
    assert found(watch(RNG.standard_normal(1_000)), per_hour, threshold).smallest is None


def test_only_events_with_a_value_count() -> None:
    values = RNG.standard_normal(2_000)
    half = watch_with(values, NUMBER, [], null_rate=0.5)
    assert found(half, 200) == found(watch(values), 100)


def test_dependence_costs_sensitivity() -> None:
    noise, values = RNG.standard_normal(6_000), np.zeros(6_000)
    for i in range(1, 6_000):
        values[i] = 0.8 * values[i - 1] + noise[i]
    dependent, free = (found(watch(v[1_000:]), 400).smallest for v in (values, noise))
    assert dependent is not None
    assert free is not None
    assert dependent > 1.8 * free  # the sample size is worth a ninth: up to three times the shift


def test_whole_numbers_are_as_sensitive_as_the_values_that_they_stand_for() -> None:
    values = RNG.standard_normal(5_000) * 3
    fine, coarse = found(watch(values), 100).smallest, found(watch(np.round(values)), 100).smallest
    assert coarse == pytest.approx(fine, rel=0.1)


def test_few_values_and_many_are_computed_alike() -> None:
    values = np.sort(RNG.standard_normal(400)).repeat(5)
    RNG.shuffle(values)
    jittered = values + RNG.standard_normal(len(values)) * 1e-6
    assert found(watch(jittered), 100).smallest == pytest.approx(found(watch(values), 100).smallest, rel=0.05)


def test_categories_and_flags_are_told_as_a_share() -> None:
    flags = (RNG.random(5_000) < 0.3).astype(float)
    boolean = found(watch(flags, BOOLEAN), 100)
    assert boolean.unit == "share"
    assert boolean.smallest is not None
    # a share q of all events turns false: p goes to .3·(1 - q)
    watched = watch(flags, BOOLEAN)
    p = 0.3 * (1 - boolean.smallest)
    scores = watched.table[watched.reference.rank(np.array([0.0, 1.0]))] / 2**20
    moved = (1 - p) * scores[0] + p * scores[1] - (0.7 * scores[0] + 0.3 * scores[1])
    assert evidence(moved[None, :], watched.calibration, 5)[0] == pytest.approx(16, rel=0.1)  # 96 events
    text = found(watch(RNG.integers(0, 3, 5_000).astype(float), TEXT, ["a", "b", "c"]), 100)
    assert text.unit == "share"
    assert text.smallest is not None
    assert 0.2 < text.smallest < 0.8


def test_of_a_constant_any_departure_counts() -> None:
    constant = found(watch(np.full(2_000, 5.0)), 100)
    assert constant.unit == "share"
    assert constant.smallest is not None
    assert constant.smallest < 0.1
