"""A consumer tells how far it is: CPU and wall time when it has taken the first events, and when it has taken all."""

from __future__ import annotations

import json
import time


class Marks:
    """Prints a line at each of some counts of events."""

    def __init__(self, *counts: int) -> None:
        self._waiting, self.count = sorted(counts), 0

    def add(self, n: int) -> bool:
        """Count events; return whether all counts were reached."""
        self.count += n
        while self._waiting and self.count >= self._waiting[0]:
            self._waiting.pop(0)
            told = {"events": self.count, "cpu": time.process_time(), "wall": time.monotonic()}
            print(json.dumps(told), flush=True)
        return not self._waiting
