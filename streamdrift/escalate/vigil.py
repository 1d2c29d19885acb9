"""Objectives in the worker: what they are held against, when the clock alone is asked, and what is told to Prometheus."""

from __future__ import annotations

from streamdrift.alerts import Alert
from streamdrift.escalate.burning import Burning, Promises
from streamdrift.escalate.ledger import Ledger
from streamdrift.ports import Clock
from streamdrift.telemetry import Metrics

LOOK_S = 60.0


class Vigil:
    """Keeps watch over objectives."""

    def __init__(self, promises: Promises, ledger: Ledger, clock: Clock, metrics: Metrics) -> None:
        self._promises, self._ledger, self._clock, self._metrics = promises, ledger, clock, metrics
        self._next = clock.monotonic()
        self._retired = False

    def burning(self) -> Burning:
        """Return what takes slices within the transaction that is open."""
        return Burning(self._ledger, self._promises, self._clock.now())

    def is_due(self, *, caught_up: bool) -> bool:
        """Whether the clock is to be asked: while measures wait to be read, it would call old what is only unread."""
        useful = self._promises.objectives or not self._retired
        return bool(useful) and caught_up and self._clock.monotonic() >= self._next

    def look(self, burning: Burning) -> list[Alert]:
        """Return what the clock says; the first time also the ends of what fires for objectives that there are no more."""
        self._next = self._clock.monotonic() + LOOK_S
        told = [] if self._retired else burning.retire()
        self._retired = True
        return told + burning.look()

    def measure(self) -> None:
        """Tell how the objectives stand."""
        names = {one.name for one in self._promises.objectives}
        for state in self._ledger.objectives.states():
            if state.objective in names and state.now:
                self._metrics.budget_left.labels(state.objective).set(state.left)
                self._metrics.burn_rate.labels(state.objective).set(state.burn)
