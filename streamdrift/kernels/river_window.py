"""The state of river's ADWIN window, which it gives and takes as bytes.

Its layout is that of river 0.26.1 (bincode: little-endian, lengths in eight bytes); river is pinned, and a test holds what
is read here against what the window says of itself. The methods are those that pickle would call, but nothing is pickled: the
bytes are numbers alone, and those that go in are packed here.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from river._river_rust.drift import AdaptiveWindowing

Bucket = tuple[float, float]
"""Sum of a bucket's values, and of their squared deviations from its mean."""

BEGIN, BUCKETS, END = struct.Struct("<diQdd4d4iQ"), struct.Struct("<QQ"), struct.Struct("<diQii")


@dataclass(slots=True)
class WindowState:
    """What decides of the window's future.

    Attributes
    ----------
    tick
        Values since it began; cuts are looked for at each ``clock``-th.
    width, total, variance
        Number, sum, and sum of squared deviations of the values in it.
    rows
        Buckets of 1 value, of 2, of 4, …; in each row the oldest first.
    """

    tick: int
    width: float
    total: float
    variance: float
    rows: list[list[Bucket]]


def read(window: AdaptiveWindowing) -> WindowState:
    """Return the state of a window."""
    state: bytes = window.__getstate__()
    *_, total, variance, width, _, _, _, tick, _, depth = BEGIN.unpack_from(state)
    position, rows = BEGIN.size, []
    for _ in range(depth):
        most, n = BUCKETS.unpack_from(state, position)
        numbers = struct.Struct(f"<Q{most + 1}d")
        position += BUCKETS.size
        totals = numbers.unpack_from(state, position)[1 : n + 1]
        variances = numbers.unpack_from(state, position + numbers.size)[1 : n + 1]
        position += 2 * numbers.size
        rows.append(list(zip(totals, variances, strict=True)))
    return WindowState(tick, width, total, variance, rows)


def write(window: AdaptiveWindowing, state: WindowState) -> None:
    """Give a window, whose settings stay, this state."""
    delta, clock, most, shortest, grace = window.__getnewargs__()
    buckets = sum(map(len, state.rows))
    parts = [
        BEGIN.pack(
            *(delta, clock, most, shortest, grace),
            *(state.total, state.variance, state.width, state.width),
            *(buckets, buckets, state.tick, 0, len(state.rows)),
        )
    ]
    for row in state.rows:
        empty = [0.0] * (most + 1 - len(row))
        totals, variances = [t for t, _ in row], [v for _, v in row]
        numbers = struct.Struct(f"<Q{most + 1}d")
        parts.append(BUCKETS.pack(most, len(row)))
        parts += [numbers.pack(most + 1, *column, *empty) for column in (totals, variances)]
    parts.append(END.pack(delta, clock, most, shortest, grace))
    window.__setstate__(b"".join(parts))
