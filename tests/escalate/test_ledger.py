import os
import sqlite3
import stat
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from sqlalchemy import text

from streamdrift.errors import Fatal, InputProblem
from streamdrift.escalate.ledger import KEPT_S, Ledger
from streamdrift.escalate.migrations import VERSION
from streamdrift.escalate.policy import Decision, Incident, apply, choose
from streamdrift.escalate.sqlite import MEMORY
from streamdrift.ports import Partition
from streamdrift.settings import EscalateSettings
from tests.escalate.conftest import BACK_TO_3, NOW, House, KeepingReceiver, make_alert, opened

PARTITION = Partition("drift-alerts", 3)
SETTINGS = EscalateSettings()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.sqlite3"


def incident(n: int = 1) -> Incident:
    found: Incident | None = None
    for i in range(n):
        found = apply(found, make_alert(f"f{i}", at=i), SETTINGS).incident
    assert found is not None
    return found


def refused(path: Path) -> str:
    with pytest.raises(InputProblem) as e:
        Ledger(path)
    assert e.value.exit_code == 3
    return str(e.value)


# What it keeps -------------------------------------------------------------------------------------------------------


def test_incidents_come_back_as_they_were(place: Path | str) -> None:
    ledger, before, settings = opened(place), None, SETTINGS
    alerts = [make_alert(f"f{i}", at=i, severity="info" if i % 2 else "critical") for i in range(6)]
    steps = [*alerts, make_alert("f0", at=9), make_alert(closes=alerts[1], at=10), make_alert("f1", at=11)]
    for alert in steps:
        after = apply(before, alert, settings).incident
        assert after is not None
        ledger.incidents.save(after, before, NOW)
        assert ledger.incidents.get(after.incident_id) == after
        assert ledger.incidents.opened("flight-delay") == [after]
        before = after
    ledger.close()
    again = opened(place)
    assert again.incidents.all() == [before]
    assert choose(again.incidents.opened("flight-delay"), make_alert(), settings) == before
    assert again.incidents.opened("fraud") == []
    again.close()


def test_incidents_larger_than_their_bound_come_back_too(place: Path | str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamdrift.escalate.policy.ALERTS_PER_INCIDENT_MAX", 3)
    ledger, before = opened(place), None
    alerts = [make_alert(f"f{i}", at=i) for i in range(6)]
    for alert in [*alerts, make_alert(closes=alerts[5], at=9), make_alert(closes=alerts[0], at=9)]:
        after = apply(before, alert, SETTINGS).incident
        assert after is not None
        ledger.incidents.save(after, before, NOW)
        assert ledger.incidents.get(after.incident_id) == after
        before = after
    ledger.close()


def test_a_transaction_is_all_or_nothing(place: Path | str) -> None:
    ledger = opened(place)
    alert, found = make_alert(), incident()

    def record() -> None:
        ledger.take(alert, Decision("open", "new_incident", found), NOW)
        ledger.incidents.save(found, None, NOW)
        ledger.outbox.trigger(apply(None, alert, SETTINGS).incident or found, "webhook", b"{}", NOW)
        ledger.set_next_offset(PARTITION, 8)

    with suppress(KeyError), ledger.transaction():
        record()
        raise KeyError
    assert (ledger.knows(alert.alert_id), ledger.incidents.all(), ledger.outbox.rows()) == (False, [], [])
    assert ledger.next_offset(PARTITION) is None
    with ledger.transaction():
        record()
    ledger.close()
    again = opened(place)
    assert (again.knows(alert.alert_id), again.next_offset(PARTITION)) == (True, 8)
    assert (again.incidents.all(), len(again.outbox.rows())) == ([found], 1)
    assert again.next_offset(Partition("drift-alerts", 4)) is None
    again.close()


def test_it_syncs_every_commit(path: Path) -> None:
    ledger = Ledger(path)
    assert ledger._database.execute(text("PRAGMA journal_mode")) == [("wal",)]
    assert ledger._database.execute(text("PRAGMA synchronous")) == [(2,)]
    assert ledger._database.execute(text("PRAGMA foreign_keys")) == [(1,)]
    assert ledger._database.execute(text("SELECT version FROM schema")) == [(VERSION,)]
    ledger.close()


def test_only_its_owner_reads_it(path: Path) -> None:
    old = os.umask(0)
    try:
        ledger = Ledger(path)
        ledger.set_next_offset(PARTITION, 1)
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    finally:
        os.umask(old)
    ledger.close()
    assert set(modes.values()) == {0o600}, modes


def test_what_is_over_is_forgotten_after_a_month(place: Path | str) -> None:
    ledger = opened(place)
    for i, status in enumerate(("open", "resolved")):
        alert = make_alert(f"f{i}", at=600 * i, onset_at=600 * i)
        found = apply(None, alert, SETTINGS).incident
        assert found is not None
        over = Incident(**{name: getattr(found, name) for name in found.__dataclass_fields__} | {"status": status})
        ledger.take(alert, Decision("open", "new_incident", over), NOW)
        ledger.incidents.save(over, None, NOW)
        ledger.outbox.trigger(over, "webhook", b'{"at":0,"headline":"","incident":{},"alerts":[]}', NOW)
        delivery = ledger.outbox.due("webhook", NOW)
        assert delivery is not None
        ledger.outbox.settle(delivery, "done", "delivered", uncertain=True)
    ledger.prune(NOW + KEPT_S - 1)
    assert (len(ledger.incidents.all()), len(ledger.outbox.rows())) == (2, 2)
    ledger.prune(NOW + KEPT_S + 1)
    assert [found.status for found in ledger.incidents.all()] == ["open"]
    assert len(ledger.outbox.rows()) == 1
    assert ledger._database.execute(text("SELECT count(*) FROM alerts")) == [(0,)]
    assert ledger._database.execute(text("SELECT count(*) FROM signals")) == [(1,)]
    ledger.close()


# What goes wrong -----------------------------------------------------------------------------------------------------


def test_a_second_worker_is_refused(path: Path) -> None:
    first = Ledger(path)
    assert "is in use by another escalation worker; stop that one" in refused(path)
    first.close()
    Ledger(path).close()


def test_a_ledger_of_the_first_version_goes_on(receiver: KeepingReceiver, path: Path) -> None:
    alert = make_alert()
    here = House(path, (receiver,))
    here.step(alert)
    here.worker.close()
    with sqlite3.connect(here.path) as connection:
        connection.executescript(
            "DROP TABLE acknowledgements; DROP INDEX alerts_ended; ALTER TABLE alerts DROP COLUMN opening; "
            f"{BACK_TO_3} UPDATE schema SET version = 1;"
        )
    connection.close()
    here.start()
    here.step(make_alert(at=1, events_seen=13_000, updates=alert.alert_id, severity="critical"))
    here.step(make_alert(closes=alert, at=2))
    assert [page.action for page in receiver.pages] == ["trigger", "trigger", "resolve", "resolve"]
    here.worker.close()


def test_a_later_version_is_refused(path: Path) -> None:
    Ledger(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE schema SET version = 7")
    connection.close()
    assert f"has version 7, and this streamdrift knows {VERSION}; run the streamdrift that wrote it" in refused(path)


def test_somebody_elses_database_is_left_alone(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE precious (x)")
    connection.close()
    assert "is a database, but no ledger of streamdrift" in refused(path)


def test_a_file_that_is_no_database_is_refused(path: Path) -> None:
    path.write_bytes(b"precious notes\n" * 100)
    assert "is damaged (file is not a database); restore it from a backup" in refused(path)
    assert path.read_bytes().startswith(b"precious")


def test_a_damaged_page_is_told(path: Path) -> None:
    ledger = Ledger(path)
    with ledger.transaction():
        for i in range(200):
            ledger.take(make_alert(f"f{i}"), Decision("open", "new_incident", incident()), NOW)
    ledger.close()
    data = bytearray(path.read_bytes())
    data[4096:] = b"\xff" * (len(data) - 4096)
    path.write_bytes(data)
    with pytest.raises(Fatal, match="is damaged"):
        Ledger(path)


@pytest.mark.parametrize("place", ["missing/ledger.sqlite3", "", "/proc/ledger.sqlite3"])
def test_a_place_that_takes_no_file_is_told(tmp_path: Path, place: str) -> None:
    told = refused(tmp_path / place)
    assert "can't be opened: " in told
    assert "STREAMDRIFT_ESCALATE__LEDGER" in told


def test_a_full_disk_is_told_and_costs_nothing(path: Path) -> None:
    ledger = Ledger(path)
    ledger.set_next_offset(PARTITION, 5)
    ((pages,),) = ledger._database.execute(text("PRAGMA page_count"))
    ledger._database.execute(text(f"PRAGMA max_page_count = {pages}"))

    def fill() -> None:
        with ledger.transaction():
            ledger.set_next_offset(PARTITION, 6)
            for i in range(500):
                ledger.take(make_alert(f"f{i}"), Decision("open", "new_incident", None), NOW)

    with pytest.raises(InputProblem, match=r"can't be written .*full.*; free some space, nothing recorded is lost"):
        fill()
    assert ledger.next_offset(PARTITION) == 5
    ledger.close()
    again = Ledger(path)
    assert again.next_offset(PARTITION) == 5
    again.close()


def test_a_write_past_the_file_size_limit_is_told(path: Path) -> None:
    program = """
import resource, signal, sys
from pathlib import Path
from streamdrift.errors import Fatal
from streamdrift.escalate.ledger import Ledger
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
try:
    Ledger(Path(sys.argv[1]))
except Fatal as e:
    print(e)
"""
    found = subprocess.run(
        [sys.executable, "-c", program, path], capture_output=True, text=True, check=True, timeout=60
    )
    assert "can't be written" in found.stdout, found
    assert not found.stderr


def test_in_memory_nothing_is_left() -> None:
    ledger = Ledger(MEMORY)
    ledger.set_next_offset(PARTITION, 1)
    assert ledger.next_offset(PARTITION) == 1
    ledger.close()
    ledger.close()
    assert not Path(":memory:").exists()
    assert not Path(":memory:.lock").exists()
