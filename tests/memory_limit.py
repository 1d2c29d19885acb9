"""A limit to this process's memory, by whatever the machine has for it."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

GROUPS = (
    (Path("/sys/fs/cgroup"), "memory.max", "memory.swap.max"),
    (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes", "memory.memsw.limit_in_bytes"),
)
"""Control groups of version 2, and of version 1: where they are, and the files that limit memory."""


@contextmanager
def limited(megabytes: int) -> Iterator[str]:
    """Hold this process to so many megabytes, 0 for no limit; yield how.

    By a control group of its own, whose kernel kills what goes beyond; where none can be made, by the limit to data and stack,
    at which allocations fail.
    """
    if not megabytes:
        yield "nothing"
        return
    for root, file, swap in GROUPS:
        group = root / f"streamdrift-test-{os.getpid()}"
        try:
            group.mkdir()
        except OSError:
            continue
        try:
            if not (group / file).exists():  # a folder like any other
                raise FileNotFoundError
            (group / file).write_text(str(megabytes * 2**20))
            with suppress(OSError):  # where swap isn't counted
                (group / swap).write_text("0" if "swap.max" in swap else str(megabytes * 2**20))
            (group / "cgroup.procs").write_text(str(os.getpid()))
        except OSError:
            group.rmdir()
            continue
        try:
            yield f"control group ({file})"
        finally:
            (root / "cgroup.procs").write_text(str(os.getpid()))
            with suppress(OSError):
                group.rmdir()
        return
    resource.setrlimit(resource.RLIMIT_DATA, (megabytes * 2**20, megabytes * 2**20))
    yield "RLIMIT_DATA"
