"""Whatever befalls the workers, what they say is what an undisturbed one says; and each guard that is taken out is missed."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from itertools import count

import pytest

from tests.simulation.ends import MUTATIONS
from tests.simulation.schedules import SCENARIOS, play, quiet, world
from tests.simulation.world import Rates

SECONDS = 6.0
SEARCH_S = 20.0
SEEDS_MIN = 60


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with quiet():
        yield


def again(seed: int, *options: str) -> str:
    return f"python -m tests.simulation --seed {seed} --schedules 1 {' '.join(options)}"


def test_with_transactions_each_alert_comes_once_whatever_befalls_the_workers() -> None:
    began, struck, n = time.monotonic(), Counter[str](), 0
    for seed in count(1):
        outcome = play("tally", seed)
        assert not outcome.wrong, f"{outcome.problems}; again: {again(seed)}"
        struck, n = struck + outcome.struck, n + 1
        if time.monotonic() - began > SECONDS and n >= SEEDS_MIN:
            break
    for what in ("crash before end", "crash after end", "sleep before end", "lost end", "answer lost end", "leave"):
        assert struck[what], f"{what} never struck in {n} schedules"
    assert struck["two of one name"]


def test_without_transactions_none_is_lost_and_what_comes_twice_says_the_same() -> None:
    twice = 0
    for seed in range(1, 31):
        outcome = play("tally", seed, plain=True)
        assert not outcome.wrong, f"{outcome.problems}; again: {again(seed, '--plain')}"
        twice += outcome.twice
    assert twice, "a crash between publishing and committing never struck"


@pytest.mark.parametrize("seed", [1, 2])
def test_the_real_detectors_say_what_they_say_undisturbed(seed: int) -> None:
    outcome = play("direct", seed)
    assert outcome.alerts >= 10
    assert not outcome.wrong, f"{outcome.problems}; again: {again(seed, '--stage direct')}"


def test_the_exchange_changes_nothing_of_that() -> None:
    outcome = play("exchange", 1)
    assert outcome.alerts >= 10
    assert not outcome.wrong, f"{outcome.problems}; again: {again(1, '--stage exchange')}"


@pytest.mark.parametrize("mutation", [name for name in MUTATIONS if name])
def test_a_guard_that_is_taken_out_is_missed(mutation: str) -> None:
    began = time.monotonic()
    for seed in count(1):
        if play("tally", seed, mutation=mutation).wrong:
            return
        assert time.monotonic() - began < SEARCH_S, f"{seed} schedules with {mutation!r}, and none came out wrong"


def test_a_seed_is_a_schedule() -> None:
    def told(seed: int) -> list[str]:
        lines: list[str] = []
        world(SCENARIOS["tally"], seed, Rates(), trace=lines.append).run()
        return lines

    assert told(5) == told(5) != told(6)
