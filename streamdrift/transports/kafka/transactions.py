"""Messages, state and consumed offsets in one Kafka transaction: readers see all of it (read_committed), or none.

What is sent waits here until the commit, so that a transaction is open for milliseconds: who is killed while computing leaves
none open, and no batch is too long for one. What kafka-python 3.0.12 needs to be told (each found by measurement; the
guards have tests in tests/transports/test_kafka_transactions.py where a broker can be brought to it):

- After any error the producer is thrown away. One that goes on commits offsets of the failed transaction with its next one.
- A commit that failed may have succeeded (a broker that stalls for longer than a request may take): nothing is sent again, what
  was committed is read back. That is what ``Retriable`` from here asks for.
- ``flush`` is silent about messages that failed: each future is asked, before offsets are sent.
- Three calls have no time-out (16 s in one while the broker was down): they run in a thread that is waited for.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from kafka import errors

from streamdrift.errors import BrokerProblem, Fatal, Retriable, StreamdriftError
from streamdrift.ports import Clock, Headers, Partition, StateRecord
from streamdrift.settings import KafkaSettings
from streamdrift.telemetry import Metrics
from streamdrift.transports.kafka.changelog import Changelog
from streamdrift.transports.kafka.explain import REJOIN, TAKEN_OVER, explain, plain, rooted
from streamdrift.transports.kafka.producer import discard, transactional
from streamdrift.transports.kafka.rights import Writable
from streamdrift.transports.kafka.sink import PENDING_MAX, REFUSALS
from streamdrift.transports.kafka.source import KafkaSource

PENDING_BYTES_MAX = 32 * 1024 * 1024
"""What waits for a commit; more is committed before its time."""

REVOKED_S = 5.0
"""Longest commit before partitions go: no heartbeat is sent during it."""

FENCED = (errors.ProducerFencedError, errors.InvalidProducerEpochError, errors.FencedInstanceIdError)


@dataclass(frozen=True, slots=True)
class _Waiting:
    topic: str
    value: bytes | None
    key: bytes | None
    headers: Headers
    partition: int | None = None

    @property
    def size(self) -> int:
        return len(self.value or b"") + len(self.key or b"")


class KafkaTransactions:
    """Takes messages, and commits them with the offsets of a source; see ``ports.TransactionalSink``.

    Parameters
    ----------
    name
        The transactional id: no other's, and the same after a restart, which ends what was left open.
    stage
        Label of the metrics.
    changelog
        Where state goes; None where it isn't kept.

    Raises
    ------
    BrokerProblem
        The broker can't be reached, or refuses us.
    Retriable
        It did not answer in time.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        source: KafkaSource,
        name: str,
        *,
        clock: Clock,
        metrics: Metrics,
        stage: str,
        changelog: Changelog | None = None,
    ) -> None:
        self._settings, self._source, self._name, self._clock = settings, source, name, clock
        self._metrics, self._stage, self._changelog = metrics, stage, changelog
        self.keeps_state = changelog is not None
        self._writable = Writable(settings, clock)
        self._waiting: list[_Waiting] = []
        self._bytes = 0
        self._done: dict[Partition, int] = {}
        self._failure: StreamdriftError | None = None
        self._producer = self._begun()
        source.settle_with(self._settle, self._uncommitted)

    def _begun(self) -> Any:
        producer = None
        try:
            producer = transactional(self._settings, self._name)
            producer.init_transactions()
        except errors.KafkaError as e:
            if producer is not None:
                discard(producer)
            raise self._meaning(e, "beginning transactions", math.inf) from None
        return producer

    def send(self, topic: str, value: bytes | None, key: bytes | None = None, headers: Headers = ()) -> None:
        """Take one message. It is safe only after ``commit``.

        Raises
        ------
        BrokerProblem
            There is no such topic, or we may not write to it.
        """
        self._writable.require(topic)
        self._wait(_Waiting(topic, value, key, headers))

    def broadcast(self, topic: str, value: bytes) -> None:
        """Take one message for every partition of a topic; as ``send``."""
        self._writable.require(topic)
        for partition in sorted(self._producer.partitions_for(topic)):
            self._wait(_Waiting(topic, value, None, (), partition))

    def _wait(self, message: _Waiting) -> None:
        self._waiting.append(message)
        self._bytes += message.size

    def consumed(self, done: Mapping[Partition, int]) -> None:
        """Note how far the input is done."""
        self._done |= done

    def full(self) -> bool:
        """Whether so much waits that it should be committed before more is sent."""
        return len(self._waiting) >= PENDING_MAX or self._bytes >= PENDING_BYTES_MAX

    def _uncommitted(self) -> bool:
        return bool(self._waiting or self._done or self._failure)

    def flush(self, timeout_s: float) -> None:
        """Commit what was sent."""
        del timeout_s
        self.commit(())

    def commit(self, states: Sequence[StateRecord]) -> None:
        """Commit what was sent, these states, and how far the input is done; see ``ports.TransactionalSink``."""
        if self._changelog is not None:
            for value, key, headers, partition in self._changelog.records(states):
                self._wait(_Waiting(self._changelog.topic, value, key, headers, partition))
        self._commit(self._source.membership, self._settings.transaction_timeout_s)
        self._metrics.state_records.labels(self._stage).inc(len(states))
        self._metrics.state_bytes.labels(self._stage).inc(sum(len(s.key) + len(s.value or b"") for s in states))

    def _settle(self, membership: Any) -> None:
        """Partitions are about to go: commit what came of them; where that fails the next call here says so."""
        with suppress(StreamdriftError):
            self._commit(membership, REVOKED_S)

    def _commit(self, membership: Any, timeout_s: float) -> None:
        if self._failure is not None:
            raise self._failure
        if not self._waiting and not self._done:
            return
        began = self._clock.monotonic()
        try:
            if membership is None or membership.generation_id < 0:  # the broker would take it from anybody
                raise errors.CommitFailedError("not a member of the group")
            offsets = self._source.due(self._done)
            committed = offsets or self._source.standing()
            if not committed:
                if self._done:
                    raise errors.CommitFailedError("no partition is ours")
                self._clear()  # what is said by the clock is for whoever has the partitions to say
                return
            self._within(timeout_s, lambda: self._transact(self._waiting, committed, membership, timeout_s))
        except (errors.KafkaError, Fatal) as e:
            self._metrics.transactions.labels(self._stage, "failed").inc()
            cause = self._producer._transaction_manager.last_error or e  # noqa: SLF001 - what is raised later hides it
            self._failure = (
                e if isinstance(e, Fatal) else self._meaning(cause, "committing", self._clock.monotonic() - began)
            )
            discard(self._producer)
            raise self._failure from None
        self._metrics.transactions.labels(self._stage, "committed").inc()
        self._source.note(offsets)
        self._clear()

    def _clear(self) -> None:
        self._waiting, self._bytes, self._done = [], 0, {}

    def _transact(
        self, messages: Sequence[_Waiting], offsets: Mapping[Any, Any], membership: Any, timeout_s: float
    ) -> None:
        producer = self._producer
        producer.begin_transaction()
        futures = [producer.send(m.topic, m.value, m.key, list(m.headers), m.partition) for m in messages]
        producer.flush(timeout=timeout_s)
        for message, future in zip(messages, futures, strict=True):
            self._require(message, future)
        producer.send_offsets_to_transaction(offsets, membership)
        producer.commit_transaction()

    def _require(self, message: _Waiting, future: Any) -> None:
        try:
            future.get(0)
        except errors.KafkaError as e:
            error = rooted(e)
            if isinstance(error, REFUSALS):
                doing = f"writing a message of {message.size} bytes to topic {message.topic!r}"
                raise explain(error, self._settings, doing) from None
            raise

    def _within(self, seconds: float, work: Callable[[], None]) -> None:
        """Do it in a thread that is given up where it takes longer: a transaction that old is doomed anyway.

        Such a thread stays blocked. There is one for each time that this happens, and each takes as long to come about.
        """
        raised: list[BaseException] = []

        def run() -> None:
            try:
                work()
            except BaseException as e:  # noqa: BLE001 - it is raised where it is waited for
                raised.append(e)

        thread = threading.Thread(target=run, name="transaction", daemon=True)
        thread.start()
        thread.join(seconds)
        if thread.is_alive():
            raise errors.KafkaTimeoutError(f"no answer in {seconds:g} s")
        if raised:
            raise raised[0]

    def _meaning(self, error: Exception, doing: str, took_s: float) -> StreamdriftError:
        """Return what it is to whoever asked.

        The broker says the same of a transaction that timed out and of one whose id a successor took. Ours are short: one that
        timed out took its time here, too. Whoever was succeeded must end, or the two would shut each other out for ever.
        """
        error = rooted(error)
        doing = f"{doing} as {self._name!r}"
        if isinstance(error, REFUSALS):
            return explain(error, self._settings, doing)
        if isinstance(error, FENCED) and took_s < self._settings.transaction_timeout_s:
            return BrokerProblem(f"{doing}: {TAKEN_OVER}")
        if isinstance(error, REJOIN):
            return Retriable(f"{doing}: the group gave the partitions to others; what was not committed is read again")
        return Retriable(
            f"{doing} at {self._settings.bootstrap_servers}: {plain(error)}; what was not committed is read again"
        )

    def close(self) -> None:
        """Let go of everything; what was not committed is lost. A second call does nothing."""
        self._failure = self._failure or Retriable("closed")
        self._clear()
        discard(self._producer)
