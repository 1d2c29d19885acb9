"""What is known of a class; see ``codec``."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

DTYPES = ("<f8", "<i8", "<i4", "<u8", "<u4", "|u1", "|b1", "<i2", "<u2", "<i1", "<f4")
"""Of arrays, by their number. New ones are put behind."""
I64, U64, F64, U32, U16 = (struct.Struct(form) for form in ("<q", "<Q", "<d", "<I", "<H"))
SIZED = struct.Struct("<cI")


class Unknown(TypeError):
    """An object of a class that no ``Spec`` names, or an array of a type or order that is not foreseen."""


class Damaged(ValueError):
    """Bytes that were not written so."""


Fields = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Spec:
    """How objects of a class are kept.

    Attributes
    ----------
    name
        Short, and never to change.
    keeps
        Attributes that are written.
    leaves
        Attributes that are not: given from outside, or following from the rest.
    take
        Returns the values of ``keeps``; the attributes of that name without.
    make
        Makes the object of what was kept and what is given; without it is made of the attributes alone.
    finish
        Gives an object that was made of the attributes those that it ``leaves``.
    later
        Values of attributes that earlier releases did not write.
    part
        Tells which objects may be written apart: those that change no more, and are large.
    is_value
        Whether it is what its attributes are: then it does not matter whether two others share it.
    """

    name: str
    cls: type
    keeps: tuple[str, ...]
    leaves: tuple[str, ...] = ()
    take: Callable[[Any], tuple[Any, ...]] | None = None
    make: Callable[[Fields, Any], Any] | None = None
    finish: Callable[[Any, Any], None] | None = None
    later: Mapping[str, Any] = field(default_factory=dict)
    part: Callable[[Any], bool] | None = None
    is_value: bool = False

    def taken(self) -> Callable[[Any], tuple[Any, ...]]:
        """Return what reads the values of ``keeps``."""
        if self.take is not None:
            return self.take
        if len(self.keeps) == 1:
            only = attrgetter(self.keeps[0])
            return lambda found: (only(found),)
        many: Callable[[Any], tuple[Any, ...]] = attrgetter(*self.keeps)
        return many
