"""The confirming scan against simulation: how often it cries wolf, and how soon it sees a change.

Seeds are fixed, so the tests are deterministic; bounds are the Monte-Carlo estimate with room for three standard errors.
"""

from __future__ import annotations

import numpy as np
import pytest

from streamdrift.blocks.column import NUMBER, Floats
from streamdrift.detect import baseline
from streamdrift.detect.calibration import STRETCH, calibrate, score_table, share_calibration
from streamdrift.detect.confirm import Scan, rate
from streamdrift.detect.dependence import autoregression, inflation
from streamdrift.detect.policy import Lane, Verdict
from streamdrift.settings import PolicySettings

N, REFERENCE, ONSET = 20_000, 5_000, 10_000
TABLE = score_table(REFERENCE)


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


@pytest.mark.parametrize(
    ("kind", "change", "median_max"),
    [
        ("normal", "+1", 64),
        ("normal", "+.5", 200),
        ("normal", "variance", 250),
        ("t3", "+1", 250),
        ("ar.9", "+1", 2_000),
    ],
)
def test_a_change_opens_soon(kind: str, change: str, median_max: int) -> None:
    delays = []
    for seed in range(20):
        stream = values(kind, np.random.default_rng([seed, 99]))
        if change == "variance":
            stream[ONSET:] *= np.sqrt(2)
        else:
            stream[ONSET:] += float(change)
        after = [e for e in opened(stream) if e >= ONSET]
        delays.append(after[0] - ONSET if after else N)
    assert np.median(delays) <= median_max


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
