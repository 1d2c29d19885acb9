"""Delayed labels joined to their predictions by id: what was predicted against what came true.

Predictions wait in a bounded buffer in event order. A label that finds none is an orphan (its prediction was never
seen, left after ``join_ttl_s``, or was already answered); all of these are counted.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from streamdrift.events.inference import Inference
from streamdrift.events.label import Label
from streamdrift.settings import LabelSettings


@dataclass(slots=True)
class Outcome:
    """A prediction with its truth. ``error`` is 0 or 1 for labels, the absolute error for values."""

    model: str
    version: str | None
    segments: dict[str, str]
    time: int
    error: float


@dataclass(slots=True)
class _Waiting:
    time: int
    version: str | None
    label: Any
    score: Any
    segments: dict[str, str]


class LabelJoin:
    """The buffer of predictions that wait for their label.

    ``counts`` has ``joined``, ``orphan``, ``expired``, ``evicted`` and ``unusable`` (a prediction to which the truth can't be
    compared).
    """

    def __init__(self, settings: LabelSettings) -> None:
        self._ttl_ms = round(settings.join_ttl_s * 1000)
        self._events_max = settings.join_events_max
        self._waiting: dict[tuple[str, str], _Waiting] = {}
        self.counts: Counter[str] = Counter()

    def predicted(self, event: Inference) -> None:
        """Keep what a label will be compared with."""
        signals = event.signals
        if event.prediction_id is None or not ("prediction.label" in signals or "prediction.score" in signals):
            return
        self._waiting[event.model, event.prediction_id] = _Waiting(
            event.time,
            event.version,
            signals.get("prediction.label"),
            signals.get("prediction.score"),
            event.segments,
        )
        if len(self._waiting) > self._events_max:
            del self._waiting[next(iter(self._waiting))]
            self.counts["evicted"] += 1

    def observed(self, label: Label) -> Outcome | None:
        """Return the outcome, or None where there is nothing to compare with."""
        if label.prediction is not None:
            inline = label.prediction
            waiting = _Waiting(label.time, None, inline.get("label"), inline.get("score"), label.segments)
        else:
            found = self._waiting.pop((label.model, label.prediction_id), None)
            if found is None:
                self.counts["orphan"] += 1
                return None
            if label.time - found.time > self._ttl_ms:
                self.counts["expired"] += 1
                return None
            waiting = found
        error = _error(label, waiting)
        if error is None:
            self.counts["unusable"] += 1
            return None
        self.counts["joined"] += 1
        return Outcome(label.model, waiting.version, waiting.segments, label.time, error)


def _error(label: Label, waiting: _Waiting) -> float | None:
    if label.numeric:
        score = waiting.score
        return abs(float(score) - float(label.truth)) if type(score) in {int, float} else None
    predicted = waiting.label
    if predicted is None:
        return None
    # "1", 1 and true name one class where the label service and the model write types differently
    return float(_name(predicted) != _name(label.truth))


def _name(value: Any) -> str:
    if type(value) is bool:
        return str(int(value))
    if type(value) is float and value.is_integer():
        return str(int(value))
    return str(value)
