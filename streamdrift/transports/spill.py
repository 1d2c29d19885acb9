"""Predictions that wait for their labels, in an SQLite file of this process alone.

The file is made when the first of them has to go there, and has no name any more once it is open: however the process
ends, nothing is left behind. All is one transaction without a journal, for nothing has to be found again after a crash:
the log is read again.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from streamdrift.errors import InputProblem
from streamdrift.ports import Kept

CACHE_KIB = 16_384
"""Pages that SQLite keeps in memory."""


class SpillFile:
    """See ``ports.Spill``.

    Parameters
    ----------
    directory
        Where the file is made; None for the system's directory for temporary files.

    Raises
    ------
    InputProblem
        The file can't be made, or the disk is full; from any method.
    """

    def __init__(self, directory: Path | None = None) -> None:
        self._directory = directory
        self._opened: sqlite3.Connection | None = None

    def append(self, items: Sequence[tuple[bytes, Kept]]) -> None:
        """Add some that are younger than all that are there."""
        rows = [(key, *kept) for key, kept in items]
        with self._told() as file:
            file.executemany("INSERT INTO kept (key, time, stub, answer) VALUES (?, ?, ?, ?)", rows)

    def get(self, key: bytes) -> Kept | None:
        """Return one; None where it is not there."""
        with self._told() as file:
            row = file.execute("SELECT time, stub, answer FROM kept WHERE key = ?", (key,)).fetchone()
        return None if row is None else Kept(*row)

    def replace(self, key: bytes, kept: Kept) -> None:
        """Put another in the place of one that is there."""
        with self._told() as file:
            file.execute("UPDATE kept SET time = ?, stub = ?, answer = ? WHERE key = ?", (*kept, key))

    def pop_oldest(self) -> tuple[bytes, Kept]:
        """Remove the oldest and return it."""
        with self._told() as file:
            place, key, *kept = file.execute(
                "SELECT place, key, time, stub, answer FROM kept ORDER BY place LIMIT 1"
            ).fetchone()
            file.execute("DELETE FROM kept WHERE place = ?", (place,))
        return key, Kept(*kept)

    @contextmanager
    def _told(self) -> Iterator[sqlite3.Connection]:
        try:
            self._opened = self._opened or self._open()
            yield self._opened
        except (OSError, sqlite3.Error) as e:
            where = self._directory or "the directory for temporary files"
            why = getattr(e, "strerror", None) or str(e)
            raise InputProblem(
                f"predictions that wait for their labels can't be written to {where}: {why}; make room there, set "
                "STREAMDRIFT_LABELS__SPILL_DIRECTORY to another, or keep more in memory (labels.join_memory_max)"
            ) from None

    def _open(self) -> sqlite3.Connection:
        handle, name = tempfile.mkstemp(".sqlite3", "streamdrift-labels-", self._directory)
        os.close(handle)
        try:
            file = sqlite3.connect(name, isolation_level=None, check_same_thread=False)
            weakref.finalize(self, _close, file)
            for pragma in ("journal_mode = OFF", "synchronous = OFF", f"cache_size = -{CACHE_KIB}"):
                file.execute(f"PRAGMA {pragma}")
            file.execute("CREATE TABLE kept (place INTEGER PRIMARY KEY, key BLOB UNIQUE, time INTEGER, stub, answer)")
            file.execute("BEGIN EXCLUSIVE")
        finally:
            Path(name).unlink()
        return file


def _close(file: Any) -> None:
    file.close()
