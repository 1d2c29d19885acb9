"""The escalation worker: alerts in, pages out, through the ledger.

``step`` is one round: poll, record the batch in one transaction, commit the source's offsets, deliver what is due. The
ledger's offsets and alert ids are what counts: a batch that comes again, because the source's commit was lost or the
process was killed, changes nothing. Delivery is at least once, with the dedup key as its guard.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import structlog
from structlog.typing import FilteringBoundLogger

from streamdrift.alerts import Alert
from streamdrift.errors import Fatal, Retriable
from streamdrift.escalate.announcer import Announcer
from streamdrift.escalate.burning import Burning, Promises
from streamdrift.escalate.delivery import Deliverer
from streamdrift.escalate.fallback import Fallback
from streamdrift.escalate.heartbeat import Pulse
from streamdrift.escalate.intake import Feed, Intake, Taken
from streamdrift.escalate.ledger import Ledger
from streamdrift.escalate.mitigation.answers import Answers
from streamdrift.escalate.paging import LIMIT, Desk, Paging
from streamdrift.escalate.policy import REASONS
from streamdrift.escalate.receivers.base import Receiver
from streamdrift.escalate.routing.document import Routes
from streamdrift.escalate.tickets import Tickets
from streamdrift.escalate.vigil import Vigil
from streamdrift.escalate.watch import Watch
from streamdrift.events.inference import Limits
from streamdrift.ports import Clock, Record, Sink, Source, dead_letter_headers
from streamdrift.settings import Settings
from streamdrift.telemetry import Metrics

STAGE = "escalate"
DELIVERY_BUDGET_S = 10.0
"""Of one step: no attempt begins later, so that the poll loop comes round."""
DELIVERIES_PER_STEP_MAX = 20
"""For each receiver."""
DRAIN_S = 10.0
SETTLED_S = 5.0
"""After its start: by then it has seen of each partition whether something waits there."""
PRUNE_EVERY_S = 86_400.0


class EscalationWorker:
    """Runs the escalation between a source of alerts and the receivers.

    Parameters
    ----------
    source
        Records of the alerts topic.
    receivers
        From ``receivers.build_receivers``. Without any, incidents are recorded only.
    log
        A structlog logger; streamdrift's own without.
    changes
        Whether the source has upstream changes, too: records of the topic ``topics.changes``.
    sink
        Where messages that are no alerts go, to the rejected topic; without one they are counted and logged only.
    routes
        Who is told of what; without them everybody of everything.
    serving
        The serving side, from ``mitigation.serving``; without it nothing is offered.
    announce
        Where incidents are published, to the topic ``topics.incidents``; without one they aren't.
    pulse
        By which detection is looked at (``escalate.heartbeat_s``); without one it isn't.
    promises
        Objectives, where the source has measures, too; without any none are kept.
    """

    def __init__(
        self,
        source: Source,
        ledger: Ledger,
        receivers: Sequence[Receiver],
        settings: Settings,
        clock: Clock,
        metrics: Metrics,
        log: FilteringBoundLogger | None = None,
        sink: Sink | None = None,
        *,
        changes: bool = False,
        pulse: Pulse | None = None,
        routes: Routes | None = None,
        promises: Promises | None = None,
        serving: Receiver | None = None,
        announce: Sink | None = None,
    ) -> None:
        self._source, self._ledger, self._receivers, self._settings = source, ledger, tuple(receivers), settings
        self._clock, self._metrics, self._sink = clock, metrics, sink
        self._log = structlog.get_logger("streamdrift").bind(stage=STAGE) if log is None else log
        self._answers = Answers(ledger, settings.escalate, clock, metrics, self._log)
        told = (*self._receivers, *([serving] if serving is not None else []))
        self._deliverer = Deliverer(ledger, told, settings.escalate.retry, clock, metrics, self._log, self._answers)
        silent_s = settings.escalate.heartbeat_s
        self._watch = Watch(pulse, ledger, silent_s, clock, self._log) if pulse is not None else None
        self._vigil = Vigil(promises, ledger, clock, metrics) if promises is not None else None
        self._fallback = Fallback(ledger, settings.escalate.fallback, clock, self._log)
        self._tickets = Tickets.of(ledger, settings.escalate, clock, self._log)
        self._feed = Feed(settings.topics.changes, Limits.of(settings), settings.sources) if changes else None
        self._announcer = Announcer(ledger, announce, settings.topics.incidents, clock, metrics, self._log)
        self._names = tuple(receiver.name for receiver in self._receivers)
        self._desk = Desk(self._names, routes or Routes(), settings.escalate, changes=changes, sources=settings.sources)
        self._began = self._behind_since = clock.monotonic()
        self._prune()
        self._answers.start()
        retired = ledger.outbox.retire(tuple(receiver.name for receiver in told))
        if retired:
            self._log.error("deliveries to receivers that are no longer set up are dead", deliveries=retired)
        if not self._receivers:
            self._log.warning("no receiver is set up: incidents are recorded, and nobody is paged")

    def step(self, timeout_s: float) -> int:
        """One round; return the number of records taken.

        Raises
        ------
        Retriable
            The source or the sink can't be had now; what was due is delivered first. Build the worker anew.
        Fatal
            The ledger can't be written, or the source refuses us.
        """
        try:
            records = self._source.poll(self._settings.kafka.poll_records_max, timeout_s)
        except Retriable:
            self._round(caught_up=self._has_all(reached=False))
            self._deliverer.run(DELIVERY_BUDGET_S, DELIVERIES_PER_STEP_MAX)
            raise
        if records:
            self._take(records)
        self._look()
        self._round(caught_up=self._has_all())
        self._deliverer.run(DELIVERY_BUDGET_S, DELIVERIES_PER_STEP_MAX)
        self._fallback.report()
        if self._tickets is not None:
            self._tickets.step()
        self._announcer.run()
        if self._clock.monotonic() - self._pruned_at >= PRUNE_EVERY_S:
            self._prune()
        self._measure()
        return len(records)

    def drain(self, deadline_s: float = DRAIN_S) -> None:
        """Deliver what is due, for the last time; what is left waits in the ledger."""
        self._deliverer.run(deadline_s)
        self._announcer.run()
        self._measure()

    def commit(self) -> None:
        """What a stage does before it is closed: ``drain``."""
        self.drain()

    def caught_up(self) -> bool:
        """Whether the source has nothing left for us."""
        return not any(self._source.lag().values())

    def close(self) -> None:
        """Let go of source, sink and ledger; a second call does nothing."""
        self._source.close()
        if self._watch is not None:
            self._watch.close()
        if self._sink is not None:
            self._sink.close()
        self._announcer.close()
        self._ledger.close()

    def _prune(self) -> None:
        self._pruned_at = self._clock.monotonic()
        self._ledger.prune(self._clock.now())

    def _measure(self) -> None:
        self._deliverer.measure()
        for partition, lag in self._source.lag().items():
            self._metrics.lag.labels(partition.name, str(partition.index)).set(lag)

    # Taking alerts ---------------------------------------------------------------------------------------------------

    def _take(self, records: Sequence[Record]) -> None:
        began = self._clock.monotonic()
        with self._ledger.transaction():
            paging = self._paging()
            burning = self._vigil.burning() if self._vigil is not None else None
            intake = Intake(self._ledger, paging, self._settings.escalate, self._clock.now(), self._feed, burning)
            taken = intake.take(records)
            paging.course.took(taken.decided)
            paging.finish()
            self._refuse(taken)
        try:
            self._source.commit(taken.done)
            self._metrics.commits.labels(STAGE).inc()
        except Retriable as e:  # the ledger has the offsets, too
            self._metrics.transport_errors.labels("alerts").inc()
            self._log.warning("offsets were not committed; the ledger has them", reason=str(e))
        self._metrics.events.labels(STAGE).inc(len(records))
        self._metrics.stage_seconds.labels(STAGE).observe(self._clock.monotonic() - began)
        self._metrics.last_processed.labels(STAGE).set(self._clock.now())
        self._tell(taken)
        self._tell_paged(paging)
        if self._vigil is not None:
            self._vigil.measure()

    def _has_all(self, *, reached: bool = True) -> bool:
        """Whether every alert that there is was taken, or has been waited for as long as it takes to verify a mitigation.

        Of a source that is just finding its partitions, nothing is known.
        """
        now = self._clock.monotonic()
        if reached and self._has_read() and now - self._began >= SETTLED_S:
            self._behind_since = now
            return True
        return now - self._behind_since >= self._settings.escalate.mitigation.verify_s

    def _has_read(self) -> bool:
        """Whether nothing waits to be read: of a source that has no partitions yet nothing is known."""
        lag = self._source.lag()
        return bool(lag) and not any(lag.values())

    def _paging(self) -> Paging:
        return Paging(self._ledger, self._desk, self._clock.now())

    def _round(self, *, caught_up: bool) -> None:
        """What is due by time alone: steps, pages whose silence is over, summaries, mitigations."""
        if not self._paging().is_due():
            return
        with self._ledger.transaction():
            paging = self._paging()
            paging.round(caught_up=caught_up)
            paging.finish()
        self._tell_paged(paging)

    def _look(self) -> None:
        """Let what detection's heartbeat says open or end an incident."""
        self._look_at_objectives()
        alerts = self._watch.alerts() if self._watch is not None else []
        if alerts:
            self._take_own(lambda: alerts)

    def _look_at_objectives(self) -> None:
        """Let what the clock alone says of objectives open or end an incident, once all that was counted is read."""
        vigil = self._vigil
        if vigil is None or not vigil.is_due(caught_up=self._has_read()):
            return
        burning = vigil.burning()
        self._take_own(lambda: vigil.look(burning), burning)
        vigil.measure()

    def _take_own(self, alerts: Callable[[], Sequence[Alert]], burning: Burning | None = None) -> None:
        """Take alerts of the worker's own; ``alerts`` is asked within the transaction."""
        with self._ledger.transaction():
            paging = self._paging()
            intake = Intake(self._ledger, paging, self._settings.escalate, self._clock.now(), None, burning)
            taken = intake.alone(alerts())
            paging.course.took(taken.decided)
            paging.finish()
        self._tell(taken)
        self._tell_paged(paging)

    def _refuse(self, taken: Taken) -> None:
        """Send what is no alert to the dead letters, before the ledger says that it is done."""
        if self._sink is None or not taken.refused:
            return
        try:
            for record, error in taken.refused:
                headers = dead_letter_headers(record, error.reason, error.detail, STAGE)
                self._sink.send(self._settings.topics.rejected, record.value or b"", record.key, headers)
            self._sink.flush(self._settings.kafka.request_timeout_s)
        except Fatal as e:  # a dead letter that can't be written is no reason to stop paging
            self._metrics.transport_errors.labels("rejected").inc()
            self._log.error("dead letters were not written", letters=len(taken.refused), reason=str(e))

    def _tell(self, taken: Taken) -> None:
        for record, error in taken.refused:
            self._metrics.rejected.labels(error.reason).inc()
            position = record.partition.position(record.offset)
            self._log.warning(
                f"not {self._said(record)}; passed over", reason=error.reason, detail=error.detail, **position
            )
        for alert, decision in taken.decided:
            reason = decision.reason if decision.reason in REASONS else "other"
            self._metrics.incidents.labels(decision.action, reason).inc()
            self._log.info(
                "alert taken",
                action=decision.action,
                reason=decision.reason,
                page=decision.page,
                incident=decision.incident.incident_id if decision.incident else None,
                alert_id=alert.alert_id,
                series=alert.series_id,
                status=alert.status,
                severity=alert.severity,
            )
            if decision.reason == "incident_full":
                self._metrics.limit_hits.labels("series_per_incident_max").inc()
        self._metrics.duplicates.labels(STAGE).inc(taken.seen)
        self._tell_limits(taken)

    def _said(self, record: Record) -> str:
        """What a record should have been."""
        topics = self._settings.topics
        return {topics.alerts: "an alert", topics.measures: "measures"}.get(record.partition.name, "a change event")

    def _tell_limits(self, taken: Taken) -> None:
        if taken.changes:
            self._log.info("upstream changes noted", changes=taken.changes)
        for outcome, reports in taken.reports.items():
            self._metrics.source_reports.labels(outcome).inc(reports)
        if taken.forgotten:
            self._metrics.limit_hits.labels("changes_max").inc(taken.forgotten)
        if taken.untold:
            self._metrics.limit_hits.labels("timeline_entries_max").inc(taken.untold)
        for partition in taken.anew:
            self._log.warning("offsets began anew: was the topic made again?", topic=partition.name, n=partition.index)
        for incident in taken.put_aside:
            self._metrics.limit_hits.labels("open_incidents_per_model_max").inc()
            self._log.warning("too many open incidents of one model: put aside", incident=incident.incident_id)

    def _tell_paged(self, paging: Paging) -> None:
        paged = paging.paged
        self._answers.tell(paging.course)
        if paged.untold:
            self._metrics.limit_hits.labels("timeline_entries_max").inc(paged.untold)
        for event, fields in paged.said:
            self._log.info(event, **fields)
        if paged.limited:
            self._metrics.limit_hits.labels(LIMIT).inc(paged.limited)
            self._log.warning("more pages than a minute may have: the rest is told together", pages=paged.limited)
        for receiver in paged.full:
            self._metrics.limit_hits.labels("outbox_max").inc()
            self._metrics.deliveries.labels(receiver, "dead").inc()
            self._log.error("page is dead: its outbox is full", receiver=receiver)
