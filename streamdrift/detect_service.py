"""The loops of ``streamdrift detect`` and what each is made of; ``app`` runs them.

A loop is built again after every passing fault: a new consumer, a new producer and an empty stage, whose state comes from the
topic of state, or from the log. So there is one way into work, at the first start and after whatever went wrong.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from structlog.typing import FilteringBoundLogger

from streamdrift import kernels
from streamdrift.errors import BrokerProblem, OutOfReach
from streamdrift.orders import OrderReader, Orders
from streamdrift.pipeline import Assemble, Detect, Direct
from streamdrift.ports import Clock, Partition, Sink, Stateful
from streamdrift.settings import Settings
from streamdrift.telemetry import Metrics
from streamdrift.transports import kafka
from streamdrift.worker import SOONER, Stage, Worker


@dataclass
class Detecting:
    """The parts that the loops of one process share.

    Attributes
    ----------
    overcome
        Told of faults that a transport got over by itself.
    alive
        Told, by a stage's name, that its loop comes round although it does not return.
    stopped
        Whether the process was told to stop.
    caught_up
        Whether another stage of this process has nothing left to do.
    """

    settings: Settings
    config_hash: str
    clock: Clock
    metrics: Metrics
    log: FilteringBoundLogger
    overcome: Callable[[Exception], None]
    alive: Callable[[str], None]
    stopped: Callable[[], bool]
    caught_up: Callable[[str], bool]
    orders: Orders = field(default_factory=Orders)

    def __post_init__(self) -> None:
        kafka_settings = self.settings.kafka
        self._in_bulk = kernels.engine(self.settings.engine).name == "compiled"
        self._once = kafka_settings.delivery == "exactly-once" and kafka.possible()
        if kafka_settings.delivery == "exactly-once" and not self._once:
            self.log.warning("transactions of this kafka-python were never tried: alerts are published at least once")
        self._slot = kafka.take_slot(kafka_settings.group, kafka_settings.instance) if self._once else None

    def builders(self) -> dict[str, Callable[[], Any]]:
        """Return what builds each loop, by its stage's name."""
        topics = self.settings.topics
        found: dict[str, Callable[[], Any]] = {"changes": self._changes}
        if self.settings.exchange == "direct":
            found["detect"] = self._directly
            return found
        found["assemble"] = self._assembling
        found["detect"] = lambda: self._loop(self._detect(), topics.blocks, idle=lambda: self.caught_up("assemble"))
        return found

    def _assembling(self) -> Worker:
        labels = self._labels()
        stage = Assemble(self.settings, self.metrics, labels=bool(labels))
        topics = self.settings.topics
        measures = (topics.measures,) if self.settings.slo.publish else ()
        writes = (topics.blocks, topics.rejected, *measures)
        # an alert waits for the commits of both stages
        sooner = self.settings.kafka.commit_interval_s / SOONER
        return self._loop(stage, topics.events, also=labels, writes=writes, restored=0, commit_interval_s=sooner)

    def _directly(self) -> Worker:
        labels = self._labels()
        self.orders.wait(self.clock, self.stopped)
        stage = Direct(self.settings, self.config_hash, self.metrics, labels=bool(labels), orders=self.orders)
        return self._loop(stage, self.settings.topics.events, also=labels)

    def _detect(self) -> Stage:
        self.orders.wait(self.clock, self.stopped)
        return Detect(self.settings, self.config_hash, self.metrics, self.orders)

    def _loop(
        self,
        stage: Stage,
        topic: str,
        *,
        also: tuple[str, ...] = (),
        writes: tuple[str, ...] = (),
        restored: int | None = None,
        idle: Callable[[], bool] = lambda: True,
        commit_interval_s: float | None = None,
    ) -> Worker:
        settings = self.settings
        restored = settings.kafka.restore_events_max if restored is None else restored
        group = f"{settings.kafka.group}-{stage.name}"
        measures = (settings.topics.measures,) if settings.slo.publish else ()
        writes = writes or (settings.topics.alerts, settings.topics.rejected, *measures)
        kafka.require(settings.kafka, self.clock, reads=(topic, *also), writes=writes, groups=(group,))
        if self._slot is None:
            kept = self._kept(stage, None)
            source = self._source(topic, group, also=also, restore_events_max=restored, keeper=kept)
            sink: Sink = kafka.KafkaSink(settings.kafka, self.clock)
            return Worker(stage, source, sink, settings, self.clock, self.metrics, idle, commit_interval_s)
        changelog = self._changelog(stage, topic, group)
        if changelog is not None:  # what is damaged is rebuilt from the log, in either stage
            restored = settings.kafka.restore_events_max
        kept = self._kept(stage, changelog)
        source = self._source(
            topic, group, also=also, restore_events_max=restored, instance=self._slot.name, keeper=kept
        )
        try:
            sink = kafka.KafkaTransactions(
                settings.kafka,
                source,
                f"{group}-{self._slot.name}",
                clock=self.clock,
                metrics=self.metrics,
                stage=stage.name,
                changelog=changelog,
            )
        except Exception:
            source.close()
            raise
        return Worker(stage, source, sink, settings, self.clock, self.metrics, idle, commit_interval_s)

    def _source(self, topic: str, group: str, **options: Any) -> kafka.KafkaSource:
        # a block for a handful of events costs about what one for hundreds does
        gather_s = self.settings.kafka.commit_interval_s / SOONER if topic == self.settings.topics.events else 0.0
        return kafka.KafkaSource(
            self.settings.kafka,
            topic,
            group,
            clock=self.clock,
            on_error=self.overcome,
            in_bulk=self._in_bulk,
            gather_s=gather_s,
            **options,
        )

    def _changelog(self, stage: Stage, topic: str, group: str) -> kafka.Changelog | None:
        if not isinstance(stage, Stateful):
            return None
        settings, name = self.settings, self.settings.topics.state
        why = kafka.unreadable(settings.kafka, self.clock, name, written=True)
        if why is not None:
            self.log.warning(
                "no state is put away: after a restart it is rebuilt from the log", stage=stage.name, reason=why
            )
            return None
        keyed = topic == settings.topics.blocks or settings.exchange == "direct"
        return kafka.Changelog(settings.kafka, name, group, self.clock, keyed=keyed, in_bulk=self._in_bulk)

    def _kept(self, stage: Stage, changelog: kafka.Changelog | None) -> kafka.Keeper | None:
        if not isinstance(stage, Stateful):
            return None
        if changelog is None:
            return _Dropped(stage)
        return kafka.Kept(stage, stage.name, changelog, self.clock, self.metrics, self.alive)

    def _labels(self) -> tuple[str, ...]:
        """The topic of labels, where it is to be read and can be: a cluster without labels is none the worse for it."""
        settings = self.settings
        if not settings.labels.enabled:
            return ()
        why = kafka.unreadable(settings.kafka, self.clock, settings.topics.labels)
        if why is None:
            return (settings.topics.labels,)
        self.log.warning("no labels are read, so performance is not watched", reason=why)
        return ()

    def _changes(self) -> OrderReader:
        try:  # each process reads all of it: a group of its own, which Kafka forgets when its only member leaves
            group = f"{self.settings.kafka.group}-changes-{uuid.uuid4().hex}"
            found = self._source(self.settings.topics.changes, group)
        except OutOfReach:
            raise
        except BrokerProblem as e:
            self.log.warning("the changes topic can't be read, so no rebaseline order is followed", reason=str(e))
            return OrderReader(None, self.orders, self.settings, self.clock)
        return OrderReader(found, self.orders, self.settings, self.clock)


class _Dropped:
    """State that is nowhere put away: it goes with its partition, and is rebuilt from the log."""

    def __init__(self, stage: Stateful) -> None:
        self._stage = stage

    def gained(self, partition: Partition) -> int | None:
        self._stage.drop(partition)
        return None

    def lost(self, partition: Partition) -> None:
        self._stage.drop(partition)

    def close(self) -> None:
        """Nothing is open."""
