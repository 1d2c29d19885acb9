"""The heartbeat in the worker: looks now and then, and lets what it finds open or end an incident."""

from __future__ import annotations

from structlog.typing import FilteringBoundLogger

from streamdrift.alerts import Alert
from streamdrift.errors import Fatal, Retriable
from streamdrift.escalate import heartbeat
from streamdrift.escalate.heartbeat import Heart, Pulse
from streamdrift.escalate.ledger import Ledger
from streamdrift.ports import Clock


class Watch:
    """Looks at detection through a pulse.

    What fires is taken from the ledger, so that a worker that was restarted ends what the one before it opened.
    """

    def __init__(self, pulse: Pulse, ledger: Ledger, silent_s: float, clock: Clock, log: FilteringBoundLogger) -> None:
        self._pulse, self._ledger, self._clock, self._log = pulse, ledger, clock, log
        self._heart, self._every_s = Heart(silent_s), silent_s / heartbeat.LOOKS
        self._next, self._blind = clock.monotonic(), False

    def alerts(self) -> list[Alert]:
        """Return what is news by now: stages that fell silent, and those that work again."""
        now = self._clock.monotonic()
        if now < self._next:
            return []
        self._next = now + self._every_s
        try:
            seen = self._pulse.look()
        except (Retriable, Fatal) as e:
            if not self._blind:
                self._log.warning("the heartbeat of detection can't be looked at", reason=str(e))
            self._blind = True
            return []
        self._blind = False
        silent = self._heart.beat(seen, now)
        firing = {
            alert.segment.get("stage", ""): alert
            for incident in self._ledger.incidents.opened(heartbeat.MODEL)
            for alert in incident.firing
        }
        told = [heartbeat.silent(name, s, self._clock.now()) for name, s in silent.items() if name not in firing]
        moved = self._heart.moved
        return [*told, *(heartbeat.alive(firing[name], self._clock.now()) for name in firing if name in moved)]

    def close(self) -> None:
        """Let go of the pulse."""
        self._pulse.close()
