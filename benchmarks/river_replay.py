"""What a loop over river finds: `replay` with one ADWIN (default settings) per numeric feature and segment.

    make accuracy EVALUATE=path/to/evaluate.py

Takes the arguments of `streamdrift replay` that an evaluation gives, so that both are scored by the same rules. Every numeric
feature, the prediction's score and the error of labelled predictions get a detector in all traffic and in every
segment; each flag is an alert. Nulls and text are passed over: one NaN would silence river's ADWIN for good.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import orjson
from river import drift


def _json(line: bytes) -> Any:
    """Numbers beyond a double are text to this loop, as a careful author of one would have it."""
    return orjson.loads(line.replace(b":1e999", b':"inf"').replace(b":-1e999", b':"-inf"'))


def labels_of(path: str | None) -> Iterator[tuple[str, dict[str, Any]]]:
    if path is not None:
        with Path(path).open("rb") as lines:
            for line in lines:
                label = _json(line)
                yield label["observed_at"], label


def error_of(prediction: dict[str, Any], label: dict[str, Any]) -> float | None:
    if "label" in label:
        said = prediction.get("label")
        return (
            None if said is None else float(str(int(said) if isinstance(said, bool) else said) != str(label["label"]))
        )
    score = prediction.get("score")
    return None if score is None else abs(score - label["value"])


class Loop:
    def __init__(self, out: Any) -> None:
        self._out = out
        self._detectors: dict[tuple[str, str, str], drift.ADWIN] = {}

    def see(
        self, model: str, segments: dict[str, str], feature: str, value: object, at: str, position: dict[str, Any]
    ) -> None:
        if type(value) not in {int, float}:
            return
        for dimension, name in [("", ""), *segments.items()]:
            key = (model, f"{dimension}={name}", feature)
            detector = self._detectors.get(key)
            if detector is None:
                detector = self._detectors[key] = drift.ADWIN()
            detector.update(value)
            if detector.drift_detected:
                segment = {dimension: name} if dimension else {}
                data = {
                    "status": "firing",
                    "kind": "drift",
                    "reason": "mean_shift",
                    "model": {"name": model},
                    "segment": segment,
                    "feature": feature,
                    "role": "performance" if feature.startswith("performance") else "feature",
                    "detected_at": at,
                    "position": position,
                }
                self._out.write(orjson.dumps({"specversion": "1.0", "data": data}) + b"\n")


def replay(events: str, labels: str | None, alerts: str) -> None:
    waiting: dict[str, tuple[dict[str, Any], dict[str, str]]] = {}
    feed = labels_of(labels)
    due = next(feed, None)
    with Path(alerts).open("wb") as out, Path(events).open("rb") as lines:
        loop = Loop(out)
        for number, line in enumerate(lines, start=1):
            event = _json(line)
            model, at = event["model"]["name"], event["occurred_at"]
            segments, prediction = event.get("segments", {}), event.get("prediction", {})
            position = {"file": events, "line": number}
            for feature, value in event["features"].items():
                loop.see(model, segments, feature, value, at, position)
            loop.see(model, segments, "prediction.score", prediction.get("score"), at, position)
            if labels is not None:
                waiting[event["prediction_id"]] = (prediction, segments)
            while due is not None and due[0] <= at:
                found = waiting.pop(due[1]["prediction_id"], None)
                if found is not None:
                    loop.see(model, found[1], "performance.error", error_of(found[0], due[1]), due[0], {})
                due = next(feed, None)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["replay"])
    parser.add_argument("events")
    parser.add_argument("--labels")
    parser.add_argument("--alerts", required=True)
    parser.add_argument("--summary")
    options = parser.parse_args(arguments)
    replay(options.events, options.labels, options.alerts)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
