"""What is counted of a model's rows for its objectives, in slices; see ``slo.measures``.

A slice that has two minutes ends before the row that begins a later one than all in it and in the slice before, but for one: so one
goes out every minute or two, late events make no more of them, and one whose time is years off holds nothing up. It ends also
before its minutes are more than ``SLICE_MINUTES``. Where slices end hangs on the rows alone, not on how they were cut into blocks.

Invalid is a value that is none (beyond a double, a list), or of another kind than most of the first ``KIND_VALUES`` of its feature.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from streamdrift.blocks.block import Block
from streamdrift.blocks.column import BOOLEAN, NULL, NUMBER, Bools, Column, Ints
from streamdrift.blocks.measures import ERROR
from streamdrift.detect.group import Group, Makes, Told
from streamdrift.detect.learning import first_present
from streamdrift.detect.rebaseline import Order, names, pieces
from streamdrift.detect.versions import Versions
from streamdrift.slo.counts import MINUTE_MS
from streamdrift.slo.measures import Minute, Place, Slice, Stream, rung

SLICE_MINUTES = 10
KIND_VALUES = 100

Ended = tuple[int, Slice]
"""A slice, with the place in the batch of the row that ended it."""


class Tally:
    """Counts of one model's rows of a stream, since the end of its last slice.

    Parameters
    ----------
    counts
        Whether a feature's values are counted.
    """

    def __init__(self, stream: Stream, counts: Callable[[str], bool]) -> None:
        self._stream, self._counts_feature = stream, counts
        self._minutes: dict[int, Minute] = {}
        self._before: list[int] = []
        self._first: Place | None = None
        self._last: Place = ("", 0, 0)
        self._kinds: dict[str, list[int]] = {}
        self._decided: dict[str, int] = {}
        self._wanted: dict[str, bool] = {}

    def adopt(self, counts: Callable[[str], bool]) -> None:
        """Have it know which features are counted, once it was taken up."""
        self._counts_feature, self._wanted = counts, {}

    def feed(self, rows: Block, group: Group, bank: Makes, found: list[Ended]) -> Told:
        """Give the rows to the group, and count them; slices that ended go to ``found``, but for those that were told before."""
        told: Told = []
        for orders, part in pieces(list(group.waiting), rows):
            self._forget(orders)
            begin = 0
            for start, minute in _runs(part.time):
                if self._is_over(minute):
                    if start > begin:
                        told += self._take(part.take(slice(begin, start)), group, bank)
                        begin = start
                    self._end(group, found, (int(part.order[start]), bool(part.muted[start])))
                self._minutes.setdefault(minute, Minute(minute * MINUTE_MS))
            told += self._take(part if begin == 0 else part.take(slice(begin, None)), group, bank)
        return told

    def _is_over(self, minute: int) -> bool:
        """Whether the slice ends before a row of this minute."""
        mine = self._minutes
        if minute in mine or len(mine) < 2:
            return False
        return len(mine) >= SLICE_MINUTES or sum(other >= minute for other in {*mine, *self._before}) <= 1

    def _take(self, rows: Block, group: Group, bank: Makes) -> Told:
        told = group.update(rows, bank)
        self._first = self._first or _place(rows, 0)
        self._last = _place(rows, len(rows) - 1)
        own = rows.time // MINUTE_MS
        if self._stream == "labels":
            self._count_errors(rows, own)
        else:
            self._count_values(rows, own)
        return told

    def _forget(self, orders: Iterable[Order]) -> None:
        """What kind a feature's values are is learned anew where it was ordered."""
        for order in orders:
            for known in (self._kinds, self._decided):
                for feature in [feature for feature in known if names(order, feature)]:
                    del known[feature]

    def _count_values(self, rows: Block, own: Ints) -> None:
        minutes, n = dict(zip(*_split(own), strict=True)), len(rows)
        invalid = np.zeros(n, np.bool_)
        cells: Counter[int] = Counter()
        features = dict.fromkeys([*self._kinds, *rows.columns])
        for feature in features:
            if not self._is_counted(feature):
                continue
            column = rows.columns.get(feature)
            since = 0 if feature in self._kinds else n if column is None else first_present(column)
            if since == n:
                continue
            counted = self._kinds.setdefault(feature, [0, 0, 0])
            for minute, mask in minutes.items():
                cells[minute] += n - since if mask is None else int(mask[since:].sum())
            missing = _missing(column, since, n)
            if missing is not None:
                self._count_nulls(feature, missing, minutes)
            if column is not None and (wrong := self._invalid(feature, column, counted)) is not None:
                invalid |= wrong
        for minute, mask in minutes.items():
            into = self._minutes[minute]
            into.add("events", n if mask is None else int(mask.sum()))
            into.add("cells", cells[minute])
            into.add("invalid", int((invalid if mask is None else invalid & mask).sum()))

    def _is_counted(self, feature: str) -> bool:
        wanted = self._wanted.get(feature)
        if wanted is None:
            wanted = self._wanted[feature] = self._counts_feature(feature)
        return wanted

    def _count_nulls(self, feature: str, missing: Bools, minutes: dict[int, Bools | None]) -> None:
        for minute, mask in minutes.items():
            nulls = int((missing if mask is None else missing & mask).sum())
            if nulls:
                into = self._minutes[minute]
                into.add("nulls", nulls)
                into.nulls[feature] = into.nulls.get(feature, 0) + nulls

    def _invalid(self, feature: str, column: Column, counted: list[int]) -> Bools | None:
        """(n,) values that are none, or of a kind that they shouldn't be, None without one; learns that kind from the first ones."""
        kind = self._decided.get(feature)
        if column.kinds is None and kind == NUMBER:
            return None
        kinds = column.kind_of_rows()
        invalid: Bools = kinds > BOOLEAN
        begin = 0
        if kind is None:
            clean = np.flatnonzero((kinds >= NUMBER) & ~invalid)[: KIND_VALUES - sum(counted)]
            for one, n in enumerate(np.bincount(kinds[clean] - NUMBER, minlength=len(counted)).tolist()):
                counted[one] += n
            if sum(counted) < KIND_VALUES:
                return invalid
            kind = self._decided[feature] = NUMBER + counted.index(max(counted))
            begin = int(clean[-1]) + 1
        other = (kinds > NULL) & (kinds != kind)
        invalid[begin:] |= other[begin:]
        return invalid

    def _count_errors(self, rows: Block, own: Ints) -> None:
        column = rows.columns.get(ERROR)
        if column is None:
            return
        for minute, error in zip(own.tolist(), column.numbers.tolist(), strict=True):
            if error == error:  # noqa: PLR0124 - NaN, where there is none, alone differs from itself
                into, bound = self._minutes[minute], rung(abs(error))
                into.add("labels", 1)
                into.errors[bound] = into.errors.get(bound, 0) + 1

    def _end(self, group: Group, found: list[Ended], at: tuple[int, bool]) -> None:
        """End the slice before a row that has this place in the batch, and is muted or not; what series are doing counts for the minutes that the slice before did not have."""
        if self._stream == "events":
            standing = [state for state in _standing(group) if state is not None]
            for minute, into in self._minutes.items():
                if minute not in self._before:
                    into.add("series", len(standing))
                    into.add("drifting", sum(standing))
        order, muted = at
        if not muted and self._first is not None:
            minutes = tuple(minute for minute in self._minutes.values() if minute.counts)
            if minutes:
                found.append((order, Slice(group.model, self._stream, self._first, self._last, minutes)))
        self._before, self._minutes, self._first = list(self._minutes), {}, None


def _standing(group: Group) -> Iterator[bool | None]:
    for series in group.series.values():
        for one in series.all() if isinstance(series, Versions) else (series,):
            if one is not None:
                yield one.drifts


def _runs(times: Ints) -> Iterator[tuple[int, int]]:
    """Yield where each run of rows of one minute begins, and the minute."""
    minutes = times // MINUTE_MS
    for start in [0, *(np.flatnonzero(np.diff(minutes)) + 1).tolist()]:
        yield start, int(minutes[start])


def _split(own: Ints) -> tuple[list[int], list[Bools | None]]:
    """The minutes of some rows, and which rows are of each; None where all are."""
    minutes = np.unique(own).tolist()
    return minutes, [None] if len(minutes) == 1 else [own == minute for minute in minutes]


def _missing(column: Column | None, since: int, n: int) -> Bools | None:
    """(n,) values that are null or missing, from a row on; None where none is."""
    if column is None:
        return np.ones(n, np.bool_)
    if column.kinds is None:
        return None
    missing: Bools = column.kinds <= NULL
    missing[:since] = False
    return missing


def _place(rows: Block, row: int) -> Place:
    source = rows.sources[int(rows.source[row])]
    return source.name, source.index, int(rows.offset[row])
