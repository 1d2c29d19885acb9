"""Runs schedules and judges them: what was said, how often, what it says, and what state is left."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import structlog

from streamdrift.pipeline import Assemble, Detect, Direct
from streamdrift.settings import Settings
from tests.simulation.tally import FLOOR, Tally
from tests.simulation.world import CALM, METRICS, Rates, StuckError, World
from tests.soak.traffic import SETTINGS as SOAK_SETTINGS
from tests.soak.traffic import traffic

KEYS, EVENTS = 5, 90
KAFKA = {"kafka": {"poll_records_max": 7, "commit_interval_s": 0.5}}
CHEAP = Settings.model_validate(KAFKA)
REAL = Settings.model_validate(
    {
        "kafka": {"poll_records_max": 400, "commit_interval_s": 0.5},
        "reference": {"events": 100, "first_events": 100},
        "detectors": {"ks": {"window_events": 50}},
        "policy": {
            "resolve_events": 60,
            "alert_cooldown_s": 60,
            "flapping_openings": 100,
            "false_pages_per_model_week": 1000,
        },
        "anomalies": {"silence_min_s": float(SOAK_SETTINGS["STREAMDRIFT_ANOMALIES__SILENCE_MIN_S"])},
    }
)
REAL_EVENTS = 1_600


@dataclass(frozen=True)
class Scenario:
    """A stage with its input and settings."""

    name: str
    stages: Mapping[str, Callable[[World], Any]]
    feed: Callable[[int], list[tuple[bytes, bytes]]]
    settings: Settings
    batch: int = 1
    same_state: bool = True
    """Whether the state that is left is the same to the byte; behind an exchange it has offsets in it that are not."""


def cheap_feed(seed: int) -> list[tuple[bytes, bytes]]:
    rng = random.Random(-seed - 1)
    return [(b"k%d" % rng.randrange(KEYS), b"%d" % rng.randrange(1_000)) for _ in range(EVENTS)]


@cache
def _real_traffic() -> list[tuple[bytes, bytes]]:
    return list(traffic(1, REAL_EVENTS, models=2))


SCENARIOS = {
    "tally": Scenario("tally", {"events": lambda world: Tally(world, CHEAP.topics.alerts)}, cheap_feed, CHEAP),
    "direct": Scenario(
        "direct",
        {REAL.topics.events: lambda _: Direct(REAL, "config", METRICS)},
        lambda _: _real_traffic(),
        REAL,
        batch=40,
    ),
    "exchange": Scenario(
        "exchange",
        {
            REAL.topics.events: lambda _: Assemble(REAL, METRICS),
            REAL.topics.blocks: lambda _: Detect(REAL, "config", METRICS),
        },
        lambda _: _real_traffic(),
        REAL,
        batch=40,
        same_state=False,
    ),
}


@dataclass
class Outcome:
    """What one schedule came to."""

    seed: int
    problems: list[str] = field(default_factory=list)
    alerts: int = 0
    twice: int = 0
    struck: Counter[str] = field(default_factory=Counter)

    @property
    def wrong(self) -> bool:
        return bool(self.problems)


def world(scenario: Scenario, seed: int, rates: Rates, **options: Any) -> World:
    return World(seed, scenario.stages, scenario.feed(seed), scenario.settings, rates, batch=scenario.batch, **options)


def play(
    name: str, seed: int, *, mutation: str = "", plain: bool = False, trace: Callable[[str], None] | None = None
) -> Outcome:
    """Run one schedule, and the same input without faults; return what differs."""
    scenario, outcome = SCENARIOS[name], Outcome(seed)
    faulty = world(scenario, seed, Rates(), mutation=mutation, plain=plain, trace=trace)
    calm_alerts, calm_states = _calm(name, seed if name == "tally" else 0)
    try:
        faulty.run()
    except StuckError as e:
        outcome.problems.append(str(e))
        return outcome
    got, times = faulty.alerts(), Counter(one for one, _ in faulty.alerts())
    outcome.struck, outcome.alerts, outcome.twice = faulty.struck, len(calm_alerts), len(got) - len(times)
    if lost := calm_alerts.keys() - times.keys():
        outcome.problems.append(f"lost: {sorted(lost)[:5]}")
    if foreign := times.keys() - calm_alerts.keys():
        outcome.problems.append(f"nobody expects: {sorted(foreign)[:5]}")
    if different := {one for one, content in got if calm_alerts.get(one, content) != content}:
        outcome.problems.append(f"different: {sorted(different)[:5]}")
    if not plain and outcome.twice:
        outcome.problems.append(f"twice: {sorted(one for one, n in times.items() if n > 1)[:5]}")
    if not plain and scenario.same_state and faulty.states() != calm_states:
        outcome.problems.append("the state that is left is another")
    return outcome


@cache
def _calm(name: str, seed: int) -> tuple[dict[str, bytes], dict[bytes, bytes | None]]:
    alone = world(SCENARIOS[name], seed, CALM, workers=1)
    alone.run()
    said = alone.alerts()
    found = dict(said)
    if len(found) != len(said):
        raise AssertionError("the run without faults says something twice")
    if not found:
        raise AssertionError("the run without faults says nothing, so nothing is compared")
    return found, {key: value for key, value in alone.states().items() if not key.endswith(FLOOR) or value}


@contextmanager
def quiet() -> Iterator[None]:
    """Thousands of workers would log thousands of alerts."""
    structlog.configure(processors=[_drop])
    try:
        yield
    finally:
        structlog.reset_defaults()


def _drop(*_: Any) -> Any:
    raise structlog.DropEvent


def search(name: str, seeds: Iterator[int], seconds: float, **options: Any) -> tuple[list[Outcome], Counter[str], int]:
    """Run schedules until the time is up or one is wrong; return what was wrong, what struck, and how many there were."""
    began, n, struck = time.monotonic(), 0, Counter[str]()
    for seed in seeds:
        outcome = play(name, seed, **options)
        n += 1
        struck += outcome.struck
        if outcome.wrong:
            return [outcome], struck, n
        if time.monotonic() - began > seconds:
            break
    return [], struck, n
