"""Form, lints and unit tests of the compiled engine, as far as this machine has what they take.

    python tools/rust_checks.py static|test

What is missing is said in a plain word, and is no failure: the package does without a Rust compiler.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path

CRATE = Path(__file__).parents[1] / "streamdrift" / "kernels"


def missing(check: str) -> str | None:
    """What this machine lacks for a check."""
    if shutil.which("cargo") is None:
        return "cargo isn't here, and so the compiled engine isn't either"
    if subprocess.run(["cargo", "--version"], capture_output=True, check=False).returncode:
        return "cargo is here, and no toolchain that it could run (rustup default stable)"
    for tool in ("fmt", "clippy") if check == "static" else ():
        if subprocess.run(["cargo", tool, "--version"], capture_output=True, check=False).returncode:
            return f"cargo {tool} isn't here (rustup component add rustfmt clippy)"
    if check == "test" and not (library() / str(sysconfig.get_config_var("LDLIBRARY"))).exists():
        return "Python's shared library isn't here, which unit tests are linked with (Debian: python3-dev)"
    return None


def library() -> Path:
    """Folder of Python's shared library."""
    return Path(str(sysconfig.get_config_var("LIBDIR")))


def commands(check: str) -> list[list[str]]:
    """What a check runs, in the crate's folder."""
    if check == "static":
        return [["fmt", "--check"], ["clippy", "--locked", "--all-targets", "--", "-D", "warnings"]]
    return [["test", "--locked", "--no-default-features", "--quiet"]]


def main(arguments: Sequence[str]) -> int:
    """Run one of the checks."""
    (check,) = arguments
    why = missing(check)
    if why is not None:
        print(f"Rust {check}: left out, for {why}")
        return 0
    paths = os.pathsep.join(filter(None, [str(library()), os.environ.get("LD_LIBRARY_PATH")]))
    environment = os.environ | {"PYO3_PYTHON": sys.executable, "LD_LIBRARY_PATH": paths}
    for command in commands(check):
        done = subprocess.run(["cargo", *command], cwd=CRATE, env=environment, check=False)
        if done.returncode:
            return done.returncode
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
