"""The confirming scan against simulation: how often it cries wolf, and how soon it sees a change.

Seeds are fixed, so the tests are deterministic; bounds are the Monte-Carlo estimate with room for three standard errors.
"""

from __future__ import annotations

import importlib.util
import sys
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamdrift.blocks.column import NUMBER, Floats
from streamdrift.detect import baseline
from streamdrift.detect.calibration import (
    STRETCH,
    UNIT,
    WINDOWS,
    calibrate,
    joined,
    rate,
    score_table,
    share_calibration,
)
from streamdrift.detect.confirm import Scan
from streamdrift.detect.dependence import autoregression, inflation
from streamdrift.detect.policy import Lane, Verdict
from streamdrift.settings import PolicySettings

N, REFERENCE, ONSET = 20_000, 5_000, 10_000
TABLE = score_table(REFERENCE)


def benchmark(name: str) -> Any:
    """A program of ``benchmarks``, as a module."""
    path = Path(__file__).resolve().parents[2] / "benchmarks" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)  # its dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module


null_rate = benchmark("null_rate")


def values(kind: str, rng: np.random.Generator, n: int = N) -> Floats:  # noqa: PLR0911 - a list of models
    noise = rng.standard_normal(n)
    match kind:
        case "normal":
            return noise
        case "t3":
            return rng.standard_t(3, n)
        case "lognormal":
            return rng.lognormal(0, 1.5, n)
        case "rare flag":
            return (rng.random(n) < 0.02).astype(float)
        case "rounded":
            return noise.round()
        case "season":
            return noise + np.sin(2 * np.pi * np.arange(n) / 2_000 + 6 * rng.random())
        case _:  # AR(1) with this coefficient, variance 1
            phi = float(kind.removeprefix("ar"))
            noise[1:] *= np.sqrt(1 - phi * phi)
            for i in range(1, n):
                noise[i] += phi * noise[i - 1]
            return noise


def opened(stream: Floats) -> list[int]:
    """Events at which the scan alone opens an alert."""
    reference, _ = baseline.build(NUMBER, stream[:REFERENCE], [], 0.0)
    scan, lane = Scan(calibrate(TABLE[reference.rank(stream[:REFERENCE])])), Lane(PolicySettings(alert_cooldown_s=0))
    times = np.arange(N - REFERENCE)
    evidence = scan.update(TABLE[reference.rank(stream[REFERENCE:])], times)
    assert evidence is not None
    verdicts: list[Verdict] = lane.judge(evidence, times, lambda _: True)
    return [REFERENCE + v.end for v in verdicts if v.step == "opens"]


@pytest.mark.parametrize("kind", ["normal", "t3", "lognormal", "rare flag", "rounded", "ar.5", "ar.9", "season"])
def test_nothing_opens_on_what_does_not_change(kind: str) -> None:
    # 40 series × 15,000 events; the target of .01 per 10,000 events would give 0.6, three standard errors above it 3
    assert sum(len(opened(values(kind, np.random.default_rng([s, len(kind)])))) for s in range(40)) <= 1


LAW = null_rate.Law(0.00204, 1.0, 0.06, 0.015)
"""First alarms of continuous independent values, by 40,000 series of ``benchmarks/null_rate.py``, with their errors."""


def exceedances(kind: str, threshold: int, series: int = 100) -> tuple[int, float]:
    """Series whose evidence reaches a threshold, and how many the law expects among as many events at risk."""
    row = simulated(kind, series)
    return row.crossed(threshold), LAW.rate(threshold) * float(row.at_risk[null_rate.THRESHOLDS.index(threshold)])


@lru_cache
def simulated(kind: str, series: int) -> Any:
    return null_rate.simulate(kind, series, seed=5)


@pytest.mark.parametrize("threshold", [8, 9, 10])
def test_false_alarms_of_independent_values_follow_the_law(threshold: int) -> None:
    # a Poisson count of about 30, 11 and 4 in 100 series, so its standard error is 18, 30 and 50 %; the law's is 9 % here
    found, expected = exceedances("t3", threshold)
    assert abs(found - expected) <= 3 * np.hypot(np.sqrt(expected), 0.09 * expected)


@pytest.mark.parametrize("threshold", [8, 10])
@pytest.mark.parametrize("kind", ["Bernoulli .02", "AR .5", "AR .9", "season"])
def test_false_alarms_of_other_values_are_no_more_than_the_law_s(kind: str, threshold: int) -> None:
    found, expected = exceedances(kind, threshold)
    assert found <= expected + 3 * np.sqrt(expected)


def test_the_law_is_recovered_from_what_follows_it_with_honest_errors() -> None:
    rng = np.random.default_rng(6)
    off = []
    for _ in range(40):
        uniform = rng.random(3_000)  # P(peak < T) = exp(-rate(T)), solved for T
        law = null_rate.fit(13 + (np.log(0.003) - np.log(-np.log(uniform))) / 0.9)
        off.append([(np.log(law.a / 0.003)) / law.a_error, (law.b - 0.9) / law.b_error])
    # means of 40 standardised errors have a standard error of .16, their spread one of .11
    assert np.abs(np.mean(off, axis=0)).max() < 0.5
    assert np.abs(np.std(off, axis=0) - 1).max() < 0.35


def test_a_poisson_interval_is_the_exact_one() -> None:
    assert null_rate.poisson_interval(0) == pytest.approx((0, 2.996), abs=1e-3)
    assert null_rate.poisson_interval(10) == pytest.approx((4.795, 18.390), abs=1e-3)  # Garwood 1936


@pytest.mark.parametrize(
    ("kind", "change", "median", "error"),
    [
        ("normal", "+.25", 575, 70),
        ("normal", "+.5", 151, 10),
        ("normal", "+1", 43, 5),
        ("normal", "variance", 127, 11),
        ("t3", "+1", 71, 4),
        ("ar.5", "+1", 151, 10),
        ("ar.9", "+1", 967, 76),
    ],
)
def test_a_change_opens_soon(kind: str, change: str, median: int, error: int) -> None:
    # median delay in events as measured on 200 series and more, and the standard error of the median of 40; it moves in
    # steps of 16 events
    delays = []
    for seed in range(40):
        stream = values(kind, np.random.default_rng([seed, 99]))
        if change == "variance":
            stream[ONSET:] *= np.sqrt(2)
        else:
            stream[ONSET:] += float(change)
        after = [e for e in opened(stream) if e >= ONSET]
        delays.append(after[0] - ONSET if after else N)
    assert np.median(delays) <= median + 3 * error


def test_inflation_is_that_of_the_process() -> None:
    rng = np.random.default_rng(4)
    for phi in (0.0, 0.5, 0.9):
        found = [
            inflation(*autoregression(values(f"ar{phi}", rng, 20_000)), np.array([1, 100, 4_096])).tolist()
            for _ in range(5)
        ]
        one, hundred, long = np.mean(found, axis=0).tolist()
        exact = (1 + phi) / (1 - phi) - 2 * phi * (1 - phi**100) / (100 * (1 - phi) ** 2)
        assert one == 1
        assert hundred == pytest.approx(exact, rel=0.1)
        assert long == pytest.approx((1 + phi) / (1 - phi), rel=0.12)


def test_a_rare_share_is_judged_as_poisson() -> None:
    # 3 hits in 16 events where the reference of 5,000 had none: w·p·(x·ln x - x + 1), x = share over p
    calibration = share_calibration(0, 5_000)
    scan = Scan(calibration, down=False)
    flags = np.zeros((STRETCH, 1), np.int64)
    flags[:3] = 1 << 20
    evidence = scan.update(flags, np.arange(STRETCH))
    assert evidence is not None
    p = 0.5 / 5_001
    x = 3 / 16 / p
    assert float(evidence.t[0, 0, 0]) == pytest.approx(16 * p * (x * np.log(x) - x + 1), rel=1e-2)


def test_the_rate_function_meets_its_gaussian_limit() -> None:
    excess = np.linspace(0, 3, 7)
    assert rate(excess, np.zeros(7)) == pytest.approx(excess**2 / 2)
    assert (rate(excess, np.full(7, 1.0)) <= excess**2 / 2 + 1e-12).all()
    below, above = rate(np.array([0.01999, 0.02001]), np.ones(2))
    assert above == pytest.approx(below, rel=0.01)


def test_bounds_stand_where_the_evidence_reaches_the_threshold() -> None:
    rng = np.random.default_rng(0)
    numeric = calibrate(score_table(5_000)[rng.integers(0, 10_001, 5_000)])
    shares = joined([share_calibration(40, 5_000), share_calibration(900, 5_000)])
    for scan in (Scan(numeric), Scan(share_calibration(3, 5_000), down=False), Scan(shares, up=False)):
        low, high = scan.bounds(13.0)
        for sums, reached in ((low, True), (low + 1, False), (high - 1, False), (high, True)):
            real = np.abs(sums) < 2**60
            means = sums / (WINDOWS * STRETCH * UNIT)[:, None]
            evidence = scan.of_shift((means - scan.calibration.mean)[None].reshape(-1, sums.shape[1]))
            own = evidence[np.arange(len(WINDOWS)), np.arange(len(WINDOWS))]
            assert real.all() or not real.any()  # a direction that does not count has none
            assert ((own[real] >= 13.0 * (1 - 1e-6)) if reached else (own[real] < 13.0)).all()
