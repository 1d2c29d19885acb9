"""The other side of ``benchmarks.rounds.Turns``: take a turn whenever a line comes, and tell the CPU time per unit."""

from __future__ import annotations

import gc
import json
import sys
import time
from collections.abc import Callable


def take_turns(run: Callable[[], int], before: Callable[[], None] = lambda: None, **told: float) -> None:
    """Tell that all is prepared; then run once for each line. ``before`` prepares a turn, and is not timed."""
    gc.freeze()
    print(json.dumps(told), flush=True)
    for _ in sys.stdin:
        before()
        gc.collect()
        began = time.process_time()
        units = run()
        print((time.process_time() - began) / units, flush=True)
