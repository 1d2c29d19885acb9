"""The clock profile: what the time of day, and of the week, does to the scores of a series by itself.

Most traffic has a day and a night. Where the reference window shows one, each score's expected course over the day is taken
from the score before anything is judged, so that a shift need not first rise above the season's own range.

The course is a sum of three harmonics of the day, and, where the window covers two weeks, of an offset for each day of the
week: least squares over the window's hours. It is kept only if it foretells: each day's hours are compared with the course
that the *other* days have (leave one day out), and most days must follow it. A course that is not kept costs nothing, and the
season, if there is one, is left to the envelope (``calibration``).

References
----------
J. D. Hamilton: Time Series Analysis, 1994, ch. 6 (harmonic regression).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from streamdrift.blocks.column import Bools, Floats, Ints

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
QUARTERS = 96
HARMONICS = 3
DAYS_MIN = 2
HOURS_MIN = 2 * HARMONICS + 2
"""Hours of the day that must be known: one more than the harmonics could follow whatever they were."""
WEEKS_MIN = 2
FOLLOWS = 0.5
"""Slope of a day's hours on the other days' course, pooled over the days, from which the course foretells."""
DAYS_SHARE = 0.75
"""Share of the days that must follow at all."""
BOUND = 16 << 20
"""Expected score, as an integer, up to which the compiled watch takes it; scores themselves are at most 9."""
ENERGY = 30.0
"""Least sum of squares of the course over the window, in score variances: beyond chi-squared .9999 with six degrees."""


@dataclass(frozen=True, slots=True)
class ClockProfile:
    """Expected scores by the clock, as integers.

    Attributes
    ----------
    day
        (96, C) by the quarter of an hour, UTC.
    week
        (7, C) offsets by the day of the week (1970-01-01, a Thursday, is day 0); zeros where they are not known.
    parameters
        Numbers that were fitted per score.
    day_events
        Events that the reference window had per day.
    """

    day: npt.NDArray[np.int32]
    week: npt.NDArray[np.int32]
    parameters: int
    day_events: float

    @property
    def is_bounded(self) -> bool:
        """Whether it takes no more off a score than the compiled watch counts with; a fit to a few hours of a day may."""
        return bool(max(np.abs(self.day).max(initial=0), np.abs(self.week).max(initial=0)) <= BOUND)

    def tables(self) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
        """Return ``day`` and ``week``, for the compiled watch."""
        return np.ascontiguousarray(self.day), np.ascontiguousarray(self.week)

    def at(self, times: Ints) -> Ints:
        """(n, C) expected scores at (n,) event times in milliseconds."""
        days = times // DAY_MS
        expected: Ints = (
            self.day[(times - days * DAY_MS) // (DAY_MS // QUARTERS)].astype(np.int64) + self.week[days % 7]
        )
        return expected


def fit(scores: Ints, times: Ints) -> ClockProfile | None:
    """Return the clock profile of (n, C) integer scores at (n,) event times; None where there is none to be seen."""
    days = times // DAY_MS
    span = (int(times.max()) - int(times.min())) / DAY_MS
    if span < DAYS_MIN or len(times) < 24 * DAYS_MIN:
        return None
    hours = _Hours(scores, times)
    known = hours.known()
    if known.sum() < HOURS_MIN:
        return None
    weekly = span >= 7 * WEEKS_MIN and len(np.unique(days % 7)) == 7
    sd = np.maximum(scores.std(axis=0), 1.0)
    kept = np.array([_foretells(hours, c, float(sd[c])) for c in range(scores.shape[1])])
    if not kept.any():
        return None
    design = _design(hours.hour, hours.day if weekly else None)
    weights = hours.count[:, None]
    solved = _solve(design, weights[:, 0], hours.total / weights) * kept
    quarter = (np.arange(QUARTERS) + 0.5) / 4 - 0.5
    course = _harmonics(quarter) @ solved[1 : 1 + 2 * HARMONICS]
    seen = np.repeat(known, QUARTERS // 24)  # at other hours it is anybody's guess, and harmonics go anywhere
    course[~seen] = course[~seen].clip(course[seen].min(axis=0), course[seen].max(axis=0))
    week = np.zeros((7, scores.shape[1]))
    if weekly:
        week[1:] = solved[1 + 2 * HARMONICS :]
        week -= week.mean(axis=0)
    return ClockProfile(
        np.rint(course).astype(np.int32),
        np.rint(week).astype(np.int32),
        design.shape[1] - 1,
        len(times) / span,
    )


class _Hours:
    """Sums of the scores per hour of the reference window; exact, for scores are integers."""

    def __init__(self, scores: Ints, times: Ints) -> None:
        of_event = times // HOUR_MS
        distinct, place = np.unique(of_event, return_inverse=True)
        self.count = np.bincount(place).astype(np.float64)
        sums = np.zeros((len(distinct), scores.shape[1]), np.int64)
        np.add.at(sums, place, scores)
        self.total: Floats = sums.astype(np.float64)
        self.hour: Floats = (distinct % 24).astype(np.float64)
        self.day: Ints = distinct // 24

    def known(self) -> Bools:
        """(24,) hours of the day that two days at least have shown."""
        days: Bools = np.bincount(self.hour.astype(np.int64), minlength=24) >= DAYS_MIN
        return days


def _foretells(hours: _Hours, c: int, sd: float) -> bool:
    """Whether each day follows the course of the others."""
    mean = hours.total[:, c].sum() / hours.count.sum()
    level = (hours.total[:, c] / hours.count - mean) / sd
    design = _design(hours.hour, None)
    course = design[:, 1:] @ _solve(design, hours.count, level[:, None])[1:, 0]
    if float((hours.count * course * course).sum()) < ENERGY:
        return False
    along = energy = 0.0
    following = []
    days = np.unique(hours.day)
    for day in days.tolist():
        own = hours.day == day
        if hours.count[~own].sum() < hours.count.sum() / 4:
            return False  # as good as one day: nothing to compare it with
        fitted = _solve(design[~own], hours.count[~own], level[~own][:, None])[:, 0]
        expected = design[own, 1:] @ fitted[1:]
        weight = hours.count[own]
        expected = expected - np.average(expected, weights=weight)
        product = float((weight * expected * level[own]).sum())
        along += product
        energy += float((weight * expected * expected).sum())
        if weight.sum() >= hours.count.sum() / (4 * len(days)):  # a stump of a day follows nothing
            following.append(product > 0)
    return along >= FOLLOWS * energy > 0 and float(np.mean(following)) >= DAYS_SHARE


def _harmonics(hour: Floats) -> Floats:
    angle = 2 * np.pi / 24 * (hour[:, None] + 0.5) * np.arange(1, HARMONICS + 1)
    course: Floats = np.concatenate([np.sin(angle), np.cos(angle)], axis=1)
    return course


def _design(hour: Floats, day: Ints | None) -> Floats:
    parts: list[Floats] = [np.ones((len(hour), 1)), _harmonics(hour)]
    if day is not None:
        parts.append(np.equal(day[:, None] % 7, np.arange(1, 7)).astype(np.float64))
    design: Floats = np.concatenate(parts, axis=1)
    return design


def _solve(design: Floats, weights: Floats, values: Floats) -> Floats:
    """Weighted least squares; a trace of ridge keeps it solvable where some hours never had traffic."""
    moment = (design * weights[:, None]).T @ design
    moment[np.diag_indices_from(moment)] += 1e-6 * weights.sum()
    return np.asarray(np.linalg.solve(moment, (design * weights[:, None]).T @ values), np.float64)
