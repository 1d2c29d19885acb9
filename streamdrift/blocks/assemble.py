"""Records to blocks: one decode, straight into columns. What can't be read is set aside with its reason.

The assembler keeps nothing between batches but, per model, how many rows it has seen and of which features and dimensions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np

from streamdrift.blocks import vectors
from streamdrift.blocks.block import Block, Stream, coded, places
from streamdrift.blocks.breadth import Breadth, Room, of_embeddings
from streamdrift.blocks.column import Column, Ints, from_values
from streamdrift.blocks.ids import fingerprints
from streamdrift.blocks.measures import prediction_of
from streamdrift.blocks.vectors import Vectors
from streamdrift.errors import Rejected
from streamdrift.events import inference, label
from streamdrift.events.inference import Inference, Limits
from streamdrift.events.label import Label
from streamdrift.ports import Record
from streamdrift.records import Run, parts
from streamdrift.settings import Settings

MODELS_MAX = 10_000  # names a model's row counter is kept for; further ones start at 1 in each batch

CELLS_MAX = 4_000_000
"""Values that the columns of events take until they are put aside as blocks, some 50 MB: a column has a value for each row of its model, and
in 5,000 events there may be as many names of features as their bytes have room for."""

COLUMN_CELLS = 32
"""What a column takes beside its rows, in such values."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A record that could not be used, and why."""

    record: Record
    reason: str
    detail: str
    stage: str = "assemble"


class Added(NamedTuple):
    """How far ``add_many`` came.

    Attributes
    ----------
    end
        Index of the first record that is not decoded yet.
    rejected
        Records among those decoded that were rejected.
    first, latest
        Time of the first event, and the latest time; None without events.
    """

    end: int
    rejected: int
    first: int | None
    latest: int | None


@dataclass(slots=True)
class Batch:
    """What came of a number of records: blocks of all traffic by model and stream, and the dead letters.

    A model has one block, or several, one after the other, where its events have very many features.
    """

    blocks: list[Block] = field(default_factory=list)
    rejected: list[DeadLetter] = field(default_factory=list)
    events: int = 0
    muted: int = 0
    limits_hit: Counter[str] = field(default_factory=Counter)

    def __bool__(self) -> bool:
        return bool(self.blocks or self.rejected)


class Assembler:
    """Takes records one by one, gives a ``Batch`` when asked.

    Parameters
    ----------
    settings
        Limits, and the dimensions to monitor.
    labels
        Whether labels are expected: then events carry along what these will be compared with.
    """

    def __init__(self, settings: Settings, *, labels: bool = False) -> None:
        self._text_max = settings.text_length_max
        self._limits, self._topic_of_labels = Limits.of(settings), settings.topics.labels
        self.labels, self._dimensions = labels, settings.segments
        self._anomalies = settings.anomalies.enabled
        self._seen: dict[tuple[Stream, str], int] = {}
        self._breadth: dict[tuple[Stream, str], Breadth] = {}
        self._room, self._at_once = Room(), (2 * settings.features_per_event_max, 2 * settings.segments_per_event_max)
        self._wide: dict[str, tuple[set[str], set[str]]] = {}  # features and dimensions of what waits
        self._cells = 0
        self._events: dict[str, list[tuple[int, Record, Inference]]] = {}
        self._truths: dict[str, list[tuple[int, Record, Label]]] = {}
        self._batch = Batch()
        self._order = 0

    @property
    def pending(self) -> int:
        """Rows and dead letters that the next ``take`` will give."""
        return self._order

    def gather(self, records: Sequence[Record]) -> None:
        """Take events, and labels by the topic that they are from."""
        for part in parts(records):
            for is_label, run in self._by_topic(part) if self.labels else [(False, part)]:
                if not is_label:
                    self.add_many(run)
                    continue
                for record in run:
                    if (decoded := self.read_label(record)) is not None:
                        self.add_label(record, decoded)

    def _by_topic(self, records: Sequence[Record]) -> Iterator[tuple[bool, Sequence[Record]]]:
        if isinstance(records, Run):
            yield records.partition.name == self._topic_of_labels, records
            return
        for is_label, run in groupby(records, lambda record: record.partition.name == self._topic_of_labels):
            yield is_label, list(run)

    def add(self, record: Record) -> int | None:
        """Decode an inference event into the batch; return its event time, None where it was rejected."""
        try:
            event = inference.decode(record, self._limits)
        except Rejected as e:
            self._reject(record, e)
            return None
        rows = self._events.setdefault(event.model, [])
        rows.append((self._order, record, event))
        self._order += 1
        self._widen(event, len(rows))
        if self._cells > CELLS_MAX:
            self._put_aside()
        return event.time

    def _widen(self, event: Inference, rows: int) -> None:
        """Count what the columns of a model come to by its latest row."""
        features, dimensions = self._wide.setdefault(event.model, (set(), set()))
        before = len(features) + len(dimensions)
        features.update(event.signals)
        dimensions.update(event.segments)
        after = len(features) + len(dimensions)
        self._cells += after + (after - before) * (rows - 1 + COLUMN_CELLS)

    def _put_aside(self) -> None:
        """Make blocks of the events that wait: what comes of them does not hang on how they are cut into blocks."""
        self._batch.blocks += self._take_events()

    def add_many(
        self, records: Sequence[Record], begin: int = 0, end: int | None = None, due: int | None = None
    ) -> Added:
        """Decode inference events into the batch, from the index ``begin`` to before ``end``, in order.

        Parameters
        ----------
        due
            Stop behind the first event whose time comes to this; None to go on to the end.
        """
        end = len(records) if end is None else min(end, len(records))
        first: int | None = None
        latest: int | None = None
        rejected = 0
        for index in range(begin, end):
            time = self.add(records[index])
            if time is None:
                rejected += 1
                continue
            first, latest = time if first is None else first, time if latest is None else max(latest, time)
            if due is not None and time >= due:
                return Added(index + 1, rejected, first, latest)
        return Added(end, rejected, first, latest)

    def read_label(self, record: Record) -> Label | None:
        """Decode a label; None where it was rejected. It counts once it is given to ``add_label``, when it is due."""
        try:
            return label.decode(record, self._limits)
        except Rejected as e:
            self._reject(record, e)
            return None

    def add_label(self, record: Record, decoded: Label) -> None:
        """Put a label into the batch, to be joined to its prediction."""
        self._truths.setdefault(decoded.model, []).append((self._order, record, decoded))
        self._order += 1

    def take(self) -> Batch:
        """Return what was gathered, and begin anew."""
        self._put_aside()
        batch = self._batch
        batch.events = sum(map(len, batch.blocks))
        for model, labels in self._truths.items():
            facts = tuple(self._truth(decoded) for _, _, decoded in labels)
            batch.blocks.append(self._block(model, "truths", labels, {}, facts, np.ones(len(labels), np.int64)))
        batch.muted = sum(int(block.muted.sum()) for block in batch.blocks)
        self._batch, self._truths, self._order = Batch(), {}, 0
        return batch

    def _take_events(self) -> list[Block]:
        """Return the blocks of events, by model in order of appearance, and begin anew."""
        events, self._events = self._events, {}
        self._wide, self._cells = {}, 0
        return [self._events_block(model, rows) for model, rows in events.items()]

    def _reject(self, record: Record, e: Rejected) -> None:
        self._batch.rejected.append(DeadLetter(record, e.reason, e.detail))
        self._order += 1

    def _events_block(self, model: str, rows: list[tuple[int, Record, Inference]]) -> Block:
        signals = [event.signals for _, _, event in rows]
        names = dict.fromkeys(name for signal in signals for name in signal)
        facts = tuple(self._fact(event) for _, _, event in rows) if self.labels else ()
        features = [[*event.signals, *of_embeddings(event.embeddings)] for _, _, event in rows]
        known = self._known("events", model)
        breadth = known.of(features, [self._monitored(event.segments) for _, _, event in rows])
        columns = {
            name[: self._text_max]: from_values([signal.get(name, ...) for signal in signals], self._text_max)
            for name in names
            if known.has_feature(name)
        }
        block = self._block(model, "events", rows, columns, facts if any(facts) else (), breadth)
        block.vectors = vectors_of([(row, event.embeddings) for row, (_, _, event) in enumerate(rows)])
        if self._anomalies:
            block.ids = fingerprints(event.prediction_id for _, _, event in rows)
        return self._within(block, known, len(names))

    def _within(self, block: Block, known: Breadth, features: int) -> Block:
        """The block without the embeddings and dimensions that are not told apart; what is left out is counted."""
        vectors = {name: v for name, v in block.vectors.items() if all(map(known.has_feature, of_embeddings([name])))}
        refused = features - len(block.columns) + len(block.vectors) - len(vectors)
        named = self._monitored(block.dimensions)
        beyond = [name for name in named if not known.has_dimension(name)]
        if refused > 0:
            self._batch.limits_hit["features_per_model_max"] += refused
            block.vectors = vectors
        if beyond:
            self._batch.limits_hit["dimensions_per_model_max"] += len(beyond)
            block.dimensions = {name: coded for name, coded in block.dimensions.items() if name not in set(beyond)}
        return block

    def _monitored(self, dimensions: Iterable[str]) -> list[str]:
        wanted = self._dimensions
        return [name for name in dimensions if wanted is None or name in wanted]

    def _fact(self, event: Inference) -> tuple[Any, ...] | None:
        if event.prediction_id is None or not event.prediction:
            return None
        found = prediction_of(event.prediction, self._text_max)
        return None if found is None else (event.prediction_id, *found)

    def _truth(self, decoded: Label) -> tuple[Any, ...]:
        inline = None if decoded.prediction is None else prediction_of(decoded.prediction, self._text_max)
        truth = decoded.truth[: self._text_max] if isinstance(decoded.truth, str) else decoded.truth
        return decoded.prediction_id, truth, decoded.numeric, inline, decoded.segments

    def _known(self, stream: Stream, model: str) -> Breadth:
        """Return what is known of a model's features and dimensions; it is kept for the next batch, within bounds."""
        breadth = self._breadth.get((stream, model))
        if breadth is None:
            kept = len(self._breadth) < MODELS_MAX
            breadth = Breadth(self._room if kept else None, self._at_once)
            if kept:
                self._breadth[stream, model] = breadth
            else:
                self._batch.limits_hit["models_max"] += 1
        return breadth

    def counted(self) -> Iterator[tuple[tuple[Stream, str], int, Breadth]]:
        """Yield, by stream and model, the rows that were counted and what is known of their features and dimensions."""
        for place, rows in self._seen.items():
            yield place, rows, self._breadth.get(place) or Breadth()

    def count_on(self, place: tuple[Stream, str], rows: int, breadth: Breadth) -> None:
        """Go on from a count."""
        self.forget(place)
        mine = Breadth(self._room, self._at_once)
        mine.adopt(*breadth.told())
        self._seen[place], self._breadth[place] = rows, mine

    def forget(self, place: tuple[Stream, str]) -> None:
        """Begin to count anew."""
        self._seen.pop(place, None)
        if (breadth := self._breadth.pop(place, None)) is not None:
            breadth.give_back()

    def counts(self, place: tuple[Stream, str]) -> bool:
        """Whether the rows of a model are counted: of so many, only the first ones are."""
        return place in self._seen

    def _rows_before(self, stream: Stream, model: str, rows: int) -> int:
        """Return how many rows of a model were seen before these, and count these."""
        first = self._seen.get((stream, model), 0)
        if first or len(self._seen) < MODELS_MAX:
            self._seen[stream, model] = first + rows
        return first

    def _block(
        self,
        model: str,
        stream: Stream,
        rows: Sequence[tuple[int, Record, Inference | Label]],
        columns: dict[str, Column],
        facts: tuple[Any, ...],
        breadth: Ints,
    ) -> Block:
        told = [row for _, _, row in rows]
        events = [
            row for row in told if isinstance(row, Inference)
        ]  # segments of a label are its own affair until it is joined
        dimensions = dict.fromkeys(name for row in events for name in row.segments)
        first = self._rows_before(stream, model, len(rows))
        return Block(
            model,
            {},
            stream,
            np.array([row.time for row in told], np.int64),
            *places([(record.partition, record.offset) for _, record, _ in rows]),
            np.arange(first + 1, first + len(rows) + 1, dtype=np.int64),
            breadth,
            np.array([order for order, _, _ in rows], np.int64),
            np.array([record.replayed for _, record, _ in rows], np.bool_),
            coded([row.version if isinstance(row, Inference) else None for row in told]),
            columns,
            {name: coded([row.segments.get(name) for row in told]) for name in dimensions},
            facts=facts,
        )


def vectors_of(embeddings: Iterable[tuple[int, dict[str, Any]]]) -> dict[str, Vectors]:
    """Return the vectors by name, of rows with their embeddings."""
    found: dict[str, tuple[list[int], list[Any]]] = {}
    for row, of_row in embeddings:
        for name, value in of_row.items():
            rows, values = found.setdefault(name, ([], []))
            rows.append(row)
            values.append(value)
    return {name: vectors.from_values(name, rows, values) for name, (rows, values) in found.items()}
