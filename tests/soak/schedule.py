"""Which fault when: from the seed alone, so that a run can be made again."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass

from tests.soak.launcher import POINTS

KINDS = (
    "kill",
    "crash",
    "stop",
    "leave",
    "broker_kill",
    "broker_stop",
    "leader_loss",
    "cut",
    "slow",
    "disk_full",
    "corrupt_state",
    "clock",
    "redeliver",
)
SHORT: Mapping[str, int] = {"kill": 1, "crash": 4, "stop": 1, "leave": 1, "broker_kill": 1, "clock": 1, "redeliver": 1}
LONG: Mapping[str, int] = {
    "kill": 30,
    "crash": 40,
    "stop": 24,
    "leave": 40,
    "broker_kill": 6,
    "broker_stop": 3,
    "leader_loss": 4,
    "cut": 4,
    "slow": 3,
    "disk_full": 1,
    "corrupt_state": 3,
    "clock": 4,
    "redeliver": 12,
}
"""For half an hour; kills and crashes together are more than 50 even where some crash points do not exist."""

INSTEAD = {"after_state": "mid_produce", "before_offsets": "before_commit", "after_offsets": "during_commit"}
"""Where a release writes no state, or has no transactions, it is killed there in its place."""

CLOCK_S = (3 * 3_600.0, -86_400.0, 300.0, -5.0)


@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """One fault: it strikes as soon after its time as there is somebody to be struck.

    Attributes
    ----------
    slot
        Worker, or broker, of which it is the first to be tried.
    seconds
        How long a stop or an absence lasts, how late within a commit a crash comes, by how much the clock is wrong.
    """

    at_s: float
    kind: str
    slot: int = 0
    point: str = ""
    count: int = 1
    seconds: float = 0.0


def schedule(
    seed: int, seconds: float, counts: Mapping[str, int], *, workers: int, brokers: int, session_s: float
) -> list[Fault]:
    """Return the faults in order; so many of each kind, spread over the time."""
    rng = random.Random(seed)
    faults: list[Fault] = []
    for kind in KINDS:
        for nth in range(counts.get(kind, 0)):
            at = _time(rng, kind, nth, counts[kind], seconds)
            faults.append(_fault(rng, kind, nth, at, workers=workers, brokers=brokers, session_s=session_s))
    return sorted(faults)


def _time(rng: random.Random, kind: str, nth: int, of: int, seconds: float) -> float:
    """Spread over the run; departures come in storms of five, one every three seconds."""
    begin, end = 0.1 * seconds, 0.92 * seconds
    if kind == "leave":
        storms = -(-of // 5)
        return round(begin + (end - begin) * (nth // 5 + 0.5) / storms + 3.0 * (nth % 5), 2)
    return round(begin + (end - begin) * (nth + rng.random()) / of, 2)


def _fault(
    rng: random.Random, kind: str, nth: int, at: float, *, workers: int, brokers: int, session_s: float
) -> Fault:
    slot = rng.randrange(brokers if kind.startswith(("broker", "disk", "cut", "slow")) else workers)
    if kind == "crash":
        point = POINTS[nth % len(POINTS)]
        within = round(rng.uniform(0.0, 0.03), 4) if point == "during_commit" else 0.0
        times = 1 if point == "after_state" else rng.randint(1, 3)  # state is put away every few seconds only
        return Fault(at, kind, slot, point, times, within)
    seconds = {
        "kill": 0.0,
        "stop": session_s + rng.uniform(1.0, 3.0),
        "leave": rng.uniform(0.5, 4.0),
        "broker_kill": rng.uniform(0.5, 3.0),
        "leader_loss": rng.uniform(2.0, 8.0),
        "broker_stop": rng.uniform(4.0, 14.0),
        "cut": rng.uniform(3.0, 12.0),
        "slow": rng.uniform(5.0, 15.0),
        "disk_full": 20.0,
        "corrupt_state": 20.0,
        "clock": CLOCK_S[nth % len(CLOCK_S)],
        "redeliver": 0.0,
    }[kind]
    return Fault(at, kind, slot, seconds=round(seconds, 2))
