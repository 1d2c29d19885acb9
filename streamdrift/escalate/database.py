"""One database that survives any crash, held by one worker, and what goes wrong with it in sentences.

``sqlite`` and ``postgresql`` say what is different about the two. Statements are SQLAlchemy's; outside of ``transaction``
each stands for itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Protocol

from sqlalchemy import Connection, Executable, Table, func, inspect, select, text
from sqlalchemy.dialects import postgresql as _postgresql
from sqlalchemy.dialects import sqlite as _sqlite
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from streamdrift.errors import InputProblem, StreamdriftError
from streamdrift.escalate import tables
from streamdrift.escalate.migrations import VERSION, statements

Upsert = _sqlite.Insert | _postgresql.Insert


class Place(Protocol):
    """Where a ledger is. An instance holds what makes it ours alone, from ``open`` to ``release``."""

    @property
    def begin(self) -> tuple[str, ...]:
        """What begins a transaction that no other writer is beside."""
        ...

    @property
    def first_version(self) -> int:
        """Of the versions that it could ever have had."""
        ...

    @property
    def choose(self) -> str:
        """What to do, where this one is not to be used."""
        ...

    def __str__(self) -> str:
        """Return its name, without secrets."""
        ...

    def open(self, *, shared: bool) -> Connection:
        """Connect, in autocommit; claim it unless it is shared."""
        ...

    def told(self, error: SQLAlchemyError, *, shared: bool) -> StreamdriftError:
        """Return what went wrong."""
        ...

    def release(self) -> None:
        """Let go of what ``open`` claimed; a second call does nothing."""
        ...


class Database:
    """The ledger's database, opened by one worker alone.

    Parameters
    ----------
    place
        A file or a database; ``places.place_of`` makes it from the setting.
    shared
        Open it beside the worker that uses it, for a moment: it must be there, and of this version.

    Raises
    ------
    InputProblem
        It can't be opened, read or written, or is of a later version; from any method.
    Standby
        Another worker has it, and it may be waited for.
    Retriable, OutOfReach
        The database's server went away, or isn't there.
    """

    def __init__(self, place: Place, *, shared: bool = False) -> None:
        self.place, self._shared = place, shared
        self._lost: StreamdriftError | None = None
        self._connection: Connection | None = None
        try:
            with self._sentences():
                self._connection = place.open(shared=shared)
            self._check_version()
        except BaseException:
            self.close()
            raise

    # Versions --------------------------------------------------------------------------------------------------------

    def _check_version(self) -> None:
        with self.transaction():  # two that come at once make it once
            with self._sentences():
                names = set(inspect(self._connected()).get_table_names())
            if not names and not self._shared:
                self._make()
                return
            if not names:
                raise InputProblem(f"the ledger {self.place} is empty; {OPENED_FIRST}")
            if tables.schema.name not in names:
                raise InputProblem(f"{self.place} is a database, but no ledger of streamdrift; {self.place.choose}")
            self._migrate()

    def _make(self) -> None:
        with self._sentences():
            tables.METADATA.create_all(self._connected(), checkfirst=False)
        self.execute(tables.schema.insert().values(version=VERSION))

    def _migrate(self) -> None:
        ((version,),) = self.execute(select(func.max(tables.schema.c.version)))
        known = range(self.place.first_version, VERSION)
        if self._shared and version in known:
            raise InputProblem(
                f"the ledger {self.place} has version {version}, and this streamdrift works on {VERSION}; {OPENED_FIRST}"
            )
        if version != VERSION and version not in known:
            raise InputProblem(
                f"the ledger {self.place} has version {version}, and this streamdrift knows {VERSION}; "
                f"run the streamdrift that wrote it, or {self.place.choose}"
            )
        for step in range(version, VERSION):
            for statement in statements(step, self._connected().dialect.name):
                self.execute(text(statement))
        if version != VERSION:
            self.execute(tables.schema.update().values(version=VERSION))

    # Statements ------------------------------------------------------------------------------------------------------

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Everything inside, or nothing; other writers wait."""
        begin, *then = self.place.begin
        self.execute(text(begin))
        try:
            for statement in then:
                self.execute(text(statement))
            yield
            self.execute(text("COMMIT"))
        except BaseException:
            with suppress(SQLAlchemyError, StreamdriftError):  # a full disk has rolled it back already
                self._connected().execute(text("ROLLBACK"))
            raise

    def execute(self, statement: Executable) -> list[tuple[Any, ...]]:
        """Run one statement; return all its rows."""
        with self._sentences():
            result = self._connected().execute(statement)
            return [tuple(row) for row in result] if result.returns_rows else []

    def insert(self, table: Table) -> Upsert:
        """Begin an INSERT that may say what is done ``on_conflict``."""
        if self._connected().dialect.name == "sqlite":
            return _sqlite.insert(table)
        return _postgresql.insert(table)

    def close(self) -> None:
        """Let go of it; what was not committed is undone. A second call does nothing."""
        if self._connection is not None:
            with suppress(SQLAlchemyError):
                self._connection.close()
            self._connection = None
            self._lost = InputProblem(f"the ledger {self.place} is closed")
        self.place.release()

    def _connected(self) -> Connection:
        """The one connection there ever is: what claims the ledger is bound to it, so another would write unclaimed."""
        if self._lost is not None or self._connection is None:
            raise self._lost or InputProblem(f"the ledger {self.place} is closed")
        return self._connection

    @contextmanager
    def _sentences(self) -> Iterator[None]:
        try:
            yield
        except SQLAlchemyError as e:
            told = self.place.told(e, shared=self._shared)
            if isinstance(e, DBAPIError) and e.connection_invalidated:
                self._lost = told
            raise told from None


OPENED_FIRST = "let `streamdrift escalate` of this version open it first"
