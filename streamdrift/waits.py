"""For how long each partition has had nothing to read."""

from __future__ import annotations

import math
from collections.abc import Iterable

from streamdrift.ports import LiveSource, Partition
from streamdrift.settings import Settings

SHARE, LONGEST_S = 0.1, 10.0
"""How often it is told: by the shortest silence that counts, and at least."""


class Waits:
    """When something was last read of each partition, and whether there was nothing more since.

    Parameters
    ----------
    now_s
        Monotonic time, as everywhere here.
    """

    def __init__(self, source: LiveSource, settings: Settings, now_s: float) -> None:
        anomalies = settings.anomalies
        self._every_s = min(LONGEST_S, SHARE * anomalies.silence_min_s) if anomalies.enabled else math.inf
        self._source, self._told_at = source, now_s
        self._read_at: dict[Partition, float] = {}

    def took(self, partitions: Iterable[Partition], now_s: float) -> None:
        """Note that something was read of these."""
        self._read_at |= dict.fromkeys(partitions, now_s)

    def due(self, now_s: float) -> bool:
        """Whether it is time to tell."""
        return now_s - self._told_at >= self._every_s

    def waited(self, now_s: float) -> dict[Partition, int]:
        """Return, by partition that is ours, the milliseconds since something was read; 0 where there is more, or nobody knows.

        What was read last may be long ago because we stood still; so it is asked now whether something waits.
        """
        self._told_at = now_s
        ours = self._source.lag().keys()
        self._read_at = {partition: self._read_at.get(partition, now_s) for partition in ours}
        quiet = [partition for partition, at in self._read_at.items() if now_s - at >= self._every_s]
        empty = set(self._source.nothing_left(quiet)) if quiet else set()
        return {p: round(1000 * (now_s - at)) if p in empty else 0 for p, at in self._read_at.items()}
