"""The loop of a run: faults at their times, what follows from them later, and the supervision of the workers."""

from __future__ import annotations

import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count

from tests.soak import streams
from tests.soak.cluster import Cluster
from tests.soak.schedule import Fault
from tests.soak.workers import Slot, Workers

PATIENCE_S = 120.0
SAMPLE_S = 5.0


@dataclass
class Turns:
    """Has each kind of fault strike by the method of its name, with an underscore before it; that says whether there was somebody to be struck."""

    cluster: Cluster
    workers: Workers
    topics: dict[str, str]
    seed: int
    struck: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._began = time.monotonic()
        self._later: list[tuple[float, int, Callable[[], None]]] = []
        self._turn = count()
        self._rng = random.Random(self.seed)
        self._broker_busy = False
        self._damages = 0
        self._sampled = 0.0
        self._has: dict[str, bool] = {}

    def run(self, faults: list[Fault], feed: streams.Feed) -> list[Fault]:
        """Strike with all faults, and go on while there is input to come; return those that found nobody to strike."""
        waiting = list(faults)
        while waiting or self._later or not feed.done:
            self._tick()
            feed.share = 1 - len(waiting) / max(1, len(faults)) if waiting or not self._later else feed.share
            now = time.monotonic() - self._began
            for fault in [one for one in waiting if one.at_s <= now]:
                if self._strike(fault):
                    waiting.remove(fault)
            if waiting and feed.done and now > faults[-1].at_s + PATIENCE_S:
                return waiting
            time.sleep(0.05)
        return waiting

    def heal(self) -> None:
        """Nothing is wrong any more: all brokers and workers run, with the right time."""
        self.workers.slots[0].clock.unlink(missing_ok=True)
        for index, node in enumerate(self.cluster.nodes):
            node.link.mode = "open"
            node.signal(signal.SIGCONT)
            if not node.running:
                self.cluster.start(index)
            self.cluster.wait(index)
        for slot in self.workers.slots:
            slot.armed.unlink(missing_ok=True)
            slot.signal(signal.SIGCONT)
            slot.stopped, slot.wanted = False, True
            if not slot.running:
                slot.start()

    def supervise(self) -> None:
        """One turn of what goes on beside the faults."""
        self.workers.supervise()
        if time.monotonic() - self._sampled > SAMPLE_S:
            self._sampled = time.monotonic()
            self.workers.sample(self._began)

    def say(self, text: str) -> None:
        line = f"{time.monotonic() - self._began:7.1f} s  {text}"
        self.notes.append(line)
        sys.stderr.write(line + "\n")

    def _tick(self) -> None:
        now = time.monotonic()
        while self._later and self._later[0][0] <= now:
            heappop(self._later)[2]()
        self.supervise()

    def _after(self, seconds: float, action: Callable[[], None]) -> None:
        heappush(self._later, (time.monotonic() + seconds, next(self._turn), action))

    def _strike(self, fault: Fault) -> bool:
        act: Callable[[Fault], bool] = getattr(self, f"_{fault.kind}")
        return act(fault)

    def _again(self, fault: Fault) -> None:
        """Strike once more: the first time it came to nothing."""

        def strike() -> None:
            if not self._strike(fault):
                self._after(0.5, strike)

        self._after(0.5, strike)

    def _someone(self, first: int) -> Slot | None:
        slots = self.workers.slots
        ordered = slots[first:] + slots[:first]
        return next((slot for slot in ordered if slot.ready_to_be_struck), None)
