"""streamdrift's command line in a process that can be made to die at a named point, and to see another clock.

    python tests/soak/launcher.py detect

The product knows nothing of it: the points are calls of kafka-python, which are wrapped before streamdrift is loaded. What
``SOAK_ARMED`` names is a file with ``<point> <n> <seconds>``: at its nth such call from then on the process notes it in the
file of ``SOAK_STRUCK`` and kills itself, so long after the call began. ``SOAK_CLOCK`` names a file with seconds by which the
wall clock is wrong. ``SOAK_SESSION_MS`` is the session time-out of consumers, so that a pause outlasts it sooner.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kafka import KafkaConsumer, KafkaProducer

POINTS = (
    "after_produce",
    "after_state",
    "before_commit",
    "after_commit",
    "during_commit",
    "mid_produce",
    "before_offsets",
    "after_offsets",
)
"""mid: handed to the producer, not yet acknowledged. Offsets: given to a transaction; there are none without one."""

CLOCK_READ_S = 0.2


class Trap:
    """Kills the process at the nth time that a point is reached after it was armed."""

    def __init__(self, armed: Path, struck: Path) -> None:
        self._armed, self._struck = armed, struck
        self._lock = threading.Lock()
        self._seen: tuple[str, int] = ("", 0)

    def reach(self, point: str) -> None:
        try:
            text = self._armed.read_text(encoding="utf-8")
        except OSError:
            return
        wanted, count, seconds, *_ = text.split()
        if wanted != point:
            return
        with self._lock:
            before = self._seen[1] if self._seen[0] == text else 0
            self._seen = text, before + 1
            if before + 1 != int(count):
                return
        if float(seconds) > 0:
            threading.Timer(float(seconds), self._strike, (point,)).start()
        else:
            self._strike(point)

    def _strike(self, point: str) -> None:
        thread = threading.current_thread().name
        self.note({"kind": "crash_point", "point": point, "thread": thread, "armed": self._seen[0]})
        os.kill(os.getpid(), signal.SIGKILL)

    def note(self, what: dict[str, Any]) -> None:
        line = json.dumps({**what, "pid": os.getpid()}) + "\n"
        descriptor = os.open(self._struck, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(descriptor, line.encode())
        os.close(descriptor)


def wrap(owner: type, name: str, before: Callable[..., None] | None, after: Callable[..., None] | None) -> None:
    """Have something done before and after each call of a method, where there is such a method."""
    original = getattr(owner, name, None)
    if original is None:
        return

    def wrapped(self: Any, *arguments: Any, **named: Any) -> Any:
        if before is not None:
            before(self, *arguments)
        found = original(self, *arguments, **named)
        if after is not None:
            after(self, *arguments)
        return found

    setattr(owner, name, wrapped)


def lay_traps(trap: Trap, topics_of_state: frozenset[str]) -> None:
    """Wrap the calls by which records, offsets and transactions go to the broker."""
    sent: dict[int, set[str]] = {}  # topics that a producer was given since it was flushed last

    def note_sent(producer: Any, topic: str, *_: Any) -> None:
        sent.setdefault(id(producer), set()).add(topic)
        trap.reach("mid_produce")

    def note_flushed(producer: Any, *_: Any) -> None:
        topics = sent.pop(id(producer), set())
        if topics - topics_of_state:
            trap.reach("after_produce")
        if topics & topics_of_state:
            trap.reach("after_state")

    def before_commit(*_: Any) -> None:
        trap.reach("before_commit")
        trap.reach("during_commit")

    wrap(KafkaProducer, "send", None, note_sent)
    wrap(KafkaProducer, "flush", None, note_flushed)
    wrap(
        KafkaProducer,
        "send_offsets_to_transaction",
        lambda *_: trap.reach("before_offsets"),
        lambda *_: trap.reach("after_offsets"),
    )
    for owner, name in ((KafkaProducer, "commit_transaction"), (KafkaConsumer, "commit")):
        wrap(owner, name, before_commit, lambda *_: trap.reach("after_commit"))


def bend_clock(trap: Trap, path: Path) -> None:
    """Let the wall clock be wrong by what the file says."""
    real, monotonic = time.time, time.monotonic
    state = {"read_at": -1.0, "wrong_by": 0.0}

    def bent() -> float:
        if monotonic() - state["read_at"] > CLOCK_READ_S:
            state["read_at"] = monotonic()
            try:
                wrong_by = float(path.read_text(encoding="utf-8"))
            except (OSError, ValueError):
                wrong_by = 0.0
            if wrong_by != state["wrong_by"]:
                state["wrong_by"] = wrong_by
                trap.note({"kind": "clock", "wrong_by_s": wrong_by})
        return real() + state["wrong_by"]

    time.time = bent


def shorten_sessions(session_ms: int) -> None:
    original = KafkaConsumer.__init__

    def made(self: Any, *topics: str, **options: Any) -> None:
        if options.get("group_id") is not None:
            options |= {"session_timeout_ms": session_ms, "heartbeat_interval_ms": session_ms // 4}
        original(self, *topics, **options)

    KafkaConsumer.__init__ = made


def main() -> int:
    trap = Trap(Path(os.environ["SOAK_ARMED"]), Path(os.environ["SOAK_STRUCK"]))
    lay_traps(trap, frozenset({os.environ["STREAMDRIFT_TOPICS__STATE"]}))
    bend_clock(trap, Path(os.environ["SOAK_CLOCK"]))
    shorten_sessions(int(os.environ["SOAK_SESSION_MS"]))
    from streamdrift.__main__ import main as streamdrift

    return streamdrift()


if __name__ == "__main__":
    sys.exit(main())
