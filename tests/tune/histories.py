"""Histories for tune: three weeks of a model, an event every ten minutes, with one series that is restless."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from streamdrift.settings import Settings

START = 1_700_000_000_000
STEP_MS = 600_000
EVENTS = 3_600
BURST, EVERY = 48, 640
SMALL: dict[str, Any] = {
    "reference": {"events": 200, "segment_events": 200},
    "detectors": {"ks": {"window_events": 100}},
    "policy": {"resolve_events": 64, "flapping_openings": 100},
}
TREE = Settings.model_validate(SMALL)
ENVIRONMENT = {
    "STREAMDRIFT_REFERENCE__SEGMENT_EVENTS": "200",
    "STREAMDRIFT_POLICY__RESOLVE_EVENTS": "64",
    "STREAMDRIFT_POLICY__FLAPPING_OPENINGS": "100",
}


def shop(
    n: int = EVENTS, seed: int = 4, model: str = "shop", restless: float = 1.5, phase: int = 0
) -> list[dict[str, Any]]:
    """`price` in country=DE is a standard deviation off for some hours every few days; all else is quiet."""
    rng = np.random.default_rng(seed)
    events = []
    for i in range(n):
        country = "DE" if i % 2 else "FR"
        burst = i > 500 and country == "DE" and (i + phase) % EVERY < 2 * BURST
        events.append(
            {
                "prediction_id": f"{model}-{i}",
                "model": model,
                "occurred_at": START + i * STEP_MS,
                "segments": {"country": country},
                "features": {
                    "price": round(float(rng.standard_normal()) + restless * burst, 6),
                    **{f"x{k}": round(float(rng.standard_normal()), 6) for k in range(4)},
                },
            }
        )
    return events


def written(path: Path, events: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(event) + "\n" for event in events), encoding="utf-8")
    return str(path)
