"""Whether the process should live and whether it takes work, and the small HTTP server that says so."""

from __future__ import annotations

from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import urlsplit

from prometheus_client.exposition import choose_encoder

from streamdrift.ports import Clock
from streamdrift.telemetry.listener import Listener, listening
from streamdrift.telemetry.metrics import Metrics

DEADLINE_S = 60.0
"""A loop that has not come round for this long is stuck: restart the process."""
REQUEST_TIMEOUT_S = 10.0
REQUESTS_MAX = 32
"""Requests answered at the same time; further ones are dropped."""


class Health:
    """What the worker loops say about themselves.

    A loop beats once a round, whether or not the broker answers: a restart doesn't bring Kafka back.

    Parameters
    ----------
    deadline_s
        Longest time between two beats of a loop that lives.
    """

    def __init__(self, clock: Clock, deadline_s: float = DEADLINE_S) -> None:
        self._clock = clock
        self._deadline_s = deadline_s
        self._beats: dict[str, float] = {}
        self._ready = False
        self._reason = "starting"

    def beat(self, stage: str) -> None:
        """Note that a loop came round. The first beat makes it known."""
        self._beats[stage] = self._clock.monotonic()

    def finished(self, stage: str) -> None:
        """Forget a loop that ended as it should."""
        self._beats.pop(stage, None)

    def set_ready(self, ready: bool, reason: str = "") -> None:
        """Say whether the process takes work, and if not, why not. The first thing to go at shutdown."""
        self._ready, self._reason = ready, reason or ("working" if ready else "shutting down")

    def stalled(self) -> dict[str, float]:
        """Loops that are behind their deadline, and the seconds since they last beat."""
        now = self._clock.monotonic()
        silent = {stage: now - beat for stage, beat in sorted(self._beats.copy().items())}
        return {stage: seconds for stage, seconds in silent.items() if seconds > self._deadline_s}

    def livez(self) -> tuple[int, str]:
        """Return HTTP status and text: 503 asks for a restart."""
        behind = [f"{stage} has not come round for {seconds:.0f} s" for stage, seconds in self.stalled().items()]
        return (503, f"{'; '.join(behind)} (deadline {self._deadline_s:.0f} s)") if behind else (200, "ok")

    def readyz(self) -> tuple[int, str]:
        """Return HTTP status and text: 503 asks to be left out."""
        status, text = self.livez()
        return (status, text) if status != 200 or self._ready else (503, f"not ready: {self._reason}")


class Server(Listener):
    """Answers until ``stop``."""

    request_queue_size = REQUESTS_MAX  # five, the default, makes a burst of probes wait for TCP to try again

    def __init__(self, host: str, port: int, metrics: Metrics, health: Health) -> None:
        self.metrics, self.health = metrics, health
        super().__init__("telemetry", host, port, _Handler, REQUESTS_MAX)


class _Handler(BaseHTTPRequestHandler):
    server: Server
    timeout = REQUEST_TIMEOUT_S
    server_version, sys_version = "streamdrift", ""

    def do_GET(self) -> None:
        pages: dict[str, Callable[[], tuple[int, str]]] = {
            "/livez": self.server.health.livez,
            "/readyz": self.server.health.readyz,
        }
        path = urlsplit(self.path).path
        if path == "/metrics":
            encode, content_type = choose_encoder(self.headers.get("Accept", ""))
            self._answer(200, content_type, encode(self.server.metrics.registry))
        else:
            status, text = pages.get(path, _not_found)()
            self._answer(status, "text/plain; charset=utf-8", f"{text}\n".encode())

    do_HEAD = do_GET  # noqa: N815 - as do_GET

    def _answer(self, status: int, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Probes come every few seconds: no line for each."""


def _not_found() -> tuple[int, str]:
    return 404, "here are /metrics, /livez and /readyz"


def serve(host: str, port: int, metrics: Metrics, health: Health) -> Server:
    """Start to answer ``/metrics``, ``/livez`` and ``/readyz``.

    Raises
    ------
    SettingsProblem
        The address can't be had.
    """
    return listening(lambda: Server(host, port, metrics, health), "TELEMETRY", host, port)
