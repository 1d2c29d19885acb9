"""Both engines, and streams that are hard on them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st

from streamdrift import kernels
from streamdrift.kernels.engine import Floats

needs_compiled = pytest.mark.skipif(
    not kernels.compiled(), reason="the compiled engine isn't installed: install where there is a Rust compiler"
)
ENGINES = [
    "reference",
    pytest.param("compiled", marks=needs_compiled),
]

KERNELS: dict[str, list[tuple[Any, ...]]] = {
    "adwin": [(0.002, 32, 10), (0.5, 1, 1), (0.9, 3, 1_000), (1e-9, 7, 100)],
    "page_hinkley": [(0.005, 50.0, 30, 0.9999), (0.0, 1e-300, 1, 1.0), (0.5, 5.0, 10, 0.5)],
    "ks": [(200, 1e-6), (16, 0.5), (1, 1.0), (64, 0.05), (97, 0.3)],
}
"""Settings of each kernel, the common ones first."""


@dataclass(frozen=True)
class Recipe:
    """Makes the same kernel in either engine."""

    name: str
    settings: tuple[Any, ...]
    reference: Floats

    def make(self, engine: str, state: bytes | None = None) -> Any:
        """A fresh kernel, or one that goes on from a snapshot."""
        make = getattr(kernels.engine(engine), self.name)
        kernel = make(self.reference, *self.settings) if self.name == "ks" else make(*self.settings)
        if state is not None:
            kernel.restore(state)
        return kernel


def told(kernel: Any) -> list[str]:
    """All that a kernel tells of itself, to the last bit."""
    names = [name for name in ("width", "total", "variance", "distance", "critical") if hasattr(kernel, name)]
    return [f"{name} {getattr(kernel, name).hex()}" for name in names]


def stretch(kind: str, n: int, scale: float, seed: int) -> Floats:
    """n values of one kind, around 0 to 3 times the scale."""
    rng = np.random.default_rng(seed)
    base = rng.integers(0, 4)
    ways: dict[str, Callable[[], Floats]] = {
        "normal": lambda: rng.standard_normal(n) + base,
        "ties": lambda: rng.integers(-3, 4, n).astype(float),
        "constant": lambda: np.full(n, float(base)),
        "zeros": lambda: np.where(rng.random(n) < 0.5, 0.0, -0.0),
        "heavy": lambda: rng.standard_t(1.5, n),
        "ramp": lambda: np.arange(n) / max(n, 1) * base,
    }
    return np.asarray(ways[kind]() * scale, float)


KINDS = ("normal", "ties", "constant", "zeros", "heavy", "ramp")
SCALES = (1.0, 1.0, 1.0, 1e-320, 1e-150, 1e-9, 1e6, 1e12, 1e100, 1e300)


@st.composite
def streams(draw: st.DrawFn, most: int = 300) -> Floats:
    """Stretches of several kinds and scales, up to ``most`` values each."""
    parts = draw(
        st.lists(
            st.tuples(st.sampled_from(KINDS), st.integers(0, most), st.sampled_from(SCALES), st.integers(0, 2**32 - 1)),
            max_size=6,
        )
    )
    single = draw(st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=20))
    return np.concatenate([np.array(single, float), *(stretch(*part) for part in parts)])


@st.composite
def recipes(draw: st.DrawFn, name: str) -> Recipe:
    """A kernel with its settings; for KS with a reference of any kind."""
    settings = draw(st.sampled_from(KERNELS[name]))
    kind, scale = draw(st.sampled_from(KINDS)), draw(st.sampled_from(SCALES))
    n, seed = draw(st.sampled_from([1, 2, 63, 64, 65, 100, 127, 500, 1_000])), draw(st.integers(0, 1_000))
    return Recipe(name, settings, np.sort(stretch(kind, n, scale, seed)))


def pieces(stream: Floats, cuts: Sequence[int]) -> Iterator[Floats]:
    """The stream, cut at these places (as far as it has them)."""
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    for begin, end in pairwise(edges):
        yield stream[begin:end]
