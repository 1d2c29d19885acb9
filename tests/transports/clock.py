"""The real clock, for tests of real things."""

from __future__ import annotations

import time


class RealClock:
    """As the composition root's, without its stop."""

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)
