"""A ledger in a PostgreSQL database: for production, with workers that stand by.

The worker at work holds a session advisory lock, on the one connection that it writes by. When the process, its machine
or the connection dies, the server ends the session: lock and open transaction are gone together, so whoever was cut off can't
write any more, and the next one takes over from what is committed. A pooler between the two that shares sessions among
clients (PgBouncer in transaction mode) would break this; connect to the server itself, or to a pool of whole sessions.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import URL, Connection, NullPool, create_engine, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError

from streamdrift.errors import InputProblem, OutOfReach, Retriable, SettingsProblem, Standby, StreamdriftError
from streamdrift.escalate.sqlite import SETTING

DRIVER = "postgresql+psycopg"
CHOOSE = f"name another database in {SETTING}"
WORKER, WRITER = 0x73_64_6C_67, 0x73_64_6C_74
"""Classes of our advisory locks, beside those of whoever shares the database; the second half is the schema's."""
BUSY_S = 10.0
"""How long another writer, such as a command, may hold us up."""
STANDBY_S = 2.0
"""How often one that stands by looks again."""
CONNECT = {
    "connect_timeout": 10,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
    "application_name": "streamdrift-escalate",
    "client_encoding": "utf8",
}
"""What libpq is asked for, unless the URL asks for something else: a dead connection is noticed within about a minute."""
SESSION = (
    f"SET lock_timeout = '{BUSY_S:g}s'",
    # so does the server notice a dead worker: its own default is two hours, in which nobody could take over
    "SET tcp_keepalives_idle = 30",
    "SET tcp_keepalives_interval = 10",
    "SET tcp_keepalives_count = 3",
    "SET tcp_user_timeout = 60000",
)


class Server:
    """One schema of one database.

    Parameters
    ----------
    url
        ``postgresql+psycopg://user:password@host/database``, with what else libpq takes as its query. The tables are in
        the first schema of the search path.
    """

    begin = ("BEGIN", f"SELECT pg_advisory_xact_lock({WRITER}, hashtext(current_schema()))")
    first_version = 4
    choose = CHOOSE

    def __init__(self, url: str) -> None:
        try:
            self._url = make_url(url).set(drivername=DRIVER)
        except (ArgumentError, ValueError):
            raise SettingsProblem(f"{SETTING} is no URL of a database: {DRIVER}://user@host/database") from None

    def __str__(self) -> str:
        return _place(self._url)

    def open(self, *, shared: bool) -> Connection:
        """Connect; see ``Place``."""
        asked = {name: value for name, value in CONNECT.items() if name not in self._url.query}
        try:
            engine = create_engine(self._url, poolclass=NullPool, isolation_level="AUTOCOMMIT", connect_args=asked)
        except ImportError:
            raise SettingsProblem(
                f"the ledger {self} needs the package psycopg: pip install 'streamdrift[postgresql]'"
            ) from None
        try:
            connection = engine.connect()
        except DBAPIError as e:
            raise OutOfReach(
                f"the ledger {self} can't be reached: {self._plain(e)}; start that server, or correct {SETTING}"
            ) from None
        try:
            self._prepare(connection, shared=shared)
        except BaseException:
            connection.close()
            raise
        return connection

    def _prepare(self, connection: Connection, *, shared: bool) -> None:
        def value(sql: str) -> Any:
            return connection.exec_driver_sql(sql).scalar()

        for statement in SESSION:
            connection.exec_driver_sql(statement)
        if value("SHOW synchronous_commit") == "off":  # a page that was told must stay noted
            connection.exec_driver_sql("SET synchronous_commit = on")
        if (encoding := value("SHOW server_encoding")) != "UTF8":
            raise InputProblem(f"the database of the ledger {self} has the encoding {encoding}; make one with UTF8")
        if value("SELECT current_schema()") is None:
            raise InputProblem(f"the ledger {self} has no schema to be in; make the one that its search_path names")
        if not shared and not value(f"SELECT pg_try_advisory_lock({WORKER}, hashtext(current_schema()))"):
            raise Standby(f"the ledger {self} is in use by another escalation worker; this one stands by", STANDBY_S)

    def told(self, error: SQLAlchemyError, *, shared: bool) -> StreamdriftError:
        """Return what went wrong, and what to do."""
        plain, state = self._plain(error), _state(error)
        if isinstance(error, DBAPIError) and error.connection_invalidated:
            lost = f"the connection to the ledger {self} was lost ({plain})"
            return InputProblem(f"{lost}; try again") if shared else Retriable(lost)
        match state[:2], state:
            case _, "55P03":
                return InputProblem(
                    f"the ledger {self} was held by another process for more than {BUSY_S:g} s; end that one"
                )
            case "53", _:
                return InputProblem(
                    f"the ledger {self} can't be written ({plain}); see to its server, nothing recorded is lost"
                )
            case _, "42501" | "25006":
                return InputProblem(
                    f"the ledger {self} can't be written ({plain}); let its user make and write tables there, or {CHOOSE}"
                )
        return InputProblem(f"the ledger {self} can't be used ({plain})")

    def release(self) -> None:
        """Nothing is left once the session has ended."""

    def _plain(self, error: SQLAlchemyError) -> str:
        """The first line of what the server said, without the password."""
        cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
        line = next(iter(str(cause).strip().splitlines()), type(cause).__name__)
        password = self._url.password
        return line.replace(str(password), "**********") if password else line


def _place(url: URL) -> str:
    """Driver, host and database: what may be told of a URL.

    >>> _place(make_url("postgresql+psycopg://me:secret@db.example.com:5432/drift?sslpassword=x"))
    'postgresql://db.example.com:5432/drift'
    """
    host = f"{url.host or 'localhost'}" + (f":{url.port}" if url.port else "")
    return f"postgresql://{host}/{url.database or ''}"


def _state(error: SQLAlchemyError) -> str:
    return str(getattr(getattr(error, "orig", None), "sqlstate", None) or "")
