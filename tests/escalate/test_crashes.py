"""Crashes at every boundary: each incident is paged once per dedup key, and its end is told."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Executable

from streamdrift.alerts import Alert
from streamdrift.checks.receivers import ScriptedServer
from streamdrift.escalate.database import Database
from streamdrift.escalate.receivers import Ambiguous, Delivered, Outcome, Page, RetryAt
from streamdrift.settings import EscalateSettings, RetrySettings, Settings
from tests.escalate.conftest import House, KeepingReceiver, make_alert
from tests.postgresql import Postgresql

QUIET = structlog.wrap_logger(None, wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
SETTINGS = Settings(escalate=EscalateSettings(retry=RetrySettings(initial_s=1, max_s=4)))


class Killed(BaseException):
    """The process is gone: nothing after this point happens."""


@dataclass
class Fuse:
    """Burns down with every write to the ledger, every send and every commit; kills at its end, once."""

    left: int = -1
    kills: int = 0

    def burn(self) -> None:
        self.left -= 1
        if self.left == 0:
            self.kills += 1
            raise Killed


@dataclass
class Pager:
    """The other side as PagerDuty keeps it: alerts by dedup key, and how often each was sent without need."""

    fuse: Fuse
    script: list[str] = field(default_factory=list)
    name: str = "pager"
    triggers: Counter[str] = field(default_factory=Counter)
    open: set[str] = field(default_factory=set)
    excused: Counter[str] = field(default_factory=Counter)
    resolved_first: list[str] = field(default_factory=list)

    def send(self, page: Page, now: float) -> Outcome:
        del now
        what = self.script.pop() if self.script else "delivered"
        if what == "retry":
            return RetryAt(None, "HTTP 503")
        if what != "lost":
            self._take(page)
        self.fuse.burn()  # told, but not yet noted
        if what in {"ambiguous", "lost"}:
            self.excused[page.dedup_key] += page.action == "trigger"
            return Ambiguous("no answer")
        return Delivered()

    def _take(self, page: Page) -> None:
        if page.action == "trigger":
            self.triggers[page.dedup_key] += 1
            self.open.add(page.dedup_key)
        else:
            if page.dedup_key not in self.triggers and page.dedup_key not in self.excused:
                self.resolved_first.append(page.dedup_key)
            self.open.discard(page.dedup_key)


def burning(fuse: Fuse) -> Callable[..., list[tuple[Any, ...]]]:
    """``Database.execute`` that may be killed before or after any statement."""
    execute = Database.execute

    def with_fuse(self: Database, statement: Executable) -> list[tuple[Any, ...]]:
        fuse.burn()
        found = execute(self, statement)
        fuse.burn()
        return found

    return with_fuse


Plan = list[tuple[str, int, int]]
PLANS: st.SearchStrategy[Plan] = st.lists(
    st.tuples(st.sampled_from(["fire", "fire", "resolve", "step", "wait"]), st.integers(0, 5), st.integers(0, 400)),
    min_size=1,
    max_size=14,
)
FAULTS = st.lists(st.sampled_from(["delivered", "retry", "ambiguous", "lost"]), max_size=8)


def run(plan: Plan, faults: list[str], fuses: list[int], path: Path | str) -> tuple[Pager, House]:
    """Carry out the plan, the process killed where a fuse ends and started again; then let everything come to its end."""
    fuse = Fuse()
    pager = Pager(fuse, list(faults))
    here = House(path, (pager,), SETTINGS, log=QUIET)
    fuses = list(fuses)
    firing: dict[int, Alert] = {}
    minute = 0

    def live(act: Callable[[], object]) -> None:
        if fuse.left <= 0 and fuses:
            fuse.left = fuses.pop()
        try:
            act()
        except Killed:
            here.crash()

    execute = Database.execute
    Database.execute = burning(fuse)  # type: ignore[method-assign] # the process is killed inside it
    try:
        for what, who, later in plan:
            minute += later
            if what == "fire":
                severity = "critical" if who == 5 else "warning"
                firing[who] = make_alert(f"f{who}", at=minute, onset_at=minute * 60_000, severity=severity)
                here.publish(firing[who])
            elif what == "resolve" and who in firing:
                here.publish(make_alert(closes=firing.pop(who), at=minute))
            elif what == "wait":
                here.clock.time += later
            live(lambda: here.worker.step(0.0))
        for alert in firing.values():
            here.publish(make_alert(closes=alert, at=minute + 1))
        for _ in range(25):
            here.clock.time += 5
            live(lambda: here.worker.step(0.0))
    finally:
        Database.execute = execute  # type: ignore[method-assign] # as it was
    return pager, here


def check(pager: Pager, here: House) -> None:
    rows = here.ledger.outbox.rows()
    assert all(row.state == "done" for row in rows), rows
    assert {incident.status for incident in here.ledger.incidents.all()} <= {"resolved"}
    assert not pager.open, "a page is open for ever"
    # killed between noting an attempt and making it: whether it was told can't be known, so its end is
    assert len(pager.resolved_first) <= pager.fuse.kills, "an end came without its beginning"
    again = pager.triggers - pager.excused
    again -= Counter(dict.fromkeys(again, 1))
    assert again.total() <= pager.fuse.kills, f"paged again without need: {again}"
    delivered = {row.dedup_key for row in rows if row.action == "trigger" and row.outcome.startswith("delivered")}
    assert delivered <= set(pager.triggers)
    done = here.ledger.next_offset(next(iter(here.worker._source.lag())))
    assert (done or 0) == len(here.broker.records("drift-alerts"))


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(PLANS, FAULTS, st.lists(st.integers(1, 120), max_size=6))
def test_each_page_is_told_once_and_ended_whatever_happens(plan: Plan, faults: list[str], fuses: list[int]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        pager, here = run(plan, faults, fuses, Path(folder) / "ledger.sqlite3")
        try:
            check(pager, here)
        finally:
            here.worker.close()


def boundaries(places: Callable[[int], Path | str], every: int = 1) -> int:
    """Killed at the first write, at the second (or those of every so many), and so on, to the last; return how often."""
    plan: Plan = [("fire", 0, 0), ("fire", 5, 1), ("resolve", 0, 5), ("resolve", 5, 6)]
    kills = 0
    for n in range(1, 600, every):
        pager, here = run(plan, [], [n], places(n))
        check(pager, here)
        assert 1 <= len(pager.triggers) <= 2, n
        here.worker.close()
        kills += pager.fuse.kills
        if not pager.fuse.kills:
            return kills
    raise AssertionError("there are more places yet")


@pytest.mark.slow
def test_boundaries_of_one_page_and_its_end(tmp_path: Path) -> None:
    assert boundaries(lambda n: tmp_path / f"{n}.sqlite3", every=3) > 40


@pytest.mark.slow
def test_boundaries_of_one_page_and_its_end_with_postgresql(postgresql: Postgresql) -> None:
    database = postgresql.database()
    assert boundaries(lambda _: postgresql.schema(database), every=9) > 11


def test_a_crash_between_telling_and_noting_does_not_leave_the_page_open(tmp_path: Path) -> None:
    """Told, killed, and over before the restart: the end must be told, though nothing was noted as delivered."""

    class Dies(KeepingReceiver):
        def send(self, page: Page, now: float) -> Outcome:
            super().send(page, now)
            raise Killed

    dies, alert = Dies(), make_alert()
    here = House(tmp_path / "ledger.sqlite3", (dies,), SETTINGS)
    here.publish(alert)
    try:
        here.worker.step(0.0)
    except Killed:
        fine = KeepingReceiver()
        here.receivers = (fine,)
        here.publish(make_alert(closes=alert, at=1))
        here.crash()
    here.step()
    assert fine.told == [("resolve", dies.pages[0].dedup_key)]
    here.worker.close()


PROGRAM = """
import sys
from pydantic import SecretStr
from streamdrift.alerts import Alert
from streamdrift.escalate.receivers import build_receivers
from streamdrift.escalate.worker import EscalationWorker
from streamdrift.settings import EscalateSettings, PagerDutySettings, Settings
from streamdrift.telemetry import Metrics
from streamdrift.transports.memory import MemoryBroker, MemorySource
from tests.escalate.conftest import FakeClock, opened

broker, clock, metrics = MemoryBroker(), FakeClock(), Metrics()
for line in sys.stdin.buffer:
    broker.append("drift-alerts", line)
escalate = EscalateSettings(pagerduty=PagerDutySettings(routing_key=SecretStr("k" * 32), url=sys.argv[2], timeout_s=20))
settings = Settings(escalate=escalate)
worker = EscalationWorker(MemorySource(broker, "drift-alerts", "g"), opened(sys.argv[1]),
                          build_receivers(settings, metrics), settings, clock, metrics)
print("ready", flush=True)
worker.step(0.0)
worker.close()
"""


def start(path: Path | str, server: ScriptedServer, *alerts: Alert) -> subprocess.Popen[bytes]:
    root = Path(__file__).resolve().parents[2]
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, path, server.url],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    assert process.stdin is not None
    process.stdin.write(b"".join(alert.to_cloudevent() + b"\n" for alert in alerts))
    process.stdin.close()
    return process


def test_kill_9_between_send_and_answer(place: Path | str, server: ScriptedServer) -> None:
    """A real process, a real SIGKILL: it is sent again under the same key, and nothing else is."""
    from streamdrift.checks.receivers import Script

    path, alert = place, make_alert()
    server.script.append(Script(fault="silent"))
    process = start(path, server, alert)
    while not server.requests:
        assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    assert process.wait(20) == -signal.SIGKILL
    for alerts in ([alert], [alert], [alert, make_alert(closes=alert, at=1)]):
        assert start(path, server, *alerts).wait(30) == 0
    sent = [json.loads(request.body) for request in server.requests]
    assert [event["event_action"] for event in sent] == ["trigger", "trigger", "resolve"]
    assert len({event["dedup_key"] for event in sent}) == 1
