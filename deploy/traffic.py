"""Plays the demo's events into Kafka, at a steady pace, each with its own event time.

Settings are those of streamdrift; ``TRAFFIC_EVENTS_PER_S`` is the pace (default 500).
"""

# ruff: noqa: INP001 - a script of the stack, no package

from __future__ import annotations

import logging
import os
import sys

import orjson

from streamdrift.app import SystemClock, settings_of_process
from streamdrift.demo.incidents import events
from streamdrift.errors import Fatal
from streamdrift.transports.kafka import KafkaSink

STEPS_PER_S = 10
FLUSH_S = 30.0
log = logging.getLogger("traffic")


def play(per_second: float) -> int:
    """Send the whole recording; return the number of events."""
    settings = settings_of_process().settings
    clock = SystemClock()
    sink = KafkaSink(settings.kafka, clock)
    began, sent = clock.monotonic(), 0
    try:
        for sent, event in enumerate(events(), start=1):
            sink.send(settings.topics.events, event, orjson.loads(event)["prediction_id"].encode())
            if sent % max(1, int(per_second / STEPS_PER_S)) == 0:
                sink.flush(FLUSH_S)
                clock.sleep(max(0.0, began + sent / per_second - clock.monotonic()))
            if sent % 5_000 == 0:
                log.info("%d events sent; event time %s", sent, orjson.loads(event)["occurred_at"])
        sink.flush(FLUSH_S)
    finally:
        sink.close()
    return sent


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    try:
        log.info("done: %d events", play(float(os.environ.get("TRAFFIC_EVENTS_PER_S", "500"))))
    except Fatal as e:
        sys.exit(f"traffic: {e}")
