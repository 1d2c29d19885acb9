"""A block: the rows of one model in one segment, in event order, column by column, with their source offsets."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from streamdrift.blocks.column import Bools, Codes, Column, Ids, Ints
from streamdrift.blocks.vectors import Vectors
from streamdrift.ports import Partition

Stream = Literal["events", "labels", "truths"]


@dataclass(slots=True)
class Coded:
    """Texts of n rows as indices into the distinct ones; -1 is none."""

    codes: Codes
    values: tuple[str, ...]

    def take(self, rows: Ints | slice) -> Coded:
        """Return the texts of these rows."""
        return Coded(self.codes[rows], self.values)

    def at(self, row: int) -> str | None:
        """Return the text of one row."""
        code = int(self.codes[row])
        return None if code < 0 else self.values[code]


def coded(texts: Sequence[str | None]) -> Coded:
    """Return the texts of some rows, coded in order of appearance."""
    index: dict[str, int] = {}
    codes = [-1 if text is None else index.setdefault(text, len(index)) for text in texts]
    return Coded(np.array(codes, np.int32), tuple(index))


def places(taken: Sequence[tuple[Partition, int]]) -> tuple[Codes, tuple[Partition, ...], Ints]:
    """Return ``source``, ``sources`` and ``offset`` of rows that came from these places."""
    index: dict[Partition, int] = {}
    codes = np.array([index.setdefault(partition, len(index)) for partition, _ in taken], np.int32)
    return codes, tuple(index), np.array([offset for _, offset in taken], np.int64)


class Columns(Mapping[str, Column]):
    """The columns of some rows, each cut out when it is asked for: for most segments of most blocks nobody does."""

    def __init__(self, whole: Mapping[str, Column], rows: Ints | slice) -> None:
        self._whole, self._rows = whole, rows
        self._taken: dict[str, Column] = {}

    def __getitem__(self, name: str) -> Column:
        column = self._taken.get(name)
        if column is None:
            column = self._taken[name] = self._whole[name].take(self._rows)
        return column

    def __iter__(self) -> Iterator[str]:
        return iter(self._whole)

    def __len__(self) -> int:
        return len(self._whole)

    def part(self) -> tuple[Mapping[str, Column], Ints] | None:
        """Return the whole columns and the (n,) rows of them; None where these are not listed one by one."""
        rows = self._rows
        return None if isinstance(rows, slice) or isinstance(self._whole, Columns) else (self._whole, rows)


@dataclass(slots=True)
class Block:
    """n rows of one model and segment.

    Attributes
    ----------
    stream
        ``events``; ``truths`` for delayed labels as they came, which are no series yet; ``labels`` for what came of
        them, joined to their predictions.
    time
        (n,) event time, milliseconds since the epoch.
    source, offset
        (n,) which of ``sources`` a row came from, and where it stands there.
    model_row
        (n,) how many rows of the model the assembler had seen, this one included.
    breadth
        (n,) how many series saw such a row, as of then: the model's features, once for all traffic and once for each of its
        dimensions.
    order
        (n,) place in the batch, so that what several blocks of it say can be told in event order.
    muted
        (n,) rows that only rebuild state: what comes of them was published before.
    versions
        Model version of each row.
    dimensions
        The rows' segment values by dimension; filled in the block of all traffic only.
    vectors
        Embeddings by name.
    facts
        What the join of labels needs to know of each row, as JSON values (see ``labels``); empty where nothing of
        these rows is joined. In the block of all traffic only.
    ids
        (n,) prediction ids as ``ids.fingerprints`` has them; None where none of the rows had one when they were
        assembled. In the block of all traffic only.
    """

    model: str
    segment: dict[str, str]
    stream: Stream
    time: Ints
    source: Codes
    sources: tuple[Partition, ...]
    offset: Ints
    model_row: Ints
    breadth: Ints
    order: Ints
    muted: Bools
    versions: Coded
    columns: Mapping[str, Column]
    dimensions: dict[str, Coded] = field(default_factory=dict)
    vectors: dict[str, Vectors] = field(default_factory=dict)
    facts: tuple[Any, ...] = ()
    ids: Ids | None = None

    def __len__(self) -> int:
        return len(self.time)

    def take(self, rows: Ints | slice, segment: dict[str, str] | None = None) -> Block:
        """Return a block of these rows, as a segment's where one is given."""
        return Block(
            self.model,
            self.segment if segment is None else segment,
            self.stream,
            self.time[rows],
            self.source[rows],
            self.sources,
            self.offset[rows],
            self.model_row[rows],
            self.breadth[rows],
            self.order[rows],
            self.muted[rows],
            self.versions.take(rows),
            Columns(self.columns, rows),
            {} if segment else {name: coded.take(rows) for name, coded in self.dimensions.items()},
            {name: taken for name, vectors in self.vectors.items() if len(taken := vectors.take(rows))},
            () if segment or not self.facts else self._facts_of(rows),
            None if segment or self.ids is None else self.ids[rows],
        )

    def _facts_of(self, rows: Ints | slice) -> tuple[Any, ...]:
        return self.facts[rows] if isinstance(rows, slice) else tuple(self.facts[row] for row in rows.tolist())

    def segments(
        self, wanted: Sequence[str] | None = None, among: Mapping[str, Container[str]] | None = None
    ) -> Iterator[tuple[dict[str, str], Ints]]:
        """Yield each segment with its rows: dimensions by name, values in order of appearance.

        The rows are not yet cut out: who has no room for a segment skips it at no cost.

        Parameters
        ----------
        wanted
            Dimensions to split by; None for all.
        among
            Values to look for, by dimension; None for all. What is not among them costs next to nothing.
        """
        for dimension, coded in self._dimensions(wanted):
            by_code = np.argsort(coded.codes, kind="stable")
            starts = np.searchsorted(coded.codes[by_code], np.arange(len(coded.values) + 1))
            sought = None if among is None else among.get(dimension, ())
            for code, value in enumerate(coded.values):
                if sought is not None and value not in sought:
                    continue
                rows = by_code[starts[code] : starts[code + 1]]
                if len(rows):
                    yield {dimension: value}, rows

    def segments_count(self, wanted: Sequence[str] | None = None) -> int:
        """How many segments ``segments`` yields, without yielding them."""
        return sum(len(np.unique(coded.codes[coded.codes >= 0])) for _, coded in self._dimensions(wanted))

    def _dimensions(self, wanted: Sequence[str] | None) -> Iterator[tuple[str, Coded]]:
        for dimension in sorted(self.dimensions):
            if wanted is None or dimension in wanted:
                yield dimension, self.dimensions[dimension]
