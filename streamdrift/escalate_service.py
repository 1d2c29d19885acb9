"""The loop of ``streamdrift escalate`` and what it is made of; ``app`` runs it, and builds it again after a passing fault."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass

from structlog.typing import FilteringBoundLogger

from streamdrift.escalate import routes_file, slo_files
from streamdrift.escalate.burning import Promises
from streamdrift.escalate.ledger import Ledger
from streamdrift.escalate.mitigation.serving import serving_of
from streamdrift.escalate.receivers import build_receivers
from streamdrift.escalate.worker import EscalationWorker
from streamdrift.ports import Clock
from streamdrift.settings import Settings
from streamdrift.telemetry import Metrics
from streamdrift.transports import kafka


@dataclass(frozen=True)
class Escalating:
    """What the loop is made of.

    Attributes
    ----------
    overcome
        Told of faults that a transport got over by itself.
    """

    settings: Settings
    clock: Clock
    metrics: Metrics
    log: FilteringBoundLogger
    overcome: Callable[[Exception], None]

    def build(self) -> EscalationWorker:
        """Return the worker, with a consumer, a producer and the ledger of its own.

        Raises
        ------
        SettingsProblem
            The routes are wrong.
        BrokerProblem, InputProblem, Retriable
            The broker or the ledger can't be had.
        """
        settings, clock = self.settings, self.clock
        reads, group = (settings.topics.alerts,), f"{settings.kafka.group}-escalate"
        built = build_receivers(settings, self.metrics)
        routes = routes_file.load(settings.escalate, [receiver.name for receiver in built])
        kafka.require(settings.kafka, clock, reads=reads, writes=(settings.topics.rejected,), groups=(group,))
        changes = settings.topics.changes
        why = kafka.unreadable(settings.kafka, clock, changes)
        if why is not None:
            self.log.warning("no upstream changes are read, so incidents have no suspects", reason=why)
        promises = self._promises()
        also = (
            *(() if why is not None else (changes,)),
            *((promises.topic,) if promises is not None and promises.objectives else ()),
        )
        with ExitStack() as undone:  # a ledger that is left open can't be opened by the next try
            kept = undone.enter_context(closing(Ledger(settings.escalate.ledger)))
            source = undone.enter_context(
                closing(
                    kafka.KafkaSource(
                        settings.kafka, settings.topics.alerts, group, clock=clock, also=also, on_error=self.overcome
                    )
                )
            )
            sink = undone.enter_context(closing(kafka.KafkaSink(settings.kafka, clock)))
            made = EscalationWorker(
                source,
                kept,
                built,
                settings,
                clock,
                self.metrics,
                sink=sink,
                changes=why is None,
                pulse=kafka.pulse_of(settings),
                routes=routes,
                promises=promises,
                serving=serving_of(settings.escalate),
            )
            undone.pop_all()
        return made

    def _promises(self) -> Promises | None:
        """The objectives of the settings' files, where measures can be read; whoever can't be told of them is paged all the same."""
        settings = self.settings
        found = slo_files.load(settings.slo.files)
        for warning in found.warnings:
            self.log.warning("objectives", reason=warning)
        if not found.objectives:  # what the last ones opened is ended
            return Promises(settings.topics.measures, ())
        why = kafka.unreadable(settings.kafka, self.clock, settings.topics.measures)
        if why is None:
            return Promises(settings.topics.measures, tuple(found.objectives))
        self.log.error("no measures are read, so objectives are not watched", reason=why)
        return None
