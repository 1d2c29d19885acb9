"""The hook over HTTP: one request per connection, in a thread of its own, everything about it bounded.

Time is bounded for a request as a whole, not for each read: a sender that gives a byte a second holds a thread for
``changes.request_timeout_s`` and no longer. ``docs/decisions/0019-changes-from-elsewhere.md`` says why this is the standard library's server.
"""

from __future__ import annotations

import io
import socket
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from typing import Any

import orjson
from structlog.typing import FilteringBoundLogger

from streamdrift.errors import SettingsProblem
from streamdrift.feeds.hook import Answer, Hook, Request
from streamdrift.ports import Clock
from streamdrift.settings import ChangesSettings
from streamdrift.telemetry import Metrics
from streamdrift.telemetry.listener import Listener, listening

HEAD_BYTES_MAX = 32_768
ANSWER_S = 5.0
"""How long a sender may take to take the answer."""
LINGER_S = 1.0
"""How long is read what nobody wants: a connection that is closed with unread bytes is reset, and the answer with it."""
REPEAT_S = 60.0
"""One log line for each outcome in this time."""
BUSY = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: 1\r\nConnection: close\r\n"
    b'Content-Length: 83\r\n\r\n{"error": {"reason": "busy", "detail": "too many connections; come again shortly"}}'
)
UNREADABLE: dict[int, str] = {
    400: "this is no HTTP request",
    408: "the request took longer than changes.request_timeout_s",
    413: "the request is larger than it said",
    414: "the URL is too long",
    431: "the headers are too long or too many",
    501: "there is no such method here",
    505: "this version of HTTP is not spoken here",
}


class Timed(io.RawIOBase):
    """Reads a socket until a moment, and so many bytes, for all reads together."""

    def __init__(self, connection: socket.socket, clock: Clock, seconds: float, bytes_max: int) -> None:
        super().__init__()
        self._connection, self._clock = connection, clock
        self._until, self._left = clock.monotonic() + seconds, bytes_max

    def readable(self) -> bool:
        """It is there to be read."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read some bytes.

        Raises
        ------
        TimeoutError
            The moment has come.
        """
        seconds = self._until - self._clock.monotonic()
        if seconds <= 0:
            raise TimeoutError
        if self._left <= 0:
            return 0
        self._connection.settimeout(seconds)
        count = self._connection.recv_into(memoryview(buffer)[: self._left])
        self._left -= count
        return count


class Server(Listener):
    """Listens until ``stop``."""

    request_queue_size = 128

    def __init__(
        self, settings: ChangesSettings, hook: Hook, clock: Clock, metrics: Metrics, log: FilteringBoundLogger
    ) -> None:
        self.settings, self.hook, self.clock, self.metrics = settings, hook, clock, metrics
        self._log, self._told = log, dict[str, tuple[float, int]]()
        self._lock = threading.Lock()
        super().__init__("hook", settings.host, settings.port, _Handler, settings.connections_max)

    def turn_away(self, request: Any) -> None:
        """Say that it is busy, without waiting."""
        self.metrics.limit_hits.labels("changes.connections_max").inc()
        with suppress(OSError):  # into an empty buffer: this never waits
            request.setblocking(False)
            request.send(BUSY)

    def count(self, endpoint: str, answer: Answer) -> None:
        """Count an answer; log what was refused, one line a minute for each outcome. Nothing that was sent is in it."""
        self.metrics.change_requests.labels(endpoint, answer.outcome).inc()
        if answer.detail is None:
            return
        key, now = f"{endpoint} {answer.outcome}", self.clock.monotonic()
        with self._lock:
            since, left_out = self._told.get(key, (now - REPEAT_S, 0))
            again = now - since < REPEAT_S
            self._told[key] = (since, left_out + 1) if again else (now, 0)  # bounded: endpoints and outcomes are few
        if not again:
            fields = {"endpoint": endpoint, "outcome": answer.outcome, "status": answer.status}
            self._log.warning("request refused", **fields, left_out=left_out)


class _Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "streamdrift", ""
    _answered = False

    def setup(self) -> None:
        settings = self.server.settings
        super().setup()
        self.rfile.close()
        bytes_max = HEAD_BYTES_MAX + settings.body_bytes_max
        timed = Timed(self.connection, self.server.clock, settings.request_timeout_s, bytes_max)
        self.rfile = io.BufferedReader(timed)

    def handle(self) -> None:
        self.close_connection = True
        try:
            self.handle_one_request()
        except TimeoutError:
            self.send_error(408)

    def log_error(self, *_: Any) -> None:
        """The library's one use: a request that took too long before its first line was read."""
        if not self._answered:
            self.send_error(408)

    def _take(self) -> None:
        self.close_connection = True
        headers: dict[str, str] = {}
        for name, value in self.headers.items():
            known = headers.get(name.lower())
            headers[name.lower()] = value if known is None else f"{known}, {value}"
        request = Request(self.command, self.path, headers)
        refused = self.server.hook.refusal(request)
        if refused is not None:
            self._answer(request, refused)
            self._linger()
            return
        length = int(headers["content-length"])
        body = self.rfile.read(length)
        if len(body) < length:
            self._answer(request, Answer(400, "cut_off", "the body is shorter than its Content-Length"))
            return
        whole = Request(self.command, self.path, headers, body)
        self._answer(whole, self.server.hook.answer(whole))

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = _take  # noqa: N815 - named by the library

    def handle_expect_100(self) -> bool:
        """Ask for the body of those alone who may send one: ``_take`` reads it in any case."""
        request = Request(self.command, self.path, {name.lower(): value for name, value in self.headers.items()})
        return self.server.hook.refusal(request) is not None or super().handle_expect_100()

    def _answer(self, request: Request, answer: Answer) -> None:
        self.server.count(self.server.hook.endpoint(request), answer)
        self._send(answer)

    def _send(self, answer: Answer) -> None:
        self._answered = True
        body = orjson.dumps(answer.body()) + b"\n"
        self.connection.settimeout(ANSWER_S)
        self.send_response_only(answer.status)
        for name, value in (
            ("Content-Type", "application/json"),
            ("Content-Length", str(len(body))),
            ("Connection", "close"),
            ("Cache-Control", "no-store"),
            *answer.headers.items(),
        ):
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer what the library couldn't read, in our own words: its own repeat what was sent."""
        del message, explain
        self.close_connection = True
        self.command = getattr(self, "command", None) or "POST"
        answer = Answer(int(code), "timeout" if code == 408 else "not_http", UNREADABLE.get(int(code), UNREADABLE[400]))
        self.server.count("other", answer)
        self.request_version = "HTTP/1.1"
        with suppress(OSError):
            self._send(answer)

    def _linger(self) -> None:
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)
            rest = Timed(self.connection, self.server.clock, LINGER_S, self.server.settings.body_bytes_max)
            while rest.readinto(bytearray(65_536)):
                pass


def listen(settings: ChangesSettings, hook: Hook, clock: Clock, metrics: Metrics, log: FilteringBoundLogger) -> Server:
    """Begin to listen.

    Raises
    ------
    SettingsProblem
        No endpoint has a secret, or the address can't be had.
    """
    if settings.token is None and settings.pagerduty_key is None and settings.mlflow_secret is None:
        raise SettingsProblem(
            "no endpoint of `changes serve` has a secret, so nobody could send anything; set STREAMDRIFT_CHANGES__TOKEN_FILE, "
            "STREAMDRIFT_CHANGES__PAGERDUTY_KEY_FILE or STREAMDRIFT_CHANGES__MLFLOW_SECRET_FILE"
        )
    return listening(lambda: Server(settings, hook, clock, metrics, log), "CHANGES", settings.host, settings.port)
