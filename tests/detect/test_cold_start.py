"""Segments begin with the time span of their model's reference; what is too short for what the series does is held back."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from streamdrift.alerts import Alert
from streamdrift.blocks.assemble import Assembler
from streamdrift.blocks.column import NUMBER, Column, Floats
from streamdrift.detect import baseline
from streamdrift.detect.age import Age
from streamdrift.detect.bank import Bank
from streamdrift.detect.calibration import calibrate, score_table
from streamdrift.detect.confirm import Scan
from streamdrift.detect.learning import Learned, Learning
from streamdrift.ports import Partition, Record
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


@pytest.mark.parametrize("cuts", [[], [1, 2, 3, 5, 9], list(range(1, 60))])
def test_the_age_of_a_segment_does_not_hang_on_partitions_or_batches(cuts: list[int]) -> None:
    partitions = [Partition("t", i) for i in range(3)]
    rng = np.random.default_rng(4)
    rows = [
        Record(json.dumps(e).encode(), partitions[int(rng.integers(3))], i, START)
        for i, e in enumerate(regions(0.2, 0, 1, 60))
    ]
    assembler, age, ages = Assembler(TREE), Age(), []
    for begin, end in itertools.pairwise([0, *cuts, 60]):
        for record in rows[begin:end]:
            assembler.add(record)
        for block in assembler.take().blocks:
            ages += age.of(block).tolist()
    assert ages == list(range(1, 61))


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


def test_what_is_held_back_is_counted_its_faults_told_and_it_is_watched_in_the_end() -> None:
    rng = np.random.default_rng(6)
    value = _ar(0.9, 40_000, rng)
    value[38_000:] += 3
    null = (np.arange(40_000) >= 8_000) & (np.arange(40_000) < 10_000) & (rng.random(40_000) < 0.5)
    events = [
        {
            "model": "m",
            "occurred_at": START + i * 1_000,
            "segments": {"half": "ab"[i % 2]},
            "features": {"x": None if null[i] else float(value[i // 2] if i % 2 else rng.standard_normal())},
        }
        for i in range(40_000)
    ]
    assembler, bank, alerts, held = Assembler(TREE), Bank(TREE, "c"), [], []
    for begin in range(0, 40_000, 1_000):
        for record in records(events[begin : begin + 1_000], begin):
            assembler.add(record)
        alerts += bank.update(assembler.take().blocks)
        held.append(bank.states["held_back"])
    assert held[:1] == [0]
    assert max(held) == 1
    assert held[-1] == 0
    nulls = next(a for a in alerts if a.segment == {"half": "b"} and a.reason == "null_rate")
    assert nulls.detected_at < START + 8_200_000


@pytest.mark.parametrize(("phi", "least"), [(0.5, 0.9), (0.9, 1.0)])
def test_a_dependent_series_is_held_back(phi: float, least: float) -> None:
    held = 0
    for seed in range(40):
        values = _ar(phi, 200, np.random.default_rng([seed, 2]))
        reference, known = baseline.build(NUMBER, values, [], 0.0)
        held += calibrate(score_table(200)[reference.rank(known)]).worth < 100
    assert held >= least * 40


DAY = 86_400_000


def slow(per_day: int, n: int, moves_at: int, shift: float, seed: int = 3) -> list[dict[str, Any]]:
    """Traffic of so many events a day, whose value moves at one of them."""
    rng = np.random.default_rng(seed)
    values = rng.standard_normal(n) + shift * (np.arange(n) >= moves_at)
    return [
        {"model": "m", "occurred_at": START + i * DAY // per_day, "features": {"x": float(value)}}
        for i, value in enumerate(values)
    ]


def values_alerts(events: list[dict[str, Any]], cuts: Sequence[int] = ()) -> list[Alert]:
    return [alert for alert in detect(records(events), cuts, Settings()) if alert.feature == "x"]


def test_slow_traffic_is_judged_by_a_first_look() -> None:
    (alert,) = values_alerts(slow(200, 2_000, 1_500, 1.0))
    assert (alert.status, alert.reference["n"]) == ("firing", 1_000)
    assert START + 1_500 * DAY // 200 < alert.detected_at < START + 1_600 * DAY // 200


def test_a_first_look_must_span_days() -> None:
    # 1,000 events of fast traffic are one hour of one day; 900 a day have spanned three days with 2,700
    assert not values_alerts(slow(20_000, 4_900, 1_500, 2.0))
    (alert,) = values_alerts(slow(900, 4_000, 3_000, 1.0))
    assert 2_700 <= alert.reference["n"] <= 2_702


def test_a_full_window_replaces_the_first_look_and_a_drift_does_not_become_normal() -> None:
    (late,) = values_alerts(slow(1_000, 6_000, 5_500, 1.0))
    assert late.reference["n"] == 5_000
    drifted = values_alerts(slow(1_000, 9_000, 4_000, 1.0))
    assert [alert.status for alert in drifted if not alert.updates] == ["firing"]
    assert all(alert.reference["n"] == 3_001 for alert in drifted)


def test_batches_change_nothing_of_a_first_look() -> None:
    events = slow(1_000, 5_600, 5_200, 1.0)
    assert values_alerts(events, range(37, 5_600, 37)) == values_alerts(events) != []


def test_first_looks_are_silent_where_nothing_moves() -> None:
    # 40 series × 9,000 events after their first look: at .01 per series and 10,000 events .4 false alerts are expected
    assert sum(len(values_alerts(slow(250, 10_000, 10_000, 0.0, seed))) for seed in range(40)) <= 2


def test_no_look_ends_in_rows_of_an_earlier_batch() -> None:
    """A small segment that is held back at 800 values, and would do with the 1,000 that it had before its next look."""
    rng = np.random.default_rng(0)
    n = 5_000
    values = np.zeros(n)
    for i in range(1, n):
        values[i] = 0.75 * values[i - 1] + rng.standard_normal()
    learning = Learning(5_000, 100, 1_000, 100)
    ages, times = np.arange(1, n + 1) * 60, np.arange(n) * (DAY // 50)
    looks: list[Learned] = []
    for begin in range(0, n, 50):
        rows = slice(begin, begin + 50)
        looks += (found := learning.add(Column(values[rows]), ages[rows], times[rows]))
        assert all(0 < learned.rows <= 50 for learned in found)
        if looks and looks[-1].done:
            break
    assert [(learned.first, learned.done) for learned in looks] == [(False, False), (False, True)]
