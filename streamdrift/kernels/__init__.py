"""The arithmetic of the detectors: arrays in, indices of flags out.

Two engines give the same, to the last bit: ``reference``, short Python on river and numpy, written to be read beside the
papers, and ``compiled``, the same in Rust, which is there where a wheel or a compiler was.
"""

from __future__ import annotations

from importlib.util import find_spec

ENGINE = "reference"
"""The engine that runs."""


def compiled() -> bool:
    """Whether the compiled engine is installed."""
    return find_spec("streamdrift.kernels._compiled") is not None


def told() -> str:
    """Which engine runs, in a sentence for whoever installs."""
    if compiled():
        return "engine: compiled"
    return "engine: reference (no Rust compiler was found; with one, streamdrift is many times faster)"
