"""Which engine computes: chosen by the setting ``engine``, told wherever a process tells what runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from streamdrift.errors import SettingsProblem
from streamdrift.settings import EngineChoice

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]
Codes = npt.NDArray[np.int32]
EngineName = Literal["reference", "compiled"]


class Kernel(Protocol):
    """State of one detector over one series."""

    def update(self, values: Floats) -> Ints:
        """Take a block of n finite values; return the indices (0 to n-1, rising) at which it flagged."""
        ...

    def snapshot(self) -> bytes:
        """Return the state as bytes, for ``restore`` of either engine."""
        ...

    def restore(self, state: bytes) -> None:
        """Go on where a snapshot was taken. ValueError: it is damaged, newer, of another kernel, or of other settings."""
        ...


class KsKernel(Kernel, Protocol):
    """The exact two-sample KS, which also says how far the window is from the reference."""

    @property
    def critical(self) -> float:
        """Critical distance."""
        ...

    @property
    def distance(self) -> float:
        """D of the current window; 0 while it is not full."""
        ...

    def cells(self, values: Floats) -> Ints:
        """(n,) the cell of the reference that each value falls into."""
        ...


class AdwinKernel(Kernel, Protocol):
    """ADWIN, which also tells its window."""

    @property
    def width(self) -> float:
        """Values in the window."""
        ...

    @property
    def total(self) -> float:
        """Sum of the values in the window."""
        ...

    @property
    def variance(self) -> float:
        """Sum of their squared deviations from the mean."""
        ...


Handed = tuple[Floats, Bytes | None, Codes | None, Floats | None, bool]
"""A column: numbers, kinds (None where all are numbers), codes and the place of each of their texts in the reference (None for
what is no text), and whether the rows have yet to be cut out of these arrays."""


class Watch(Protocol):
    """A series on ordinary days; see ``detect.quiet``."""

    def told(self) -> dict[str, Any]:
        """Return the state."""
        ...

    def adopt(self, told: dict[str, Any]) -> None:
        """Go on from a state. ValueError: it is none."""
        ...


class Ordered(Protocol):
    """The distinct values of a reference window, infinity at their end, and how many values lie below each."""

    @property
    def arrays(self) -> tuple[Floats, Codes | None]:
        """Read-only views of both; no counts where every value is there once."""
        ...


class Watches(Protocol):
    """The watches of one group, each with the number of its column."""


Part = tuple[Watches, Ints, list[Any] | None]
"""A group's watches, its rows, and, where some are of texts, for each of these the places of its column's texts."""
Whole = tuple[Floats, Bytes | None, Codes | None] | None
"""A column that no rows were cut out of: numbers, kinds, codes; None where no row has the feature."""


@dataclass(frozen=True, slots=True)
class Ordinary:
    """Makes what takes ordinary days in one call."""

    watch: Callable[..., Watch]
    advance: Callable[[Sequence[Watch], Sequence[Handed], Ints, Ints | None], list[int]]
    """Give each watch its column of rows with these times, which rows of it where it isn't cut out; return how many each took
    before one called for a look."""
    scores: Callable[[Ints], object]
    ordered: Callable[[Floats, Codes], Ordered]
    watches: Callable[[Sequence[tuple[Watch, int]]], Watches]
    advance_groups: Callable[[Sequence[Part], Sequence[Whole], Ints], list[tuple[int, list[int]]]]
    """Give the watches of each group its rows of these columns; return the groups of which one did not take them all, and how
    many its first watches took: those beyond took all."""


@dataclass(frozen=True, slots=True)
class Engine:
    """Makes kernels; the arguments are those of the classes in ``kernels.reference``."""

    name: EngineName
    adwin: Callable[[float, int, int], AdwinKernel]
    page_hinkley: Callable[[float, float, int, float], Kernel]
    ks: Callable[[Floats, int, float], KsKernel]
    ordinary: Ordinary | None = None


@cache
def engine(choice: EngineChoice = "auto") -> Engine:
    """Return the engine of that name; ``auto`` is the compiled one where it is installed, else the reference.

    >>> engine("reference").name
    'reference'

    Raises
    ------
    SettingsProblem
        The compiled engine is asked for, and not there.
    """
    found = _compiled()
    if choice != "reference" and isinstance(found, ModuleType):
        return Engine(
            "compiled",
            found.Adwin,
            found.PageHinkley,
            found.SlidingKs,
            Ordinary(found.Watch, found.advance, found.Scores, found.Ordered, found.Watches, found.advance_groups),
        )
    if choice == "compiled":
        raise SettingsProblem(
            f"engine = compiled: the compiled engine isn't installed here ({found}); set STREAMDRIFT_ENGINE to auto or "
            "reference, or install streamdrift from a wheel for this platform, or where there is a Rust compiler"
        )
    reference = import_module("streamdrift.kernels.reference")
    return Engine("reference", reference.Adwin, reference.PageHinkley, reference.SlidingKs)


def compiled() -> bool:
    """Whether the compiled engine is installed."""
    return isinstance(_compiled(), ModuleType)


@cache
def _compiled() -> ModuleType | ImportError:
    """The compiled engine, or why it isn't there."""
    try:
        return import_module("streamdrift.kernels._compiled")
    except ImportError as e:
        return e


def told() -> str:
    """Which engine runs by default, in a sentence for whoever installs."""
    if compiled():
        return "engine: compiled"
    return "engine: reference (no Rust compiler was found; with one, streamdrift is many times faster)"
