"""What every HTTP server here is: it listens in a thread of its own, answers in as many as it may, and says why it can't."""

from __future__ import annotations

import errno
import socket
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import Any, TypeVar

from streamdrift.errors import SettingsProblem

STOP_POLL_S = 0.05
"""How often the listening thread looks whether it should stop."""


class Listener(ThreadingHTTPServer):
    """Answers in threads of its own until ``stop``.

    Parameters
    ----------
    name
        Of the listening thread.
    requests_max
        Requests answered at the same time; further ones are for ``turn_away``.
    """

    daemon_threads = True

    def __init__(
        self, name: str, host: str, port: int, handler: type[BaseHTTPRequestHandler], requests_max: int
    ) -> None:
        self.address_family, address = _address(host, port)
        self._free = threading.BoundedSemaphore(requests_max)
        super().__init__(address, handler)
        self._thread = threading.Thread(target=self.serve_forever, args=(STOP_POLL_S,), name=name, daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """The port it listens on, also where a free one was asked for."""
        return int(self.server_address[1])

    def stop(self) -> None:
        """Listen no more; a second call does nothing."""
        self.shutdown()
        self.server_close()
        self._thread.join()

    def server_bind(self) -> None:
        """Bind without asking the name service for our own name, which can take half a minute."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = "streamdrift", self.port

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread, if there is one left."""
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.turn_away(request)
            self.shutdown_request(request)

    def turn_away(self, request: Any) -> None:
        """Say, if anything is to be said, that there is no thread left."""

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Give the place back, however the request ended."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away in the middle is no news."""


def _address(host: str, port: int) -> tuple[socket.AddressFamily, tuple[str, int]]:
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    return family, (str(address[0]), port)


AnyListener = TypeVar("AnyListener", bound=Listener)


def listening(make: Callable[[], AnyListener], section: str, host: str, port: int) -> AnyListener:
    """Return what ``make`` makes, which listens by the settings of a section.

    Raises
    ------
    SettingsProblem
        The address can't be had.
    """
    try:
        return make()
    except (OSError, UnicodeError) as e:
        in_use = isinstance(e, OSError) and e.errno == errno.EADDRINUSE
        cause = "another process has it" if in_use else getattr(e, "strerror", None) or str(e)
        raise SettingsProblem(
            f"can't listen on {host}, port {port}: {cause}; set STREAMDRIFT_{section}__PORT or "
            f"STREAMDRIFT_{section}__HOST to one that is free (port 0 takes any)"
        ) from None
