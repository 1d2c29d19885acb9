"""Error budgets over recorded events: the sink of a replay that holds what is counted against the settings' objectives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing

from streamdrift.alerts import Alert
from streamdrift.embedded.slo_commands import stands
from streamdrift.escalate.burning import Burning, Promises
from streamdrift.escalate.ledger import Ledger
from streamdrift.escalate.slo_files import load
from streamdrift.ports import Headers, Sink
from streamdrift.settings import Settings
from streamdrift.slo.measures import Slice


class Budgets:
    """Hands on to another sink, and takes measures for itself.

    There is no clock: a slice counts as written when its latest minute ends, so that freshness tells of times without events.
    """

    def __init__(self, sink: Sink, settings: Settings, on_alerts: Callable[[Sequence[Alert]], None]) -> None:
        self._sink, self._on_alerts = sink, on_alerts
        self._promises = Promises(settings.topics.measures, tuple(load(settings.slo.files).objectives))
        self._ledger, self._slices = Ledger(":memory:"), list[Slice]()

    def send(self, topic: str, value: bytes, key: bytes | None = None, headers: Headers = ()) -> None:
        """As ``ports.Sink``."""
        if topic == self._promises.topic:
            self._slices.append(Slice.from_cloudevent(value))
        self._sink.send(topic, value, key, headers)

    def broadcast(self, topic: str, value: bytes) -> None:
        """As ``ports.Sink``."""
        self._sink.broadcast(topic, value)

    def flush(self, timeout_s: float) -> None:
        """As ``ports.Sink``; says what follows from the measures so far."""
        slices, self._slices = self._slices, []
        told: list[Alert] = []
        for found in slices:
            with self._ledger.transaction():
                burning = Burning(self._ledger, self._promises, found.latest / 1000)
                told += burning.take(found, found.latest) if not burning.has(found) else []
                burning.save()
        self._sink.flush(timeout_s)
        if told:
            self._on_alerts(told)

    def lines(self) -> list[str]:
        """How the budgets stand."""
        return stands(self._ledger.objectives.states(), 0)

    def close(self) -> None:
        """As ``ports.Sink``."""
        with closing(self._ledger):
            self._sink.close()
