"""The whole way on one page.

::

    bytes ─▶ decode ─▶ assemble ─▶ join labels ─▶ detect ─▶ alert ─▶ publish
               │ rejected  │ blocks per (model, segment)
               ▼           ▼
         dead letters    exchange: in memory | the blocks topic

A ``Stage`` turns records into messages; a ``Worker`` runs one between a source and a sink. There are three stages: ``Assemble`` and ``Detect``, joined by the blocks topic, and ``Direct``, both in memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from streamdrift.alerts import CONTENT_TYPE, Alert
from streamdrift.blocks import marks, wire
from streamdrift.blocks.assemble import Assembler, DeadLetter
from streamdrift.blocks.block import Block
from streamdrift.blocks.labels import LabelJoin
from streamdrift.checkpoints import Checkpointed, GroupCheckpoints, RowCheckpoints
from streamdrift.counters import Counters
from streamdrift.detect import put_aside
from streamdrift.detect.bank import Bank
from streamdrift.errors import Rejected
from streamdrift.kernels import decode
from streamdrift.orders import Orders
from streamdrift.ports import Partition, Record, dead_letter_headers
from streamdrift.recorded import learn_baseline
from streamdrift.settings import Settings
from streamdrift.slo.measures import Slice
from streamdrift.telemetry import Metrics
from streamdrift.transports.spill import SpillFile
from streamdrift.worker import Message, Output

LETTER_BYTES_MAX = 900_000
"""Key and value of a dead letter: with its headers it is below 1,048,588 bytes, Kafka's default ``max.message.bytes``."""


class Assemble(Checkpointed[RowCheckpoints]):
    """Events, and labels where they are read, to blocks on the exchange topic."""

    name = "assemble"

    def __init__(self, settings: Settings, metrics: Metrics, *, labels: bool = False) -> None:
        self._settings, self._count = settings, Counters(metrics)
        self._assembler = decode.assembler(settings, labels=labels)
        self.checkpoints = RowCheckpoints(self._assembler, settings.topics.labels, metrics)
        self._latest = marks.Latest()

    def process(self, records: Sequence[Record]) -> Output:
        """Return the records' blocks, one message per model and segment, and their dead letters.

        Of what was read before, none: its blocks are on the topic.
        """
        self._assembler.gather(records)
        batch = self._assembler.take()
        self._count.batch(self.name, batch)
        self.checkpoints.passed(records, batch.blocks)
        self._latest.note(batch.blocks)
        blocks = [block.take(np.flatnonzero(~block.muted)) if block.muted.any() else block for block in batch.blocks]
        refused: list[DeadLetter] = []
        messages = [message for block in blocks if len(block) for message in self._fitting(block, records, refused)]
        self._count.dead(refused)
        rejected = batch.rejected + refused
        return Output(dead_letters(rejected, self._settings) + aside_messages(rejected, self._settings) + messages)

    def idle(self, now_ms: int) -> Output:
        """Nothing follows."""
        del now_ms
        return Output()

    def _fitting(self, block: Block, records: Sequence[Record], refused: list[DeadLetter]) -> list[Message]:
        """The block's messages; an event that is too large for one, with all the names that it has, is a dead letter."""
        try:
            return list(self._messages(block))
        except Rejected as e:
            if len(block) > 1:
                half = len(block) // 2
                parts = block.take(slice(0, half)), block.take(slice(half, None))
                return [message for part in parts for message in self._fitting(part, records, refused)]
            place = block.sources[int(block.source[0])], int(block.offset[0])
            found = (record for record in records if (record.partition, record.offset) == place)
            refused += [DeadLetter(record, e.reason, e.detail, self.name) for record in found]
            return []

    def mark(self, now_ms: int, waited_ms: Mapping[Partition, int]) -> Output:
        """Return how far the events were read, for every partition of the exchange."""
        topics = self._settings.topics
        events = {p: waited for p, waited in waited_ms.items() if p.name != topics.labels}
        if not events:
            return Output()
        found = marks.encode(self._latest.marks(now_ms, events))
        return Output([Message(topics.blocks, found, everywhere=True)])

    def drop(self, partition: Partition) -> None:
        """As ``ports.Stateful``."""
        super().drop(partition)
        self._latest.drop(partition)

    def _messages(self, block: Block) -> Iterable[Message]:
        segments = block.segments(self._settings.segments)
        for part in (block, *(block.take(rows, segment) for segment, rows in segments)):
            for value in wire.encode(part):
                yield Message(self._settings.topics.blocks, value, wire.key(part))


class Detect(Checkpointed[GroupCheckpoints]):
    """Blocks from the exchange topic to alerts.

    A model's labels are on the partition of its blocks of all traffic, and joined there; so all series of its performance
    are here, those of its segments too.
    """

    name = "detect"

    def __init__(self, settings: Settings, config_hash: str, metrics: Metrics, orders: Orders | None = None) -> None:
        self._orders, self._told = orders or Orders(), 0
        self._settings, self.join, self._count = settings, label_join(settings), Counters(metrics)
        self.bank = learn_baseline(Bank(settings, config_hash), settings, metrics)
        self.checkpoints = GroupCheckpoints(self.bank, settings, metrics, join=self.join)

    def process(self, records: Sequence[Record]) -> Output:
        """Return the alerts of these blocks, in the order of the log."""
        output, rejected = Output(), []
        self._told = self._orders.give(self.bank, self._told)
        for record in records:
            try:
                if marks.is_marks(record.value):
                    output.alerts += self._marked(record)
                    continue
                block = wire.decode(record.value, muted=record.replayed)
            except Rejected as e:
                rejected.append(DeadLetter(record, e.reason, e.detail, self.name))
                self.checkpoints.passed((record,))
                continue
            self._count.rows(self.name, len(block), int(block.muted.sum()))
            if block.stream == "events":
                output.alerts += self.bank.update([block], record.partition)
            output.alerts += self.bank.update(self.join.update([block], (record.partition, record.timestamp_ms)))
            self.checkpoints.passed((record,), [block])
        self._count.dead(rejected)
        self._count.bank(self.bank)
        self._count.join(self.join)
        output.alerts.sort(key=lambda alert: (alert.detected_at, alert.series_id))  # blocks come segment by segment
        output.messages = dead_letters(rejected, self._settings) + _told(self.bank, output.alerts, self._settings)
        self._count.alerts(output.alerts)
        return output

    def _marked(self, record: Record) -> list[Alert]:
        found = marks.decode(record.value or b"", record.partition, muted=record.replayed)
        alerts = self.bank.mark(found, self.checkpoints.models(record.partition))
        self.checkpoints.passed((record,))
        return alerts

    def idle(self, now_ms: int) -> Output:
        """Return the alerts of labels that were held."""
        return _idle(self, now_ms, self._count, self._settings)

    def mark(self, now_ms: int, waited_ms: Mapping[Partition, int]) -> Output:
        """Nothing follows: how far the events were read comes by the exchange."""
        del now_ms, waited_ms
        return Output()


class Direct(Checkpointed[GroupCheckpoints]):
    """Both stages in memory."""

    name = "detect"

    def __init__(
        self,
        settings: Settings,
        config_hash: str,
        metrics: Metrics,
        assembler: Assembler | None = None,
        *,
        labels: bool = False,
        orders: Orders | None = None,
        bank: Bank | None = None,
    ) -> None:
        self._orders, self._told = orders or Orders(), 0
        self._settings, self._count = settings, Counters(metrics)
        self.bank = learn_baseline(Bank(settings, config_hash), settings, metrics) if bank is None else bank
        self.assembler = assembler or decode.assembler(settings, labels=labels)
        self.join = label_join(settings)
        self.checkpoints = GroupCheckpoints(self.bank, settings, metrics, self.assembler, join=self.join)

    def process(self, records: Sequence[Record]) -> Output:
        """Return the alerts and dead letters of these events and labels."""
        cut = self.checkpoints.cut(records)
        if cut < len(records):
            first, rest = self.process(records[:cut]), self.process(records[cut:])
            return Output(first.messages + rest.messages, first.alerts + rest.alerts)
        self.assembler.gather(records)
        output = self.take()
        self.checkpoints.passed(records)
        return output

    def take(self, *, last: bool = False) -> Output:
        """Return what comes of all that was added to the assembler; with ``last``, also of labels that are held."""
        self._told = self._orders.give(self.bank, self._told)
        batch = self.assembler.take()
        self._count.batch(self.name, batch)
        self.checkpoints.saw(batch.blocks)
        outcomes = self.join.update(batch.blocks)
        alerts = self.bank.update([*(block for block in batch.blocks if block.stream == "events"), *outcomes])
        if last:
            alerts += self.bank.update(self.join.finish())
        self._count.bank(self.bank)
        self._count.join(self.join)
        self._count.alerts(alerts)
        aside = dead_letters(batch.rejected, self._settings) + aside_messages(batch.rejected, self._settings)
        return Output(aside + _told(self.bank, alerts, self._settings), alerts)

    def idle(self, now_ms: int) -> Output:
        """Return the alerts of labels that were held."""
        return _idle(self, now_ms, self._count, self._settings)

    def mark(self, now_ms: int, waited_ms: Mapping[Partition, int]) -> Output:
        """Return the alerts of models that fell silent."""
        found = {partition: marks.Mark(-1, waited) for partition, waited in waited_ms.items()}
        alerts = self.bank.mark(marks.Marks(now_ms, found))
        self.checkpoints.idled()
        self._count.alerts(alerts)
        return Output(alert_messages(alerts, self._settings), alerts)


def _idle(stage: Detect | Direct, now_ms: int, count: Counters, settings: Settings) -> Output:
    alerts = stage.bank.update(stage.join.idle(now_ms))
    stage.checkpoints.idled()
    count.join(stage.join)
    count.alerts(alerts)
    return Output(_told(stage.bank, alerts, settings), alerts)


def label_join(settings: Settings) -> LabelJoin:
    """Return an empty join; its file is made once it is needed."""
    labels = settings.labels
    return LabelJoin(labels, settings.series_max, SpillFile(labels.join_events_max, labels.spill_directory))


def dead_letters(rejected: Iterable[DeadLetter], settings: Settings) -> list[Message]:
    """Messages for the rejected topic; what only rebuilds state was sent there before.

    A value that is too long for a topic with Kafka's own limit is cut, and its header ``truncated`` says how long it
    was: an event that nobody can use must not be what stops the service.
    """
    return [_letter(letter, settings.topics.rejected) for letter in rejected if not letter.record.replayed]


def _letter(letter: DeadLetter, topic: str) -> Message:
    value, key = letter.record.value or b"", letter.record.key
    headers = dead_letter_headers(letter.record, letter.reason, letter.detail, letter.stage)
    key = None if key is None else key[:LETTER_BYTES_MAX]
    room = LETTER_BYTES_MAX - len(key or b"")
    if len(value) > room:
        headers += (("truncated", str(len(value)).encode()),)
    return Message(topic, value[:room], key, headers)


def _told(bank: Bank, alerts: Iterable[Alert], settings: Settings) -> list[Message]:
    """Messages of alerts, and of the measures that ended with them."""
    slices = bank.measuring.take()
    return alert_messages(alerts, settings) + [measures_message(one, settings) for one in slices]


def aside_messages(rejected: Iterable[DeadLetter], settings: Settings) -> list[Message]:
    """Messages for the topic of measures, of events that were put aside."""
    return [measures_message(found, settings) for found in put_aside.measured(rejected, settings)]


def measures_message(found: Slice, settings: Settings) -> Message:
    """Message for the topic of measures, keyed by model."""
    key, headers = found.model.encode("utf-8", "replace"), (("content-type", CONTENT_TYPE.encode()),)
    return Message(settings.topics.measures, found.to_cloudevent(), key, headers)


def alert_messages(alerts: Iterable[Alert], settings: Settings) -> list[Message]:
    """Messages for the alerts topic, keyed by model."""
    return [
        Message(
            settings.topics.alerts, alert.to_cloudevent(), alert.model_name.encode("utf-8", "replace"), alert.headers()
        )
        for alert in alerts
    ]
