"""Check an installed streamdrift: that the engine is the one it should have, that it computes, and what was packed.

    python tools/check_installed.py compiled|reference

Run by the Python that it is installed for, from any folder: the package beside this file is not looked at.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib.metadata import files
from pathlib import Path

import numpy as np

from streamdrift import kernels


def problems(expected: str) -> list[str]:
    """What is wrong with it."""
    found = []
    if kernels.engine().name != expected:
        found.append(f"the engine is {kernels.engine().name}, and not {expected}")
    rng = np.random.default_rng(1)
    stream, reference = rng.standard_normal(5_000) + np.repeat([0.0, 1.0], 2_500), np.sort(rng.standard_normal(500))
    engines = [kernels.engine(), kernels.engine("reference")]
    for name, settings in (
        ("adwin", (0.002, 32, 10)),
        ("page_hinkley", (0.005, 50.0, 30, 0.9999)),
        ("ks", (reference, 200, 1e-6)),
    ):
        own, plain = (getattr(engine, name)(*settings).update(stream).tolist() for engine in engines)
        if not own or own != plain:
            found.append(f"{name} flags {own}, and the reference engine {plain}")
    packed = [str(file) for file in files("streamdrift") or ()]
    found += [f"{file} is packed" for file in packed if file.endswith((".rs", ".toml")) or "/target/" in file]
    with tempfile.TemporaryDirectory() as folder:
        command = [str(Path(sys.executable).parent / "streamdrift"), "demo", "--report", f"{folder}/report.html"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        found.append(f"the demo ended with {done.returncode}: {done.stderr}")
    return found


def main(arguments: Sequence[str]) -> int:
    """Say what is wrong, or that nothing is."""
    found = problems(*arguments)
    print("\n".join(found) or f"{kernels.told()}; all is as it should be")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
