"""A model version that serves no longer: others have had all events in its place, for long enough that this is no chance.

What it did is over then, whatever it was: its open alerts end (``current.ended`` is ``withdrawn``). After a roll-back nobody would
otherwise be told that it helped. Time alone says nothing: rows of the model and segment that other versions had are the evidence.
"""

from __future__ import annotations

import math

import numpy as np

from streamdrift.blocks.column import Ints

QUIET_ROWS = 1_000
"""Rows of the model and segment without a version after which it may be gone, and gives its place to a new one."""
MISSED = 20.0
"""Events of it that would have come by then, if it still served: that none comes has a chance of exp(-20)."""


def quiet_rows(per_event: float) -> int:
    """Rows without a version after which it is gone, where it had one event in so many rows.

    >>> quiet_rows(1.0), quiet_rows(100.0)
    (1000, 2000)
    """
    return max(QUIET_ROWS, math.ceil(MISSED * per_event))


def gone_at(latest: int, per_event: float, end: int) -> int | None:
    """Number of the row at which a version is gone, by the rows up to before ``end``; None where it is not.

    ``latest`` is the number of its latest row.

    >>> gone_at(99, 1.0, 1_099), gone_at(99, 1.0, 1_100), gone_at(99, 1.0, 5_000)
    (None, 1099, 1099)
    """
    at = latest + quiet_rows(per_event)
    return at if at < end else None


def spells(mine: Ints, latest: int) -> list[Ints]:
    """Cut a version's rows where it may have been gone.

    Parameters
    ----------
    mine
        (k,) numbers of its rows.
    latest
        Number of the one before them.

    >>> [spell.tolist() for spell in spells(np.array([2, 3, 2_000, 2_001]), 1)]
    [[2, 3], [2000, 2001]]
    >>> [spell.tolist() for spell in spells(np.array([2_000]), 1)]
    [[], [2000]]
    """
    cuts = np.flatnonzero(np.diff(mine, prepend=latest) > QUIET_ROWS)
    return np.split(mine, cuts) if len(cuts) else [mine]
