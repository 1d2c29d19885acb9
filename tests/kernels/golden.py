"""Snapshots as each version of the format has them. ``python -m tests.kernels.golden`` writes those of the present one.

A file once released is never written anew: later releases must read it.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np

from streamdrift.kernels import snapshots
from streamdrift.kernels.engine import Floats
from tests.kernels.engines import KERNELS, Recipe

FOLDER = Path(__file__).parent / "golden"


def stream(n: int, first: int = 0) -> Floats:
    """Values that are the same wherever and with whatever they are computed: sixteenths, with steps among them."""
    i = np.arange(first, first + n)
    return ((i * 7_919 + i * i * 104_729) % 97 - 48 + (i // 700 % 3) * 20) / 16


def recipes() -> dict[str, Recipe]:
    """One kernel each, with settings at which the stream is flagged."""
    return {name: Recipe(name, settings[0], np.sort(stream(300))) for name, settings in KERNELS.items()}


def golden(name: str, engine: str) -> dict[str, str | list[int]]:
    """The state after some thousand values, what is flagged in the next, and the state after those."""
    kernel = recipes()[name].make(engine)
    kernel.update(stream(2_500))
    state = kernel.snapshot()
    flags = kernel.update(stream(2_500, 2_500)).tolist()
    return {"state": _text(state), "flags": flags, "after": _text(kernel.snapshot())}


def read(version: int) -> dict[str, dict[str, Any]]:
    """What a version's file has, the states as bytes."""
    found: dict[str, dict[str, Any]] = json.loads((FOLDER / f"version-{version}.json").read_text())
    for kernel in found.values():
        kernel |= {key: base64.b64decode(kernel[key]) for key in ("state", "after")}
    return found


def _text(state: bytes) -> str:
    return base64.b64encode(state).decode()


if __name__ == "__main__":
    written = {name: golden(name, "reference") for name in KERNELS}
    (FOLDER / f"version-{snapshots.VERSION}.json").write_text(json.dumps(written, indent=1) + "\n")
