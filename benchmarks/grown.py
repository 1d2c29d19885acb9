"""A pipeline that has learned its series, in a process of its own: what it holds, and what an event costs it.

python -m benchmarks.grown SEGMENTS REFERENCE EVENTS
"""

from __future__ import annotations

import gc
import os
import sys

from benchmarks.rivals.turns import take_turns
from benchmarks.service import resident
from benchmarks.traffic import FEATURES, Pipeline, Traffic, settings_for

WINDOW, MODEL_FIRST = 220, 100
CHUNK = 20_000


def main(segments: str, reference: str, events: str) -> None:
    traffic = Traffic(int(segments))
    pipeline = Pipeline(settings_for(int(segments), reference=int(reference)))
    before = resident(os.getpid())
    pipeline.warm(traffic, int(segments) * (int(reference) + WINDOW) + MODEL_FIRST, CHUNK)
    if pipeline.direct.bank.series != int(segments) * FEATURES:
        raise AssertionError("not all series are there")
    gc.collect()

    waiting: list[bytes] = []

    def prepare() -> None:
        waiting[:] = traffic.take(int(events))

    def run() -> int:
        pipeline.feed(waiting)
        return len(waiting)

    take_turns(run, prepare, resident=resident(os.getpid()) - before)


if __name__ == "__main__":
    main(*sys.argv[1:])
