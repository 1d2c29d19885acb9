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

CACHE_KIB = 16_384
"""Pages that SQLite keeps in memory."""
LEAVING = 256
"""The oldest are read and removed so many at a time: one by one would take as long as all the rest."""
BITS_PER_KEY, BITS_MAX = 16, 2**27


class SpillFile:
    """See ``ports.Spill``.

    Parameters
    ----------
    kept_max
        Predictions at most.
    directory
        Where the file is made; None for the system's directory for temporary files.

    Raises
    ------
    InputProblem
        The file can't be made, or the disk is full; from any method.
    """

    def __init__(self, kept_max: int = 1_000_000, directory: Path | None = None) -> None:
        self._kept_max, self._directory = kept_max, directory
        self._opened: sqlite3.Connection | None = None
        self._keys = _Keys(kept_max)
        self._leaving: dict[bytes, bytes] = {}

    def append(self, items: Sequence[tuple[bytes, bytes]]) -> None:
        """Add some that are younger than all that are there."""
        for key, _ in items:
            self._keys.add(key)
        with self._told() as file:
            file.executemany("INSERT INTO kept (key, value) VALUES (?, ?)", items)

    def get(self, key: bytes) -> bytes | None:
        """Return one; None where it is not there."""
        if key not in self._keys:
            return None
        if key in self._leaving:
            return self._leaving[key]
        with self._told() as file:
            row = file.execute("SELECT value FROM kept WHERE key = ?", (key,)).fetchone()
        return None if row is None else bytes(row[0])

    def replace(self, key: bytes, value: bytes) -> None:
        """Put another in the place of one that is there."""
        if key in self._leaving:
            self._leaving[key] = value
            return
        with self._told() as file:
            file.execute("UPDATE kept SET value = ? WHERE key = ?", (value, key))

    def pop_oldest(self) -> tuple[bytes, bytes]:
        """Remove the oldest and return it."""
        if not self._leaving:
            with self._told() as file:
                rows = file.execute("SELECT place, key, value FROM kept ORDER BY place LIMIT ?", (LEAVING,)).fetchall()
                file.execute("DELETE FROM kept WHERE place <= ?", (rows[-1][0],))
            self._leaving = {key: value for _, key, value in rows}
        key = next(iter(self._leaving))
        return key, self._leaving.pop(key)

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
            file.execute("CREATE TABLE kept (place INTEGER PRIMARY KEY, key BLOB UNIQUE, value BLOB)")
            file.execute("BEGIN EXCLUSIVE")
        finally:
            Path(name).unlink()
        return file


class _Keys:
    """Tells keys that are surely not there, so that nobody has to look (Bloom 1970, two hashes, two generations).

    The oldest leave first, and there are never more than ``kept_max``: once as many were added to one generation, all of the
    one before are gone, and it is forgotten.
    """

    def __init__(self, kept_max: int) -> None:
        bits = min(1 << (BITS_PER_KEY * kept_max).bit_length(), BITS_MAX)
        self._mask, self._kept_max = bits - 1, kept_max
        self._young, self._old = bytearray(), bytearray()
        self._added = 0

    def add(self, key: bytes) -> None:
        if not self._young or self._added >= self._kept_max:
            self._old, self._young, self._added = self._young, bytearray((self._mask + 1) >> 3), 0
        self._added += 1
        for bit in self._bits(key):
            self._young[bit >> 3] |= 1 << (bit & 7)

    def __contains__(self, key: bytes) -> bool:
        one, two = self._bits(key)
        return any(
            filled and filled[one >> 3] >> (one & 7) & 1 and filled[two >> 3] >> (two & 7) & 1
            for filled in (self._young, self._old)
        )

    def _bits(self, key: bytes) -> tuple[int, int]:
        mixed = hash(key)
        return mixed & self._mask, (mixed >> 32) & self._mask


def _close(file: Any) -> None:
    file.close()
