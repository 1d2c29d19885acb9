"""Deliveries that are due, to the receivers, one attempt at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from structlog.typing import FilteringBoundLogger

from streamdrift.escalate import events
from streamdrift.escalate.events import Event
from streamdrift.escalate.ledger import Ledger
from streamdrift.escalate.mitigation.answers import Answers
from streamdrift.escalate.mitigation.serving import NAME
from streamdrift.escalate.outbox_rows import POSTMORTEM, Delivery, told_of
from streamdrift.escalate.receivers.base import (
    REFERENCE_LENGTH_MAX,
    Ambiguous,
    Delivered,
    Outcome,
    Permanent,
    Receiver,
    RetryAt,
)
from streamdrift.escalate.retry import RETRY_AFTER_MAX_S, backoff_s
from streamdrift.ports import Clock
from streamdrift.settings import RetrySettings
from streamdrift.telemetry import Metrics

REASON_LENGTH_MAX = 500


class Deliverer:
    """Makes the attempts and notes what became of each.

    A receiver that failed is left alone for a moment, or as long as it asked for, whatever else waits for it; the others go
    on.
    """

    def __init__(
        self,
        ledger: Ledger,
        receivers: Sequence[Receiver],
        settings: RetrySettings,
        clock: Clock,
        metrics: Metrics,
        log: FilteringBoundLogger,
        answers: Answers | None = None,
    ) -> None:
        self._answers = answers
        self._ledger, self._outbox, self._receivers, self._settings = ledger, ledger.outbox, receivers, settings
        self._clock, self._metrics, self._log = clock, metrics, log
        self._paused_until: dict[str, float] = {}

    def run(self, budget_s: float, each_max: int | None = None) -> None:
        """Attempt what is due; begin nothing after ``budget_s``, and for each receiver no more than ``each_max``."""
        deadline = self._clock.monotonic() + budget_s
        for receiver in self._receivers:
            attempts = 0
            while attempts != each_max and self._free(receiver, deadline):
                delivery = self._outbox.due(receiver.name, self._clock.now())
                if delivery is None:
                    break
                if self._outbox.attempting(delivery):
                    self._note(delivery, self._attempt(receiver, delivery))
                attempts += 1

    def _free(self, receiver: Receiver, deadline: float) -> bool:
        now = self._clock.monotonic()
        return now < deadline and now >= self._paused_until.get(receiver.name, now)

    def _attempt(self, receiver: Receiver, delivery: Delivery) -> Outcome:
        try:
            return receiver.send(replace(delivery.page, uncertain=delivery.uncertain), self._clock.now())
        except Exception as e:  # noqa: BLE001 - a bug in one receiver must not silence the others; its words may hold a secret
            return Ambiguous(reason=f"the receiver has a bug: {type(e).__name__}")

    def _note(self, delivery: Delivery, outcome: Outcome) -> None:
        attempts = delivery.attempts + 1
        uncertain = delivery.uncertain or isinstance(outcome, Delivered | Ambiguous)
        told = outcome.reason[:REASON_LENGTH_MAX]
        self._metrics.deliveries.labels(delivery.receiver, outcome.name).inc()
        if isinstance(outcome, Delivered):
            named = self._reference(delivery, outcome)
            said = f"delivered ({told})" if told else "delivered"
            with self._ledger.transaction():
                self._outbox.settle(delivery, "done", said, uncertain=True, reference=named)
                if not self._answered(delivery, told, done=True, uncertain=True):
                    self._enter(delivery, events.delivered(*_of(delivery), attempts, named))
            self._say("page delivered", delivery, told)
        elif isinstance(outcome, Permanent) or attempts >= self._settings.attempts_max:
            with self._ledger.transaction():
                self._outbox.settle(delivery, "dead", told, uncertain=uncertain)
                if not self._answered(delivery, told, done=False, uncertain=uncertain):
                    self._enter(delivery, events.undelivered(*_of(delivery), attempts, told))
            self._metrics.deliveries.labels(delivery.receiver, "dead").inc()
            self._say("page is dead: it will not be delivered", delivery, told, level="error")
        else:
            wish_s = outcome.seconds if isinstance(outcome, RetryAt | Ambiguous) else None
            wait_s = backoff_s(self._settings, delivery.page.delivery_id, attempts, wish_s)
            at = self._clock.now() + wait_s
            self._outbox.settle(delivery, "pending", told, uncertain=uncertain, next_attempt_at=at)
            asked = wish_s is not None and isinstance(outcome, RetryAt)
            pause_s = min(wish_s or 0.0, RETRY_AFTER_MAX_S) if asked else self._settings.initial_s / 2
            self._paused_until[delivery.receiver] = self._clock.monotonic() + pause_s
            self._say("page not delivered yet", delivery, told, level="warning", wait_s=round(wait_s, 1))

    def _answered(self, delivery: Delivery, reason: str, *, done: bool, uncertain: bool) -> bool:
        """Whether it was for the serving side, whose answers have an effect, and entries of their own."""
        if self._answers is None or delivery.receiver != NAME:
            return False
        self._answers.take(delivery.page, done=done, uncertain=uncertain, reason=reason)
        return True

    def _reference(self, delivery: Delivery, outcome: Delivered) -> str | None:
        if outcome.reference is None or len(outcome.reference) <= REFERENCE_LENGTH_MAX:
            return outcome.reference
        self._metrics.limit_hits.labels("reference_length_max").inc()
        self._say("reference not kept: it is too long", delivery, "", level="warning", length=len(outcome.reference))
        return None

    def _enter(self, delivery: Delivery, event: Event) -> None:
        """Add to the incident's timeline."""
        at = round(self._clock.now() * 1000)
        if self._ledger.timeline.add(told_of(delivery.incident_id), at, event.kind, event.text, event.detail) is None:
            self._metrics.limit_hits.labels("timeline_entries_max").inc()

    def _say(self, event: str, delivery: Delivery, reason: str, level: str = "info", **other: float) -> None:
        getattr(self._log, level)(
            event,
            receiver=delivery.receiver,
            action=delivery.page.action,
            incident=delivery.incident_id,
            dedup_key=delivery.page.dedup_key,
            attempt=delivery.attempts + 1,
            reason=reason,
            **other,
        )

    def measure(self) -> None:
        """Set the gauges of what waits."""
        waiting, oldest = self._outbox.pending()
        self._metrics.outbox.set(waiting)
        self._metrics.outbox_oldest.set(0.0 if oldest is None else max(0.0, self._clock.now() - oldest))


def _of(delivery: Delivery) -> tuple[str, str, str]:
    is_postmortem = delivery.incident_id.endswith(POSTMORTEM)
    return delivery.receiver, "postmortem" if is_postmortem else delivery.page.action, delivery.page.dedup_key
