"""The arithmetic of the detectors: arrays in, indices of flags out.

Two engines give the same, to the last bit: ``reference``, short Python on river and numpy, written to be read beside the
papers, and ``compiled``, the same in Rust, which is there where a wheel or a compiler was.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any

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


def is_compiled(kernel: object) -> bool:
    """Whether this kernel is one of the compiled engine."""
    return type(kernel).__module__ == "streamdrift.kernels._compiled"


def watch() -> Any:
    """Return the compiled watch of a series on ordinary days; see ``detect.quiet``."""
    return import_module("streamdrift.kernels._compiled").Watch


def scores() -> Any:
    """Return the compiled table of scores."""
    return import_module("streamdrift.kernels._compiled").Scores
