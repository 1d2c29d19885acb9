"""Objects of known classes as bytes, and back, bit for bit.

A class is known by a ``Spec``: a short name that stays, the attributes that are kept, and those that are not, because they follow
from the rest or are given from outside. Nothing is looked up by what the bytes say but these names, so that reading runs no code
but ours. All numbers are little-endian.

- Floats keep their bits (NaN, -0.0, infinities), arrays their type and shape, dicts their order. Sets are written sorted, so that
  equal states have equal bytes.
- An object that two others share is written once, and shared again when it is read.
- What is large and changes no more (``Spec.part``) can be written apart: whoever writes says where.
- What is written names its classes and their attributes. Attributes that came later have a default, those that went are passed over.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from streamdrift.state.reader import Reader
from streamdrift.state.spec import Damaged, Spec
from streamdrift.state.writer import Writer


class Specs:
    """The classes that are known."""

    def __init__(self, specs: Iterable[Spec]) -> None:
        self._by_class = {spec.cls: (spec, spec.taken()) for spec in specs}
        self.by_name = {spec.name: spec for spec, _ in self._by_class.values()}
        if len(self.by_name) != len(self._by_class):
            raise ValueError("two classes have one name")

    def specs(self, *names: str) -> list[Spec]:
        """Return those of some names; of none, all."""
        return [spec for name, spec in self.by_name.items() if not names or name in names]

    def encode(self, root: object, apart: Callable[[object], int] | None = None) -> bytes:
        """Return an object and all that it holds as bytes.

        Parameters
        ----------
        apart
            Given an object that may be written apart; returns the number that it is found by. Without, it is written with the rest.

        Raises
        ------
        Unknown
            Something in it is of no known class.
        """
        return Writer(self._by_class, apart).write(root)

    def decode(self, data: bytes, given: object, part: Callable[[int], Any] | None = None) -> Any:
        """Return the object again.

        Parameters
        ----------
        given
            Handed to ``Spec.make`` and ``Spec.finish``.
        part
            Returns what was written apart, by its number; the same object each time.

        Raises
        ------
        Damaged
            The bytes were not written by ``encode``, or name a class or an attribute that is not known.
        """
        try:
            return Reader(self.by_name, data, given, part).read()
        except (struct.error, IndexError, KeyError, TypeError, RecursionError, UnicodeDecodeError) as e:
            raise Damaged(f"not as it was written: {e!r}") from e


def joined(arrays: list[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    """Return one array of what was gathered in several; an empty one of none."""
    return np.concatenate(arrays) if arrays else np.zeros(0)
