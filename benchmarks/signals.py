"""Embeddings, class probabilities and free text: false alarms where nothing changes, and delay where something does.

``python benchmarks/signals.py [--seeds 30] [--events 20000]``. Made streams, default settings, the way of ``replay`` from
events to alerts. Every alert counts, whatever its severity.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from streamdrift.alerts import Alert
from streamdrift.blocks.assemble import Assembler
from streamdrift.blocks.column import Floats
from streamdrift.detect.bank import Bank
from streamdrift.ports import Partition, Record
from streamdrift.settings import Settings

SETTINGS = Settings(free_text=("comment",))
WARM_UP = 8_000
"""Events after which every series watches: centroids and reference window are learnt."""
WORDS = np.array(
    [
        "the",
        "flight",
        "was",
        "late",
        "again",
        "and",
        "nobody",
        "at",
        "the",
        "gate",
        "said",
        "why",
        "or",
        "when",
        "it",
        "would",
        "go",
    ]
)

Random = np.random.Generator
Events = list[dict[str, Any]]


def gaussian(n: int, rng: Random) -> Floats:
    """Isotropic."""
    return rng.standard_normal((n, 24))


def relu(n: int, rng: Random) -> Floats:
    """Never negative, mostly in one direction."""
    x: Floats = np.maximum(rng.standard_normal((n, 48)) + rng.standard_normal(48), 0.0)
    return x


def anisotropic(n: int, rng: Random) -> Floats:
    """A large mean, and variances that fall off."""
    x: Floats = rng.standard_normal((n, 64)) * np.exp(-np.arange(64) / 10) + 3 * rng.standard_normal(64)
    return x


def clusters(n: int, rng: Random) -> Floats:
    """Six, on the unit sphere."""
    return unit(mixture(rng.choice(6, n, p=rng.dirichlet(np.full(6, 3.0))), rng))


def heavy(n: int, rng: Random) -> Floats:
    """Heavy tails of entries and of norms."""
    x: Floats = rng.standard_t(3, (n, 16)) * rng.lognormal(0, 0.7, (n, 1))
    return x


def dependent(n: int, rng: Random) -> Floats:
    """AR(1) with coefficient .8."""
    x = rng.standard_normal((n, 16))
    x[1:] *= 0.6
    for i in range(1, n):
        x[i] += 0.8 * x[i - 1]
    return x


def flat(n: int, rng: Random) -> Floats:
    """Two dimensions."""
    x: Floats = rng.standard_normal((n, 2)) + np.array([1.0, 0.0])
    return x


def mixture(which: np.ndarray[tuple[int], np.dtype[np.int64]], rng: Random) -> Floats:
    centres = 2 * rng.standard_normal((8, 32))
    x: Floats = centres[which] + rng.standard_normal((len(which), 32))
    return x


def unit(x: Floats) -> Floats:
    scaled: Floats = x / np.linalg.norm(x, axis=1)[:, None]
    return scaled


EMBEDDINGS = (gaussian, relu, anisotropic, clusters, heavy, dependent, flat)


def embeddings(make: Callable[[int, Random], Floats], n: int, rng: Random) -> Events:
    return embedded(make(n, rng))


def embedded(x: Floats) -> Events:
    return [{"embeddings": {"e": row}} for row in x.tolist()]


def probabilities(n: int, rng: Random) -> Events:
    return [
        {"prediction": {"probabilities": dict(zip("abc", p, strict=True))}}
        for p in rng.dirichlet([2.0, 1.0, 0.5], n).round(4).tolist()
    ]


def texts(n: int, rng: Random) -> Events:
    lengths = 1 + rng.poisson(rng.lognormal(2, 0.7, n))
    return [{"features": {"comment": " ".join(rng.choice(WORDS, k)) + str(rng.integers(1_000))}} for k in lengths]


def detect(events: Events) -> tuple[list[Alert], int]:
    """Alerts that open, and the number of series."""
    assembler, bank, alerts = Assembler(SETTINGS), Bank(SETTINGS, "benchmark"), []
    for i, event in enumerate(events):
        value = json.dumps({"model": "m", "occurred_at": i * 1_000} | event).encode()
        assembler.add(Record(value, Partition("events", 0), i, 0))
        if assembler.pending >= SETTINGS.block_events_max or i == len(events) - 1:
            alerts += bank.update(assembler.take().blocks)
    return [alert for alert in alerts if alert.status == "firing" and alert.role != "traffic"], bank.series


def quiet(name: str, make: Callable[[int, Random], Events], n: int, seeds: int) -> None:
    found, watched = 0, 0
    for seed in range(seeds):
        alerts, series = detect(make(n, np.random.default_rng([seed, 1])))
        found, watched = found + len(alerts), watched + series * (n - WARM_UP)
    print(f"{name:<28}{found:>8}{watched / 1e4:>12.0f}{found / watched * 1e4:>12.4f}", flush=True)


def moved(rng: Random, n: int, share: float) -> Events:
    """The mean goes off by this share of a standard deviation per entry, in a random direction."""
    x = gaussian(2 * n, rng)
    direction = rng.standard_normal(x.shape[1])
    x[n:] += share * np.sqrt(x.shape[1]) * direction / np.linalg.norm(direction)
    return embedded(x)


def remixed(rng: Random, n: int, share: float) -> Events:
    """This share of all vectors goes from the largest cluster to the smallest."""
    before, off = np.array([0.35, 0.25, 0.2, 0.15, 0.05]), np.array([-share, 0, 0, 0, share])
    return embedded(mixture(np.concatenate([rng.choice(5, n, p=before), rng.choice(5, n, p=before + off)]), rng))


def changes() -> Iterator[tuple[str, Callable[[Random, int, float], Events], float]]:
    for share in (0.1, 0.15, 0.25, 0.5, 1.0):
        yield f"mean +{share:g} sd per entry", moved, share
    for share in (0.05, 0.1, 0.2):
        yield f"{share:.0%} to another cluster", remixed, share


def delayed(name: str, make: Callable[[Random, int, float], Events], size: float, seeds: int) -> None:
    onset, delays = WARM_UP + 2_000, []
    for seed in range(seeds):
        alerts, _ = detect(make(np.random.default_rng([seed, 2]), onset, size))
        after = [alert.detected_at // 1_000 - onset for alert in alerts if alert.detected_at >= onset * 1_000]
        delays.append(min(after, default=np.inf))
    print(f"{name:<28}{np.isfinite(delays).mean():>8.0%}{np.median(delays):>12.0f}", flush=True)


def main() -> None:
    """Print both tables."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--seeds", type=int, default=30, help="streams of each kind")
    options.add_argument("--events", type=int, default=20_000, help="events of a stream that doesn't change")
    given = options.parse_args()
    print(f"{'nothing changes':<28}{'alerts':>8}{'10k events':>12}{'per 10k':>12}")
    for make in EMBEDDINGS:
        quiet(f"embedding, {make.__name__}", partial(embeddings, make), given.events, given.seeds)
    quiet("probabilities", probabilities, given.events, given.seeds)
    quiet("free text", texts, given.events, given.seeds)
    print(f"\n{'first alert on a change':<28}{'found':>8}{'median':>12}")
    for name, change, size in changes():
        delayed(name, change, size, max(1, given.seeds // 3))


if __name__ == "__main__":
    main()
