"""Who gets the last places of a bank: whoever comes first in the order of events, however these were cut into blocks and batches.

A batch goes model by model, and within that feature by feature; that is not the order of events. It makes no difference as long as all
that is new in the batch has a place, or nothing has one. Otherwise the batch is halved by event order until one or the other
holds, or a single event is left. What a batch wants is bounded first, and counted only where the bound is too much.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

import numpy as np

from streamdrift.blocks.block import Block, Stream
from streamdrift.blocks.column import ABSENT, Ints
from streamdrift.blocks.turns import cut
from streamdrift.detect.embedding import MEASURES
from streamdrift.detect.group import Group
from streamdrift.detect.series import Series
from streamdrift.detect.versions import ROLES, VERSIONS_MAX, Versions, role


@dataclass(slots=True)
class Room:
    """Places that are left.

    Attributes
    ----------
    groups, series
        Of all models.
    segments
        Of each model in question.
    """

    groups: int
    series: int
    segments: Mapping[str, int]

    def settles(self, wanted: Wanted) -> bool:
        """Whether the order makes no difference: to who gets one, and to which event a model is said to have too many segments at."""
        if any(len(blocks) > 1 for blocks in wanted.refused.values()):
            return False
        if self.series <= 0:
            return True
        enough = wanted.groups < self.groups and wanted.series < self.series
        return (enough or not (wanted.groups or wanted.series)) and not any(
            0 < self.segments[model] < n and wanted.blocks[model] > 1 for model, n in wanted.segments.items()
        )


@dataclass(slots=True)
class Wanted:
    """What is new in a batch: groups and series of all models; by model, its blocks, and segments for which there may be places.

    Attributes
    ----------
    refused
        The streams in which a model has segments for which there is none, where that wasn't said yet.
    """

    groups: int = 0
    series: int = 0
    segments: Counter[str] = field(default_factory=Counter)
    blocks: Counter[str] = field(default_factory=Counter)
    refused: dict[str, set[Stream]] = field(default_factory=dict)


def bound(blocks: Sequence[Block]) -> int:
    """The most groups, or series, that a batch may want, whatever is held."""
    return sum(
        (1 + sum(len(coded.values) for coded in block.dimensions.values()))
        * (1 + len(block.columns) + len(MEASURES) * len(block.vectors))
        * min(len(block.versions.values) + 1, VERSIONS_MAX)
        for block in blocks
    )


def halves(blocks: Sequence[Block]) -> list[list[Block]]:
    """Cut a batch in the middle of its events; one part where there is one event."""
    orders = np.unique(np.concatenate([block.order for block in blocks]))
    return [list(blocks)] if len(orders) < 2 else list(cut(blocks, int(orders[len(orders) // 2])))


class Counting:
    """Counts what a batch wants.

    Parameters
    ----------
    groups
        Those that are held.
    room
        Where a model has no place for another segment, or nobody for another group, none is wanted.
    dimensions
        Those to split by; None for all.
    held, overflown
        Segments of a model that are held, by dimension; and models of which it was said that there is no place for others:
        of these, no others matter.
    by_version
        Whether each version has series of its own.
    """

    def __init__(
        self,
        groups: Mapping[tuple[str, str, str], Group],
        room: Room,
        dimensions: Sequence[str] | None,
        held: Mapping[tuple[str, str], Mapping[str, set[str]]],
        overflown: AbstractSet[str],
        *,
        by_version: bool,
    ) -> None:
        self._groups, self._room, self._dimensions = groups, room, dimensions
        self._held, self._overflown, self._by_version = held, overflown, by_version

    def wanted(self, blocks: Sequence[Block], *, split: bool) -> Wanted:
        """Count what is new in these blocks; of series no more than there is room for."""
        found = Wanted()
        for block in blocks:
            found.blocks[block.model] += 1
            self._part(block, block.segment, None, found)
            if not split or not block.dimensions:
                continue
            full = self._is_full(block.model) and block.model in self._overflown
            among = self._held.get((block.stream, block.model), {}) if full else None
            for segment, rows in block.segments(self._dimensions, among):
                self._part(block, segment, rows, found)
        return found

    def _is_full(self, model: str) -> bool:
        return self._room.segments[model] <= 0 or self._room.groups <= 0

    def _part(self, block: Block, segment: dict[str, str], rows: Ints | None, found: Wanted) -> None:
        name = "".join(f"{dimension}={value}" for dimension, value in segment.items())
        group = self._groups.get((block.stream, block.model, name))
        if group is None:
            if self._room.groups <= 0 or (segment and self._is_full(block.model)):
                if segment and block.model not in self._overflown:
                    found.refused.setdefault(block.model, set()).add(block.stream)
                return
            found.groups += 1
            found.segments[block.model] += bool(segment)
        if found.series < self._room.series:
            found.series += self._series(group, block, segment, rows)

    def _series(self, group: Group | None, block: Block, segment: dict[str, str], rows: Ints | None) -> int:
        held = {} if group is None else group.series
        names = [name for name in block.columns if name not in held or isinstance(held[name], Versions)]
        if not names and not block.vectors:
            return 0
        part = block if rows is None else block.take(rows, segment)
        count = 0
        for name in names:
            count += self._of_feature(name, held.get(name), part)
            if count >= self._room.series:
                return count
        for name, vectors in part.vectors.items():
            count += len(MEASURES) if group is None else group.awaited(name, vectors)
        return count

    def _of_feature(self, name: str, one: Series | Versions | None, part: Block) -> int:
        present = part.columns[name].kind_of_rows() != ABSENT
        if not present.any():
            return 0
        if not self._by_version or role(name) not in ROLES:
            return 1
        seen = {part.versions.values[code] if code >= 0 else "" for code in np.unique(part.versions.codes[present])}
        return one.awaited(seen) if isinstance(one, Versions) else min(len(seen), VERSIONS_MAX)
