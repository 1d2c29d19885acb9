"""One SQLite file that survives any crash, and what goes wrong with it in sentences."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from streamdrift.errors import Fatal, InputProblem

VERSION = 3
MEMORY = Path(":memory:")
BUSY_S = 10.0
"""How long a reader, such as a backup, may hold us up."""

SCHEMA = """
BEGIN IMMEDIATE;
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
  incident_id TEXT, action TEXT NOT NULL, reason TEXT NOT NULL, recorded_at REAL NOT NULL, opening TEXT
);
CREATE INDEX alerts_ended ON alerts (opening) WHERE status = 'resolved';
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
CREATE TABLE acknowledgements (
  incident_id TEXT PRIMARY KEY REFERENCES incidents ON DELETE CASCADE, at REAL NOT NULL,
  rebaseline BLOB, published INTEGER NOT NULL DEFAULT 0
);
INSERT INTO schema VALUES (3);
COMMIT;
"""
LATER = {
    1: """
BEGIN IMMEDIATE;
ALTER TABLE alerts ADD COLUMN opening TEXT;
CREATE INDEX alerts_ended ON alerts (opening) WHERE status = 'resolved';
UPDATE schema SET version = 2;
COMMIT;
""",
    2: """
BEGIN IMMEDIATE;
CREATE TABLE acknowledgements (
  incident_id TEXT PRIMARY KEY REFERENCES incidents ON DELETE CASCADE, at REAL NOT NULL,
  rebaseline BLOB, published INTEGER NOT NULL DEFAULT 0
);
UPDATE schema SET version = 3;
COMMIT;
""",
}
"""What makes the next version of each."""


class Database:
    """The file, opened by one worker alone.

    Parameters
    ----------
    path
        Made where there is none, readable by its owner only; ``:memory:`` keeps it in memory.
    shared
        Open it beside the worker that uses it, for a moment: it must be there, and of this version.

    Raises
    ------
    InputProblem
        It can't be opened, read or written, or is of a later version; from any method.
    """

    def __init__(self, path: Path, *, shared: bool = False) -> None:
        self.path, self._shared = path, shared
        self._lock: int | None = None
        if shared and not path.is_file():
            raise InputProblem(f"there is no ledger {path}; name the file of the escalation worker in {SETTING}")
        if path != MEMORY and not shared:
            self._lock = _claimed(path)
        try:
            self._connection = self._open()
        except Fatal:
            self._release()
            raise

    def _open(self) -> sqlite3.Connection:
        with self._sentences():
            connection = sqlite3.connect(self.path, timeout=BUSY_S, isolation_level=None)
            try:
                connection.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON;")
                self._check_version(connection)
            except BaseException:
                connection.close()
                raise
        return connection

    def _check_version(self, connection: sqlite3.Connection) -> None:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
        if not tables and not self._shared:
            connection.executescript(SCHEMA)
            return
        if "schema" not in tables:
            raise InputProblem(f"{self.path} is a database, but no ledger of streamdrift; {CHOOSE}")
        ((version,),) = connection.execute("SELECT max(version) FROM schema")
        while version in LATER and not self._shared:
            connection.executescript(LATER[version])
            version += 1
        if self._shared and version in LATER:
            raise InputProblem(
                f"the ledger {self.path} has version {version}, and this streamdrift works on {VERSION}; "
                "let `streamdrift escalate` of this version open it first"
            )
        if version != VERSION:
            raise InputProblem(
                f"the ledger {self.path} has version {version}, and this streamdrift knows {VERSION}; "
                f"run the streamdrift that wrote it, or {CHOOSE}"
            )

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Everything inside, or nothing."""
        self.execute("BEGIN IMMEDIATE")
        try:
            yield
            self.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):  # a full disk has rolled it back already
                self._connection.execute("ROLLBACK")
            raise

    def execute(self, sql: str, values: Iterable[Any] = ()) -> list[tuple[Any, ...]]:
        """Run one statement; return all its rows."""
        with self._sentences():
            return self._connection.execute(sql, tuple(values)).fetchall()

    def close(self) -> None:
        """Let go of the file; what was not committed is undone. A second call does nothing."""
        with suppress(sqlite3.Error):
            self._connection.close()
        self._release()

    def _release(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    @contextmanager
    def _sentences(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as e:
            raise InputProblem(f"the ledger {self.path} {_cause(e)}") from None


SETTING = "STREAMDRIFT_ESCALATE__LEDGER"
CHOOSE = f"name another file in {SETTING}"


def _claimed(path: Path) -> int:
    """Make the file and the lock beside it, which ends with the process: two workers would page twice."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        lock = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as e:
        raise InputProblem(f"the ledger {path} can't be opened: {e.strerror}; make it writable, or {CHOOSE}") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise InputProblem(
            f"the ledger {path} is in use by another escalation worker; stop that one, or {CHOOSE}"
        ) from None
    return lock


def _cause(error: sqlite3.Error) -> str:
    text = str(error)
    if "full" in text or "disk I/O" in text:
        return f"can't be written ({text}); free some space, nothing recorded is lost"
    if "not a database" in text or "malformed" in text or "corrupt" in text:
        return (
            f"is damaged ({text}); restore it from a backup, or move it away: a new one begins at the committed offsets"
        )
    if "locked" in text:
        return f"was held by another process for more than {BUSY_S:g} s; stop that one"
    if "readonly" in text or "unable to open" in text:
        return f"can't be written ({text}); make it and its folder writable, or {CHOOSE}"
    return f"can't be used ({text})"
