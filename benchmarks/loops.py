"""What people write without streamdrift: one detector per series, fed value by value."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import orjson
import scipy.stats
from river import drift

WINDOW = 200


class Detect:
    """A loop over events, and in each over its series: of all traffic, and of the event's segments."""

    whole = True
    """Whether there are series of all traffic."""

    def __init__(self) -> None:
        self._series: defaultdict[str, Any] = defaultdict(self.make)

    def make(self) -> Any:
        """What watches one series."""
        raise NotImplementedError

    def see(self, events: Sequence[bytes]) -> int:
        """Take events; return how many."""
        raise NotImplementedError

    def values(self, events: Sequence[bytes]) -> Iterator[tuple[Any, float]]:
        """What watches a series, and its next value."""
        series, whole = self._series, self.whole
        for line in events:
            event = orjson.loads(line)
            features = event["features"]
            if whole:
                for name, value in features.items():
                    yield series[name], value
            for dimension, segment in event.get("segments", {}).items():
                for name, value in features.items():
                    yield series[f"{dimension}={segment}/{name}"], value


class Loop(Detect):
    """river's detectors with their default settings."""

    def __init__(self, *, kswin: bool) -> None:
        super().__init__()
        self._kswin = kswin

    def make(self) -> list[Any]:
        return [drift.ADWIN(), drift.PageHinkley(), *([drift.KSWIN(seed=1)] if self._kswin else [])]

    def see(self, events: Sequence[bytes]) -> int:
        for detectors, value in self.values(events):
            for detector in detectors:
                detector.update(value)
                _ = detector.drift_detected
        return len(events)


class KsLoop(Detect):
    """scipy's two-sample test of a fixed reference and the last values, after every event; windows are full from the start."""

    def __init__(self, reference: int) -> None:
        super().__init__()
        rng = np.random.default_rng(5)
        self._reference = np.sort(rng.standard_normal(reference))
        self._window = rng.standard_normal(WINDOW).tolist()

    def make(self) -> deque[float]:
        return deque(self._window, WINDOW)

    def see(self, events: Sequence[bytes]) -> int:
        for window, value in self.values(events):
            window.append(value)
            _ = scipy.stats.ks_2samp(self._reference, window).pvalue
        return len(events)
