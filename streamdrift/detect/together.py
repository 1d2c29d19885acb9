"""Ordinary days of many groups: what a block has for them goes through one compiled call.

With thousands of segments a group has few rows in a block, and its own call, the columns that are cut out for it, and the
bookkeeping of its series cost more than its values do. So groups whose series are all lent to their compiled watches
(``quiet``) are gathered, and given their rows of the whole block's columns together. Where a value calls for a look, its group
goes on by itself, as it does with any block.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from streamdrift.blocks.block import Block
from streamdrift.blocks.column import ABSENT, Column, Ints
from streamdrift.detect.quiet import Quiet
from streamdrift.detect.series import Series
from streamdrift.detect.versions import Versions
from streamdrift.kernels import Ordinary, Watches
from streamdrift.ports import Partition

if TYPE_CHECKING:
    from streamdrift.detect.group import Group


class Numbers:
    """Numbers of a model's features, by which compiled watches know their columns.

    Attributes
    ----------
    names
        Features of the latest block; the same object for as long as they are the same.
    """

    def __init__(self) -> None:
        self.of: dict[str, int] = {}
        self.names: frozenset[str] = frozenset()

    def see(self, names: frozenset[str]) -> None:
        """Note a block's features."""
        if names != self.names:
            self.names = names

    def number(self, feature: str) -> int:
        """Return a feature's number."""
        return self.of.setdefault(feature, len(self.of))


@dataclass(slots=True)
class Lent:
    """The series of one group, all of them lent to compiled watches.

    Attributes
    ----------
    names
        Features of the blocks that they are given rows of.
    unknown
        Those of them that the group has no series of: none of its rows had them yet.
    version
        Of the events, where it matters to one of them; else None.
    texts
        Place, among the series, of each that watches texts.
    """

    names: frozenset[str]
    unknown: list[str]
    version: str | None
    features: list[str]
    series: list[Series | Versions]
    quiets: list[Quiet]
    texts: list[int]
    watches: Watches


class Together:
    """The groups of one block on ordinary days.

    Parameters
    ----------
    block
        Of all traffic.
    """

    def __init__(self, ordinary: Ordinary, block: Block, numbers: Numbers) -> None:
        self._ordinary, self._block, self.numbers = ordinary, block, numbers
        numbers.see(frozenset(block.columns))
        self.version = block.versions.at(0) or ""
        self.source: Partition = block.sources[int(block.source[0])]
        self._groups: list[tuple[Group, Ints, dict[str, str], Lent]] = []

    @classmethod
    def of(cls, ordinary: Ordinary, block: Block, numbers: Numbers) -> Together | None:
        """Return a block's; None where its rows differ in what series must know of each."""
        versions = block.versions.codes
        if block.vectors or (block.source != block.source[0]).any() or (versions != versions[0]).any():
            return None
        return cls(ordinary, block, numbers)

    def add(self, group: Group, rows: Ints, segment: dict[str, str]) -> bool:
        """Take a group's rows in, to be given to it later; return False where the group has to be given them by itself."""
        lent = group.lent_to(self, rows)
        if lent is None:
            return False
        self._groups.append((group, rows, segment, lent))
        return True

    def has(self, names: list[str], rows: Ints) -> bool:
        """Whether one of these rows has one of these features."""
        return any(_present(self._block.columns[name], rows) for name in names)

    def lend(self, series: dict[str, Series | Versions | None]) -> Lent | None:
        """Return a group's series where they can all be lent; None where one can't."""
        block = self._block
        held = [(feature, one) for feature, one in series.items() if one is not None]
        quiets = [quiet for _, one in held if (quiet := one.lend(block)) is not None]
        if len(quiets) < len(held) or not held:
            return None
        features = [feature for feature, _ in held]
        return Lent(
            self.numbers.names,
            sorted(self.numbers.names - series.keys()),
            self.version if any(isinstance(one, Versions) for _, one in held) else None,
            features,
            [one for _, one in held],
            quiets,
            [i for i, quiet in enumerate(quiets) if quiet.is_of_texts],
            self._ordinary.watches(
                [(quiet.watch, self.numbers.number(name)) for quiet, name in zip(quiets, features, strict=True)]
            ),
        )

    def advance(self) -> Iterator[tuple[Group, Ints, dict[str, str], dict[str, int]]]:
        """Give all groups their rows; yield those with a series that did not take them all, with how many each took."""
        block, columns = self._block, self._block.columns
        given = [columns.get(name) for name in self.numbers.of]
        parts = [(lent.watches, rows, self._places(lent)) for _, rows, _, lent in self._groups]
        whole = [None if column is None else (column.numbers, column.kinds, column.codes) for column in given]
        stopped = dict(self._ordinary.advance_groups(parts, whole, block.time)) if parts else {}
        counts = block.model_row
        for i, (group, rows, segment, lent) in enumerate(self._groups):
            taken = stopped.get(i)
            if taken is None:
                n = len(rows)
                for one in lent.series:
                    one.took(n, n)
                if not group.passed(self.source, int(counts[rows[0]]), int(counts[rows[-1]]), n):
                    yield group, rows, segment, dict.fromkeys(lent.features, n)
                continue
            taken += [len(rows)] * (len(lent.series) - len(taken))
            for one, quiet, n in zip(lent.series, lent.quiets, taken, strict=True):
                one.took(n, len(rows))
                if n < len(rows):
                    quiet.home()
            yield group, rows, segment, dict(zip(lent.features, taken, strict=True))

    def _places(self, lent: Lent) -> list[object] | None:
        """For each watch of texts, the places that its reference has for the column's texts."""
        if not lent.texts:
            return None
        places: list[object] = [None] * len(lent.series)
        for i in lent.texts:
            column = self._block.columns.get(lent.features[i])
            if column is not None:
                places[i] = lent.quiets[i].places(column)
        return places


def _present(column: Column, rows: Ints) -> bool:
    return column.kinds is None or bool(np.any(column.kinds[rows] != ABSENT))
