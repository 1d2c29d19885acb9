"""Recorded events through the pipeline: read in order, labels let in when they are due, every batch's alerts handed on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from streamdrift.alerts import Alert
from streamdrift.blocks.assemble import Assembler
from streamdrift.embedded.incidents import heat_map
from streamdrift.events.label import Label
from streamdrift.kernels.decode import assembler
from streamdrift.pipeline import Direct
from streamdrift.ports import Record, Sink, Source
from streamdrift.report import HeatMap
from streamdrift.settings import Settings
from streamdrift.telemetry import Metrics
from streamdrift.worker import Output

FLUSH_S = 30.0


class LabelFeed:
    """Delayed labels in order of the file, each due when the events have come to its ``observed_at``."""

    def __init__(self, source: Source, assembler: Assembler, batch: int) -> None:
        self._source, self._assembler = source, assembler
        self._labels = self._read(batch)
        self._next = next(self._labels, None)

    @property
    def due(self) -> int | None:
        """When the next label is due; None where none is left."""
        return None if self._next is None else self._next[1].time

    def until(self, time_ms: int | None) -> None:
        """Let in every label that is known by then; all that are left without a time."""
        while self._next is not None and (time_ms is None or self._next[1].time <= time_ms):
            due, self._next = self._next, None  # should reading the next one fail, this one counts once all the same
            self._assembler.add_label(*due)
            self._next = next(self._labels, None)

    def _read(self, batch: int) -> Iterator[tuple[Record, Label]]:
        while not self._source.exhausted():
            for record in self._source.poll(batch, 0.0):
                label = self._assembler.read_label(record)
                if label is not None:
                    yield record, label


@dataclass
class EmbeddedRun:
    """One run over recorded events.

    Parameters
    ----------
    sink
        Takes alerts and dead letters.
    on_alerts
        Told of every batch's alerts, in event order, after the sink took them.
    on_progress
        Told how many records were read, and the event time they came to.
    stage
        Makes what detects, from the assembler; None for the pipeline's own.
    """

    settings: Settings
    config_hash: str
    metrics: Metrics
    sink: Sink
    on_alerts: Callable[[Sequence[Alert]], None]
    on_progress: Callable[[int, int], None] = lambda _n, _time: None
    labels: Source | None = None
    stage: Callable[[Assembler], Direct] | None = None
    read: int = 0
    first_time: int | None = None
    watermark: int = 0
    alerts: int = 0
    refused: int = 0
    rejected: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.assembler = assembler(self.settings, labels=self.labels is not None)
        own = Direct(self.settings, self.config_hash, self.metrics, self.assembler)
        self.direct = own if self.stage is None else self.stage(self.assembler)
        size = self.settings.block_events_max
        self._feed = LabelFeed(self.labels, self.assembler, size) if self.labels is not None else None

    def run(self, source: Source) -> None:
        """Read the source to its end."""
        size = self.settings.block_events_max
        while not source.exhausted():
            records, begin = source.poll(size, 0.0), 0
            while begin < len(records):
                begin = self._add(records, begin, begin + size - self.assembler.pending)
                if self.assembler.pending >= size:
                    self.flush()
            self.flush()

    def run_available(self, source: Source) -> None:
        """Read what a source without an end has now."""
        records, begin = source.poll(self.settings.block_events_max, 0.0), 0
        while begin < len(records):
            begin = self._add(records, begin)
        self.flush()

    def finish(self) -> None:
        """Let in the labels that are left, and hand on what there is."""
        if self._feed is not None:
            self._feed.until(None)
        self.flush(last=True)

    def flush(self, *, last: bool = False) -> None:
        """Detect on what was gathered, and with ``last`` on labels that wait for events."""
        output = self.direct.take(last=last)
        self._count(output)
        for message in output.messages:
            self.sink.send(message.topic, message.value, message.key, message.headers)
        self.sink.flush(FLUSH_S)
        if output.alerts:
            self.on_alerts(output.alerts)
        self.on_progress(self.read, self.watermark)

    def heat(self, model: str) -> HeatMap | None:
        """How far each series of a model stands from its reference now."""
        return heat_map(self.direct.bank.heat(model))

    @property
    def events(self) -> int:
        """Events that were read and not rejected."""
        return self.read - self.refused

    def _add(self, records: Sequence[Record], begin: int, end: int | None = None) -> int:
        """Add records up to the one that a label waits for, and the labels that are due then; return how far it came."""
        added = self.assembler.add_many(records, begin, end, None if self._feed is None else self._feed.due)
        self.read += added.end - begin
        self.refused += added.rejected
        if added.latest is not None:
            self.first_time = added.first if self.first_time is None else self.first_time
            self.watermark = max(self.watermark, added.latest)
            if self._feed is not None:
                self._feed.until(self.watermark)
        return added.end

    def _count(self, output: Output) -> None:
        self.alerts += len(output.alerts)
        for message in output.messages:
            if message.topic == self.settings.topics.rejected:
                reason = dict(message.headers)["reason"].decode()
                self.rejected[reason] = self.rejected.get(reason, 0) + 1
