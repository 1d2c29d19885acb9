"""What the join of labels knows of each model: labels that are held, and rows that come of those let in."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from streamdrift.blocks.block import Block, coded, places
from streamdrift.blocks.breadth import Breadth
from streamdrift.blocks.column import from_values
from streamdrift.blocks.fresh import Fresh
from streamdrift.blocks.measures import MEASURES, Prediction
from streamdrift.ports import Partition

At = tuple[Partition, int]
"""A place in a log, and its time there (milliseconds): when it was written, whatever event time its content has."""


@dataclass(slots=True)
class Held:
    """A label, and where it stands.

    Attributes
    ----------
    truth
        A class, or a number where ``numeric``.
    since
        When it came, by the log; None without one.
    muted
        Whether it was read before, and only rebuilds state.
    """

    key: bytes
    time: int
    source: tuple[Partition, int]
    truth: Any
    numeric: bool
    prediction: Prediction | None
    segments: dict[str, str]
    since: int | None
    muted: bool


@dataclass(slots=True)
class Outcome:
    """A prediction with its truth, as a row to come; ``order`` is that of the row that let it in."""

    order: int
    muted: bool
    held: Held
    version: str | None
    segments: dict[str, str]
    measures: dict[str, float]


@dataclass(slots=True)
class ModelLabels:
    """One model's labels.

    Attributes
    ----------
    watermark
        Latest event time.
    labelled
        Whether a label of this model ever came.
    log, now
        The log that its blocks come by, and how far that is; None without one.
    untold
        Partitions of labels from which a label was let in of which nobody was told before.
    sources
        By partition of events: the latest event time, and when it brought its last events, by the log.
    """

    watermark: int = -1
    labelled: bool = False
    rows: int = 0
    log: Partition | None = None
    now: int | None = None
    untold: set[Partition] = field(default_factory=set)
    sources: dict[Partition, tuple[int, int]] = field(default_factory=dict)
    held: deque[Held] = field(default_factory=deque)
    events: Fresh = field(default_factory=Fresh)
    truths: Fresh = field(default_factory=Fresh)
    outcomes: list[Outcome] = field(default_factory=list)
    breadth: Breadth = field(default_factory=Breadth)

    def came(self, block: Block, at: At) -> None:
        """Note a block of the log."""
        self.log, self.now = at
        if block.stream == "events":
            for code, source in enumerate(block.sources):
                latest = int(block.time[block.source == code].max(initial=-1))
                self.sources[source] = max(latest, self.sources.get(source, (-1, 0))[0]), self.now


class Taken:
    """Rows of a block, each column as a list: they are gone through one by one."""

    def __init__(self, model: ModelLabels, block: Block) -> None:
        self.model, self.block = model, block
        self.times: list[int] = block.time.tolist()
        self.muted: list[bool] = block.muted.tolist()
        self.places = [(block.sources[c], o) for c, o in zip(block.source.tolist(), block.offset.tolist(), strict=True)]
        self._dimensions = [(name, texts.codes.tolist(), texts.values) for name, texts in block.dimensions.items()]

    def segments(self, row: int) -> dict[str, str]:
        """The segment values of one row, by dimension."""
        return {name: values[codes[row]] for name, codes, values in self._dimensions if codes[row] >= 0}


def outcomes_block(name: str, model: ModelLabels) -> Block:
    """Take a model's outcomes as a block."""
    rows, model.outcomes = model.outcomes, []
    n, first = len(rows), model.rows
    model.rows += n
    given = [measure for measure in MEASURES if any(measure in row.measures for row in rows)]
    dimensions = dict.fromkeys(dimension for row in rows for dimension in row.segments)
    return Block(
        name,
        {},
        "labels",
        np.array([row.held.time for row in rows], np.int64),
        *places([row.held.source for row in rows]),
        np.arange(first + 1, first + n + 1, dtype=np.int64),
        model.breadth.of([row.measures for row in rows], [row.segments for row in rows]),
        np.array([row.order for row in rows], np.int64),
        np.array([row.muted for row in rows], np.bool_),
        coded([row.version for row in rows]),
        {measure: from_values([row.measures.get(measure, ...) for row in rows], 1) for measure in given},
        {dimension: coded([row.segments.get(dimension) for row in rows]) for dimension in dimensions},
    )
