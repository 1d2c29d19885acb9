"""Messages to Kafka, acknowledged by all replicas in sync before ``flush`` returns."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from kafka.errors import (
    AuthorizationError,
    InvalidRecordError,
    InvalidTopicError,
    KafkaError,
    KafkaTimeoutError,
    MessageSizeTooLargeError,
    PolicyViolationError,
    RecordListTooLargeError,
    RetriableError,
    SaslAuthenticationFailedError,
    UnsupportedVersionError,
)

from streamdrift.errors import BrokerProblem, Retriable
from streamdrift.ports import Clock, Headers
from streamdrift.settings import KafkaSettings
from streamdrift.transports.kafka.client import open_producer
from streamdrift.transports.kafka.explain import explain, plain, rooted
from streamdrift.transports.kafka.rights import Writable

LINGER_MS = 20

PENDING_MAX = 10_000
"""Messages not yet known to be safe; one more makes ``send`` wait for them all."""

CLOSE_S = 5.0

REFUSALS = (
    AuthorizationError,
    InvalidRecordError,
    InvalidTopicError,
    MessageSizeTooLargeError,
    PolicyViolationError,
    RecordListTooLargeError,
    SaslAuthenticationFailedError,
    UnsupportedVersionError,
)
"""The same message would be refused again. After any other error it is sent again."""


@dataclass(slots=True)
class _Sent:
    topic: str
    value: bytes | None
    key: bytes | None
    headers: Headers
    partition: int | None = None
    future: Any = field(default=None)


class KafkaSink:
    """An idempotent producer.

    kafka-python's own ``flush`` is silent about records that failed, so every message is kept with its future until it
    is acknowledged. One that failed for a passing reason is sent again by the next ``flush``.

    Raises
    ------
    BrokerProblem
        The broker can't be reached, or refuses us.
    """

    def __init__(self, settings: KafkaSettings, clock: Clock) -> None:
        self._settings, self._clock = settings, clock
        self._writable = Writable(settings, clock)
        self._pending: list[_Sent] = []
        self._producer: Any = None

    def send(self, topic: str, value: bytes | None, key: bytes | None = None, headers: Headers = ()) -> None:
        """Hand over one message. It is safe only after ``flush``.

        Raises
        ------
        BrokerProblem
            There is no such topic, or we may not write to it.
        """
        self._writable.require(topic)
        self._take(_Sent(topic, value, key, headers))

    def broadcast(self, topic: str, value: bytes) -> None:
        """Hand over one message for every partition of a topic; as ``send``."""
        self._writable.require(topic)
        for partition in sorted(self._opened().partitions_for(topic)):
            self._take(_Sent(topic, value, None, (), partition))

    def _take(self, sent: _Sent) -> None:
        if len(self._pending) >= PENDING_MAX:
            self.flush(self._settings.request_timeout_s)
        self._pending.append(sent)
        self._hand_over(sent)

    def _opened(self) -> Any:
        if self._producer is None:
            self._producer = open_producer(self._settings, LINGER_MS, enable_idempotence=True)
        return self._producer

    def _hand_over(self, sent: _Sent) -> None:
        """Give the message to the producer; what it says to that is found in ``sent.future`` by ``flush``."""
        try:
            sent.future = self._opened().send(sent.topic, sent.value, sent.key, list(sent.headers), sent.partition)
        except KafkaError as e:
            sent.future = e

    def flush(self, timeout_s: float) -> None:
        """Return when every message is acknowledged; see ``ports.Sink``."""
        if not self._pending:
            return
        deadline = self._clock.monotonic() + timeout_s
        self._send_again()
        if self._producer is not None:
            with suppress(KafkaTimeoutError):  # which messages are still under way is read off below
                self._producer.flush(timeout=max(deadline - self._clock.monotonic(), 0.0))
        self._settle()

    def _send_again(self) -> None:
        failed = [(sent, error) for sent in self._pending if (error := _failure(sent)) is not None]
        if any(not isinstance(error, (RetriableError, *REFUSALS)) for _, error in failed):
            self._drop_producer()  # such as a lost producer id: this one will not recover
        for sent, error in failed:
            if not isinstance(error, REFUSALS):
                self._hand_over(sent)

    def _drop_producer(self) -> None:
        if self._producer is not None:
            with suppress(KafkaError):
                self._producer.close(timeout=CLOSE_S)
        self._producer = None

    def _settle(self) -> None:
        pending = [sent for sent in self._pending if not _acknowledged(sent)]
        self._pending = pending
        if not pending:
            return
        for sent in pending:
            error = _failure(sent)
            if isinstance(error, REFUSALS):
                raise self._refused(sent, error)
        why = next((plain(error) for sent in pending if (error := _failure(sent)) is not None), "no answer in time")
        raise Retriable(
            f"{len(pending)} message(s) to Kafka at {self._settings.bootstrap_servers} are not acknowledged: {why}"
        )

    def _refused(self, sent: _Sent, error: Exception) -> BrokerProblem:
        size = len(sent.value or b"") + len(sent.key or b"")
        doing = f"writing to topic {sent.topic!r}"
        if isinstance(error, MessageSizeTooLargeError):
            doing = f"writing a message of {size} bytes to topic {sent.topic!r}"
        return explain(error, self._settings, doing)

    def close(self) -> None:
        """Let go of everything; what was not flushed may be lost. A second call does nothing."""
        self._drop_producer()
        self._pending.clear()


def _acknowledged(sent: _Sent) -> bool:
    return not isinstance(sent.future, Exception) and bool(sent.future.succeeded())


def _failure(sent: _Sent) -> Exception | None:
    """Return the error that this message met with; None where it is under way or safe."""
    if isinstance(sent.future, Exception):
        return rooted(sent.future)
    return rooted(sent.future.exception) if sent.future.failed() else None
