"""A real PostgreSQL for the tests: a cluster in a temporary folder, on loopback, from the binaries that are there.

Debian keeps them off the path, in /usr/lib/postgresql/VERSION/bin. The server refuses to run as root: there it runs as
``postgres``, or whoever else has no rights.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

READY_S = 30.0
USER, PASSWORD = "streamdrift", "secret-of-the-ledger"
OPTIONS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "fsync": "off",  # the machine doesn't fail in a test
    "max_connections": "30",
    "shared_buffers": "16MB",
}
LEASH = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
"""Where the tests are killed, the server goes with them."""


class NoPostgresqlError(Exception):
    """No PostgreSQL can be had here; the message says what is missing."""


@dataclass
class Postgresql:
    """A running server, and databases on it."""

    port: int
    folder: Path
    binaries: Path
    user: str | None
    process: subprocess.Popen[bytes] | None = None

    def database(self, encoding: str = "UTF8") -> str:
        """Make an empty database; return its URL."""
        name = f"ledger_{uuid.uuid4().hex[:12]}"
        self.run(f"CREATE DATABASE {name} ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")
        return f"postgresql+psycopg://{USER}:{PASSWORD}@127.0.0.1:{self.port}/{name}"

    def schema(self, url: str) -> str:
        """Make an empty schema in a database; return the URL of a ledger in it."""
        name = f"s{uuid.uuid4().hex[:12]}"
        self.run(f"CREATE SCHEMA {name}", url)
        return f"{url}?options=-csearch_path%3D{name}"

    def run(self, statement: str, url: str | None = None) -> list[tuple[object, ...]]:
        """Run one statement beside whoever else is there."""
        where = url or f"postgresql://{USER}:{PASSWORD}@127.0.0.1:{self.port}/postgres"
        with psycopg.connect(where.replace("+psycopg", ""), autocommit=True) as connection:
            found = connection.execute(statement.encode())
            return found.fetchall() if found.description else []

    def start(self) -> None:
        """Start the server, and wait for it."""
        options = [word for name, value in OPTIONS.items() for word in ("-c", f"{name}={value}")]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [*LEASH, self.binaries / "postgres", "-D", self.folder / "data", "-p", str(self.port), *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                **_as(self.user),
            )
        deadline = time.monotonic() + READY_S
        while time.monotonic() < deadline and self.process.poll() is None:
            with suppress(psycopg.OperationalError):
                self.run("SELECT 1")
                return
            time.sleep(0.05)
        said = (self.folder / "log").read_text(errors="replace")[-2000:]
        raise NoPostgresqlError(f"PostgreSQL did not come up; the end of its log:\n{said}")

    def stop(self) -> None:
        """End the server and every session at once, as a crash of its machine does."""
        if self.process is not None:
            self.process.send_signal(signal.SIGQUIT)
            self.process.wait(30)


@contextmanager
def running() -> Iterator[Postgresql]:
    """Run a server; it and its data are gone afterwards.

    Raises
    ------
    NoPostgresqlError
        There are no binaries, or they don't run.
    """
    binaries, user = _binaries(), _user()
    with tempfile.TemporaryDirectory(prefix="streamdrift-postgresql-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        (folder / "password").write_text(PASSWORD)
        if user is not None:
            for path in (folder, folder / "password"):
                shutil.chown(path, user)
        options = [*["-A", "scram-sha-256", "-N", "-E", "UTF8", "--locale", "C"], "--pwfile", str(folder / "password")]
        made = subprocess.run(
            [binaries / "initdb", "-D", folder / "data", "-U", USER, *options],
            capture_output=True,
            text=True,
            check=False,
            cwd="/",
            **_as(user),
        )
        if made.returncode:
            raise NoPostgresqlError(f"initdb failed: {made.stderr[-2000:]}")
        server = Postgresql(_free_port(), folder, binaries, user)
        try:
            server.start()
            yield server
        finally:
            server.stop()


def _as(user: str | None) -> dict[str, Any]:
    return {} if user is None else {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []}


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _binaries() -> Path:
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[4]))
    found = shutil.which("initdb") or (str(installed[-1]) if installed else None)
    if found is None:
        raise NoPostgresqlError(
            "no PostgreSQL for the tests: there is no initdb on the path nor in /usr/lib/postgresql (Debian: postgresql)"
        )
    return Path(found).resolve().parent


def _user() -> str | None:
    """Who runs the server; None for ourselves."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            return pwd.getpwnam(name).pw_name
    raise NoPostgresqlError("PostgreSQL doesn't run as root, and there is no user postgres or nobody")
