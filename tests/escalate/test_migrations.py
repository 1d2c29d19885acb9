"""A migrated ledger is what a new one is, and holds what the old one held."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path
from typing import Any, Self

import pytest
from sqlalchemy import inspect

from streamdrift.errors import InputProblem
from streamdrift.escalate.incident import Incident
from streamdrift.escalate.ledger import Ledger
from streamdrift.escalate.migrations import STEPS, VERSION, statements
from streamdrift.escalate.policy import apply
from streamdrift.ports import Partition
from streamdrift.settings import EscalateSettings
from tests.escalate.conftest import NOW, make_alert

FIRST = """
CREATE TABLE schema (version INTEGER NOT NULL);
CREATE TABLE incidents (
  incident_id TEXT PRIMARY KEY, model TEXT NOT NULL, status TEXT NOT NULL, severity TEXT NOT NULL,
  opened_at INTEGER NOT NULL, updated_at INTEGER NOT NULL, onset_at INTEGER NOT NULL,
  paged TEXT, pages INTEGER NOT NULL, recorded_at REAL NOT NULL
);
CREATE INDEX incidents_open ON incidents (model) WHERE status = 'open';
CREATE TABLE signals (
  incident_id TEXT NOT NULL REFERENCES incidents ON DELETE CASCADE,
  series_id TEXT NOT NULL, reason TEXT NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('firing', 'resolved', 'beyond')), alert BLOB,
  UNIQUE (incident_id, series_id, reason)
);
CREATE TABLE alerts (
  alert_id TEXT PRIMARY KEY, series_id TEXT NOT NULL, status TEXT NOT NULL, detected_at INTEGER NOT NULL,
  incident_id TEXT, action TEXT NOT NULL, reason TEXT NOT NULL, recorded_at REAL NOT NULL
);
CREATE TABLE outbox (
  sequence INTEGER PRIMARY KEY AUTOINCREMENT, delivery_id TEXT NOT NULL UNIQUE,
  incident_id TEXT NOT NULL, receiver TEXT NOT NULL,
  action TEXT NOT NULL CHECK (action IN ('trigger', 'resolve')), dedup_key TEXT NOT NULL, payload BLOB NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('pending', 'done', 'dead')), attempts INTEGER NOT NULL DEFAULT 0,
  uncertain INTEGER NOT NULL DEFAULT 0, created_at REAL NOT NULL, next_attempt_at REAL NOT NULL,
  outcome TEXT NOT NULL DEFAULT ''
);
CREATE INDEX outbox_pending ON outbox (receiver, dedup_key, sequence) WHERE state = 'pending';
CREATE INDEX outbox_incident ON outbox (incident_id, receiver);
CREATE TABLE offsets (
  topic TEXT NOT NULL, partition INTEGER NOT NULL, next_offset INTEGER NOT NULL, PRIMARY KEY (topic, partition)
);
INSERT INTO schema VALUES (1);
"""
"""The ledger as it was first released."""


def old(path: Path, version: int) -> sqlite3.Connection:
    """A ledger of an earlier version, as the steps themselves make it."""
    connection = sqlite3.connect(path)
    connection.executescript(FIRST)
    for step in range(1, version):
        for statement in statements(step, "sqlite"):
            connection.execute(statement)
    connection.execute("UPDATE schema SET version = ?", [version])
    connection.commit()
    return connection


def shape(ledger: Ledger) -> dict[str, Any]:
    connection = ledger._database._connected()
    found = inspect(connection)
    keys = {table: found.get_pk_constraint(table)["constrained_columns"] for table in found.get_table_names()}
    partial = connection.exec_driver_sql("SELECT name, sql FROM sqlite_schema WHERE type = 'index' AND sql NOT NULL")
    checks = connection.exec_driver_sql("SELECT name, sql FROM sqlite_schema WHERE type = 'table'")
    return {
        "columns": {
            (table, column["name"]): (str(column["type"]), column["nullable"] or column["name"] in keys[table])
            for table in found.get_table_names()
            for column in found.get_columns(table)
        },
        "primary keys": keys,
        "keys": {
            table: [
                (key["table"], key["from"], key["on_delete"])
                for key in connection.exec_driver_sql(f"PRAGMA foreign_key_list({table})").mappings()
            ]
            for table in found.get_table_names()
        },
        "unique": {
            table: [set(key["column_names"]) for key in found.get_unique_constraints(table)]
            for table in found.get_table_names()
        },
        "indexes": {name: re.sub(r"\s+", " ", sql) for name, sql in partial},
        "checks": {name: (sorted(re.findall(r"CHECK \(.*?\)\)", sql)), "AUTOINCREMENT" in sql) for name, sql in checks},
    }


@pytest.mark.parametrize("version", range(1, VERSION))
def test_a_migrated_ledger_has_the_shape_of_a_new_one(tmp_path: Path, version: int) -> None:
    old(tmp_path / "old", version).close()
    migrated, new = Ledger(tmp_path / "old"), Ledger(tmp_path / "new")
    try:
        assert shape(migrated) == shape(new)
    finally:
        migrated.close()
        new.close()


def grown() -> Incident:
    first, other = make_alert("a", at=0), make_alert("b", at=1)
    found = apply(None, first, EscalateSettings()).incident
    for alert in (other, make_alert("c", at=2), make_alert(closes=other, at=3), make_alert("a", at=4)):
        found = apply(found, alert, EscalateSettings()).incident
    assert found is not None
    return found


@pytest.mark.parametrize("version", range(1, VERSION))
def test_what_was_in_it_is_in_it_in_its_order(tmp_path: Path, version: int) -> None:
    incident = grown()
    with Scratch(tmp_path / "scratch") as rows:
        rows.ledger.incidents.save(incident, None, NOW)
        copied = {name: rows.read(name) for name in ("incidents", "signals")}
    connection = old(tmp_path / "old", version)
    known = {name: [row[1] for row in connection.execute(f"PRAGMA table_info({name})")] for name in copied}
    for table, found in copied.items():
        for row in found:
            kept = {name: value for name, value in row.items() if name in known[table]}
            marks = ", ".join("?" for _ in kept)
            connection.execute(f"INSERT INTO {table} ({', '.join(kept)}) VALUES ({marks})", list(kept.values()))
    connection.execute("INSERT INTO offsets VALUES ('drift-alerts', 2, 77)")
    connection.execute(
        "INSERT INTO outbox (delivery_id, incident_id, receiver, action, dedup_key, payload, state, created_at, "
        "next_attempt_at) VALUES ('d', ?, 'webhook', 'trigger', ?, ?, 'pending', 0, 0)",
        [incident.incident_id, incident.incident_id, b'{"at":0,"headline":"","incident":{},"alerts":[]}'],
    )
    connection.commit()
    connection.close()
    ledger = Ledger(tmp_path / "old")
    assert ledger.incidents.all() == [incident]
    assert ledger.next_offset(Partition("drift-alerts", 2)) == 77
    assert (due := ledger.outbox.due("webhook", NOW)) is not None
    assert (due.page.delivery_id, due.page.reference, due.uncertain) == ("d", None, False)
    ledger.close()


class Scratch:
    """A new ledger whose rows can be read as they are."""

    def __init__(self, path: Path) -> None:
        self.path, self.ledger = path, Ledger(path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.ledger.close()

    def read(self, table: str) -> list[dict[str, Any]]:
        with sqlite3.connect(self.path) as connection:
            connection.row_factory = sqlite3.Row
            found = [dict(row) for row in connection.execute(f"SELECT * FROM {table}")]
        connection.close()
        return found


def test_a_step_that_fails_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old(tmp_path / "old", 3).close()
    before = _dump(tmp_path / "old")
    monkeypatch.setitem(STEPS, 3, (*STEPS[3], "SELECT nonsense"))
    with pytest.raises(InputProblem, match="can't be used"):
        Ledger(tmp_path / "old")
    assert _dump(tmp_path / "old") == before
    monkeypatch.undo()
    Ledger(tmp_path / "old").close()


def _dump(path: Path) -> list[str]:
    with sqlite3.connect(path) as connection:
        found = list(connection.iterdump())
    connection.close()
    return found
