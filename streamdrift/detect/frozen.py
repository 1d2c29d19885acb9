"""A value that no longer changes: a run of one value, far longer than any in the reference window.

How long a run must be depends on the series and on the value: ten times the longest run of such a value, and 20 events, or 200
where repetition is usual: in a series that repeats itself anyhow (an hourly reading stands for an hour's events), and for a value
that comes back again and again (a score at its upper end, an hour without rain), whose spells are compared with its own.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from streamdrift.blocks.column import Floats, Ints

RUN_MIN = 20
"""Shortest run that may be called frozen."""
FACTOR = 10
"""Frozen is a run this many times the longest of the reference."""
RETURNS = 5
"""Runs in the reference from which a value is one that comes back."""
REPEATS = 0.1
"""Share of values equal to the one before from which a series repeats itself."""
REPEATING_RUN_MIN = 200
NEVER = 1 << 40
"""Longest run of what can't freeze."""
THAWED = 64
"""Values since a frozen run ended after which the series is well again."""


@dataclass(frozen=True, slots=True)
class Freeze:
    """The value froze (``opens``) or moves again: at index ``end`` of an update, ``run`` values since event time ``onset``."""

    opens: bool
    end: int
    value: float
    run: int
    onset: int


class Frozen:
    """The run of one series.

    ``many`` are values that stand for several: a run of these is none.

    >>> import numpy as np
    >>> frozen = Frozen(np.arange(100.0))
    >>> [f.end for f in frozen.update(np.repeat([1.0, 2.0], [5, 30]), np.arange(35))]
    [24]
    """

    def __init__(self, reference: Floats, many: Collection[float] = ()) -> None:
        starts = _starts(reference, np.nan)
        runs, first = np.diff(np.append(starts, len(reference))), reference[starts]
        distinct, returns = np.unique(first, return_counts=True)
        back = distinct[returns >= RETURNS]
        self._spells = {value: int(runs[first == value].max()) for value in back.tolist()}
        self._spells |= dict.fromkeys(many, NEVER)
        self._least = REPEATING_RUN_MIN if 1 - len(starts) / len(reference) > REPEATS else RUN_MIN
        self._longest = int(runs[~np.isin(first, back)].max(initial=1))
        self._varies = len(distinct) > 1  # a constant can't freeze
        self._value, self._run, self._since = np.nan, 0, 0
        self._frozen: Freeze | None = None
        self._moving = 0

    def longest(self, value: float) -> int:
        """Longest run in the reference: of a value that comes back its own, else that of any other."""
        return self._spells.get(value, self._longest)

    def limit(self, value: float) -> int:
        """Length from which a run of this value is frozen."""
        least = REPEATING_RUN_MIN if value in self._spells else self._least
        return max(least, FACTOR * self.longest(value))

    @property
    def is_frozen(self) -> bool:
        """Whether an alert is firing."""
        return self._frozen is not None

    def begin_anew(self) -> None:
        """Nothing is frozen, and the value that comes next begins a run."""
        self._frozen, self._moving, self._run = None, 0, 0

    def limits(self) -> tuple[list[tuple[float, int]], int, int, int] | None:
        """Spells by value, the longest other run, and the least limit without and with spells; None where nothing can freeze."""
        return (list(self._spells.items()), self._longest, self._least, REPEATING_RUN_MIN) if self._varies else None

    def told(self) -> tuple[float, int, int]:
        """Value, length and first event time of the current run, for whoever goes on from it."""
        return self._value, self._run, self._since

    def adopt(self, told: tuple[float, int, int]) -> None:
        """Go on from a run."""
        self._value, self._run, self._since = told

    def update(self, values: Floats, times: Ints) -> list[Freeze]:
        """Take (n,) values and their times; return what froze or moves again."""
        n = len(values)
        if not self._varies or not n:
            return []
        starts = _starts(values, self._value)
        found: list[Freeze] = []
        if not len(starts) or starts[0]:
            self._goes_on(0, int(starts[0]) if len(starts) else n, found)
        if not len(starts):
            return found
        ends = np.append(starts[1:], n)
        if self._frozen is None and (ends - starts).max() < RUN_MIN:
            last = int(starts[-1])  # the usual case, at no cost: nothing froze, and nothing is frozen
            self._value, self._run, self._since = float(values[last]), n - last, int(times[last])
            return found
        for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
            self._value, self._run, self._since = float(values[start]), 0, int(times[start])
            self._goes_on(start, end, found)
        return found

    def _goes_on(self, start: int, end: int, found: list[Freeze]) -> None:
        """The values from index ``start`` to before ``end`` are those of the run."""
        limit = self.limit(self._value)
        before, self._run = self._run, self._run + end - start
        if before < limit <= self._run:
            at = start + limit - before - 1
            if self._frozen is None:
                self._frozen = Freeze(True, at, self._value, limit, self._since)
                found.append(self._frozen)
            self._moving = 0
        elif self._run < limit and self._frozen is not None:
            self._moving += end - start
            if self._moving >= THAWED:
                found.append(Freeze(False, end - 1 - (self._moving - THAWED), self._value, THAWED, self._since))
                self._frozen, self._moving = None, 0


def _starts(values: Floats, before: float) -> Ints:
    """Indices at which a run begins: of values that differ from the one before them."""
    return np.flatnonzero(values != np.concatenate([[before], values[:-1]]))
