"""The clock profile: a daily course is taken out where there is one, and only there.

Seeds are fixed; bounds are Monte-Carlo estimates with room for three standard errors.
"""

from __future__ import annotations

import numpy as np
import pytest

from streamdrift.blocks.column import NUMBER, Floats, Ints
from streamdrift.detect import baseline
from streamdrift.detect.calibration import UNIT, calibrate, score_table
from streamdrift.detect.clock import DAY_MS, fit
from streamdrift.detect.confirm import Scan

N = 5_000
TABLE = score_table(N)


def stream(
    amplitude: float, rng: np.random.Generator, *, days: float = 2.5, weekend: float = 0.0
) -> tuple[Floats, Ints]:
    """15,000 values with a daily sine, the first 5,000 of them over so many days, and their times."""
    times = 1_362_873_600_000 + (np.sort(rng.random(3 * N)) * 3 * days * DAY_MS).astype(np.int64)
    phase = 2 * np.pi * (times % DAY_MS) / DAY_MS
    values = rng.standard_normal(3 * N) + amplitude * np.sin(phase + 1)
    return values + weekend * np.isin(times // DAY_MS % 7, [2, 3]), times


def evidence(values: Floats, times: Ints) -> Floats:
    """Largest evidence at each stretch after the reference."""
    reference, known = baseline.build(NUMBER, values[:N], [], 0.0)
    scores = TABLE[reference.rank(known)]
    clock = fit(scores, times[:N])
    fresh = TABLE[reference.rank(values[N:])]
    if clock is None:
        found = Scan(calibrate(scores)).update(fresh, times[N:])
    else:
        calibration = calibrate(scores - clock.at(times[:N]), clock.parameters, clock.day_events)
        found = Scan(calibration).update(fresh - clock.at(times[N:]), times[N:])
    assert found is not None
    peaks: Floats = found.t.max(axis=(1, 2))
    return peaks


def test_a_daily_course_is_found_and_is_what_it_was() -> None:
    values, times = stream(1.0, np.random.default_rng(1))
    reference, known = baseline.build(NUMBER, values[:N], [], 0.0)
    clock = fit(TABLE[reference.rank(known)], times[:N])
    assert clock is not None
    course = clock.at(np.arange(0, DAY_MS, DAY_MS // 96))[:, 0] / UNIT
    assert np.corrcoef(course, np.sin(2 * np.pi * (np.arange(96) + 0.5) / 96 + 1))[0, 1] > 0.99
    assert not clock.week.any()
    # location moves with the clock; shape scores by no more than a sine in ranks makes them
    assert np.ptp(course) > 1.2


@pytest.mark.parametrize("kind", ["normal", "ar.9"])
def test_no_course_is_found_where_there_is_none(kind: str) -> None:
    found = 0
    for seed in range(30):
        rng = np.random.default_rng([seed, len(kind)])
        values, times = stream(0.0, rng)
        if kind == "ar.9":
            noise = values * np.sqrt(1 - 0.81)
            for i in range(1, N):
                noise[i] += 0.9 * noise[i - 1]
            values = noise
        reference, known = baseline.build(NUMBER, values[:N], [], 0.0)
        clock = fit(TABLE[reference.rank(known)], times[:N])
        found += clock is not None and bool(clock.day[:, 0].any())
    assert found <= (0 if kind == "normal" else 6)  # taking a little out of an AR .9 costs nothing, and is rare


def test_without_two_days_there_is_no_course() -> None:
    values, times = stream(1.0, np.random.default_rng(2), days=1.9)
    reference, known = baseline.build(NUMBER, values[:N], [], 0.0)
    assert fit(TABLE[reference.rank(known)], times[:N]) is None


def test_a_weekend_is_known_after_two_weeks() -> None:
    values, times = stream(0.5, np.random.default_rng(3), days=15, weekend=1.0)
    reference, known = baseline.build(NUMBER, values[:N], [], 0.0)
    clock = fit(TABLE[reference.rank(known)], times[:N])
    assert clock is not None
    week = clock.week[:, 0] / UNIT
    assert set(np.argsort(week)[-2:].tolist()) == {2, 3}
    assert evidence(values, times).max() < 16


def test_a_season_alone_is_silent_and_a_small_shift_under_it_is_found() -> None:
    # 40 series × 10,000 events without a change: at .01 per 10,000 events 0.4 alarms, three standard errors above it 2
    assert sum(evidence(*stream(1.0, np.random.default_rng(s))).max() >= 16 for s in range(40)) <= 1
    delays = []
    for seed in range(20):
        values, times = stream(1.0, np.random.default_rng([seed, 1]))
        values[N + 4_800 :] += 0.5
        peaks = evidence(values, times)
        assert peaks[: 4_800 // 16].max() < 16
        delays.append(16 * int(np.argmax(peaks[4_800 // 16 :] >= 16)))
    assert np.median(delays) <= 300  # without the course it takes the season's amplitude first: never, mostly


@pytest.mark.parametrize(("hours", "is_known"), [(6, False), (9, True)])
def test_of_few_hours_no_course_is_made(hours: int, *, is_known: bool) -> None:
    # what comes in spells, as a segment does, fills few hours of few days: the harmonics could follow whatever these were
    rng = np.random.default_rng(1)
    times = np.sort((rng.integers(0, 4, 2_000) * 24 + rng.integers(0, hours, 2_000) * 2) * (DAY_MS // 24))
    course = np.sin(2 * np.pi * (times % DAY_MS) / DAY_MS)
    found = fit(np.rint((course + rng.standard_normal(2_000))[:, None] * UNIT).astype(np.int64), times)
    assert (found is not None) == is_known


def test_a_course_over_office_hours_does_not_go_on_at_night() -> None:
    rng = np.random.default_rng(3)
    times = np.sort((rng.integers(0, 5, 3_000) * 24 + rng.uniform(8, 18, 3_000)) * (DAY_MS / 24)).astype(np.int64)
    course = np.sin(2 * np.pi * (times % DAY_MS) / DAY_MS)
    found = fit(np.rint((course + rng.standard_normal(3_000))[:, None] * UNIT).astype(np.int64), times)
    assert found is not None
    day = found.day[:, 0] / UNIT
    assert np.abs(day).max() <= np.abs(day[8 * 4 : 18 * 4]).max()
    assert np.corrcoef(found.at(times)[:, 0], course)[0, 1] > 0.95
