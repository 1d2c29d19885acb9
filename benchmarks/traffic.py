"""Events for the benchmarks: one model, ten numeric features N(0,1), one segment dimension or none; nothing ever changes in them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import orjson

from streamdrift.pipeline import Direct
from streamdrift.ports import Partition
from streamdrift.records import Run
from streamdrift.settings import Override, Settings
from streamdrift.settings.identity import config_hash
from streamdrift.telemetry import Metrics
from streamdrift.worker import Output

FEATURES = 10
START_MS, STEP_MS = 1_700_000_000_000, 100
REFERENCE = 1_000
"""Events that a series' reference is learned from here, as many as KS compares with at most."""
WINDOWS = 300
"""Events of a series after its reference, by which all windows are full."""


class Traffic:
    """Events as bytes. Segments come in rounds, each time in another order, so that all get as many events."""

    def __init__(self, segments: int, seed: int = 1) -> None:
        self.segments, self._rng = segments, np.random.default_rng(seed)
        self._at = 0
        self._waiting: list[int] = []

    def take(self, n: int, level: float = 0.0) -> list[bytes]:
        """Return the next events; ``level`` is the mean of all features."""
        values = (self._rng.standard_normal((n, FEATURES)) + level).round(5).tolist()
        names = [f"feature_{j:02d}" for j in range(FEATURES)]
        events = []
        for row in values:
            event = {
                "prediction_id": f"p-{self._at}",
                "occurred_at": START_MS + self._at * STEP_MS,
                "model": {"name": "m", "version": "1"},
            }
            if self.segments:
                event["segments"] = {"shop": f"s{self._segment():05d}"}
            event["features"] = dict(zip(names, row, strict=True))
            events.append(orjson.dumps(event))
            self._at += 1
        return events

    def _segment(self) -> int:
        if not self._waiting:
            self._waiting = self._rng.permutation(self.segments).tolist()
        return self._waiting.pop()


def settings_for(segments: int, *, reference: int = REFERENCE, whole: bool = False) -> Settings:
    """Settings as they are by default, but for references of the same length in all series.

    Parameters
    ----------
    segments
        Room is made for so many.
    whole
        Whether all traffic is watched beside the segments, as it is by default. Without segments it is in any case.
    """
    return Settings.model_validate(
        {
            "reference": {"events": max(reference, 100), "segment_events": reference},
            "overrides": {} if whole or not segments else {"whole": Override(segment="", enabled=False)},
            "series_max": max(10_000, (segments + 1) * (FEATURES + 1)),
            "segments_per_model_max": max(500, segments),
        }
    )


class Pipeline:
    """Ours: the stages of ``streamdrift replay`` in memory, fed with bytes as a source that reads in bulk gives them."""

    def __init__(self, settings: Settings) -> None:
        self.direct = Direct(settings, config_hash(settings), Metrics())
        self._batch, self._at, self._here = settings.block_events_max, 0, Partition("events", 0)

    def batches(self, values: Sequence[bytes]) -> list[Run]:
        """The next records, cut into batches."""
        found = []
        for begin in range(0, len(values), self._batch):
            part = values[begin : begin + self._batch]
            offsets = np.arange(self._at, self._at + len(part))
            found.append(Run(part, self._here, offsets, START_MS + offsets * STEP_MS))
            self._at += len(part)
        return found

    def feed(self, values: Sequence[bytes]) -> Output:
        """Take the next events."""
        total = Output()
        for records in self.batches(values):
            output = self.direct.process(records)
            total.messages += output.messages
            total.alerts += output.alerts
        return total

    def warm(self, traffic: Traffic, events: int, chunk: int = 50_000) -> None:
        """Learn the references and fill the windows."""
        for begin in range(0, events, chunk):
            self.feed(traffic.take(min(chunk, events - begin)))


def learned(segments: int, settings: Settings) -> tuple[Pipeline, Traffic]:
    """A pipeline whose references are learned and whose windows are full, and the traffic that goes on."""
    pipeline, traffic = Pipeline(settings), Traffic(segments)
    pipeline.warm(traffic, (REFERENCE + WINDOWS) * max(segments, 1) + REFERENCE)
    return pipeline, traffic
