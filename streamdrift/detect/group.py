"""The series of one model and segment: they see the same rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

import numpy as np

from streamdrift.alerts import Alert
from streamdrift.blocks.block import Block, Columns
from streamdrift.blocks.column import Column, Floats, Ints, absent
from streamdrift.blocks.fresh import Fresh
from streamdrift.blocks.vectors import Vectors
from streamdrift.detect import embedding
from streamdrift.detect.age import Age
from streamdrift.detect.embedding import Embedding
from streamdrift.detect.learning import first_present
from streamdrift.detect.quiet import Quiet
from streamdrift.detect.rebaseline import Order, acted, names, pieces
from streamdrift.detect.series import Rows, Series
from streamdrift.detect.together import Lent, Together
from streamdrift.detect.versions import Versions, role
from streamdrift.kernels import Handed
from streamdrift.ports import Partition

if TYPE_CHECKING:
    from streamdrift.detect.tally import Tally

Told = list[tuple[int, Alert]]
"""Alerts with their place in the batch."""

REFUSED_MAX = 10_000
"""Names of a group up to which it is remembered that a feature is not monitored."""


class Makes(Protocol):
    """Whoever makes a group's series: the bank, which knows how many there may be."""

    recorded: bool

    def make_series(self, group: Group, feature: str, role: str) -> Series | Versions | None:
        """Return a new series; None where it is not monitored or there is no room."""
        ...

    def make_embedding(self, group: Group, name: str) -> Embedding | None:
        """Return what makes series of an embedding; None likewise."""
        ...

    def too_many_categories(self, group: Group, feature: str, *, capped: bool) -> None:
        """Note that a feature's texts are too many to be categories."""
        ...


class Group:
    """The series of one model and segment: they see the same rows."""

    def __init__(self, model: str, segment: dict[str, str], name: str) -> None:
        self.model, self.segment, self.name = model, segment, name
        self.series: dict[str, Series | Versions | None] = {}
        self.waiting: list[Order] = []
        self.acted: list[str] = []
        """Ids of the orders that were followed, the latest last: they may be given once more."""
        self.silent_on_faults: set[str] = set()
        self._embeddings: dict[str, Embedding | None] = {}
        self._age = Age()
        self._fresh = Fresh()
        self._rows = 0
        self._first_model_row = 0
        self._last_model_row = 0
        self._share = 1.0
        self._lent: Lent | None = None
        self.tally: Tally | None = None
        """Of all traffic, where measures are published."""

    def fresh(self, block: Block) -> Block:
        """Return the rows that were not seen before: a block may be delivered twice."""
        return self._fresh.rows(block)

    def come_home(self) -> None:
        """Have the state of its series here, and not in compiled watches that are given rows together."""
        self._lent = None

    def seen(self) -> dict[Partition, int]:
        """Return the next offset of each source."""
        return self._fresh.told()

    def saw(self, seen: dict[Partition, int]) -> None:
        """Have it know what it has seen."""
        self._fresh.adopt(seen)

    def follow(self, seen: dict[Partition, int]) -> None:
        """It was given its part of all rows that were seen so far."""
        self._fresh.adopt(self.seen() | seen)

    def rejoin(self) -> None:
        """What comes next is counted by others, and was not seen before."""
        self._fresh, self._first_model_row = Fresh(), 0
        self._age.rejoin()

    def update(self, rows: Block, bank: Makes) -> Told:
        """Feed each series its column; a feature that these rows lack is missing in all of them."""
        told: Told = []
        for orders, part in pieces([] if bank.recorded else self.waiting, rows):
            for order in orders:
                acted(self.acted, order)
                told += [(int(part.order[0]), alert) for alert in self._forget(order, part) if not part.muted[0]]
            told += self._feed(part, bank)
        return told

    def lent_to(self, block: Together, rows: Ints) -> Lent | None:
        """Return the series where all of them are lent, and may be given these rows of a block with those of other groups."""
        lent = self._lent
        if lent is None or lent.names is not block.numbers.names or lent.version not in {None, block.version}:
            lent = self._lent = block.lend(self.series)
        return None if lent is None or self.waiting or block.has(lent.unknown, rows) else lent

    def awaited(self, name: str, vectors: Vectors) -> int:
        """How many series it may come to want for these vectors of an embedding."""
        if name not in self._embeddings:
            return len(embedding.MEASURES)
        made = self._embeddings[name]
        return 0 if made is None else sum(feature not in self.series for feature in made.awaited(vectors))

    def go_on(self, rows: Block, bank: Makes, taken: dict[str, int]) -> Told:
        """As ``update``, where the compiled watches have taken so many of the rows, by feature."""
        self._lent = None
        return self._watch(rows, bank, taken)

    def passed(self, source: Partition, first: int, last: int, n: int) -> bool:
        """Note n rows of a source that all were taken, of which the assembler counted these as first and last.

        Returns False where the rows themselves must be looked at.
        """
        if not self._age.went_on(source, first, last):
            return False
        self._count(first, last, n)
        return True

    def _forget(self, order: Order, rows: Block) -> list[Alert]:
        if not order.features:  # its measures are learned anew: so are the centroids that they hang on
            self._embeddings.clear()
        named = [s for name, s in self.series.items() if s is not None and names(order, name)]
        return [alert for series in named for alert in series.forget(rows, order, self._share)]

    def _feed(self, rows: Block, bank: Makes) -> Told:
        self._lent = None
        rows = self._with_embeddings(rows, bank)
        self._add_series(rows, bank)
        return self._watch(rows, bank, {} if bank.recorded else self._ordinary(rows))

    def _watch(self, rows: Block, bank: Makes, ordinary: Mapping[str, int]) -> Told:
        """Give the rows to the series that have not taken them all yet."""
        rest = [(f, s, taken) for f, s in self.series.items() if s and (taken := ordinary.get(f)) != len(rows)]
        if not rest:
            self._count(int(rows.model_row[0]), int(rows.model_row[-1]), len(rows))
            self._age.passed(rows)
            return []
        context = Rows(rows, self._shares(rows), self._age.of(rows), bank.recorded)
        told: Told = []
        nothing: Column | None = None
        for feature, series, taken in rest:
            column = rows.columns.get(feature)
            if column is None:
                column = nothing = nothing or absent(len(rows))
            found = series.update(context, column, taken)
            told += [(int(rows.order[row]), alert) for row, alert in found if not rows.muted[row]]
            if series.crowded:
                bank.too_many_categories(self, feature, capped=series.crowded == "capped")
                series.crowded = None
        return told

    def _ordinary(self, rows: Block) -> dict[str, int]:
        """Rows that the series which are lent to their compiled watches took, all of them in one call."""
        lent = [(feature, s, quiet) for feature, s in self.series.items() if s and (quiet := s.lend(rows))]
        if not lent:
            return {}
        part = rows.columns.part() if isinstance(rows.columns, Columns) else None
        columns = [_read(feature, quiet, rows, part) for feature, _, quiet in lent]
        taken = lent[0][2].advance_all([quiet.watch for _, _, quiet in lent], columns, rows.time, part and part[1])
        for (_, series, quiet), n in zip(lent, taken, strict=True):
            series.took(n, len(rows))
            if n < len(rows):
                quiet.home()
        return {feature: n for (feature, _, _), n in zip(lent, taken, strict=True)}

    def _with_embeddings(self, rows: Block, bank: Makes) -> Block:
        """The rows with a column for each series that their embeddings make."""
        if not rows.vectors:
            return rows
        new = [(int(v.rows[0]), name) for name, v in rows.vectors.items() if name not in self._embeddings]
        for _, name in sorted(new):
            made = bank.make_embedding(self, name)
            if made is not None or len(self._embeddings) < REFUSED_MAX:
                self._embeddings[name] = made
                self.silent_on_faults.update(embedding.features(name)[1:])
        columns = dict(rows.columns)
        for name, vectors in rows.vectors.items():
            state = self._embeddings.get(name)
            if state is not None:
                columns |= state.update(vectors, len(rows))
        return replace(rows, columns=columns)

    def _add_series(self, rows: Block, bank: Makes) -> None:
        new = [(first_present(rows.columns[name]), name) for name in rows.columns if name not in self.series]
        for first, name in sorted(new):
            if first < len(rows):
                series = bank.make_series(self, name, role(name))
                if series is not None or len(self.series) < REFUSED_MAX:
                    self.series[name] = series

    def _shares(self, rows: Block) -> Floats:
        """(n,) share of the model's rows that came to this group, as of each row."""
        counted, before = rows.model_row, self._rows
        if self._count(int(counted[0]), int(counted[-1]), len(rows)):
            before = 0
        own = np.arange(before + 1, before + len(rows) + 1)
        shares: Floats = np.minimum(own / np.maximum(counted - self._first_model_row + 1, 1), 1.0)
        return shares

    def _count(self, first: int, last: int, n: int) -> bool:
        """Count n rows, the first and the last of them counted by the assembler as these; return whether it began anew."""
        anew = first <= self._last_model_row or not self._first_model_row
        if anew:
            self._rows, self._first_model_row = 0, first
        self._last_model_row = last
        self._rows += n
        self._share = min(self._rows / max(last - self._first_model_row + 1, 1), 1.0)
        return anew


def _read(feature: str, quiet: Quiet, rows: Block, part: tuple[Mapping[str, Column], Ints] | None) -> Handed:
    """A column as a compiled watch takes it: of the whole block where it needs not be cut out."""
    if part is not None and (column := part[0].get(feature)) is not None:
        return quiet.handed(column, cut=True)
    return quiet.handed(rows.columns.get(feature) or absent(len(rows)), cut=False)
