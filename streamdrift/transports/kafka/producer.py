"""The producer of transactions. What kafka-python 3.0.12 needs to be told (each found by measurement):

- A producer that was shut out (its transaction timed out, or a successor has its id) makes itself a new epoch with its next
  message, shuts out the successor in turn, and reports the loss of messages only in their futures. So it may not.
- 100 ms, the default wait between tries, is how long each transaction then waits for the one before it to be wound up.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import kafka
from kafka import errors

from streamdrift.settings import KafkaSettings
from streamdrift.transports.kafka.client import open_producer

VERSIONS = frozenset({"3.0.12"})
"""Of kafka-python, in which these guards were found to hold; with others ``detect`` publishes at least once."""

RETRY_MS = 5
"""21 transactions a second with the default of 100 ms, 64 with this."""

LINGER_MS = 5

CLOSE_S = 2.0


def possible() -> bool:
    """Whether this kafka-python is one that the guards are for."""
    return kafka.__version__ in VERSIONS


def transactional(settings: KafkaSettings, name: str) -> Any:
    """Return a producer with this transactional id, which is not yet begun with."""
    producer = open_producer(
        settings,
        LINGER_MS,
        transactional_id=name,
        transaction_timeout_ms=int(settings.transaction_timeout_s * 1_000),
        retry_backoff_ms=RETRY_MS,
    )
    producer._transaction_manager._supports_epoch_bump = _never  # noqa: SLF001 - there is no public way; see VERSIONS
    return producer


def _never() -> bool:
    return False


def discard(producer: Any) -> None:
    """Close a producer whatever state it is in: one with messages under way refuses to be closed."""
    with suppress(errors.KafkaError):
        producer.close(timeout=CLOSE_S)
        return
    producer._sender.force_close()  # noqa: SLF001 - there is no public way
