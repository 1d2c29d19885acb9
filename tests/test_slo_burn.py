"""Budgets and burn rates, against sums over every event that there was."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from streamdrift.slo.burn import BAD_MIN, RESET, Objective, Pair, long_rate, pairs, rate, short_of, stand
from streamdrift.slo.counts import HOUR_MS, LATE_MS, MINUTE_MS, MINUTES_MS, Counts, Fresh, plausible
from streamdrift.slo.indicators import VALID, Indicator

DAY = 24 * HOUR_MS
MONTH = 30 * DAY
BEGIN = 1_366_156_800_000  # a full hour


def objective(
    target: float = 0.99, period_ms: int = MONTH, made: tuple[Pair, ...] | None = None, minimum: int = 0
) -> Objective:
    return Objective("o", Indicator("m", VALID), target, period_ms, pairs(period_ms) if made is None else made, minimum)


@dataclass
class Event:
    minute: int
    good: bool


def counted(found: list[tuple[int, int, int]], period_ms: int = MONTH) -> Counts:
    counts = Counts()
    for minute, good, total in found:
        counts.add(BEGIN + minute * MINUTE_MS, good, total, period_ms)
    return counts


minutes = st.lists(
    st.tuples(st.integers(0, 40 * 60), st.integers(0, 40), st.integers(0, 15)).map(lambda t: (t[0], t[1], t[1] + t[2])),
    min_size=1,
    max_size=60,
).map(sorted)
"""Minute, good ones, and how many there were, over forty hours."""


def brute_window(found: list[tuple[int, int, int]], window_ms: int) -> tuple[int, int]:
    """Bad and total, event by event."""
    events = [Event(m, i < good) for m, good, total in found for i in range(total)]
    end = max(m for m, _, _ in found) + 1
    first = end - window_ms // MINUTE_MS
    if window_ms > MINUTES_MS:
        first -= first % 60
    inside = [event for event in events if first <= event.minute < end]
    return sum(not event.good for event in inside), len(inside)


@hypothesis_settings(max_examples=50, deadline=None)
@given(minutes, st.sampled_from([5, 30, 60, 6 * 60, 12 * 60, 3 * 24 * 60]))
def test_sums_over_windows_are_those_of_the_events(found: list[tuple[int, int, int]], window: int) -> None:
    total = counted(found).over(window * MINUTE_MS)
    assert (total.bad, total.total) == brute_window(found, window * MINUTE_MS)


@hypothesis_settings(max_examples=50, deadline=None)
@given(minutes, st.sampled_from([0.9, 0.99, 0.999]), st.sampled_from([28 * DAY, MONTH]))
def test_alerts_fire_where_both_windows_used_too_much_of_the_budget(
    found: list[tuple[int, int, int]], target: float, period_ms: int
) -> None:
    one, counts = objective(target, period_ms), counted(found, period_ms)
    firing = set(stand(one, counts).firing)
    for i, (part, hours) in enumerate([(0.02, 1), (0.05, 6), (0.10, 72)]):
        long_ms = hours * HOUR_MS
        bad, total = brute_window(found, long_ms)
        short_bad, short_total = brute_window(found, long_ms // 12)
        at = (max(m for m, _, _ in found) + 1) * MINUTE_MS
        first = min(m for m, _, _ in found) * MINUTE_MS
        known = min(long_ms, at - (first if long_ms <= MINUTES_MS else first - first % HOUR_MS))
        used = (bad / total if total else 0) / (1 - target) * known / period_ms  # of the period's budget
        threshold = min(1.0, part * period_ms / long_ms * (1 - target))
        expected = (
            total * threshold >= BAD_MIN - 1e-9
            and bad >= BAD_MIN
            and used >= part * (1 - 1e-9)
            and short_total > 0
            and short_bad / short_total / (1 - target) >= part * period_ms / long_ms * (1 - 1e-9)
        )
        assert (i in firing) == expected


@hypothesis_settings(max_examples=30, deadline=None)
@given(minutes, st.sampled_from([0.9, 0.999]))
def test_what_is_left_of_the_budget_is_what_the_bad_ones_did_not_use(
    found: list[tuple[int, int, int]], target: float
) -> None:
    counts = counted(found)
    bad, total = brute_window(found, MONTH)
    hours = (counts.now - BEGIN) / HOUR_MS - min(m for m, _, _ in found) // 60
    allowed = (total / hours * 720 if total else 1) * (1 - target)  # at this traffic, in a whole month
    assert stand(objective(target), counts).left == pytest.approx(1 - bad / allowed)


@given(st.permutations(range(8)))
def test_the_order_in_which_minutes_come_is_of_no_matter(order: list[int]) -> None:
    found = [(m * 37, 5, 5 + m) for m in range(8)]
    assert counted([found[i] for i in order]).buckets == counted(found).buckets


def test_factors_follow_from_the_period() -> None:
    assert [pair.factor for pair in pairs(MONTH)] == pytest.approx([14.4, 6, 1])
    assert [pair.factor for pair in pairs(28 * DAY)] == pytest.approx([13.44, 5.6, 0.9333], abs=1e-4)
    assert [pair.factor for pair in pairs(7 * DAY)] == pytest.approx([3.36, 1.4])
    assert [short_of(pair.long_ms) // MINUTE_MS for pair in pairs(MONTH)] == [5, 30, 360]


@pytest.mark.parametrize("bad", [1, 2])
def test_few_bad_ones_among_few_are_no_page(bad: int) -> None:
    one = objective()
    for total in range(5, 20):
        hour = [(m, 0, 0) for m in range(55)]
        counts = counted([*hour, (0, 1, 1), (59, total - bad, total)])
        assert rate(one, counts.over(5 * MINUTE_MS)) > 5
        assert not stand(one, counts).firing


def test_the_least_sample_needs_three_bad_ones_to_reach_the_factor() -> None:
    one = objective()
    assert [one.sample(pair) for pair in one.pairs] == [21, 50, 300]
    hour = [(m, 0, 0) for m in range(60)]
    assert not stand(one, counted([(0, 1, 1), *hour, (59, 15, 19)])).firing
    assert 0 in stand(one, counted([(0, 1, 1), *hour, (59, 16, 20)])).firing
    more = objective(minimum=100)
    assert not stand(more, counted([(0, 1, 1), *hour, (59, 16, 20)])).firing


def test_an_alert_ends_below_its_factor_and_not_at_it() -> None:
    one = objective(made=(Pair(HOUR_MS, 5 * MINUTE_MS, 10.0, "critical"),))
    bad = [(m, 85, 100) for m in range(60)]
    assert stand(one, counted(bad)).firing == (0,)
    between = [*bad, *((m, 91, 100) for m in range(60, 70))]  # 9 times: below the factor, above 0.8 of it
    assert stand(one, counted(between), (0,)).firing == (0,)
    assert stand(one, counted([*bad, *((m, 91, 100) for m in range(60, 120))])).firing == ()
    assert stand(one, counted([*bad, *((m, 93, 100) for m in range(60, 66))]), (0,)).firing == ()
    assert pytest.approx(0.8) == RESET


def test_that_nothing_comes_is_no_recovery() -> None:
    one = objective(made=(Pair(HOUR_MS, 5 * MINUTE_MS, 10.0, "critical"),))
    counts = counted([*((m, 85, 100) for m in range(60)), (90, 0, 0)])
    assert stand(one, counts, (0,)).firing == (0,)


def test_time_until_the_budget_is_gone() -> None:
    found = stand(objective(), counted([(m, 85, 100) for m in range(60)]))
    assert found.burn == pytest.approx(15)
    assert found.left == pytest.approx(1 - 15 / 720)
    assert found.spent_in_s == pytest.approx(found.left * 30 * 86_400 / 15)
    assert stand(objective(), counted([(0, 5, 5)])).spent_in_s is None
    spent = stand(objective(0.999), counted([(m, 0, 100) for m in range(60)]))
    assert (spent.left < 0, spent.spent_in_s, spent.is_nearly_spent) == (True, 0.0, True)


def test_an_hour_of_errors_is_an_hours_worth_in_the_first_hour_too() -> None:
    one = objective()
    first = counted([(m, 50, 100) for m in range(60)])
    later = counted([*((m, 100, 100) for m in range(0, 71 * 60, 1)), *((m, 50, 100) for m in range(71 * 60, 72 * 60))])
    assert long_rate(one, first, 72 * HOUR_MS) == pytest.approx(long_rate(one, later, 72 * HOUR_MS))


def test_counts_that_no_window_needs_are_forgotten() -> None:
    counts = counted([(m, 1, 1) for m in range(100 * 60)], 3 * DAY)
    gone = counts.stale(3 * DAY)
    assert {width for width, _ in gone} == {MINUTE_MS, HOUR_MS}
    assert len(counts.buckets) <= (MINUTES_MS + LATE_MS) // MINUTE_MS + 1 + 74
    counts.add(BEGIN, 0, 5, 3 * DAY)
    assert (HOUR_MS, BEGIN) not in counts.buckets


def test_a_minute_far_ahead_of_its_slice_belongs_to_when_that_was_written() -> None:
    assert plausible(BEGIN, BEGIN + 3_000) == BEGIN
    assert plausible(BEGIN + 10 * MINUTE_MS, BEGIN) == BEGIN + 10 * MINUTE_MS
    assert plausible(2 * BEGIN, BEGIN + 61_000) == BEGIN + MINUTE_MS
    assert plausible(0, BEGIN) == 0


@hypothesis_settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 30), st.integers(-5, 20)), min_size=1, max_size=20))
def test_freshness_counts_each_minute_of_the_clock_once(steps: list[tuple[int, int]]) -> None:
    fresh, at, seen = Fresh(), BEGIN, list[int]()
    for passed, lag in steps:
        at += passed * MINUTE_MS
        seen += [minute for minute, _, _ in fresh.until(at, 300.0)]
        fresh.news(at - lag * MINUTE_MS, at)
    assert seen == list(range(seen[0], seen[0] + len(seen) * MINUTE_MS, MINUTE_MS)) if seen else True


def test_a_minute_is_fresh_where_the_latest_event_was_young_at_its_end() -> None:
    fresh = Fresh()
    assert list(fresh.until(BEGIN, 300.0)) == []
    fresh.news(BEGIN, BEGIN)
    assert [good for _, good, _ in fresh.until(BEGIN + 8 * MINUTE_MS, 300.0)] == [1] * 5 + [0] * 3
