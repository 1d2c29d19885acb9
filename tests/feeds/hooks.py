"""A hook as it is served, over a broker in memory, and a sender of raw requests."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import structlog
from pydantic import SecretStr

from streamdrift.errors import Retriable
from streamdrift.feeds.hook import Hook
from streamdrift.feeds.inbox import Inbox
from streamdrift.feeds.publisher import Publisher
from streamdrift.feeds.server import listen
from streamdrift.settings import ChangesSettings, Settings
from streamdrift.telemetry import Metrics
from streamdrift.transports.memory import MemoryBroker, MemorySink
from tests.transports.clock import RealClock

PAYLOADS = Path(__file__).with_name("payloads")
TOKEN, KEY, SECRET = "a-token-of-the-hook", "a-routing-key-of-pagerduty-00000", "a-secret-of-mlflow-webhooks"
TOPIC = "model-changes"
AUTHORIZED = MappingProxyType({"Authorization": f"Bearer {TOKEN}"})
SECRETS = {"token": SecretStr(TOKEN), "pagerduty_key": SecretStr(KEY), "mlflow_secret": SecretStr(SECRET)}


def payload(name: str) -> Any:
    return json.loads((PAYLOADS / f"{name}.json").read_text(encoding="utf-8"))


def signature(body: bytes, at: int, secret: str = SECRET, delivery: str = "d-1") -> dict[str, str]:
    """The headers that MLflow signs with."""
    digest = hmac.new(secret.encode(), f"{delivery}.{at}.".encode() + body, hashlib.sha256).digest()
    return {
        "X-MLflow-Signature": "v1," + base64.b64encode(digest).decode(),
        "X-MLflow-Delivery-Id": delivery,
        "X-MLflow-Timestamp": str(at),
    }


@dataclass(frozen=True)
class Answered:
    status: int
    headers: Mapping[str, str]
    body: Any


@dataclass
class Served:
    """A hook that listens, and the broker behind it."""

    settings: Settings
    broker: MemoryBroker = field(default_factory=MemoryBroker)
    inbox: Inbox = field(default_factory=Inbox)
    metrics: Metrics = field(default_factory=Metrics)
    clock: RealClock = field(default_factory=RealClock)
    port: int = 0
    away: threading.Event = field(default_factory=threading.Event)

    def post(self, path: str, body: Any, headers: Mapping[str, str] = AUTHORIZED) -> Answered:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        lines = [f"POST {path} HTTP/1.1", "Host: hook", f"Content-Length: {len(data)}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        return self.raw("\r\n".join(lines).encode() + b"\r\n\r\n" + data)

    def raw(self, data: bytes) -> Answered:
        with socket.create_connection(("127.0.0.1", self.port), 10) as connection:
            with suppress(OSError):  # it may have answered before it has all
                connection.sendall(data)
            return read(connection)

    def said(self) -> list[Any]:
        return [json.loads(record.value or b"") for record in self.broker.records(TOPIC)]

    def counted(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(f"streamdrift_{name}", labels) or 0.0


def read(connection: socket.socket) -> Answered:
    whole = b""
    with suppress(ConnectionError):
        while piece := connection.recv(65_536):
            whole += piece
    head, _, body = whole.partition(b"\r\n\r\n")
    if not head:
        return Answered(0, {}, None)
    first, *lines = head.decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    return Answered(int(first.split()[1]), headers, json.loads(body) if body else None)


@contextmanager
def served(**settings: Any) -> Iterator[Served]:
    sources = settings.pop("sources", {})
    changes = ChangesSettings(host="127.0.0.1", port=0, **{**SECRETS, **settings})
    here = Served(Settings.model_validate({"changes": changes, "sources": sources}))
    stop = threading.Event()

    def publish() -> None:
        while not stop.is_set():
            if here.away.is_set():
                time.sleep(0.01)
                continue
            publisher = Publisher(
                here.inbox, MemorySink(here.broker), TOPIC, 5.0, here.clock, here.metrics, lambda _: None
            )
            with suppress(Retriable):
                while not stop.is_set() and not here.away.is_set():
                    publisher.step(0.02)
            publisher.close()

    thread = threading.Thread(target=publish)
    thread.start()
    while here.inbox._shut is not None:
        time.sleep(0.001)
    hook = Hook(here.settings, here.inbox, here.clock)
    server = listen(here.settings.changes, hook, here.clock, here.metrics, structlog.get_logger("streamdrift"))
    here.port = server.port
    try:
        yield here
    finally:
        server.stop()
        stop.set()
        thread.join()
