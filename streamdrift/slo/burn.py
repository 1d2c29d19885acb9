"""Budgets, burn rates, and when they open and close an alert. Pure; times are event times, milliseconds.

The *budget* of an objective is the bad share that it allows over its period. The *burn rate* over a window is its bad share as a
multiple of that: at rate 1 the budget is used up when the period ends. An alert asks that a long window burn so fast that it used a given
part of the budget, and that a short one, a twelfth of it, does so still (SRE workbook, chapter 5)::

    factor = part of the budget · period / window        2 % in 1 h of 30 d: 0.02 · 720 = 14.4; of 28 d: 13.44

*Minimum sample.* In few events one bad one is a high rate: one of five at 99 % burns 20 times. So the long window must have so many
events that ``BAD_MIN`` bad ones are needed to reach the factor, unless the objective asks for more.

*Not yet counted.* Where less than a window was counted, the rest of it is taken to bring as many events, all of them good: an hour of
errors is an hour's worth of a month's budget in the first hour as in any other, and no reason to say that three days burnt.

*Hysteresis.* An alert ends when the short window burns below ``RESET`` of the factor, by as many events as a twelfth of the minimum:
that nothing comes is no recovery.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from streamdrift.slo.counts import HOUR_MS, MINUTE_MS, Counts, Sum
from streamdrift.slo.indicators import Indicator

BAD_MIN = 3
SHORT = 12
RESET = 0.8
NEARLY_SPENT = 0.1
"""With less of the budget left, a warning of the model is critical."""
FACTOR_MIN = 0.9
"""A lower burn rate would not use the budget up within the period: no alert is made of it."""

Severity = Literal["warning", "critical"]


@dataclass(frozen=True, slots=True)
class Pair:
    """A long and a short window that both must burn.

    Attributes
    ----------
    factor
        Least burn rate.
    strict
        Whether it must be beyond it.
    """

    long_ms: int
    short_ms: int
    factor: float
    severity: Severity
    strict: bool = False


PARTS: tuple[tuple[float, int, Severity], ...] = (
    (0.02, HOUR_MS, "critical"),
    (0.05, 6 * HOUR_MS, "critical"),
    (0.10, 72 * HOUR_MS, "warning"),
)
"""Part of the budget, long window, and how grave it is."""


def pairs(period_ms: int) -> tuple[Pair, ...]:
    """Return the usual pairs for a period; those left out that its budget outlives.

    >>> [round(pair.factor, 2) for pair in pairs(30 * 24 * HOUR_MS)], [round(pair.factor, 2) for pair in pairs(28 * 24 * HOUR_MS)]
    ([14.4, 6.0, 1.0], [13.44, 5.6, 0.93])
    >>> [pair.long_ms // HOUR_MS for pair in pairs(7 * 24 * HOUR_MS)]
    [1, 6]
    """
    made = (Pair(long, short_of(long), part * period_ms / long, severity) for part, long, severity in PARTS)
    return tuple(pair for pair in made if pair.factor >= FACTOR_MIN)


def short_of(long_ms: int) -> int:
    """The short window of a long one: a twelfth, in whole minutes."""
    return max(MINUTE_MS, long_ms // SHORT // MINUTE_MS * MINUTE_MS)


@dataclass(frozen=True, slots=True)
class Objective:
    """What is promised of a model.

    Attributes
    ----------
    target
        Least good share, between 0 and 1.
    minimum
        Events that the long window must have at least; 0 for what the factor asks for.
    """

    name: str
    indicator: Indicator
    target: float
    period_ms: int
    pairs: tuple[Pair, ...]
    minimum: int = 0
    title: str = ""

    @property
    def budget(self) -> float:
        """Bad share that it allows."""
        return 1 - self.target

    def bad_share(self, pair: Pair) -> float:
        """Least bad share of both windows that a pair asks for."""
        return min(1.0, pair.factor * self.budget)

    def sample(self, pair: Pair) -> int:
        """Events that the long window of a pair must have."""
        return max(self.minimum, math.ceil(round(BAD_MIN / self.bad_share(pair), 9)))

    def can_fire(self, pair: Pair) -> bool:
        """Whether any bad share reaches the factor: that of an objective of 90 % can't be beyond ten times."""
        return pair.factor * self.budget < 1


@dataclass(frozen=True, slots=True)
class Standing:
    """How an objective stands.

    Attributes
    ----------
    left
        Part of the period's budget that is left; negative where more was used.
    burn
        Burn rate of the long window of the pair that fires, of the gravest; else of the shortest.
    firing
        Indices of the pairs that fire.
    period, long
        Counts over the period, and over that long window.
    onset
        When, in that window, it began to burn so fast; now where nothing fires.
    spent_in_s
        Seconds until the budget is gone at this rate; None where nothing burns, 0 where it is gone.
    """

    now: int
    left: float
    burn: float
    firing: tuple[int, ...]
    period: Sum
    long: Sum
    onset: int
    spent_in_s: float | None = None

    @property
    def is_nearly_spent(self) -> bool:
        """Whether so little is left that a warning is critical."""
        return self.left < NEARLY_SPENT


def stand(objective: Objective, counts: Counts, before: Sequence[int] = ()) -> Standing:
    """Return how an objective stands now.

    Parameters
    ----------
    before
        Indices of the pairs that fired the last time.
    """
    firing = tuple(i for i, pair in enumerate(objective.pairs) if _fires(objective, pair, counts, was=i in before))
    shown = min(firing, key=lambda i: (objective.pairs[i].severity != "critical", i), default=0)
    period = counts.over(objective.period_ms)
    window = objective.pairs[shown] if objective.pairs else Pair(HOUR_MS, short_of(HOUR_MS), 0.0, "warning")
    long = counts.over(window.long_ms)
    onset = counts.onset(window.long_ms, objective.bad_share(window)) if firing else counts.now
    rest = 1 - long_rate(objective, counts, objective.period_ms)
    burns = long_rate(objective, counts, window.long_ms)
    spent_in_s = None if burns == 0 else max(0.0, rest) * objective.period_ms / 1000 / burns
    return Standing(counts.now, rest, burns, firing, period, long, onset, spent_in_s)


def rate(objective: Objective, found: Sum) -> float:
    """Burn rate of a window that was counted whole."""
    return found.bad_share / objective.budget


def long_rate(objective: Objective, counts: Counts, window_ms: int) -> float:
    """Burn rate of a window that may reach back to before anything was counted."""
    return rate(objective, counts.over(window_ms)) * min(1.0, (counts.now - counts.since(window_ms)) / window_ms)


def _fires(objective: Objective, pair: Pair, counts: Counts, *, was: bool) -> bool:
    short = counts.over(pair.short_ms)
    if was:
        enough = short.total >= max(1, objective.sample(pair) // SHORT)
        return not enough or rate(objective, short) >= RESET * pair.factor
    long = counts.over(pair.long_ms)
    if long.total < objective.sample(pair) or long.bad < BAD_MIN:
        return False
    return all(_burns(found, pair) for found in (long_rate(objective, counts, pair.long_ms), rate(objective, short)))


def _burns(found: float, pair: Pair) -> bool:
    """Whether a rate is that of a pair; a hair below counts, as shares are rounded."""
    return found > pair.factor if pair.strict else found >= pair.factor * (1 - 1e-9)
