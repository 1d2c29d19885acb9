"""State as each version of the format has it. ``python -m tests.state.lives`` writes that of the present one.

A file once released is never written anew: later releases must go on from it.
"""

from __future__ import annotations

import base64
import gzip
import json
from pathlib import Path
from typing import Any

from streamdrift.detect.specs_traffic import SPECS
from streamdrift.pipeline import Assemble, Direct
from streamdrift.settings import Settings
from streamdrift.state import records
from streamdrift.telemetry import Metrics
from tests.state import much_traffic
from tests.state.much_traffic import Broker, Process

FOLDER = Path(__file__).parent / "golden"
SETTINGS: dict[str, Any] = {
    "reference": {"events": 100, "segment_events": 100, "first_events": 100, "mode": "rolling", "renew_events": 100},
    "detectors": {"ks": {"window_events": 50}},
    "policy": {"resolve_events": 64, "alert_cooldown_s": 600.0, "require": "none"},
    "anomalies": {"duplicate_within_events": 40, "replay_within_events": 60},
    "segments": ["region"],
    "overrides": {"some": {"segment": "region=asia", "enabled": False}},
}
"""None of these may change: what they are is part of the state."""
N, STOPS, STEP = 900, 600, 60


def stage(name: str, engine: str = "auto") -> Direct | Assemble:
    tree = Settings.model_validate(SETTINGS | {"engine": engine})
    return Direct(tree, "config", Metrics()) if name == "direct" else Assemble(tree, Metrics())


def life(
    name: str, kept: dict[bytes, bytes] | None = None, engine: str = "auto"
) -> tuple[dict[bytes, bytes], list[str], list[Any]]:
    """Run a stage to where it stops, or from there on; return its changelog, the ids of its alerts, and its state at the stop."""
    logs = much_traffic.log(json.loads(gzip.decompress((FOLDER / "events.json.gz").read_bytes())))
    (place,) = logs
    broker = Broker(logs) if kept is None else Broker(logs, {place: STOPS}, {place: dict(kept)})
    process = Process(stage(name, engine), broker, STEP)
    if kept is not None and process.next[place] != STOPS:
        raise AssertionError(f"it goes on from {process.next[place]}, not from {STOPS}")
    before = state(process.stage)
    for _ in range((STOPS if kept is None else N - STOPS) // STEP):
        process.step()
    process.commit(flush=True)
    ids = [json.loads(value)["id"] for _, value in broker.out] if name == "direct" else []
    return broker.changelog[place], ids, state(process.stage) if kept is None else before


def state(found: Any) -> list[Any]:
    if isinstance(found, Direct):
        return sorted(much_traffic.hashes(found).values())
    counted = found._assembler.counted()
    return [[*place, rows, *map(sorted, known.told())] for place, rows, known in counted]


def schema() -> dict[str, list[str]]:
    """What is written of each class."""
    return {spec.name: list(spec.keeps) for spec in SPECS.specs()}


def written(name: str) -> dict[str, Any]:
    changelog, _, at_stop = life(name)
    _, ids, _ = life(name, changelog)
    text = {base64.b64encode(key).decode(): base64.b64encode(value).decode() for key, value in changelog.items()}
    return {"changelog": text, "ids": ids, "state": at_stop, "schema": schema()}


def read(version: int) -> dict[str, dict[str, Any]]:
    """What a version's file has, the changelog as bytes."""
    found: dict[str, dict[str, Any]] = json.loads(gzip.decompress((FOLDER / f"version-{version}.json.gz").read_bytes()))
    for one in found.values():
        one["changelog"] = {base64.b64decode(k): base64.b64decode(v) for k, v in one["changelog"].items()}
    return found


def events() -> list[dict[str, Any]]:
    """Events for good: nothing that draws them may change them."""
    found = much_traffic.events(N)
    for event in found:
        event["features"] = {
            name: event["features"][name] for name in ("x", "nullable", "category") if name in event["features"]
        }
        event["prediction"].pop("score")
    return found


if __name__ == "__main__":
    if not (FOLDER / "events.json.gz").exists():
        (FOLDER / "events.json.gz").write_bytes(gzip.compress(json.dumps(events()).encode(), mtime=0))
    (FOLDER / f"version-{records.VERSION}.json.gz").write_bytes(
        gzip.compress(json.dumps({name: written(name) for name in ("direct", "assemble")}).encode(), mtime=0)
    )
