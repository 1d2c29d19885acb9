"""Orders from the changes topic to the detect stage, which runs in a thread of its own.

The topic is read from its start at each start of the process, and no offset is committed: an order that was followed
before a restart has to be followed again while state is rebuilt.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

import structlog

from streamdrift.detect.bank import Bank
from streamdrift.detect.rebaseline import ORDERS_MAX, Order
from streamdrift.errors import Rejected
from streamdrift.events import change
from streamdrift.events.change import REBASELINE
from streamdrift.events.inference import Limits
from streamdrift.ports import Clock, Source
from streamdrift.settings import Settings

START_S = 30.0
"""Longest wait for what the topic holds already; then detection begins without it."""


class Orders:
    """The latest orders, for any number of readers.

    Attributes
    ----------
    complete
        Set when everything that the topic held at the start was read.
    """

    def __init__(self) -> None:
        self._latest: deque[Order] = deque(maxlen=ORDERS_MAX)
        self._count = 0
        self._lock = threading.Lock()
        self.complete = threading.Event()

    def put(self, order: Order) -> None:
        """Take one more."""
        with self._lock:
            self._latest.append(order)
            self._count += 1

    def give(self, bank: Bank, told: int) -> int:
        """Tell a bank the orders that came after the first ``told``; return how many there are now."""
        if told == self._count:
            return told
        with self._lock:
            new, count = list(self._latest)[-(self._count - told) :], self._count
        for order in new:
            bank.rebaseline(order)
        return count

    def wait(self, clock: Clock, stopped: Callable[[], bool]) -> None:
        """Wait until ``complete``, until told to stop, or for ``START_S``."""
        until = clock.monotonic() + START_S
        while not self.complete.is_set() and not stopped() and clock.monotonic() < until:
            clock.sleep(0.1)


class OrderReader:
    """Reads the changes topic in a loop of its own; without a source it has nothing to do."""

    def __init__(self, source: Source | None, orders: Orders, settings: Settings, clock: Clock) -> None:
        self._source, self._orders, self._clock = source, orders, clock
        self._limits, self._records_max = Limits.of(settings), settings.kafka.poll_records_max
        self._log = structlog.get_logger("streamdrift").bind(stage="changes")
        if source is None:
            orders.complete.set()

    def step(self, timeout_s: float) -> int:
        """Poll once; return the number of records."""
        if self._source is None:
            self._clock.sleep(timeout_s)
            return 0
        records = self._source.poll(self._records_max, timeout_s)
        for record in records:
            try:
                found = change.decode(record, self._limits)
            except Rejected as e:
                self._log.warning(
                    "not a change event; passed over", offset=record.offset, reason=e.reason, detail=e.detail
                )
                continue
            if found.kind == REBASELINE:
                self._log.info("rebaseline", change=found.change_id, summary=found.summary)
                self._orders.put(found)
        lags = self._source.lag()
        if not records and lags and not any(lags.values()):
            self._orders.complete.set()
        return len(records)

    def caught_up(self) -> bool:
        """Whether everything that the topic held was read."""
        return self._orders.complete.is_set()

    def commit(self) -> None:
        """Nothing is committed: the next start reads from the beginning."""

    def close(self) -> None:
        """Let go of the source."""
        if self._source is not None:
            self._source.close()
