"""What every kafka-python client of ours shares: how it is made, and what becomes of its log lines.

kafka-python writes several lines, some with a traceback, at each of its reconnects: a broker that is down for an hour
would bury everything else. ``quiet_logs`` lets one line a minute through for each thing it complains of.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import structlog
from kafka import KafkaConsumer, KafkaProducer

from streamdrift.settings import KafkaSettings
from streamdrift.transports.kafka.tls import tls_context

RECONNECT_MAX_MS = 1_000
"""With the default of 30 s a client sleeps on long after its broker is back."""

IDLE_MS = 540_000
"""When an idle connection is closed; requests must time out before it."""

MESSAGE_BYTES_MAX = 16 * 1024 * 1024
"""Largest message we send. Dead letters carry events that were too large, and blocks many rows."""

BATCH_BYTES = 262_144
"""With a linger of 20 ms: 56,000 messages/s against 38,000 by default (200,000 events of 371 B on two cores)."""

REPEAT_S = 60.0
"""One line per complaint in this time."""

LINES_MAX = 200
"""Lines of kafka-python that are looked at for the cause of one failure."""


def options(settings: KafkaSettings) -> dict[str, Any]:
    """Return the options that consumer, producer and admin client take alike.

    Raises
    ------
    SettingsProblem
        A certificate or key can't be read.
    """
    timeout_ms = max(1_000, int(settings.request_timeout_s * 1_000))
    found: dict[str, Any] = {
        "bootstrap_servers": addresses(settings),
        "client_id": "streamdrift",
        "security_protocol": settings.security_protocol,
        "request_timeout_ms": timeout_ms,
        "connections_max_idle_ms": max(IDLE_MS, 2 * timeout_ms),
        "reconnect_backoff_max_ms": RECONNECT_MAX_MS,
        "ssl_context": tls_context(settings),
    }
    if settings.sasl_mechanism is not None:
        password = settings.sasl_password
        found["sasl_mechanism"] = settings.sasl_mechanism
        found["sasl_plain_username"] = settings.sasl_username
        found["sasl_plain_password"] = password.get_secret_value() if password is not None else None
    return found


def open_consumer(settings: KafkaSettings, **own: Any) -> Any:
    """Return a consumer that commits nothing by itself; ``own`` are options that are its reader's, or laid over these.

    Raises
    ------
    kafka.errors.KafkaError
        The broker can't be reached, or refuses us.
    """
    quiet_logs()
    shared: dict[str, Any] = {
        **options(settings),
        "bootstrap_timeout_ms": int(settings.bootstrap_timeout_s * 1_000),
        "enable_auto_commit": False,
        "auto_offset_reset": "earliest",  # retention or compaction may take the first records while they are read
        "isolation_level": "read_committed",
        "max_partition_fetch_bytes": MESSAGE_BYTES_MAX // 4,
        "allow_auto_create_topics": False,
        "metrics_enabled": False,
    }
    return KafkaConsumer(**shared | own)


def open_producer(settings: KafkaSettings, linger_ms: int, **own: Any) -> Any:
    """Return a producer whose messages are with all replicas in sync; ``own`` are options that are its sender's.

    Raises
    ------
    kafka.errors.KafkaError
        The broker can't be reached, or refuses us.
    """
    quiet_logs()
    shared = options(settings)
    return KafkaProducer(
        **shared,
        bootstrap_timeout_ms=int(settings.bootstrap_timeout_s * 1_000),
        acks="all",
        batch_size=BATCH_BYTES,
        linger_ms=linger_ms,
        max_request_size=MESSAGE_BYTES_MAX,
        max_block_ms=shared["request_timeout_ms"],
        delivery_timeout_ms=2 * shared["request_timeout_ms"] + linger_ms,
        allow_auto_create_topics=False,
        metrics_enabled=False,
        **own,
    )


def addresses(settings: KafkaSettings) -> list[str]:
    """Return the bootstrap servers, each ``host:port``."""
    return [server.strip() for server in str(settings.bootstrap_servers).split(",") if server.strip()]


class _Condensed(logging.Handler):
    """Passes each complaint on once a minute as a structured line, with the number of those left out."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._told: dict[tuple[str, int], tuple[float, int]] = {}  # bounded by kafka-python's lines of code
        self._log = structlog.get_logger("streamdrift.kafka")

    def emit(self, record: logging.LogRecord) -> None:
        if record.name == "kafka.net.selector" and record.levelno < logging.ERROR:
            return  # "task ran for 0.2 s": so it does where the interpreter is busy detecting
        place = (record.name, record.lineno)
        since, left_out = self._told.get(place, (record.created - REPEAT_S, 0))
        if record.created - since < REPEAT_S:
            self._told[place] = (since, left_out + 1)
            return
        self._told[place] = (record.created, 0)
        self._log.warning("kafka client", text=_plain(record), left_out=left_out)


def _plain(record: logging.LogRecord) -> str:
    """The line without what only tells objects apart, and without its traceback."""
    return re.sub(r"<(\w+) [^>]*?(?:\[[^\]]*\])?[^>]*>:? ?", "", record.getMessage())[:500]


_HANDLER = _Condensed()


def quiet_logs() -> None:
    """Send kafka-python's warnings through the structured log, one a minute for each complaint; drop the rest."""
    logger = logging.getLogger("kafka")
    logger.setLevel(logging.WARNING)
    logger.propagate = False
    if _HANDLER not in logger.handlers:
        logger.addHandler(_HANDLER)


class _Kept(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if len(self.lines) < LINES_MAX:
            self.lines.append(record.getMessage())


@contextmanager
def captured() -> Iterator[list[str]]:
    """Collect kafka-python's warnings instead of logging them: they alone tell why a connection failed."""
    quiet_logs()
    logger, kept = logging.getLogger("kafka"), _Kept()
    logger.addHandler(kept)
    logger.removeHandler(_HANDLER)
    try:
        yield kept.lines
    finally:
        logger.removeHandler(kept)
        quiet_logs()
