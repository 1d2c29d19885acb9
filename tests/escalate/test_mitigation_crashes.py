"""kill -9 at every statement of a mitigation's way: it is done once, taken back once, and never half of both."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from streamdrift.alerts import digest
from streamdrift.checks.receivers import Script, ScriptedServer
from streamdrift.embedded.mitigate_command import Mitigate, mitigate
from streamdrift.errors import SettingsProblem
from streamdrift.escalate.database import Database
from streamdrift.settings import Settings
from tests.escalate.conftest import House, make_alert
from tests.escalate.mitigations import NEW, OLD, ServingSide, kinds, settings_of, states
from tests.escalate.test_crashes import QUIET, Fuse, Killed, Pager, burning
from tests.postgresql import Postgresql

pytestmark = pytest.mark.usefixtures("patience_of_the_settings")


@dataclass
class Play:
    """One incident with a rollback, the process killed where the fuse ends and started again."""

    here: House
    serving: ServingSide
    pager: Pager
    fuse: Fuse
    incident_id: str

    def live(self, act: Callable[[], object]) -> bool:
        """Do it; False where the process died of it, and a new one has begun."""
        try:
            act()
        except Killed:
            self.here.crash()
            return False
        return True

    def wait(self, seconds: float, steps: int = 6) -> None:
        self.here.clock.time += seconds
        for _ in range(steps):
            self.here.clock.time += 1
            self.live(lambda: self.here.worker.step(0.0))

    def approve(self) -> None:
        """As somebody who sees the command die, and gives it again."""
        escalate = self.here.settings.escalate.model_copy(update={"ledger": str(self.here.path)})
        asked = Mitigate(self.incident_id, "roll_back", approve=True)
        for _ in range(3):
            try:
                mitigate(asked, Settings(escalate=escalate), self.here.clock.now())
            except Killed:
                continue
            except SettingsProblem as e:
                assert "another is running" in str(e)  # the first one had been recorded before it died
            return


def play(path: Path | str, fuse: Fuse, *, recovers: bool, by_hand: bool) -> Play:
    serving, pager = ServingSide(), Pager(fuse)
    serving.after = fuse.burn  # done, and not yet noted
    approval = "required" if by_hand else "automatic"
    settings = settings_of(path, offers=("*=roll_back",), approval=approval, verify_s=900)
    here = House(path, (pager,), settings, log=QUIET, serving=serving)
    for change in (OLD, NEW):
        here.ledger.changes.put(change)
    alert = make_alert()
    made = Play(here, serving, pager, fuse, digest(alert.model_name, alert.alert_id))
    here.publish(alert)
    execute = Database.execute
    Database.execute = burning(fuse)  # type: ignore[method-assign] # the process is killed inside it
    try:
        made.wait(0, steps=3)
        if by_hand:
            made.approve()
        made.wait(0)
        if recovers:
            here.publish(make_alert(closes=alert, at=10))
            made.wait(0)
        made.wait(901, steps=20)
    finally:
        Database.execute = execute  # type: ignore[method-assign] # as it was
    return made


def check(made: Play, *, recovers: bool) -> None:
    keys = made.serving.asked
    assert states(made.here) == [("roll_back", "verified" if recovers else "reverted")]
    assert len(keys) == (1 if recovers else 2), "one key for what is done, one for what takes it back"
    assert keys.total() - len(keys) <= made.fuse.kills, f"sent again without need: {keys}"
    assert (len(made.serving.in_force) == 1) is recovers
    again = made.pager.triggers - Counter(dict.fromkeys(made.pager.triggers, 1))
    assert again.total() <= made.fuse.kills
    assert len(made.pager.triggers) == (1 if recovers else 2), (
        "the end without help is told once, under a key of its own"
    )
    told = [kind for kind in kinds(made.here) if kind.startswith("mitigation")]
    ways = ["proposed", "approved", "sent", *(["verified"] if recovers else ["reverting", "reverted"])]
    assert told == [f"mitigation_{way}" for way in ways]


def boundaries(places: Callable[[int], Path | str], every: int, *, recovers: bool, by_hand: bool) -> int:
    kills = 0
    for n in range(1, 2_000, every):
        made = play(places(n), Fuse(left=n), recovers=recovers, by_hand=by_hand)
        try:
            check(made, recovers=recovers)
        except AssertionError as e:
            raise AssertionError(f"killed at {n}: {e}") from e
        finally:
            made.here.worker.close()
        kills += made.fuse.kills
        if not made.fuse.kills:
            return kills
    raise AssertionError("there are more places yet")


@pytest.mark.parametrize("recovers", [True, False])
@pytest.mark.parametrize("by_hand", [True, False])
def test_killed_at_some_statements(tmp_path: Path, recovers: bool, by_hand: bool) -> None:
    kills = boundaries(lambda n: tmp_path / f"{n}.sqlite3", 61, recovers=recovers, by_hand=by_hand)
    assert kills > 2


@pytest.mark.slow
@pytest.mark.parametrize("recovers", [True, False])
def test_killed_at_every_seventh_statement(tmp_path: Path, recovers: bool) -> None:
    assert boundaries(lambda n: tmp_path / f"{n}.sqlite3", 7, recovers=recovers, by_hand=True) > 20


@pytest.mark.slow
def test_killed_at_statements_with_postgresql(postgresql: Postgresql) -> None:
    database = postgresql.database()
    assert boundaries(lambda _: postgresql.schema(database), 61, recovers=False, by_hand=True) > 5


PROGRAM = """
import sys
from pydantic import SecretStr
from streamdrift.escalate.mitigation.serving import serving_of
from streamdrift.escalate.worker import EscalationWorker
from streamdrift.settings import EscalateSettings, MitigationSettings, Settings
from streamdrift.telemetry import Metrics
from streamdrift.transports.memory import MemoryBroker, MemorySource
from tests.escalate.conftest import FakeClock, opened
from tests.escalate.mitigations import NEW, OLD

broker, clock, metrics = MemoryBroker(), FakeClock(), Metrics()
for line in sys.stdin.buffer:
    broker.append("drift-alerts", line)
mitigation = MitigationSettings(url=sys.argv[2], secret=SecretStr("key"), timeout_s=20, approval="automatic")
settings = Settings(escalate=EscalateSettings(mitigation=mitigation))
ledger = opened(sys.argv[1])
for change in (OLD, NEW):
    ledger.changes.put(change)
worker = EscalationWorker(MemorySource(broker, "drift-alerts", "g"), ledger, (), settings, clock, metrics,
                          serving=serving_of(settings.escalate))
worker.step(0.0)
worker.close()
"""


def start(path: Path | str, server: ScriptedServer) -> subprocess.Popen[bytes]:
    root = Path(__file__).resolve().parents[2]
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, path, server.url],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    assert process.stdin is not None
    process.stdin.write(make_alert().to_cloudevent() + b"\n")
    process.stdin.close()
    return process


def test_kill_9_between_asking_and_answer(place: Path | str, server: ScriptedServer) -> None:
    """A real process, a real SIGKILL: what is asked again has the same key and says the same; and nothing else is."""
    server.script.append(Script(fault="silent"))
    process = start(place, server)
    while not server.requests:
        assert process.poll() is None
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait(20) == -signal.SIGKILL
    for _ in range(2):
        assert start(place, server).wait(30) == 0
    assert len(server.requests) == 2
    first, second = server.requests
    assert (
        first.header("webhook-id") == second.header("webhook-id") == json.loads(first.body)["data"]["idempotency_key"]
    )
    assert first.body == second.body
