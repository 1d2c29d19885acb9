"""How many requests a minute may have."""

from __future__ import annotations

from threading import Lock

from streamdrift.ports import Clock

BURST = 0.1
"""Of what a minute may have, so much may come at once."""


class Rate:
    """A bucket that fills by and by."""

    def __init__(self, per_minute: int, clock: Clock) -> None:
        self._per_s, self._clock, self._lock = per_minute / 60, clock, Lock()
        self._full = max(1.0, per_minute * BURST)
        self._left, self._at = self._full, clock.monotonic()

    def take(self) -> float:
        """Take one; return 0, or how many seconds there will be none."""
        with self._lock:
            now = self._clock.monotonic()
            self._left = min(self._full, self._left + (now - self._at) * self._per_s)
            self._at = now
            if self._left < 1:
                return (1 - self._left) / self._per_s
            self._left -= 1
            return 0.0
