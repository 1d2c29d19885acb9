"""Many workers, one thread, one seed: who runs next, what befalls each call, when somebody dies, sleeps, comes or goes.

A process that sleeps does so in the midst of a call: the others run on, it is thrown out of its group, and when it wakes up
it goes on where it was, a zombie. That needs no thread: whoever sleeps lets the others run from within its call.
"""

from __future__ import annotations

import json
import math
import random
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from streamdrift import ports
from streamdrift.errors import Retriable
from streamdrift.pipeline import Worker
from streamdrift.records import ends
from streamdrift.settings import Settings
from streamdrift.telemetry import Metrics
from tests.simulation.ends import PlainSink, SimSink, SimSource, keeps_state
from tests.simulation.simulated_broker import Entry, SimBroker

SETTLE_STEPS = 4_000
DEPTH_MAX = 2
FEED = 0.12
WEIGHTS = {
    "poll": 0.15,
    "give_up": 0.3,
    "join": 0.3,
    "init": 0.5,
    "offsets": 3.0,
    "end": 3.0,
    "produce": 1.5,
    "commit": 2.0,
}
"""Calls that are made all the time are befallen less often, those that matter most more often."""
METRICS = Metrics()


class Crash(BaseException):
    """A process dies where it is: nothing that it would do afterwards is done."""


class StuckError(Exception):
    """All is well again, and yet nothing goes on."""


class ExactlyOnce(Worker):
    """The loop for a sink with transactions, where the product's own does not know these yet."""

    def _note(self, records: Any, began: float) -> None:
        super()._note(records, began)
        self._sink.consumed(ends(records))  # type: ignore[attr-defined]

    _within_step = False

    def step(self, timeout_s: float) -> int:
        self._within_step = True
        try:
            return super().step(timeout_s)
        finally:
            self._within_step = False

    def commit(self) -> None:
        """As ``Worker.commit``, in one transaction; all state where it is the end of an orderly run."""
        now_s = self._clock.monotonic() if self._within_step else math.inf
        states = self.stage.due(now_s) if keeps_state(self.stage) else ()  # type: ignore[attr-defined]
        self._sink.commit(states)  # type: ignore[attr-defined]
        self._done, self._committed_at = {}, self._clock.monotonic()


TRANSACTIONAL: type[Worker] = Worker if hasattr(ports, "TransactionalSink") else ExactlyOnce


@dataclass(frozen=True)
class Rates:
    """How often what befalls a call, and how often workers come and go between their steps."""

    crash: float = 0.01
    lost: float = 0.008
    answer_lost: float = 0.008
    sleep: float = 0.012
    leave: float = 0.002
    replace: float = 0.3
    """Share of sleepers of which the supervisor believes that they are dead."""


CALM = Rates(0, 0, 0, 0, 0, 0)


@dataclass(eq=False)
class Process:
    """One place for a worker: a name that it has for ever, and what lives there now.

    Attributes
    ----------
    zombie
        Held for dead by the supervisor, which has started another of the same name; it is not started again.
    """

    name: str
    topic: str
    lives: int = 0
    worker: Worker | None = None
    busy: bool = False
    zombie: bool = False
    back_at: float = 0.0


@dataclass
class World:
    """One schedule. ``call`` is what workers reach the broker by; ``now``, ``monotonic`` and ``sleep`` are their clock."""

    seed: int
    stages: Mapping[str, Callable[[World], Any]]
    """What makes the stage that reads a topic, by topic: the first one reads the input."""
    feed: list[tuple[bytes, bytes]]
    settings: Settings
    rates: Rates = field(default_factory=Rates)
    workers: int = 3
    partitions: int = 3
    mutation: str = ""
    plain: bool = False
    batch: int = 1
    """Records of the input that come at a time."""
    trace: Callable[[str], None] | None = None

    def __post_init__(self) -> None:
        self._rng = random.Random(self.seed)
        self.broker = SimBroker(self.partitions)
        self._time, self._depth, self._fed = 0.0, 0, 0
        self._active: list[Process] = []
        self.processes = [Process(f"worker-{n}-{topic}", topic) for topic in self.stages for n in range(self.workers)]
        self.struck: Counter[str] = Counter()
        self.steps = 0

    # the clock

    def now(self) -> float:
        return 1_700_000_000.0 + self._time

    def monotonic(self) -> float:
        return self._time

    def sleep(self, seconds: float) -> None:
        self._time += seconds

    def chance(self, share: float) -> bool:
        return self._rng.random() < share

    # what befalls a call

    def call(self, point: str, effect: Callable[[], Any]) -> Any:
        """Do something to the broker, and let happen what can."""
        rates, weight = self.rates, WEIGHTS.get(point, 1.0)
        self._perhaps(weight * rates.crash / 2, f"crash before {point}", _die)
        self._perhaps(weight * rates.sleep / 2, f"sleep before {point}", self._doze)
        self._perhaps(weight * rates.lost, f"lost {point}", _lose)
        found = effect()
        self._perhaps(weight * rates.answer_lost, f"answer lost {point}", _lose)
        self._perhaps(weight * rates.crash / 2, f"crash after {point}", _die)
        self._perhaps(weight * rates.sleep / 2, f"sleep after {point}", self._doze)
        return found

    def _perhaps(self, share: float, what: str, act: Callable[[], None]) -> None:
        if share and self._rng.random() < share and self._active:
            self.struck[what] += 1
            self._tell(what)
            act()

    def _doze(self) -> None:
        """The others run on, for long enough to be thrown out or not."""
        if self._depth >= DEPTH_MAX:
            return
        sleeper = self._active[-1]
        if not sleeper.zombie and self._rng.random() < self.rates.replace:
            sleeper.zombie = True
            self.processes.append(Process(sleeper.name, sleeper.topic, sleeper.lives))
            self.struck["two of one name"] += 1
        self._depth += 1
        for _ in range(self._rng.randrange(3, 80)):
            self._turn()
        self._depth -= 1
        self._tell("wakes up")

    # who runs next

    def run(self) -> None:
        """Feed all input, with faults; then, without any, until everything is done.

        Raises
        ------
        StuckError
            It does not come to an end.
        """
        while self._fed < len(self.feed):
            self._turn()
        calm, self.rates = self.rates, CALM
        self.processes = [process for process in self.processes if not process.zombie]
        for _ in range(SETTLE_STEPS):
            self._turn()
            if self._settled():
                break
        else:
            raise StuckError(f"seed {self.seed}: nothing goes on though all is well")
        for process in self.processes:
            if process.worker is not None:
                process.worker.commit()
                process.worker.close()
        self.rates = calm

    def _turn(self) -> None:
        self.steps += 1
        self._time += self._rng.choice((0.05, 0.1, 0.1, 0.3))
        self.broker.expire(self._time)
        if self._fed < len(self.feed) and self._rng.random() < FEED:
            for key, value in self.feed[self._fed : self._fed + self._rng.randrange(1, 6) * self.batch]:
                stamp = int(self._time * 1_000) - self._rng.randrange(0, 2_000)
                self.broker.append(
                    self.broker.place(next(iter(self.stages)), key), Entry(value, key, timestamp_ms=stamp)
                )
                self._fed += 1
        process = self._rng.choice(self.processes)
        if not process.busy:
            self._step(process)

    def _step(self, process: Process) -> None:
        process.busy = True
        self._active.append(process)
        try:
            if process.worker is None:
                if self._time >= process.back_at:
                    process.lives += 1
                    process.worker = self._build(process)
            elif self.rates.leave and self._rng.random() < self.rates.leave:
                self.struck["leave"] += 1
                process.worker.commit()
                process.worker.close()
                process.worker, process.back_at = None, self._time + self._rng.uniform(0.1, 5.0)
            else:
                process.worker.step(0.0)
        except Crash:
            process.worker, process.back_at = None, self._time + self._rng.uniform(0.1, 5.0)
        except Retriable as e:
            self._tell(f"begins anew: {e}")
            if process.worker is not None:
                process.worker.close()
            process.worker, process.back_at = None, self._time + 0.3
        finally:
            self._active.pop()
            process.busy = False
            if process.zombie and process.worker is None and process in self.processes:
                self.processes.remove(process)

    def _build(self, process: Process) -> Worker:
        stage = self.stages[process.topic](self)
        member = f"{process.name}#{process.lives}#{self.steps}"
        source = SimSource(self.broker, self, process.topic, f"group-{process.topic}", member, stage, self.mutation)
        try:
            if self.plain:
                return Worker(stage, source, PlainSink(self.broker, self), self.settings, self, METRICS)
            sink = SimSink(self.broker, self, process.name, source, self.mutation)
            return TRANSACTIONAL(stage, source, sink, self.settings, self, METRICS)
        except Retriable:
            source.close()
            raise

    def _settled(self) -> bool:
        """Whether all that was dealt out is taken up, done and committed."""
        workers = [process.worker for process in self.processes if process.worker is not None]
        if self.broker.open_transactions or len(workers) < len(self.processes):
            return False
        if any(worker._done or worker._source.uncommitted() for worker in workers):  # type: ignore[attr-defined]
            return False
        lags = [lag for worker in workers for lag in worker._source.lag().items()]
        partitions = [place for topic in self.stages for place in self.broker.all(topic)]
        return sorted(place for place, _ in lags) == sorted(partitions) and not any(lag for _, lag in lags)

    def _tell(self, what: str) -> None:
        if self.trace is not None:
            self.trace(f"{self._time:8.2f}  {self._active[-1].name if self._active else '-'}: {what}")

    # what came of it

    def alerts(self) -> list[tuple[str, bytes]]:
        """Id and content of every alert that can be read committed."""
        topic = self.settings.topics.alerts
        return [(json.loads(entry.value or b"{}")["id"], entry.value or b"") for entry in self.broker.values(topic)]

    def states(self) -> dict[bytes, bytes | None]:
        """The newest state of every key, of all stages."""
        topics = [f"state.{topic}" for topic in self.stages]
        return {t.encode() + (entry.key or b""): entry.value for t in topics for entry in self.broker.values(t)}


def _die() -> None:
    raise Crash


def _lose() -> None:
    raise Retriable("no answer")
