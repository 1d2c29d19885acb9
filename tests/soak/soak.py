"""One run: brokers up, workers up, input in, faults, everything healed, caught up; then the same input without faults."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import orjson

from tests.soak import streams, verdict
from tests.soak.cluster import Cluster, running, until
from tests.soak.schedule import SHORT, Fault, schedule
from tests.soak.strike import Striker
from tests.soak.traffic import traffic
from tests.soak.verdict import Difference, Run, Said
from tests.soak.workers import ROOT, TOPICS, Slot, Workers, command, settings_of

IDLE_S = 2.0
"""Everybody must have had nothing to do for so long: several commits."""
CATCH_UP_S = 240.0
STATE_HASH = ["state", "hash", "--json"]
DIFFERING_MAX = 20


@dataclass(frozen=True)
class Plan:
    """What a run is made of."""

    seed: int = 1
    seconds: float = 16.0
    events: int = 18_000
    workers: int = 2
    brokers: int = 1
    partitions: int = 3
    exchange: str = "topic"
    session_s: float = 3.0
    counts: Mapping[str, int] = field(default_factory=lambda: dict(SHORT))

    def faults(self) -> list[Fault]:
        return schedule(
            self.seed,
            self.seconds,
            self.counts,
            workers=self.workers,
            brokers=self.brokers,
            session_s=self.session_s,
        )


def commit() -> str:
    """What is checked out; it goes with seed and schedule into the log."""
    described = ["git", "describe", "--always", "--dirty"]
    done = subprocess.run(described, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def soak(plan: Plan, folder: Path, *, logs: Path | None = None) -> Run:
    """Run the plan; ``folder`` holds brokers and logs, of which those of the workers are kept in ``logs``."""
    facts = {"commit": commit(), "began": time.monotonic()}
    sys.stderr.write(f"seed {plan.seed}, commit {facts['commit']}, schedule:\n")
    for fault in plan.faults():
        sys.stderr.write(f"  {json.dumps({k: v for k, v in asdict(fault).items() if v})}\n")
    with running(folder, plan.brokers) as cluster:
        try:
            return _Session(plan, cluster, folder).run(facts)
        finally:
            for kept in folder.glob("*.log") if logs is not None else ():
                shutil.copy(kept, logs or folder)


class _Session:
    def __init__(self, plan: Plan, cluster: Cluster, folder: Path) -> None:
        self._plan, self._cluster, self._folder = plan, cluster, folder
        self._events = "soak.events"
        self._environments = {
            name: settings_of(
                cluster.linked, f"{name}.", self._events, partitions=plan.partitions, brokers=plan.brokers
            )
            | {"STREAMDRIFT_EXCHANGE": plan.exchange}
            for name in ("faulty", "calm")
        }

    def run(self, facts: dict[str, Any]) -> Run:
        for environment in self._environments.values():
            done = command(["topics", "create"], environment)
            if done.returncode != 0:
                raise RuntimeError(f"topics create: {done.stderr}")
        began = facts.pop("began")
        striker, workers, missed, feed, drained, codes = self._faulty()
        hanging = streams.hanging(self._cluster.bootstrap)
        states = {"faulty": self._state("faulty")}
        calm = self._calm()
        states["calm"] = self._state("calm")
        struck = striker.struck + self._noted(workers)
        transactional = bool(streams.transactions(self._cluster.bootstrap))
        plan = self._plan
        return Run(
            facts={
                **facts,
                "seed": plan.seed,
                "workers": plan.workers,
                "brokers": plan.brokers,
                "events": feed.sent,
                "events_failed": dict(feed.failed),
                "exchange": plan.exchange,
                "seconds": round(time.monotonic() - began),
                "schedule": [asdict(fault) for fault in plan.faults()],
                "notes": striker.notes,
            },
            alerts=self._difference("alerts"),
            uncommitted=self._difference("alerts", committed=False),
            letters=self._difference("rejected"),
            states=compared(states["faulty"], states["calm"]),
            hanging=hanging,
            transactional=transactional,
            planned=plan.counts,
            struck=struck,
            not_struck=self._not_struck(struck, missed, transactional=transactional),
            exits=workers.exits,
            stop_codes=codes,
            drained=drained and calm,
            memory=workers.memory,
        )

    def _slots(self, name: str, n: int) -> list[Slot]:
        folder = self._folder / name
        folder.mkdir()
        return [
            Slot(number, folder, self._environments[name], int(self._plan.session_s * 1_000)) for number in range(n)
        ]

    def _faulty(self) -> tuple[Striker, Workers, list[Fault], streams.Feed, bool, list[int | None]]:
        plan = self._plan
        messages = list(traffic(plan.seed, plan.events))
        workers = Workers(self._slots("faulty", plan.workers))
        topics = {name: f"faulty.{name}" for name in TOPICS if name != "blocks" or plan.exchange == "topic"}
        feed = streams.Feed(self._cluster.bootstrap, self._events, messages, plan.seconds)
        try:
            for slot in workers.slots:
                slot.start()
            striker = Striker(self._cluster, workers, topics, plan.seed)
            feed.start()
            missed = striker.run(plan.faults(), feed)
            striker.heal()
            striker.say("all is healed")
            drained = self._settle(workers, striker.supervise)
            busy = "" if drained else workers.busy(plan.partitions)
            striker.say("caught up" if drained else f"did not catch up in {CATCH_UP_S:g} s: {busy}")
            return striker, workers, missed, feed, drained, workers.stop_all()
        finally:
            feed.stop()
            workers.kill_all()
            self._gather_logs("faulty")

    def _calm(self) -> bool:
        workers = Workers(self._slots("calm", 1))
        try:
            workers.slots[0].start()
            drained = self._settle(workers, workers.supervise)
            return workers.stop_all() == [0] and drained
        finally:
            workers.kill_all()
            self._gather_logs("calm")

    def _settle(self, workers: Workers, supervise: Any) -> bool:
        """Wait until nobody has had anything to do for a while."""
        idle_since: list[float] = []

        def settled() -> bool:
            supervise()
            if not workers.idle(self._plan.partitions):
                idle_since.clear()
                return False
            idle_since.append(time.monotonic())
            return idle_since[-1] - idle_since[0] >= IDLE_S

        return until(settled, CATCH_UP_S, every=0.3)

    def _gather_logs(self, name: str) -> None:
        """One log per slot, life after life."""
        for slot_log in sorted((self._folder / name).glob("detect-*-*.log"), key=lambda p: p.stat().st_mtime):
            with (self._folder / f"{name}-{slot_log.stem.rsplit('-', 1)[0]}.log").open("ab") as out:
                out.write(f"--- {slot_log.stem}\n".encode() + slot_log.read_bytes())

    def _difference(self, topic: str, *, committed: bool = True) -> Difference:
        calm, faulty = (
            streams.read(self._cluster.bootstrap, f"{name}.{topic}", committed=committed) for name in ("calm", "faulty")
        )
        make = Said.of if topic == "alerts" else None
        if make is not None:
            return verdict.compare([make(record.value) for record in calm], [make(record.value) for record in faulty])
        return verdict.compare([_letter(record) for record in calm], [_letter(record) for record in faulty])

    def _state(self, name: str) -> dict[str, str] | str:
        """The hash of every series' state, and of what is kept beside; or why there is none."""
        done = command(STATE_HASH, self._environments[name])
        return hashes(orjson.loads(done.stdout)) if done.returncode == 0 else f"{name}: {_last(done.stderr)}"

    def _noted(self, workers: Workers) -> Counter[str]:
        """What processes themselves noted: the points at which they died, and clocks that jumped."""
        found: Counter[str] = Counter()
        clocks: set[float] = set()
        for slot in workers.slots:
            for strike in slot.strikes():
                if strike["kind"] == "crash_point":
                    found[f"crash:{strike['point']}"] += 1
                else:
                    clocks.add(strike["wrong_by_s"])
        found["clock"] = min(len(clocks - {0.0}), self._plan.counts.get("clock", 0))
        return found

    def _not_struck(self, struck: Counter[str], missed: list[Fault], *, transactional: bool) -> list[str]:
        """Faults of the plan that are not proven to have struck, but for those that can't in this release."""
        found = [f"{fault.kind} at {fault.at_s} s found nobody" for fault in missed]
        has_state = bool(streams.read(self._cluster.bootstrap, "faulty.state"))
        for kind, planned in self._plan.counts.items():
            possible = {"corrupt_state": has_state, "redeliver": self._plan.exchange == "topic"}.get(kind, True)
            if kind != "crash" and possible and struck[kind] < planned:
                found.append(f"{kind}: {struck[kind]} of {planned}")
        points = {fault.point for fault in self._plan.faults() if fault.kind == "crash"}
        impossible = set() if transactional else {"before_offsets", "after_offsets"}
        impossible |= set() if has_state else {"after_state"}
        found += [f"crash at {point}" for point in sorted(points - impossible) if not struck[f"crash:{point}"]]
        return found


def _letter(record: Any) -> Said:
    headers = dict(record.headers)
    return Said(headers["source"].decode(), record.value)


def hashes(document: dict[str, Any]) -> dict[str, str]:
    """Return what `state hash --json` has, flat: of each series, of each group, and of what is kept beside them."""
    found = {}
    for part in document["parts"]:
        for one in part["hashed"]:
            own = (one["stream"], one["model"], one["segment"])
            place = "/".join((part["stage"], str(part["partition"]), one["what"], *own))
            found[place] = one["hash"]
            found |= {f"{place}/{feature}": digest for feature, digest in one["series"].items()}
    return found


def compared(faulty: dict[str, str] | str, calm: dict[str, str] | str) -> dict[str, Any]:
    """Compare the state that both runs left, series by series."""
    if isinstance(faulty, str) or isinstance(calm, str):
        return {"compared": False, "reason": faulty if isinstance(faulty, str) else calm}
    different = sorted(place for place in faulty.keys() | calm.keys() if faulty.get(place) != calm.get(place))
    return {
        "compared": True,
        "hashes": len(calm),
        "different": len(different),
        "differing": different[:DIFFERING_MAX],
    }


def _last(text: str) -> str:
    return (text.strip().splitlines() or ["it said nothing"])[-1]
