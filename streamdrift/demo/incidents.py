"""The demo's traffic: the recording as inference events, with three incidents put in at fixed event times.

Each is modelled on one that a company told of in public: values that go missing in one segment, an upstream model that is
retrained, a partner whose traffic stops. Each begins after the series it hits had time to fill their reference windows,
lasts some days, and recovers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import blake2b

import orjson

from streamdrift.alerts import rfc3339
from streamdrift.demo.flights import Departure, departures, milliseconds

MODEL = {"name": "flight-delay", "version": "7"}
LATE_SCORE = 0.5
NULL_SHARE = 0.10
UPSTREAM_FACTOR = 0.75


@dataclass(frozen=True, slots=True)
class Injected:
    """One incident put in: what a right alert says.

    Attributes
    ----------
    onset, end
        Event time, milliseconds since the epoch; ``end`` is the first moment of the recovery.
    feature, segment
        Where: the alert's feature, and the segment, ``{}`` for all traffic.
    reasons
        Any of which names it rightly.
    what
        A sentence for people.
    """

    name: str
    onset: int
    end: int
    feature: str
    reasons: tuple[str, ...]
    what: str
    segment: dict[str, str] = field(default_factory=dict)

    def holds(self, time: int) -> bool:
        """Whether an event of this time is in it."""
        return self.onset <= time < self.end


NULLS = Injected(
    "nulls-at-one-origin",
    milliseconds("2013-04-17T08:00"),
    milliseconds("2013-04-20T20:00"),
    "dep_delay",
    ("null_rate",),
    "dep_delay is null in 10 % of the events of origin EWR",
    {"origin": "EWR"},
)
UPSTREAM = Injected(
    "upstream-model-retrained",
    milliseconds("2013-04-23T06:00"),
    milliseconds("2013-04-26T06:00"),
    "sched_block_min",
    ("mean_shift", "distribution_shift"),
    "the upstream model that makes sched_block_min says a quarter less, everywhere",
)
GONE = Injected(
    "carrier-gone",
    milliseconds("2013-04-27T09:00"),
    milliseconds("2013-04-30T09:00"),
    "traffic.rate",
    ("volume_drop", "silence"),
    "the events of carrier EV stop coming",
    {"carrier": "EV"},
)
INCIDENTS = (NULLS, UPSTREAM, GONE)
"""In order of onset."""

NEWCOMER = Injected(
    "new-carrier-at-newark",
    milliseconds("2013-04-02T18:13"),
    milliseconds("2013-05-01T00:00"),
    "carrier",
    ("new_category",),
    "Virgin America's first departures from Newark; nobody put them in, they are in the recording",
    {"origin": "EWR"},
)


def events(seed: int = 7) -> Iterator[bytes]:
    """Yield the demo's inference events in order of event time, one JSON document each.

    The same seed gives the same bytes; it decides which of EWR's events lose ``dep_delay``, and nothing else.
    """
    for departure in departures():
        if GONE.holds(departure.time) and departure.carrier == GONE.segment["carrier"]:
            continue
        if UPSTREAM.holds(departure.time):
            departure.features["sched_block_min"] = _scaled(departure.features["sched_block_min"])
        if NULLS.holds(departure.time) and departure.origin == NULLS.segment["origin"] and _hit(seed, departure.line):
            departure.features["dep_delay"] = None
        yield orjson.dumps(_event(departure))


def _event(departure: Departure) -> dict[str, object]:
    return {
        "prediction_id": f"f-{departure.line}",
        "occurred_at": rfc3339(departure.time),
        "model": MODEL,
        "segments": {"origin": departure.origin, "carrier": departure.carrier},
        "features": departure.features,
        "prediction": {
            "score": departure.score,
            "label": "late" if departure.score >= LATE_SCORE else "on-time",
        },
    }


def _scaled(value: float | str | None) -> float | None:
    return value * UPSTREAM_FACTOR if isinstance(value, float) else None


def _hit(seed: int, line: int) -> bool:
    """Whether this event is one of the share; from a hash, so that it hangs on no generator's state."""
    drawn = blake2b(f"{seed}:{line}".encode(), digest_size=8).digest()
    return int.from_bytes(drawn, "big") < NULL_SHARE * 2**64
