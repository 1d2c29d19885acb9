"""The assembler on the compiled decoder: events of the plain shape become columns without a Python object for each.

All others, and all that may be wrong, are read by the reference decoder, one by one and in their place; so what is accepted, what
is rejected, and every value are those of ``blocks.assemble.Assembler``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from streamdrift.blocks.assemble import CELLS_MAX, Added, Assembler, vectors_of
from streamdrift.blocks.block import Block, Coded
from streamdrift.blocks.breadth import of_embeddings
from streamdrift.blocks.column import Bools, Bytes, Codes, Column, Floats, Ids, Ints
from streamdrift.errors import Rejected
from streamdrift.events import inference
from streamdrift.kernels import engine
from streamdrift.ports import Partition, Record
from streamdrift.records import Run
from streamdrift.settings import Settings


def assembler(settings: Settings, *, labels: bool = False) -> Assembler:
    """Return the assembler of the engine that the settings choose; see ``Assembler``."""
    if engine(settings.engine).name == "compiled":
        return CompiledAssembler(settings, labels=labels)
    return Assembler(settings, labels=labels)


_Coded = tuple[Codes, tuple[str, ...]]


class _Taken(NamedTuple):
    """What the decoder has of one model: the arrays of a ``Block``, sources by number, names with the first row that has them."""

    model: str
    times: Ints
    source: Codes
    sources: list[int]
    offsets: Ints
    orders: Ints
    muted: Bools
    versions: _Coded
    columns: list[tuple[str, int, Floats, Bytes | None, _Coded | None]]
    dimensions: list[tuple[str, int, _Coded]]
    facts: tuple[Any, ...]
    ids: Ids


class CompiledAssembler(Assembler):
    """See ``Assembler``."""

    def __init__(self, settings: Settings, *, labels: bool = False) -> None:
        from streamdrift.kernels import _compiled  # noqa: PLC0415 - it is not there on every machine

        super().__init__(settings, labels=labels)
        limits = self._limits
        self._decoder = _compiled.Decoder(
            limits.max_event_bytes,
            limits.features_per_event_max,
            limits.segments_per_event_max,
            limits.text_length_max,
            list(limits.free_text),
            labels,
            self._anomalies,
            CELLS_MAX,
        )
        self._sources: dict[Partition, int] = {}  # by their number in what is loaded
        self._loaded: Sequence[Record] = ()
        self._base = self._reached = 0
        self._embeddings: dict[str, list[tuple[int, dict[str, Any]]]] = {}

    def add(self, record: Record) -> int | None:
        """Decode an inference event into the batch; return its event time, None where it was rejected."""
        return self.add_many((record,)).latest

    def add_many(
        self, records: Sequence[Record], begin: int = 0, end: int | None = None, due: int | None = None
    ) -> Added:
        """Decode inference events into the batch; see ``Assembler.add_many``."""
        self._load(records, begin)
        at, rejected = begin, 0
        stop = len(records) if end is None else min(end, len(records))
        first: int | None = None
        latest: int | None = None
        while at < stop:
            reached, why, earliest, newest = self._decoder.run(at - self._base, stop - self._base, self._order, due)
            self._order += reached + self._base - at
            at = reached + self._base
            if why == "deferred":
                time = self._refer(records[at], at - self._base)
                at, rejected, newest = at + 1, rejected + (time is None), _later(newest, time)
                earliest = time if earliest is None else earliest
            if why == "full" or (why == "deferred" and self._decoder.full()):
                self._put_aside()
            first = earliest if first is None else first
            latest = _later(latest, newest)
            if due is not None and latest is not None and latest >= due:
                break
        self._reached = at
        return Added(at, rejected, first, latest)

    def _load(self, records: Sequence[Record], begin: int) -> None:
        """Hand the records to the decoder; not again where these were left off at ``begin``."""
        if begin and self._loaded is records and self._reached == begin:
            return
        if not self._order:
            self._sources = {}
        self._loaded, self._base = records, begin
        if isinstance(records, Run):
            rest = records[begin:] if begin else records
            source = self._sources.setdefault(rest.partition, len(self._sources))
            self._decoder.load_values(list(rest.values), rest.offsets, rest.times, rest.headers, source, rest.replayed)
        else:
            self._decoder.load_records(records, begin, self._sources)

    def _refer(self, record: Record, index: int) -> int | None:
        """Let the reference decode an event; return its time, None where it was rejected."""
        try:
            event = inference.decode(record, self._limits)
        except Rejected as e:
            self._reject(record, e)
            return None
        fact = self._fact(event) if self.labels else None
        row = self._decoder.push(
            index,
            self._order,
            event.time,
            event.prediction_id,
            event.model,
            event.version,
            event.segments,
            event.signals,
            fact,
        )
        if event.embeddings:
            self._embeddings.setdefault(event.model, []).append((row, event.embeddings))
        self._order += 1
        return event.time

    def _take_events(self) -> list[Block]:
        partitions = tuple(self._sources)
        blocks = [self._made(_Taken(*model), partitions) for model in self._decoder.take()]
        self._embeddings = {}
        return blocks

    def _made(self, taken: _Taken, partitions: tuple[Partition, ...]) -> Block:
        model, n = taken.model, len(taken.times)
        embeddings = self._embeddings.get(model, [])
        features, dimensions = self._features(taken, embeddings), self._watched(taken)
        before = self._rows_before("events", model, n)
        known = self._known("events", model)
        breadth = known.of_first(n, features, dimensions)
        block = Block(
            model,
            {},
            "events",
            taken.times,
            taken.source,
            tuple(partitions[number] for number in taken.sources),
            taken.offsets,
            np.arange(before + 1, before + n + 1, dtype=np.int64),
            breadth,
            taken.orders,
            taken.muted,
            Coded(*taken.versions),
            {
                name[: self._text_max]: Column(numbers, kinds, *((None, ()) if texts is None else texts))
                for name, _, numbers, kinds, texts in taken.columns
                if known.has_feature(name)
            },
            {name: Coded(*coded) for name, _, coded in taken.dimensions},
            vectors_of(embeddings),
            taken.facts if any(taken.facts) else (),
            taken.ids if taken.ids.any() else None,
        )
        return self._within(block, known, len(taken.columns))

    def _features(self, taken: _Taken, embeddings: list[tuple[int, dict[str, Any]]]) -> list[tuple[int, str]]:
        """Return the names of what is watched, each with the first row that has it, rising."""
        first = [(row, name) for name, row, *_ in taken.columns]
        if embeddings:
            first += [(row, name) for row, of_row in embeddings for name in of_embeddings(of_row)]
            first.sort(key=lambda place: place[0])
        return first

    def _watched(self, taken: _Taken) -> list[tuple[int, str]]:
        wanted = self._dimensions
        return [(row, name) for name, row, _ in taken.dimensions if wanted is None or name in wanted]


def _later(a: int | None, b: int | None) -> int | None:
    return b if a is None else a if b is None else max(a, b)
