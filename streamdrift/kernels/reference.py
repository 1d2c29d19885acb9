"""The reference engine: ADWIN, Page-Hinkley and the exact two-sample KS, value by value.

Every kernel takes a block of finite values and returns the indices at which it flagged. Any split of the values into
blocks gives the same flags, to the last bit.

References
----------
A. Bifet, R. Gavaldà: Learning from Time-Changing Data with Adaptive Windowing. SDM 2007.
E. S. Page: Continuous Inspection Schemes. Biometrika 41, 1954.
F. J. Massey: The Kolmogorov-Smirnov Test for Goodness of Fit. JASA 46, 1951.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Callable
from functools import partial
from itertools import chain

import numpy as np
import numpy.typing as npt
from river._river_rust.drift import AdaptiveWindowing

from streamdrift.kernels import river_window, snapshots
from streamdrift.kernels.river_window import WindowState

MAX_BUCKETS, MIN_WINDOW_LENGTH = 5, 5
"""Of ADWIN's exponential histogram, and of the shorter side of a cut: as in the paper and in river."""
ROWS_MAX = 53
"""Rows of buckets; more than 2^53 values can't be counted exactly anyway."""

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


class Adwin:
    """Adaptive windowing. Flags when two parts of its window differ in mean; then it begins anew.

    river's compiled window, without the wrapper around it that takes as long again (a test holds the decisions equal to
    ``river.drift.ADWIN``; river is pinned).

    >>> import numpy as np
    >>> Adwin(delta=0.002, clock=32, grace_period=10).update(np.repeat([0.0, 1.0], 500))
    array([511])
    """

    def __init__(self, delta: float, clock: int, grace_period: int) -> None:
        self._settings = delta, clock, grace_period
        self._begin = partial(
            AdaptiveWindowing,
            delta=delta,
            clock=clock,
            grace_period=grace_period,
            max_buckets=MAX_BUCKETS,
            min_window_length=MIN_WINDOW_LENGTH,
        )
        self._window = self._begin()

    def update(self, values: Floats) -> Ints:
        """Take a block of n values; return the indices (0 to n-1) at which it flagged."""
        update: Callable[[float], bool] = self._window.update
        flags = []
        for i, value in enumerate(values.tolist()):
            if update(value):
                flags.append(i)
                self._window = self._begin()
                update = self._window.update
        return np.array(flags, np.int64)

    @property
    def width(self) -> float:
        """Values in the window."""
        width: float = self._window.get_width()
        return width

    @property
    def total(self) -> float:
        """Sum of the values in the window."""
        total: float = self._window.get_total()
        return total

    @property
    def variance(self) -> float:
        """Sum of their squared deviations from the mean."""
        variance: float = self._window.get_variance()
        return variance

    def snapshot(self) -> bytes:
        """Return the state as bytes, for ``restore`` of either engine."""
        state = river_window.read(self._window)
        parts = [
            struct.pack("<dII", *self._settings),
            struct.pack(
                "<I3dI", state.tick % self._settings[1], state.width, state.total, state.variance, len(state.rows)
            ),
        ]
        parts += [struct.pack(f"<I{2 * len(row)}d", len(row), *chain.from_iterable(row)) for row in state.rows]
        return snapshots.seal(b"A", b"".join(parts))

    def restore(self, state: bytes) -> None:
        """Go on where a snapshot was taken. ValueError: it is damaged, newer, of another kernel, or of other settings."""
        payload = snapshots.opened(b"A", state)
        payload.settings("dII", *self._settings)
        tick, width, total, variance, depth = payload.take("I3dI")
        if tick >= self._settings[1] or not 1 <= depth <= ROWS_MAX:
            raise snapshots.damaged()
        rows = []
        for _ in range(depth):
            (n,) = payload.take("I")
            if n > MAX_BUCKETS or (n == 0 and depth > 1):
                raise snapshots.damaged()
            numbers = iter(payload.take(f"{2 * n}d"))
            rows.append(list(zip(numbers, numbers, strict=True)))
        payload.end()
        if sum(len(row) << r for r, row in enumerate(rows)) != width:
            raise snapshots.damaged()
        self._window = self._begin()
        river_window.write(self._window, WindowState(tick, width, total, variance, rows))


class PageHinkley:
    """Two-sided Page-Hinkley test with forgetting; flags when a cumulative deviation leaves its extreme by the threshold.

    Step for step the arithmetic of ``river.drift.PageHinkley`` (a test holds them equal, sums included), without an object per value.

    >>> import numpy as np
    >>> PageHinkley(delta=0.005, threshold=50, min_instances=30, alpha=0.9999).update(np.repeat([0.0, 1.0], 200))
    array([257])
    """

    def __init__(self, delta: float, threshold: float, min_instances: int, alpha: float) -> None:
        self._delta, self._threshold, self._min_instances, self._alpha = delta, threshold, min_instances, alpha
        self._begin()

    def _begin(self) -> None:
        self._n = 0.0
        self._mean = self._up = self._down = 0.0
        self._up_min, self._down_max = math.inf, -1.0  # river's start values: the first deviation replaces both

    def update(self, values: Floats) -> Ints:
        """Take a block of n values; return the indices (0 to n-1) at which it flagged."""
        delta, threshold, least, alpha = self._delta, self._threshold, self._min_instances, self._alpha
        n, mean, up, down, up_min, down_max = self._n, self._mean, self._up, self._down, self._up_min, self._down_max
        flags = []
        for i, value in enumerate(values.tolist()):
            n += 1.0
            mean += 1.0 / n * (value - mean)
            deviation = value - mean
            up = alpha * up + deviation - delta
            down = alpha * down + deviation + delta
            if up < up_min:  # noqa: PLR1730 - a third of the loop's time would go into min and max
                up_min = up
            if down > down_max:  # noqa: PLR1730
                down_max = down
            if n >= least and (up - up_min > threshold or down_max - down > threshold):
                flags.append(i)
                self._begin()
                n, mean, up, down, up_min, down_max = 0.0, 0.0, 0.0, 0.0, math.inf, -1.0
        self._n, self._mean, self._up, self._down, self._up_min, self._down_max = n, mean, up, down, up_min, down_max
        return np.array(flags, np.int64)

    def snapshot(self) -> bytes:
        """Return the state as bytes, for ``restore`` of either engine."""
        settings = struct.pack("<ddQd", self._delta, self._threshold, self._min_instances, self._alpha)
        extremes = self._up_min, self._down_max
        return snapshots.seal(b"P", settings + struct.pack("<6d", self._n, self._mean, self._up, self._down, *extremes))

    def restore(self, state: bytes) -> None:
        """Go on where a snapshot was taken. ValueError: it is damaged, newer, of another kernel, or of other settings."""
        payload = snapshots.opened(b"P", state)
        payload.settings("ddQd", self._delta, self._threshold, self._min_instances, self._alpha)
        n, mean, up, down, up_min, down_max = payload.take("6d")
        payload.end()
        self._n, self._mean, self._up, self._down, self._up_min, self._down_max = n, mean, up, down, up_min, down_max


class SlidingKs:
    """Exact KS distance between a fixed reference and the last ``window`` values, watched after every value.

    A value falls into one of 2m+1 cells of the m distinct reference values: on one of them, or in a gap. Both
    distribution functions are constant within a cell, so the largest difference stands at a cell's end and ties need no
    special care. With N = max |R·(count of the window up to a cell) - W·(count of the reference)|, an integer, the
    distance is D = N / (R·W). A new value moves a window count by at most one, hence N by at most R: if N lacks k·R to the
    critical value, the next k-1 values can't reach it, and need no look. The flags are those of a test after every value.

    Parameters
    ----------
    reference
        (R,) sorted finite values.
    window
        W, length of the current window in values.
    alpha
        Level of one test, by the asymptotic distribution of the two-sample statistic.

    Examples
    --------
    >>> import numpy as np
    >>> SlidingKs(np.arange(100.0), window=20, alpha=1e-3).update(np.repeat([50.0, 200.0], 30))
    array([19])
    """

    def __init__(self, reference: Floats, window: int, alpha: float) -> None:
        distinct, counts = np.unique(reference, return_counts=True)
        self._distinct = np.append(distinct, math.inf)  # infinity, which no value equals, saves a bounds check
        self._r, self._w, self._alpha = len(reference), window, alpha
        pairs = np.empty(len(distinct), [("value", "<f8"), ("count", "<u4")])
        pairs["value"], pairs["count"] = distinct + 0.0, counts  # a negative zero equals the other
        self._checksum = zlib.crc32(pairs.tobytes())
        below = np.concatenate([[0], np.cumsum(counts)])
        # reference count up to the end of each cell: gap before value 0, value 0, gap, value 1, …
        self._reference = (np.repeat(below, 2)[1:] * window).astype(np.int32)
        self._begin()
        self.critical = critical_distance(self._r, window, alpha)
        self._critical = math.ceil(self.critical * self._r * window)

    def _begin(self) -> None:
        self._cells = np.zeros(len(self._reference), np.int32)
        self._ring = np.zeros(self._w, np.int32)
        self._n = 0
        self._wait = self._w
        self._above = False

    def cells(self, values: Floats) -> Ints:
        """(n,) the cell that each value falls into."""
        below = np.searchsorted(self._distinct, values)
        cells: Ints = 2 * below + (self._distinct[below] == values)
        return cells

    @property
    def distance(self) -> float:
        """D of the current window; 0 while it is not full."""
        return self._largest() / (self._r * self._w) if self._n >= self._w else 0.0

    def _largest(self) -> int:
        return int(np.abs(np.cumsum(self._cells) * self._r - self._reference).max())

    def update(self, values: Floats) -> Ints:
        """Take a block of n values; return the indices (0 to n-1) at which D rose to the critical value."""
        cells, flags, position, n = self.cells(values), [], 0, len(values)
        while n - position >= self._wait:
            self._slide(cells[position : position + self._wait])
            position += self._wait
            if self._rises():
                flags.append(position - 1)
        self._slide(cells[position:])
        self._wait -= n - position
        return np.array(flags, np.int64)

    def _rises(self) -> bool:
        """Look at a full window: whether D now is critical, and at the last look was not."""
        largest, was_above = self._largest(), self._above
        self._above = largest >= self._critical
        missing = (largest - self._critical) // self._r
        self._wait = missing + 1 if self._above else -missing
        return self._above and not was_above

    def snapshot(self) -> bytes:
        """Return the state as bytes, for ``restore`` of either engine. The reference itself is not in it."""
        begin, n = max(0, self._n - self._w), min(self._n, self._w)
        window = self._ring[(begin + np.arange(n)) % self._w]
        settings = struct.pack("<QQdI", self._r, self._w, self._alpha, self._checksum)
        return snapshots.seal(b"K", settings + struct.pack("<I", n) + window.astype("<u4").tobytes())

    def restore(self, state: bytes) -> None:
        """Go on where a snapshot was taken. ValueError: it is damaged, newer, or of another kernel, reference or setting."""
        payload = snapshots.opened(b"K", state)
        payload.settings("QQdI", self._r, self._w, self._alpha, self._checksum)
        (n,) = payload.take("I")
        window = np.array(payload.take(f"{n}I") if n <= self._w else [len(self._cells)], np.int64)
        if (window >= len(self._cells)).any():
            raise snapshots.damaged()
        payload.end()
        self._begin()
        self._slide(window)
        self._wait -= n
        if n == self._w:
            self._rises()

    def _slide(self, cells: Ints) -> None:
        """Let these values into the window, and the oldest out of it."""
        if len(cells) > self._w:
            self._n += len(cells) - self._w
            cells = cells[-self._w :]
            self._cells[:] = 0
            self._ring[:] = 0
            entering = self._ring_places(len(cells))
        else:
            entering = self._ring_places(len(cells))
            np.subtract.at(self._cells, self._ring[entering[self._leaving(len(cells))]], 1)
        self._ring[entering] = cells
        np.add.at(self._cells, cells, 1)
        self._n += len(cells)

    def _ring_places(self, k: int) -> Ints:
        return (self._n + np.arange(k)) % self._w

    def _leaving(self, k: int) -> slice:
        """Which of the k places to be taken hold a value already: all once the window is full, else the last ones."""
        return slice(max(0, min(k, self._w - self._n)), k)


def critical_distance(r: int, w: int, alpha: float) -> float:
    """Asymptotic critical value of the two-sample KS distance at level ``alpha`` (Massey 1951; one term of the series).

    >>> round(critical_distance(1000, 200, 0.05), 4)
    0.1052
    """
    return math.sqrt(-math.log(alpha / 2) / 2 * (1 / r + 1 / w))
