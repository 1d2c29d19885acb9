"""Records to blocks: one decode, straight into columns. What can't be read is set aside with its reason.

The assembler keeps nothing between batches but, per model, how many rows it has seen and of which features and dimensions.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from streamdrift.blocks import vectors
from streamdrift.blocks.block import Block, Coded, Stream
from streamdrift.blocks.breadth import Breadth, of_embeddings
from streamdrift.blocks.column import Codes, Column, Ints, from_values
from streamdrift.blocks.labels import LabelJoin, Outcome
from streamdrift.blocks.vectors import Vectors
from streamdrift.errors import Rejected
from streamdrift.events import inference, label
from streamdrift.events.inference import Inference, Limits
from streamdrift.events.label import Label
from streamdrift.ports import Partition, Record
from streamdrift.settings import Settings

MODELS_MAX = 10_000  # names a model's row counter is kept for; further ones start at 1 in each batch


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A record that could not be used, and why."""

    record: Record
    reason: str
    detail: str
    stage: str = "assemble"


@dataclass(slots=True)
class Batch:
    """What came of a number of records: a block of all traffic per model and stream, and the dead letters."""

    blocks: list[Block] = field(default_factory=list)
    rejected: list[DeadLetter] = field(default_factory=list)
    events: int = 0
    muted: int = 0

    def __bool__(self) -> bool:
        return bool(self.blocks or self.rejected)


class Assembler:
    """Takes records one by one, gives a ``Batch`` when asked.

    Parameters
    ----------
    settings
        Limits, and the dimensions to monitor.
    labels
        The join that labels go through; without one, labels are not expected.
    """

    def __init__(self, settings: Settings, labels: LabelJoin | None = None) -> None:
        self._text_max = settings.text_length_max
        self._limits = Limits.of(settings)
        self._labels, self._dimensions = labels, settings.segments
        self._seen: dict[tuple[Stream, str], int] = {}
        self._breadth: dict[tuple[Stream, str], Breadth] = {}
        self._events: dict[str, list[tuple[int, Record, Inference]]] = {}
        self._outcomes: dict[str, list[tuple[int, Record, Outcome]]] = {}
        self._batch = Batch()
        self._order = 0

    @property
    def pending(self) -> int:
        """Rows and dead letters that the next ``take`` will give."""
        return self._order

    def add(self, record: Record) -> int | None:
        """Decode an inference event into the batch; return its event time, None where it was rejected."""
        try:
            event = inference.decode(record, self._limits)
        except Rejected as e:
            self._reject(record, e)
            return None
        if self._labels is not None:
            self._labels.predicted(event)
        self._events.setdefault(event.model, []).append((self._order, record, event))
        self._order += 1
        return event.time

    def read_label(self, record: Record) -> Label | None:
        """Decode a label; None where it was rejected. It counts once it is given to ``add_label``, when it is due."""
        try:
            return label.decode(record, self._limits)
        except Rejected as e:
            self._reject(record, e)
            return None

    def add_label(self, record: Record, decoded: Label) -> None:
        """Join a label, and put what it says of the model's performance into the batch."""
        if self._labels is None:
            raise RuntimeError("this assembler joins no labels")
        outcome = self._labels.observed(decoded)
        if outcome is not None:
            self._outcomes.setdefault(outcome.model, []).append((self._order, record, outcome))
            self._order += 1

    def take(self) -> Batch:
        """Return what was gathered, and begin anew."""
        batch = self._batch
        for model, rows in self._events.items():
            batch.blocks.append(self._events_block(model, rows))
            batch.events += len(rows)
        for model, joined in self._outcomes.items():
            batch.blocks.append(self._labels_block(model, joined))
        batch.muted = sum(int(block.muted.sum()) for block in batch.blocks)
        self._batch, self._events, self._outcomes, self._order = Batch(), {}, {}, 0
        return batch

    def _reject(self, record: Record, e: Rejected) -> None:
        self._batch.rejected.append(DeadLetter(record, e.reason, e.detail))
        self._order += 1

    def _events_block(self, model: str, rows: list[tuple[int, Record, Inference]]) -> Block:
        signals = [event.signals for _, _, event in rows]
        names = dict.fromkeys(name for signal in signals for name in signal)
        columns = {
            name[: self._text_max]: from_values([signal.get(name, ...) for signal in signals], self._text_max)
            for name in names
        }
        features = [[*event.signals, *of_embeddings(event.embeddings)] for _, _, event in rows]
        block = self._block(model, "events", rows, columns, self._breadth_of("events", model, rows, features))
        block.vectors = _vectors([event for _, _, event in rows])
        return block

    def _labels_block(self, model: str, rows: list[tuple[int, Record, Outcome]]) -> Block:
        errors = [outcome.error for _, _, outcome in rows]
        columns = {"performance.error": from_values(errors, self._text_max)}
        breadth = self._breadth_of("labels", model, rows, [columns.keys()] * len(rows))
        return self._block(model, "labels", rows, columns, breadth)

    def _breadth_of(
        self,
        stream: Stream,
        model: str,
        rows: Sequence[tuple[int, Record, Inference | Outcome]],
        features: Sequence[Collection[str]],
    ) -> Ints:
        breadth = self._breadth.get((stream, model), Breadth())
        if len(self._breadth) < MODELS_MAX:
            self._breadth[stream, model] = breadth
        wanted = self._dimensions
        dimensions = [row.segments if wanted is None else row.segments.keys() & wanted for _, _, row in rows]
        return breadth.of(features, dimensions)

    def _block(
        self,
        model: str,
        stream: Stream,
        rows: Sequence[tuple[int, Record, Inference | Outcome]],
        columns: dict[str, Column],
        breadth: Ints,
    ) -> Block:
        told = [row for _, _, row in rows]
        dimensions = dict.fromkeys(name for row in told for name in row.segments)
        first = self._seen.get((stream, model), 0)
        if first or len(self._seen) < MODELS_MAX:
            self._seen[stream, model] = first + len(rows)
        return Block(
            model,
            {},
            stream,
            np.array([row.time for row in told], np.int64),
            *_places([record for _, record, _ in rows]),
            np.arange(first + 1, first + len(rows) + 1, dtype=np.int64),
            breadth,
            np.array([order for order, _, _ in rows], np.int64),
            np.array([record.replayed for _, record, _ in rows], np.bool_),
            _coded([row.version for row in told]),
            columns,
            {name: _coded([row.segments.get(name) for row in told]) for name in dimensions},
        )


def _vectors(events: list[Inference]) -> dict[str, Vectors]:
    found: dict[str, tuple[list[int], list[Any]]] = {}
    for row, event in enumerate(events):
        for name, value in event.embeddings.items():
            rows, values = found.setdefault(name, ([], []))
            rows.append(row)
            values.append(value)
    return {name: vectors.from_values(name, rows, values) for name, (rows, values) in found.items()}


def _places(records: list[Record]) -> tuple[Codes, tuple[Partition, ...], np.ndarray[tuple[int], np.dtype[np.int64]]]:
    index: dict[Partition, int] = {}
    codes = np.array([index.setdefault(record.partition, len(index)) for record in records], np.int32)
    return codes, tuple(index), np.array([record.offset for record in records], np.int64)


def _coded(texts: list[str | None]) -> Coded:
    index: dict[str, int] = {}
    codes = [-1 if text is None else index.setdefault(text, len(index)) for text in texts]
    return Coded(np.array(codes, np.int32), tuple(index))
