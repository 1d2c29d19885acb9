"""How a model's error budgets stand, as its pages tell it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from streamdrift.alerts import rfc3339
from streamdrift.escalate.objectives import State
from streamdrift.escalate.words import duration, moment, named, percent
from streamdrift.slo.burn import NEARLY_SPENT

TOLD_MAX = 3
"""Budgets told in a page, those with the least left."""
OLD_MS = 15 * 60_000
"""From this age on it is told as of when it is."""


def worst(states: Sequence[State]) -> list[State]:
    """Return those that a page tells of; none that was never looked at."""
    return sorted((state for state in states if state.now), key=lambda state: (state.left, state.objective))[:TOLD_MAX]


def sentence(state: State, at: int) -> str:
    """One budget, in words.

    >>> sentence(State("fraud-valid", "fraud", "", 2_592_000_000, 0, 0.62, 49.6, 32_400.0), 0)
    '62 % of the 30-day budget of fraud-valid left; at this rate gone in 9 h'
    >>> sentence(State("fraud-valid", "fraud", "", 2_592_000_000, 0, 0.99), 0)
    '99 % of the 30-day budget of fraud-valid left'
    """
    of = f"the {_days(state.period_ms)} budget of {named(state.title or state.objective, 60)}"
    if state.left <= 0:
        told = f"{of} is spent" + (f", {percent(-state.left)} over" if state.left < 0 else "")
    else:
        told = f"{percent(state.left)} of {of} left"
        if state.burn >= 1 and state.spent_in_s is not None:
            told += f"; at this rate gone in {duration(state.spent_in_s)}"
    if state.nearly_spent:
        told += f": below {percent(NEARLY_SPENT)}, warnings count as critical"
    return told + (f" (as of {moment(state.now)} UTC)" if at - state.now > OLD_MS else "")


def described(states: Sequence[State], at: int) -> list[dict[str, Any]]:
    """The budgets in JSON terms, the one with the least left first."""
    return [
        {
            "objective": state.objective,
            "period_s": state.period_ms // 1000,
            "left": state.left,
            "burn_rate": state.burn,
            **({} if state.spent_in_s is None else {"spent_in_s": state.spent_in_s}),
            "as_of": rfc3339(state.now),
            "text": sentence(state, at),
        }
        for state in worst(states)
    ]


def _days(period_ms: int) -> str:
    days = period_ms / 86_400_000
    return f"{days:.0f}-day" if days == int(days) else f"{duration(period_ms / 1000)}"
