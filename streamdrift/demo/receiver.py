"""A webhook receiver on this machine: checks the signature of what comes, as Standard Webhooks has it, and keeps it."""

from __future__ import annotations

import hmac
import threading
from base64 import b64decode, b64encode
from collections import deque
from dataclasses import dataclass
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

import orjson

from streamdrift.errors import Rejected
from streamdrift.ports import Clock

BODY_BYTES_MAX = 1 << 20
DELIVERIES_MAX = 1_000
TOLERANCE_S = 300.0
"""A timestamp further than this from our clock is refused: it may be an old message sent again."""
TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class Received:
    """One message whose signature was right. ``message_id`` is the sender's: a retry has the same."""

    message_id: str
    body: dict[str, Any]


class Receiver:
    """Listens on a free port of the loopback address until it is closed; also a context manager.

    Parameters
    ----------
    secret
        The sender's signing secret, as plain text or ``whsec_`` and base64.
    """

    def __init__(self, secret: str, clock: Clock) -> None:
        self._key, self._clock = key(secret), clock
        self._lock = threading.Lock()
        self._received: deque[Received] = deque(maxlen=DELIVERIES_MAX)
        self._refused = 0
        self._server = _Server(self)
        self._thread = threading.Thread(target=self._server.serve_forever, name="demo-receiver", daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """Where to send."""
        return f"http://127.0.0.1:{self._server.server_port}/"

    @property
    def received(self) -> tuple[Received, ...]:
        """The last ``DELIVERIES_MAX`` messages, oldest first."""
        with self._lock:
            return tuple(self._received)

    @property
    def refused(self) -> int:
        """Messages that were not taken: unsigned, forged, old, or no JSON object."""
        with self._lock:
            return self._refused

    def take(self, headers: dict[str, str], body: bytes) -> None:
        """Check and keep one message; ``headers`` have small letters.

        Raises
        ------
        Rejected
            ``not_signed``, ``too_old``, ``forged``, ``not_json``.
        """
        try:
            verify(self._key, headers, body, self._clock.now())
            message = Received(headers["webhook-id"], _object(body))
        except Rejected:
            with self._lock:
                self._refused += 1
            raise
        with self._lock:
            self._received.append(message)

    def close(self) -> None:
        """Stop listening; a second call does nothing."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def key(secret: str) -> bytes:
    """The signing key that a secret stands for."""
    prefix = "whsec_"
    return b64decode(secret.removeprefix(prefix), validate=True) if secret.startswith(prefix) else secret.encode()


def sign(key_: bytes, message_id: str, timestamp: str, body: bytes) -> str:
    """The signature header: ``v1,`` and the base64 of HMAC-SHA256 over ``id.timestamp.body``."""
    content = f"{message_id}.{timestamp}.".encode() + body
    return "v1," + b64encode(hmac.digest(key_, content, sha256)).decode()


def verify(key_: bytes, headers: dict[str, str], body: bytes, now: float) -> None:
    """Return if one of the signatures is right and the timestamp is near; now in seconds since the epoch.

    Raises
    ------
    Rejected
        ``not_signed``, ``too_old``, ``forged``.
    """
    try:
        message_id, timestamp = headers["webhook-id"], headers["webhook-timestamp"]
        given = headers["webhook-signature"].split()
        age = abs(now - int(timestamp))
    except (KeyError, ValueError) as e:
        raise Rejected("not_signed", f"a signature header is missing or unreadable: {e}") from e
    if age > TOLERANCE_S:
        raise Rejected("too_old", f"the timestamp is {age:.0f} s off")
    expected = sign(key_, message_id, timestamp, body).encode()
    if not any(hmac.compare_digest(expected, one.encode()) for one in given):
        raise Rejected("forged", "no signature fits; is the secret the same on both sides?")


def _object(body: bytes) -> dict[str, Any]:
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as e:
        raise Rejected("not_json", str(e)) from e
    if not isinstance(value, dict):
        raise Rejected("not_json", "not a JSON object")
    return value


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, receiver: Receiver) -> None:
        self.receiver = receiver
        super().__init__(("127.0.0.1", 0), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a sender that hangs up is no fault of ours."""


class _Handler(BaseHTTPRequestHandler):
    timeout = TIMEOUT_S
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_POST(self) -> None:
        length = self.headers.get("content-length", "")
        if not length.isascii() or not length.isdigit() or int(length[:9]) > BODY_BYTES_MAX:
            self.close_connection = True
            self._answer(413, "the body has no length, or is over 1 MiB")
            return
        body = self.rfile.read(int(length))
        headers = {name.lower(): value for name, value in self.headers.items()}
        try:
            self.server.receiver.take(headers, body)
        except Rejected as e:
            self._answer(400 if e.reason == "not_json" else 401, e.detail)
        else:
            self._answer(202, "taken")

    def _answer(self, status: int, told: str) -> None:
        body = told.encode()
        self.send_response(status)
        self.send_header("content-type", "text/plain; charset=utf-8")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing: the timeline tells what was delivered."""
