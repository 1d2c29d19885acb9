"""The recording: departures in order of event time, as rows of typed values."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import resources

EVENTS = 47_904
"""Rows in the recording."""
NUMERIC = (
    "dep_delay",
    "distance",
    "sched_block_min",
    "temp",
    "wind_speed",
    "precip",
    "pressure",
    "visib",
    "seats",
)

Value = float | str | None


@dataclass(slots=True)
class Departure:
    """One row.

    Attributes
    ----------
    line
        From 1, the header not counted; names the prediction.
    time
        Milliseconds since the epoch.
    features
        The numeric columns, ``None`` where the recording has none, and ``carrier``.
    """

    line: int
    time: int
    origin: str
    carrier: str
    features: dict[str, Value]
    score: float


def departures() -> Iterator[Departure]:
    """Read the recording that comes with the package."""
    packed = resources.files("streamdrift.demo").joinpath("flights.csv.gz").read_bytes()
    lines = gzip.decompress(packed).decode("ascii").splitlines()
    header = lines[0].split(",")
    for number, line in enumerate(lines[1:], start=1):
        row = dict(zip(header, line.split(","), strict=True))
        features: dict[str, Value] = {name: float(row[name]) if row[name] else None for name in NUMERIC}
        features["carrier"] = row["carrier"]
        yield Departure(
            number, milliseconds(row["event_time"]), row["origin"], row["carrier"], features, float(row["score"])
        )


def milliseconds(iso: str) -> int:
    """Milliseconds since the epoch of an ISO time without zone, taken as UTC.

    >>> milliseconds("2013-04-17T08:00")
    1366185600000
    """
    return round(datetime.fromisoformat(iso).replace(tzinfo=UTC).timestamp() * 1000)
