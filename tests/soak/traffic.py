"""Seeded traffic whose drifts and faults give hundreds of alerts: the same seed, the same bytes.

Every model's events have its name as key, so each model is on one partition of the input and its order is fixed; that is what
``different alerts`` can be told by. Event times lie years back, so that no alert hangs on the wall clock, and all models end
within seconds of each other, so that none is silent at the end on one worker and not on another.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

START = 1_700_000_000_000
REGIONS, DEVICES, COLOURS = ("eu", "us", "asia"), ("web", "app"), ("red", "green", "blue")
NUMBERS = 4
BAD_EVERY = 997

SETTINGS = {
    "STREAMDRIFT_REFERENCE__EVENTS": "200",
    "STREAMDRIFT_REFERENCE__FIRST_EVENTS": "200",
    "STREAMDRIFT_DETECTORS__KS__WINDOW_EVENTS": "100",
    "STREAMDRIFT_POLICY__FALSE_PAGES_PER_MODEL_WEEK": "1000",
    "STREAMDRIFT_POLICY__RESOLVE_EVENTS": "100",
    "STREAMDRIFT_POLICY__ALERT_COOLDOWN_S": "60",
    "STREAMDRIFT_POLICY__FLAPPING_OPENINGS": "100",
    "STREAMDRIFT_LABELS__ENABLED": "false",
    "STREAMDRIFT_ANOMALIES__SILENCE_MIN_S": "1e9",
}
"""By these a few hundred events of a model are enough for an alert and for its end.

No silence: that a model is silent is told by events of others, which may stand on other partitions, so it hangs on how far
ahead a worker reads one of them. No labels: these are joined across partitions by time.
"""


@dataclass(frozen=True, slots=True)
class Episode:
    """What is wrong with a model's events from one to another."""

    begin: int
    end: int
    kind: str
    feature: int
    region: str


def episodes(rng: np.random.Generator, n: int, first: int = 300, gap: int = 160, length: int = 160) -> list[Episode]:
    """One after the other, with time to be found and to be resolved."""
    found, at = [], first
    while at + length < n:
        kind = str(rng.choice(["shift", "spread", "nulls", "category", "gone"], p=[0.4, 0.2, 0.2, 0.15, 0.05]))
        region = str(rng.choice([*REGIONS, ""]))
        found.append(Episode(at, at + length, kind, int(rng.integers(NUMBERS)), region))
        at += length + gap + int(rng.integers(40))
    return found


def traffic(seed: int, events: int, models: int = 6) -> Iterator[tuple[bytes, bytes]]:
    """Yield key and value of each message, in order: so many events of each model in turn, now and then nonsense."""
    each = [_model(np.random.default_rng([seed, m]), f"model-{m}", m, models, events // models) for m in range(models)]
    for i, rows in enumerate(zip(*each, strict=True)):
        yield from ((b"model-%d" % m, row) for m, row in enumerate(rows))
        if i % BAD_EVERY == BAD_EVERY // 2:
            yield b"model-%d" % (i % models), b"nonsense %d" % i


def _model(rng: np.random.Generator, name: str, offset: int, models: int, n: int) -> Iterator[bytes]:
    wrong = episodes(rng, n)
    numbers, unit = rng.standard_normal((n, NUMBERS)), rng.random((n, 2))
    regions, devices = rng.choice(REGIONS, n, p=[0.5, 0.3, 0.2]), rng.choice(DEVICES, n)
    colours = rng.choice(COLOURS, n)
    at = 0
    for i in range(n):
        if at < len(wrong) and i >= wrong[at].end:
            at += 1
        region = str(regions[i])
        features: dict[str, Any] = {f"x{j}": float(numbers[i, j]) for j in range(NUMBERS)}
        features |= {"y": float(unit[i, 0]), "colour": str(colours[i])}
        if at < len(wrong) and wrong[at].begin <= i:
            region = _spoil(features, wrong[at], region, float(unit[i, 1]))
        yield orjson.dumps(
            {
                "prediction_id": f"{name}-{i}",
                "occurred_at": START + (i * models + offset) * 1_000,
                "model": {"name": name, "version": "1"},
                "segments": {"region": region, "device": str(devices[i])},
                "features": features,
            }
        )


def _spoil(features: dict[str, Any], wrong: Episode, region: str, chance: float) -> str:
    """Do to one event what the episode does; return the region that it is then from."""
    if wrong.region not in {"", region}:
        return region
    name = f"x{wrong.feature}"
    if wrong.kind == "shift":
        features[name] += 3.0
    elif wrong.kind == "spread":
        features[name] *= 5.0
    elif wrong.kind == "nulls" and chance < 0.5:
        features["y"] = None
    elif wrong.kind == "category" and chance < 0.4:
        features["colour"] = "mauve"
    elif wrong.kind == "gone" and region == "asia":
        return "us"
    return region
