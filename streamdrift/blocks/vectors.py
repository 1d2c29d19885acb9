"""Embeddings reduced to a few numbers each: the norm, and a sketch of the direction by fixed random projections.

The sketch of a vector x is sᵢ·x/|x| for up to 16 vectors s of random signs: distances between sketches are those between
directions, to a relative error of about 18 % (Johnson & Lindenstrauss 1984; signs: Achlioptas 2003). The signs follow from the
embedding's name and dimension alone. They are a random sign per coordinate, times rows of a Hadamard matrix over 16 random
groups of coordinates (Ailon & Chazelle 2009; Charikar et al. 2002): so the 16 differ however few dimensions there are,
and up to 16 dimensions nothing is lost.

Every machine and every cut into blocks gives the same bits: vectors are rounded to 20 bits of their largest entry,
so that all sums are of integers below 2⁵³, and exact in whatever order they are added.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import shake_256
from typing import Any

import numpy as np

from streamdrift.blocks.column import INFINITE, NULL, NUMBER, OTHER, Bytes, Codes, Floats, Ints

WIDTH = 16
"""Numbers of a sketch; with fewer dimensions than that, the rest of them are 0."""
UNIT = 1 << 16
"""A sketch is in integers of this part: below 2²³, as no entry is over √8,192."""
_BITS = 20
_NORM_BITS = 13  # vectors that their model scales to 1 have one norm, not the rounding errors of theirs
_CHUNK = 1 << 20  # numbers reduced at a time


@dataclass(slots=True)
class Vectors:
    """The vectors of one embedding in a block: m of them, for some of the rows.

    Attributes
    ----------
    rows
        (m,) row of the block, rising.
    kinds
        (m,) ``NUMBER``, ``NULL``, ``OTHER`` (no list of numbers) or ``INFINITE`` (too long, zero, beyond a double).
    dimension, norm
        (m,) 0 where it is no vector.
    sketch
        (m, 16) direction, in units of 1/65,536.
    """

    rows: Ints
    kinds: Bytes
    dimension: Codes
    norm: Floats
    sketch: Codes

    def take(self, rows: Ints | slice) -> Vectors:
        """Return the vectors of these rows of the block, numbered anew; ``rows`` rises."""
        if isinstance(rows, slice):
            begin = rows.start or 0
            within = self.rows >= begin
            if rows.stop is not None:
                within &= self.rows < rows.stop
            here = np.flatnonzero(within)
            place = self.rows[here] - begin
        else:
            at = np.minimum(np.searchsorted(self.rows, rows), len(self.rows) - 1)
            place = np.flatnonzero(self.rows[at] == rows)
            here = at[place]
        return Vectors(place, self.kinds[here], self.dimension[here], self.norm[here], self.sketch[here])

    def __len__(self) -> int:
        return len(self.rows)


def from_values(name: str, rows: Sequence[int], values: Sequence[Any]) -> Vectors:
    """Return the vectors of m rows, each as ``events.derived.vector`` has it."""
    m = len(values)
    dimension = np.array([len(v) if type(v) is array else 0 for v in values], np.int32)
    kinds = np.array([_kind(v) for v in values], np.uint8)
    norm, sketch = np.zeros(m), np.zeros((m, WIDTH), np.int32)
    for d in np.unique(dimension[dimension > 0]).tolist():
        for which in _chunks(np.flatnonzero(dimension == d), d):
            flat = np.frombuffer(b"".join([values[i] for i in which.tolist()]), np.float64)
            norm[which], sketch[which], kinds[which] = _reduce(flat.reshape(-1, d), directions(name, d))
    return Vectors(np.array(rows, np.int64), kinds, dimension, norm, sketch)


def _kind(value: Any) -> int:
    if type(value) is array:
        return NUMBER
    return NULL if value is None else INFINITE if type(value) is float else OTHER


def _chunks(which: Ints, dimension: int) -> Iterator[Ints]:
    size = max(1, _CHUNK // dimension)
    yield from (which[begin : begin + size] for begin in range(0, len(which), size))


def _reduce(x: Floats, signs: Floats) -> tuple[Floats, Codes, Bytes]:
    """(r,) norms, (r, 16) sketches, (r,) kinds of (r, d) vectors."""
    largest = np.abs(x).max(axis=1)
    usable = np.isfinite(largest) & (largest > 0)
    x = np.where(usable[:, None], x, 1.0)
    exponent = np.frexp(np.where(usable, largest, 1.0))[1]
    integers = np.rint(np.ldexp(x, (_BITS - exponent)[:, None]))
    length = np.sqrt((integers * integers).sum(axis=1))
    with np.errstate(over="ignore"):
        norm = np.ldexp(_rounded(length), exponent - _BITS)
    usable &= np.isfinite(norm)
    sketch = np.zeros((len(x), WIDTH), np.int32)
    sketch[:, : signs.shape[1]] = np.rint(integers @ signs / length[:, None] * UNIT)
    sketch[~usable], norm[~usable] = 0, 0.0
    return norm, sketch, np.where(usable, NUMBER, INFINITE).astype(np.uint8)


def _rounded(length: Floats) -> Floats:
    mantissa, exponent = np.frexp(length)
    rounded: Floats = np.ldexp(np.rint(np.ldexp(mantissa, _NORM_BITS)), exponent - _NORM_BITS)
    return rounded


@lru_cache(maxsize=32)
def directions(name: str, dimension: int) -> Floats:
    """(d, min(16, d)) signs, ±1, of an embedding's projections."""
    drawn = shake_256(f"{name}\0{dimension}".encode("utf-8", "surrogatepass")).digest(8 * dimension)
    words = np.frombuffer(drawn, "<u8")
    group = np.empty(dimension, np.int64)
    group[np.argsort(words, kind="stable")] = np.arange(dimension) % WIDTH
    j = np.arange(min(WIDTH, dimension))
    odd = np.bitwise_count(group[:, None] & j) & 1
    signs: Floats = np.where(odd ^ (words & 1).astype(np.uint8)[:, None], -1.0, 1.0)
    return signs
