"""Measures: what detection counts of a model's events, per minute of event time, so that objectives can be held against it.

A *slice* has the counts of a run of a model's rows: all from where the slice before it ended. So counts of slices add up, whatever
minute a late event belongs to, and a slice is known by the places of its first and last row: the same rows give the same slice.

The wire form is a CloudEvents 1.0 structured JSON message; every field is in ``docs/schemas/measures.schema.json``.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

import orjson

from streamdrift.alerts import digest, rfc3339
from streamdrift.errors import Rejected
from streamdrift.slo.counts import MINUTE_MS

MEASURES_TYPE = "io.streamdrift.measures.v1"
SCHEMA = "https://streamdrift.io/schemas/measures.v1.json"
MESSAGE_BYTES_MAX = 1_000_000
NULLS_BYTES_MAX = 60_000
"""What names of features whose nulls are told may take in one minute: some 2,000 of them, those with the most first; the sum has all."""
MINUTES_MAX = 1_000
COUNT_MAX = 2**40
"""Millions of slices of it add up to less than a database's whole numbers have."""
LADDER = (0.0, *(float(f"{m}e{e}") for e in range(-6, 7) for m in (1, 2, 5)))
"""Bounds of errors that are told apart, as 0, 0.001, 0.002, 0.005, 0.01 …; what is over the last one is beyond."""
BEYOND = "inf"
NAME_LENGTH_MAX = 2_048

Stream = Literal["events", "labels", "rejected"]
Place = tuple[str, int, int]
"""Topic or file, partition, offset."""
_STREAMS = frozenset({"events", "labels", "rejected"})
COUNTS = ("events", "invalid", "cells", "nulls", "series", "drifting", "labels", "rejected")
"""Numbers of a minute; those that are 0 are left out on the wire."""
_TIMES_MS = range(253_402_300_800_000)


@dataclass(slots=True)
class Minute:
    """Counts of one minute of event time.

    Attributes
    ----------
    at
        Its beginning, milliseconds since the epoch.
    counts
        By name, of ``COUNTS``. ``cells`` are values that there could be: events times features that are known by then. ``series``
        are those of all traffic that know what is normal, ``drifting`` those of them with an alert open, at the end of the slice.
    nulls
        By feature, values that are null or missing.
    errors
        Labelled predictions by the least bound of ``LADDER`` that their error keeps within, as text; of a class 0 is right, 1 wrong.
    """

    at: int
    counts: dict[str, int] = field(default_factory=dict)
    nulls: dict[str, int] = field(default_factory=dict)
    errors: dict[str, int] = field(default_factory=dict)

    def add(self, name: str, n: int) -> None:
        """Count on."""
        if n:
            self.counts[name] = self.counts.get(name, 0) + n


@dataclass(frozen=True, slots=True)
class Slice:
    """Counts of a run of one model's rows.

    Attributes
    ----------
    first, last
        Where its first and last row are.
    """

    model: str
    stream: Stream
    first: Place
    last: Place
    minutes: tuple[Minute, ...]

    @property
    def slice_id(self) -> str:
        """The same rows, cut the same, give the same id."""
        return digest(self.model, self.stream, *(str(part) for place in (self.first, self.last) for part in place))

    @property
    def latest(self) -> int:
        """End of its latest minute, milliseconds."""
        return max(minute.at for minute in self.minutes) + MINUTE_MS

    def to_cloudevent(self) -> bytes:
        """Return the message's value. ``Slice.from_cloudevent`` takes it back unchanged."""
        slice_id = self.slice_id
        data = {
            "slice_id": slice_id,
            "model": self.model,
            "stream": self.stream,
            "first": list(self.first),
            "last": list(self.last),
            "minutes": [_told(minute) for minute in self.minutes],
        }
        return orjson.dumps(
            {
                "specversion": "1.0",
                "id": slice_id,
                "source": f"/streamdrift/{self.model}",
                "type": MEASURES_TYPE,
                "time": rfc3339(self.latest),
                "datacontenttype": "application/json",
                "dataschema": SCHEMA,
                "partitionkey": self.model,
                "data": data,
            }
        )

    @classmethod
    def from_cloudevent(cls, value: bytes | None) -> Slice:
        """Read a message of the measures topic; unknown fields are passed over.

        Raises
        ------
        Rejected
            ``empty``, ``too_large``, ``not_json``, ``not_measures``.
        """
        if not value:
            raise Rejected("empty", "the message has no value")
        if len(value) > MESSAGE_BYTES_MAX:
            raise Rejected("too_large", f"{len(value)} bytes; measures have at most {MESSAGE_BYTES_MAX}")
        try:
            envelope = orjson.loads(value)
        except orjson.JSONDecodeError as e:
            raise Rejected("not_json", str(e)) from e
        if not isinstance(envelope, dict) or envelope.get("type") != MEASURES_TYPE:
            raise Rejected("not_measures", f"type is not {MEASURES_TYPE}")
        try:
            data = envelope["data"]
            minutes = tuple(map(_minute, data["minutes"]))
            found = cls(_name(data["model"]), data["stream"], _place(data["first"]), _place(data["last"]), minutes)
        except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as e:
            raise Rejected("not_measures", f"a field is missing or of a wrong type: {e!r}") from e
        if found.stream not in _STREAMS or not 1 <= len(minutes) <= MINUTES_MAX:
            raise Rejected("not_measures", f"stream is unknown, or minutes are not 1 to {MINUTES_MAX}")
        return found


def _told(minute: Minute) -> dict[str, Any]:
    told: dict[str, Any] = {"minute": rfc3339(minute.at), **{n: minute.counts[n] for n in COUNTS if n in minute.counts}}
    nulls = _most(minute.nulls)
    return told | ({"null_features": nulls} if nulls else {}) | ({"errors": minute.errors} if minute.errors else {})


def _most(nulls: dict[str, int]) -> dict[str, int]:
    found, room = {}, NULLS_BYTES_MAX
    for name, n in sorted(nulls.items(), key=lambda item: (-item[1], item[0])):
        room -= len(orjson.dumps(name)) + len(str(n)) + 2
        if room < 0:
            break
        found[name] = n
    return found


def _minute(told: Any) -> Minute:
    at = round(datetime.fromisoformat(told["minute"]).timestamp() * 1000)
    if at not in _TIMES_MS:
        raise ValueError("a minute is out of range")
    counts = {name: _count(told[name]) for name in COUNTS if name in told}
    errors = _counts(told.get("errors", {}))
    if any(bound != BEYOND and float(bound) not in LADDER for bound in errors):
        raise ValueError("errors are by other bounds")
    return Minute(at - at % MINUTE_MS, counts, _counts(told.get("null_features", {})), errors)


def _counts(told: Any) -> dict[str, int]:
    return {_name(name): _count(n) for name, n in told.items()}


def _count(n: Any) -> int:
    if type(n) is not int or not 0 <= n <= COUNT_MAX:
        raise ValueError("a count is no whole number from 0")
    return n


def _name(text: Any) -> str:
    if not isinstance(text, str) or not 0 < len(text) <= NAME_LENGTH_MAX:
        raise ValueError("a name is missing, or too long")
    return text


def _place(told: Any) -> Place:
    name, index, offset = told
    if type(index) is not int or type(offset) is not int:
        raise ValueError("a place is none")
    return _name(name), index, offset


def rung(error: float) -> str:
    """Return the least bound of ``LADDER`` that is not below an error, as text.

    >>> [rung(e) for e in (0.0, 1e-9, 0.3, 1.0, 4.0, 5.0, 3e9)]
    ['0', '1e-06', '0.5', '1', '5', '5', 'inf']
    """
    place = bisect_left(LADDER, error)
    return BEYOND if math.isnan(error) or place == len(LADDER) else named_rung(LADDER[place])


def named_rung(bound: float) -> str:
    """A bound as it stands on the wire."""
    return f"{bound:g}"
