"""frouros' streaming detectors, value by value: ADWIN, Page-Hinkley and the incremental KS test (reference 1,000, window 200).

Its ADWIN raises as soon as the sum of its window is negative, so values get ten added; that changes no decision of an ADWIN.
Each turn takes all events of the file; windows are full before the first.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from frouros.detectors.concept_drift import ADWIN, PageHinkley
from frouros.detectors.data_drift import IncrementalKSTest

from benchmarks.rivals.turns import take_turns

LIFT, REFERENCE, WINDOW = 10.0, 1_000, 200


class Loop:
    def __init__(self, *, whole: bool) -> None:
        self._whole = whole
        self._series: dict[str, tuple[Any, Any, Any]] = {}
        self._reference = np.random.default_rng(5).standard_normal(REFERENCE) + LIFT

    def see(self, events: list[bytes]) -> int:
        for line in events:
            event = orjson.loads(line)
            if self._whole:
                self._update("", event["features"])
            for dimension, segment in event.get("segments", {}).items():
                self._update(f"{dimension}={segment}/", event["features"])
        return len(events)

    def _update(self, prefix: str, features: dict[str, float]) -> None:
        for name, value in features.items():
            found = self._series.get(prefix + name) or self._make(prefix + name)
            adwin, page_hinkley, ks = found
            adwin.update(value=value + LIFT)
            _ = adwin.drift
            page_hinkley.update(value=value + LIFT)
            _ = page_hinkley.drift
            _ = ks.update(value=value + LIFT)

    def _make(self, key: str) -> tuple[Any, Any, Any]:
        ks = IncrementalKSTest(window_size=WINDOW)
        ks.fit(X=self._reference)
        for value in self._reference[: WINDOW - 1]:  # the next one fills the window
            ks.update(value=value)
        found = self._series[key] = (ADWIN(), PageHinkley(), ks)
        return found


def main(path: str, whole: str) -> None:
    events = Path(path).read_bytes().splitlines()
    loop = Loop(whole=bool(int(whole)))
    loop.see(events)
    take_turns(lambda: loop.see(events))


if __name__ == "__main__":
    main(*sys.argv[1:])
