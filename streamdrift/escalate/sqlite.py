"""A ledger in one file of SQLite: the default, for one worker on one machine."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from pathlib import Path

from sqlalchemy import Connection, NullPool, create_engine
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from streamdrift.errors import InputProblem, StreamdriftError

MEMORY = Path(":memory:")
BUSY_S = 10.0
"""How long a reader, such as a backup, may hold us up."""
SETTING = "STREAMDRIFT_ESCALATE__LEDGER"
CHOOSE = f"name another file in {SETTING}"
PRAGMAS = ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON")


class File:
    """The file.

    Parameters
    ----------
    path
        Made where there is none, readable by its owner only; ``:memory:`` keeps it in memory.
    """

    begin = ("BEGIN IMMEDIATE",)
    first_version = 1
    choose = CHOOSE

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: int | None = None

    def __str__(self) -> str:
        return str(self.path)

    def open(self, *, shared: bool) -> Connection:
        """Open the file; see ``Place``."""
        if shared and not self.path.is_file():
            raise InputProblem(f"there is no ledger {self.path}; name the one of the escalation worker in {SETTING}")
        if self.path != MEMORY and not shared:
            self._lock = _claimed(self.path)
        engine = create_engine("sqlite://", creator=self._connect, poolclass=NullPool, isolation_level="AUTOCOMMIT")
        connection = engine.connect()
        try:
            for pragma in PRAGMAS:
                connection.exec_driver_sql(f"PRAGMA {pragma}")
        except BaseException:
            connection.close()
            raise
        return connection

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self.path, timeout=BUSY_S, isolation_level=None)

    def told(self, error: SQLAlchemyError, *, shared: bool) -> StreamdriftError:
        """Return what went wrong, and what to do."""
        del shared
        cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
        return InputProblem(f"the ledger {self.path} {_cause(str(cause))}")

    def release(self) -> None:
        """Let go of the lock."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


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


def _cause(text: str) -> str:
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
