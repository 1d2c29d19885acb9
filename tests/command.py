"""The real command line, as a process of its own, and events for it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

COMMAND = [sys.executable, "-m", "streamdrift"]
START = 1_700_000_000_000
SMALL = {
    "STREAMDRIFT_REFERENCE__EVENTS": "200",
    "STREAMDRIFT_DETECTORS__KS__WINDOW_EVENTS": "100",
    "COLUMNS": "100",
}
"""Settings by which a few hundred events are enough for an alert."""


def environment(**given: str) -> dict[str, str]:
    """This process's environment without settings, and these in it."""
    return {k: v for k, v in os.environ.items() if not k.startswith("STREAMDRIFT_")} | given


@dataclass(frozen=True)
class Done:
    """What a command did."""

    code: int
    out: str
    said: str

    @property
    def summary(self) -> dict[str, Any]:
        """The summary on standard output, where ``--summary -`` was asked for."""
        (line,) = [line for line in self.out.splitlines() if line.startswith('{"events":')]
        found: dict[str, Any] = json.loads(line)
        return found


def streamdrift(*arguments: object, stdin: bytes = b"", settings: Mapping[str, str] = MappingProxyType({})) -> Done:
    """Run it to its end; whatever was wrong, it says so in sentences."""
    done = subprocess.run(
        [*COMMAND, *map(str, arguments)],
        env=environment(**{**SMALL, **settings}),
        input=stdin,
        capture_output=True,
        timeout=120,
        check=False,
    )
    out, said = done.stdout.decode(), done.stderr.decode()
    assert "Traceback" not in out + said, said
    return Done(done.returncode, out, said)


def event(i: int, **features: object) -> bytes:
    """One event of the model shop."""
    told = {"model": "shop", "occurred_at": START + i * 1_000, "segments": {"region": "eu"}, "features": features}
    return json.dumps(told).encode()


def good(n: int, first: int = 0) -> list[bytes]:
    """Events in which nothing is wrong."""
    values = np.random.default_rng(first).standard_normal(n)
    return [event(first + i, x=float(x)) for i, x in enumerate(values)]


def drifting(n: int = 900) -> Iterator[bytes]:
    """Events of which ``x`` moves up by two standard deviations, and ``y`` is null for a while."""
    rng = np.random.default_rng(3)
    for i, (x, y, u) in enumerate(zip(rng.standard_normal(n), rng.random(n), rng.random(n), strict=True)):
        yield event(i, x=float(x + 2 * (i > 400)), y=None if i > 400 and u < 0.3 else float(y))


def written(path: Path, lines: Sequence[bytes]) -> Path:
    """Write the lines; return where."""
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return path


def read(path: Path) -> list[dict[str, Any]]:
    """The JSON lines of a file."""
    return [json.loads(line) for line in path.read_bytes().splitlines()]
