"""An end to an exchange by a total time."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from types import TracebackType
from typing import Self


class Deadline:
    """Ends an exchange that drips: a socket's own timeout begins anew with every byte.

    Attributes
    ----------
    passed
        Whether it did.
    """

    def __init__(self, sock: socket.socket | None, seconds: float) -> None:
        self.passed = False
        self._sock = sock
        self._timer = threading.Timer(seconds, self._end)
        self._timer.daemon = True

    def _end(self) -> None:
        self.passed = True
        if self._sock is not None:
            with suppress(OSError):
                socket.socket.shutdown(self._sock, socket.SHUT_RDWR)  # below TLS, which another thread is using

    def __enter__(self) -> Self:
        self._timer.start()
        return self

    def __exit__(self, _t: type[BaseException] | None, _e: BaseException | None, _b: TracebackType | None) -> None:
        self._timer.cancel()
