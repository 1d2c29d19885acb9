"""A name for this process that it has again after a restart, and that no other process has at the same time.

Kafka asks for one twice: a transactional id, whose new holder ends what the last one left open and shuts it out, and the
id of a static member, which finds its partitions again. Two processes with the same would shut each other out for ever.
"""

from __future__ import annotations

import os
import re
import socket
import tempfile
import uuid
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import IO

SLOTS_MAX = 64
"""Processes of one group on one host that get such a name; further ones get one of the moment."""


@dataclass(frozen=True, slots=True)
class Slot:
    """A name, and the open file that keeps it ours until the process ends."""

    name: str
    held: IO[bytes] | None = None


def take_slot(group: str, instance: str | None = None) -> Slot:
    """Return the name that was set; without one the host's with the first number that no process of the group here has."""
    if instance is not None:
        return Slot(instance)
    host = re.sub(r"[^A-Za-z0-9._-]", "-", socket.gethostname())[:150] or "host"
    digest = blake2b(group.encode(), digest_size=6).hexdigest()
    folder = Path(tempfile.gettempdir())
    for number in range(SLOTS_MAX):
        held = _locked(folder / f"streamdrift-{os.getuid()}-{digest}-{number}.lock") if hasattr(os, "getuid") else None
        if held is not None:
            return Slot(f"{host}-{number}", held)
    return Slot(f"{host}-{uuid.uuid4().hex[:12]}")


def _locked(path: Path) -> IO[bytes] | None:
    """Open and lock a file; None where another process has it, or it can't be made. The lock goes with the process."""
    import fcntl  # noqa: PLC0415 - it is not there on Windows

    try:
        held = os.fdopen(os.open(path, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600), "rb")
    except OSError:
        return None
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        held.close()
        return None
    return held
