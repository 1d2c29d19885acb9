"""Ordinary days, in one call: values of which none calls for a look go through the compiled ``Watch``.

Nearly all values change sums and windows, and nothing else. The compiled engine takes them for as long as that is so, and stops
before the first part in which something may have to be said: that is judged by the same Python whichever engine runs, so the
engines can't differ in what they say. The state goes to where the values go: it is *lent* to the compiled watch, and
called *home* for a look.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from streamdrift.blocks.column import TEXT, Column, Floats, Ints
from streamdrift.detect.calibration import score_table
from streamdrift.detect.faults import ShareLane
from streamdrift.detect.value_watch import ValueWatch
from streamdrift.kernels import Handed, Ordinary


class Quiet:
    """The compiled watch of one series, whose reference is complete.

    Parameters
    ----------
    ordinary
        Of the engine that runs.
    kind
        Of the clean values.
    missing, invalid, values
        What watches the series; any of it may be missing.
    """

    def __init__(
        self,
        ordinary: Ordinary,
        kind: int,
        missing: ShareLane | None,
        invalid: ShareLane | None,
        values: ValueWatch | None,
    ) -> None:
        self._values, self._kind = values, kind
        self._lanes = {name: lane for name, lane in (("missing", missing), ("invalid", invalid)) if lane is not None}
        parts = None if values is None else values.parts(ordinary) | {"scores": _scores(ordinary, values.reference.n)}
        lanes = (None if lane is None else lane.judged() for lane in (missing, invalid))
        self.watch = ordinary.watch(kind, *lanes, parts)
        self.advance_all = ordinary.advance
        self._lent = False

    def advance(self, column: Column, times: Ints) -> int:
        """Take rows for as long as none calls for a look; return how many were taken."""
        if not self.lend():
            return 0
        taken = self.advance_all([self.watch], [self.handed(column, cut=False)], times, None)[0]
        if taken < len(times):
            self.home()
        return taken

    def handed(self, column: Column, *, cut: bool) -> Handed:
        """Return a column as the compiled watch takes it; ``cut`` says that rows have yet to be cut out of it."""
        if (places := self.places(column)) is not None:
            return column.numbers, column.kinds, column.codes, places, cut
        return column.numbers, column.kinds, None, None, cut

    @property
    def is_of_texts(self) -> bool:
        """Whether it watches texts."""
        return self._kind == TEXT and self._values is not None

    def places(self, column: Column) -> Floats | None:
        """(t,) place of each of a column's texts in the reference; None where none is looked for."""
        if self._kind != TEXT or self._values is None or column.codes is None:
            return None
        return self._values.reference.places(column.texts)

    def home(self) -> None:
        """Have the state where the reference engine looks for it."""
        if not self._lent:
            return
        self._lent = False
        told = self.watch.told()
        for name, lane in self._lanes.items():
            lane.scan.adopt(told[name])
        if self._values is not None:
            self._values.adopt(told)

    def lend(self) -> bool:
        """Hand the state to the compiled watch, unless something is going on that it knows nothing of."""
        if self._lent:
            return True
        if any(lane.is_open for lane in self._lanes.values()) or (
            self._values is not None and not self._values.is_calm
        ):
            return False
        told: dict[str, Any] = {} if self._values is None else self._values.told()
        told |= {name: lane.scan.told() for name, lane in self._lanes.items()}
        self.watch.adopt(told)
        self._lent = True
        for lane in self._lanes.values():
            lane.scan.let_go()
        if self._values is not None:
            self._values.let_go()
        return True


@lru_cache(maxsize=8)
def _scores(ordinary: Ordinary, n: int) -> object:
    return ordinary.scores(np.ascontiguousarray(score_table(n)))
