"""A ledger in PostgreSQL: one worker at work, others that stand by, and what can go wrong with it."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from streamdrift.errors import Fatal, InputProblem, OutOfReach, Retriable, SettingsProblem, Standby, StreamdriftError
from streamdrift.escalate import postgresql as ours
from streamdrift.escalate.ledger import Ledger
from streamdrift.escalate.migrations import VERSION
from streamdrift.escalate.policy import Decision, apply
from streamdrift.escalate.tables import STAND_IN
from streamdrift.escalate.timeline import Entry
from streamdrift.ports import Partition
from streamdrift.settings import EscalateSettings
from tests.escalate.conftest import BACK_TO_4, NOW, House, KeepingReceiver, make_alert, opened
from tests.postgresql import PASSWORD, Postgresql

ROOT = Path(__file__).resolve().parents[2]
PARTITION = Partition("drift-alerts", 0)
END_SESSIONS = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid != pg_backend_pid()"  # fmt: skip


@pytest.fixture
def url(postgresql: Postgresql) -> str:
    return postgresql.database()


def told(expected: type[StreamdriftError], url: str, **other: bool) -> str:
    with pytest.raises(expected) as e:
        Ledger(url, **other)
    assert type(e.value) is expected
    assert PASSWORD not in str(e.value)
    assert "\n" not in str(e.value)
    return str(e.value)


# One at work ---------------------------------------------------------------------------------------------------------


def test_a_second_worker_stands_by_until_the_first_is_gone(url: str) -> None:
    first = Ledger(url)
    first.set_next_offset(PARTITION, 7)
    assert "is in use by another escalation worker; this one stands by" in told(Standby, url)
    first.close()
    second = opened(url)
    assert second.next_offset(PARTITION) == 7
    second.close()


HOLDS = """
import sys
from streamdrift.ports import Partition
from tests.escalate.conftest import opened
ledger = opened(sys.argv[1])
ledger.set_next_offset(Partition("drift-alerts", 0), 7)
with ledger.transaction():
    ledger.set_next_offset(Partition("drift-alerts", 0), 8)
    print("holds it", flush=True)
    sys.stdin.read()
"""


def test_the_second_takes_over_when_the_first_is_killed_in_the_midst_of_it(url: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDS, url], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == b"holds it\n"
        told(Standby, url)
        first.send_signal(signal.SIGKILL)
        second = opened(url)
        assert second.next_offset(PARTITION) == 7, "what was not committed is gone"
        second.close()


def test_who_was_cut_off_writes_no_more(url: str, postgresql: Postgresql) -> None:
    first = Ledger(url)
    postgresql.run(END_SESSIONS, url)
    second = opened(url)
    second.set_next_offset(PARTITION, 9)
    for _ in range(3):  # and doesn't connect again behind the lock's back
        with pytest.raises(Retriable, match=r"the connection to the ledger postgresql://127\.0\.0\.1:.* was lost"):
            first.set_next_offset(PARTITION, 3)
    with pytest.raises(Retriable), first.transaction():
        first.set_next_offset(PARTITION, 3)
    first.close()
    assert second.next_offset(PARTITION) == 9
    second.close()


def test_a_transaction_that_is_cut_off_is_undone_and_comes_again(url: str, postgresql: Postgresql) -> None:
    ledger = Ledger(url)

    def cut_off() -> None:
        with ledger.transaction():
            ledger.set_next_offset(PARTITION, 3)
            postgresql.run(END_SESSIONS, url)
            ledger.set_next_offset(PARTITION, 4)

    with pytest.raises(Retriable):
        cut_off()
    ledger.close()
    again = opened(url)
    assert again.next_offset(PARTITION) is None
    again.close()


def test_a_server_that_goes_away_is_waited_for_and_nobody_is_paged_twice(
    postgresql: Postgresql, receiver: KeepingReceiver
) -> None:
    here = House(postgresql.database(), (receiver,))
    alert = make_alert()
    here.step(alert)
    postgresql.stop()
    try:
        here.publish(make_alert(closes=alert, at=1))
        with pytest.raises(Retriable, match="was lost"):
            here.worker.step(0.0)
        here.worker.close()
        with pytest.raises(OutOfReach, match=r"can't be reached: .*; start that server, or correct"):
            Ledger(here.path)
    finally:
        postgresql.start()
    here.start()
    here.step()
    assert [page.action for page in receiver.pages] == ["trigger", "resolve"]
    here.worker.close()


def test_ledgers_in_schemas_of_one_database_are_strangers(url: str, postgresql: Postgresql) -> None:
    one, other = Ledger(postgresql.schema(url)), Ledger(postgresql.schema(url))
    one.set_next_offset(PARTITION, 7)
    assert other.next_offset(PARTITION) is None
    one.close()
    other.close()


def test_beside_the_worker_it_is_read_and_written_in_turn(url: str) -> None:
    assert "is empty; let `streamdrift escalate` of this version open it first" in told(InputProblem, url, shared=True)
    worker = Ledger(url)
    beside = Ledger(url, shared=True)
    with beside.transaction():
        beside.timeline.add("c0ffee", 1, "note", "seen")
    with worker.transaction():
        worker.timeline.add("c0ffee", 2, "note", "seen, too")
    assert [entry.seq for entry in beside.timeline.entries("c0ffee")] == [1, 2]
    beside.close()
    worker.close()


def test_another_writer_that_takes_too_long_is_told(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ours, "SESSION", ("SET lock_timeout = '200ms'",))
    worker = Ledger(url)
    beside = Ledger(url, shared=True)
    with (
        beside.transaction(),
        pytest.raises(InputProblem, match="held by another process for more than 10 s; end that"),
        worker.transaction(),
    ):
        pass
    with worker.transaction():
        worker.set_next_offset(PARTITION, 1)
    beside.close()
    worker.close()


# What it takes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["a\x00b", f"{STAND_IN}0", f"\x00{STAND_IN}1\x00", "🛫'; DROP TABLE incidents; --", "\\"]
)
def test_labels_from_traffic_come_back_as_they_were(place: Path | str, text: str) -> None:
    ledger = opened(place)
    alert = make_alert(f"f{text}", f"origin={text}", model=f"m{text}")
    found = apply(None, alert, EscalateSettings()).incident
    assert found is not None
    with ledger.transaction():
        ledger.take(alert, Decision("open", "new_incident", found), NOW)
        ledger.incidents.save(found, None, NOW)
        ledger.timeline.add(found.incident_id, 1, "detected", text, {"said": text})
    assert ledger.incidents.opened(f"m{text}") == [found]
    (entry,) = ledger.timeline.entries(found.incident_id)
    assert (entry.text, entry.detail) == (text, {"said": text})
    ledger.close()


@pytest.mark.parametrize("setting", ["off", "local", "on"])
def test_what_is_committed_is_on_disk(url: str, setting: str) -> None:
    ledger = Ledger(f"{url}?options=-csynchronous_commit%3D{setting}")
    ((found,),) = ledger._database._connected().exec_driver_sql("SHOW synchronous_commit").all()
    assert found == ("on" if setting == "off" else setting)
    ledger.close()


# What goes wrong -----------------------------------------------------------------------------------------------------


def test_nobody_there_a_wrong_password_and_no_such_database_are_told(url: str) -> None:
    assert "can't be reached: " in told(OutOfReach, url.replace("127.0.0.1:", "127.0.0.1:1").replace("11", "1", 1))
    assert "password authentication failed" in told(OutOfReach, url.replace(PASSWORD, "wrong"))
    assert "does not exist" in told(OutOfReach, f"{url}0")


def test_a_database_of_somebody_else_a_later_version_and_an_encoding_are_told(url: str, postgresql: Postgresql) -> None:
    postgresql.run("CREATE TABLE precious (x int)", url)
    assert "is a database, but no ledger of streamdrift; name another database" in told(InputProblem, url)
    later = postgresql.database()
    opened(later).close()
    postgresql.run("UPDATE schema SET version = 99", later)
    with _settled(later):
        assert f"has version 99, and this streamdrift knows {VERSION}; run the streamdrift that wrote it" in told(
            InputProblem, later
        )
    postgresql.run("UPDATE schema SET version = 3", later)
    with _settled(later):
        assert "has version 3" in told(InputProblem, later), "none of PostgreSQL's was"
    assert "has the encoding SQL_ASCII; make one with UTF8" in told(InputProblem, postgresql.database("SQL_ASCII"))
    assert "has no schema to be in" in told(InputProblem, f"{later}?options=-csearch_path%3Dnowhere")


def test_a_ledger_of_version_4_becomes_one_of_today(url: str, postgresql: Postgresql) -> None:
    shape = (
        "SELECT table_name, column_name, data_type, is_nullable FROM information_schema.columns "
        "WHERE table_schema = 'public' ORDER BY 1, 2"
    )
    indexes = "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1"
    ledger = opened(url)
    incident = apply(None, make_alert(), EscalateSettings()).incident
    assert incident is not None
    ledger.incidents.save(incident, None, NOW)
    ledger.acknowledgements.put(incident.incident_id, NOW, None)
    ledger.close()
    today = [postgresql.run(question, url) for question in (shape, indexes)]
    for statement in BACK_TO_4.split(";")[:-1]:
        postgresql.run(statement, url)
    postgresql.run("UPDATE schema SET version = 4", url)
    ledger = opened(url)
    assert ledger.incidents.all() == [replace(incident, status="acknowledged")]
    ledger.close()
    assert [postgresql.run(question, url) for question in (shape, indexes)] == today


@contextmanager
def _settled(url: str) -> Iterator[None]:
    """Wait until no session of ours is left: the lock comes before the version."""
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
        deadline = time.monotonic() + 10
        others = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"
        while connection.execute(others).fetchall() != [(0,)] and time.monotonic() < deadline:
            time.sleep(0.01)
    yield


def test_a_user_without_the_right_to_write_is_told(url: str, postgresql: Postgresql) -> None:
    opened(url).close()
    postgresql.run("DROP ROLE IF EXISTS reader")
    postgresql.run(f"CREATE ROLE reader LOGIN PASSWORD '{PASSWORD}'")
    postgresql.run("GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader", url)
    ledger = opened(url.replace("streamdrift:", "reader:", 1))
    with pytest.raises(Fatal, match=r"can't be written \(permission denied.*let its user make and write tables there"):
        ledger.set_next_offset(PARTITION, 1)
    ledger.close()
    postgresql.run("DROP OWNED BY reader", url)


def test_without_the_driver_the_package_is_named(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    assert "needs the package psycopg: pip install 'streamdrift[postgresql]'" in told(SettingsProblem, url)


def test_the_detector_does_without_sqlalchemy() -> None:
    program = "import sys, streamdrift.app, streamdrift.tune.tally; sys.exit('sqlalchemy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False).returncode == 0


# What receivers call an incident, and the timeline -------------------------------------------------------------------


def test_a_reference_comes_back_with_the_next_page_of_its_incident_and_receiver(
    house: Callable[..., House],
) -> None:
    from streamdrift.escalate.receivers import Delivered

    names, silent = KeepingReceiver("names"), KeepingReceiver("silent")
    names.script.extend([Delivered(reference="OPS-1"), Delivered(), Delivered(reference="x" * 501)])
    here = house(names, silent)
    alert = make_alert()
    here.step(alert)
    here.step(make_alert("elsewhere", model="other"))
    here.crash()
    here.step(make_alert(at=1, events_seen=13_000, updates=alert.alert_id, severity="critical"))
    assert here.count("limit_hits_total", limit="reference_length_max") == 1
    here.step(make_alert(closes=alert, at=2))
    mine = [page.reference for page in names.pages if page.incident["model"] == "flight-delay"]
    assert mine == [None, "OPS-1", "OPS-1", "OPS-1"]
    assert {page.reference for page in silent.pages} == {None}
    assert [page.reference for page in names.pages if page.incident["model"] == "other"] == [None]


def test_what_was_noted_goes_with_its_incident(place: Path | str) -> None:
    ledger = opened(place)
    found = apply(None, make_alert(), EscalateSettings()).incident
    assert found is not None
    ledger.incidents.save(found, None, NOW)
    with ledger.transaction():
        for incident_id in (found.incident_id, "gone"):
            entry = ledger.timeline.add(incident_id, 5, "note", "x" * 3_000, {"b": 1, "a": [2]})
            assert entry is not None
            assert (entry.entry_id, len(entry.text)) == (f"{incident_id}#1", 2_000)
    ledger.prune(NOW)
    assert ledger.timeline.entries("gone") == []
    assert ledger.timeline.entries(found.incident_id) == [
        Entry(found.incident_id, 1, 5, "note", "x" * 2_000, {"b": 1, "a": [2]})
    ]
    ledger.close()


def test_a_timeline_has_a_bound(place: Path | str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamdrift.escalate.timeline.ENTRIES_MAX", 2)
    ledger = opened(place)
    with ledger.transaction():
        added = [ledger.timeline.add("c0ffee", n, "note", "said") for n in range(3)]
    assert [entry is not None for entry in added] == [True, True, False]
    ledger.close()
