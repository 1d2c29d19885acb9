"""An end to an exchange by a total time."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from types import TracebackType
from typing import Protocol, Self


class Connection(Protocol):
    """What has a socket, now or later."""

    @property
    def sock(self) -> socket.socket | None:
        """The socket, while there is one."""
        ...


class Deadline:
    """Ends an exchange that drips: a socket's own timeout begins anew with every byte.

    Attributes
    ----------
    passed
        Whether it did.
    """

    def __init__(self, connection: Connection, seconds: float) -> None:
        self.passed = False
        self._connection = connection
        self._timer = threading.Timer(seconds, self._end)
        self._timer.daemon = True

    def _end(self) -> None:
        self.passed = True
        sock = self._connection.sock
        if sock is not None:
            with suppress(OSError):
                socket.socket.shutdown(sock, socket.SHUT_RDWR)  # below TLS, which another thread is using

    def __enter__(self) -> Self:
        self._timer.start()
        return self

    def __exit__(self, _t: type[BaseException] | None, _e: BaseException | None, _b: TracebackType | None) -> None:
        self._timer.cancel()
