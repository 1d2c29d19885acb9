"""The values of one feature over a block's rows, as arrays. JSON types are kept apart: a boolean is no number."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Codes = npt.NDArray[np.int32]
Ids = npt.NDArray[np.uint64]
Bytes = npt.NDArray[np.uint8]
Bools = npt.NDArray[np.bool_]

ABSENT, NULL, NUMBER, TEXT, BOOLEAN, INFINITE, OTHER = range(7)
"""Kinds of a value. ``INFINITE`` is a number beyond a double, ``OTHER`` an object or a list: both are invalid."""

_KIND = {type(None): NULL, int: NUMBER, float: NUMBER, str: TEXT, bool: BOOLEAN, type(...): ABSENT}
_NUMBERS = frozenset((int, float))
_OPTIONAL_NUMBERS = frozenset((int, float, type(None)))


@dataclass(slots=True)
class Column:
    """n values.

    Attributes
    ----------
    kinds
        (n,) kind of each value; None when all are ``NUMBER``.
    numbers
        (n,) the number, or 0 and 1 for a boolean; NaN for the other kinds.
    codes
        (n,) index into ``texts``, -1 where the value is no text; None when no value is.
    """

    numbers: Floats
    kinds: Bytes | None = None
    codes: Codes | None = None
    texts: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.numbers)

    def take(self, rows: Ints | slice) -> Column:
        """Return the values of these rows."""
        return Column(
            self.numbers[rows],
            None if self.kinds is None else self.kinds[rows],
            None if self.codes is None else self.codes[rows],
            self.texts,
        )

    def kind_of_rows(self) -> Bytes:
        """(n,) the kinds, spelled out."""
        return np.full(len(self.numbers), NUMBER, np.uint8) if self.kinds is None else self.kinds


def absent(n: int) -> Column:
    """Return a column in which no row has the feature."""
    return Column(np.full(n, math.nan), np.full(n, ABSENT, np.uint8))


def from_values(values: Sequence[Any], text_max: int) -> Column:
    """Return the column of these JSON values; ``...`` stands for an absent key.

    >>> from_values([1, 2.5, None], 10)
    Column(numbers=array([1. , 2.5, nan]), kinds=array([2, 2, 1], dtype=uint8), codes=None, texts=())
    """
    types = set(map(type, values))
    if types <= _OPTIONAL_NUMBERS:
        numbers = np.array(values, np.float64)
        finite = np.isfinite(numbers)
        if finite.all():
            return Column(numbers)
        kinds = np.where(finite, NUMBER, np.where(np.isnan(numbers), NULL, INFINITE)).astype(np.uint8)
        numbers[~finite] = math.nan
        return Column(numbers, kinds)
    return _mixed(values, types, text_max)


def _mixed(values: Sequence[Any], types: set[type], text_max: int) -> Column:
    kinds = np.array([_KIND.get(type(v), OTHER) for v in values], np.uint8)
    numeric = types & {int, float, bool}
    numbers = (
        np.array([v if type(v) in numeric else math.nan for v in values], np.float64)
        if numeric
        else np.full(len(values), math.nan)
    )
    beyond = np.isinf(numbers)
    kinds[beyond], numbers[beyond] = INFINITE, math.nan
    if str not in types:
        return Column(numbers, kinds)
    index: dict[str, int] = {}
    codes = [index.setdefault(v[:text_max], len(index)) if type(v) is str else -1 for v in values]
    return Column(numbers, kinds, np.array(codes, np.int32), tuple(index))
