"""What can go wrong, by what the caller should do about it.

``Rejected``   one event is bad: send it to the dead letters, go on.
``Retriable``  the outside world said "not now": try the same thing again, later.
``Fatal``      nothing to be done from here: say the sentence, leave with the exit code.

Every message says what was wrong, where, and what to do; the command line prints it without a traceback.
"""

from __future__ import annotations


class StreamdriftError(Exception):
    """Base of every error that streamdrift raises on purpose."""


class Rejected(StreamdriftError):
    """One event that can't be read. ``reason`` is a short fixed name (a metric label), ``detail`` a sentence."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class Retriable(StreamdriftError):
    """A passing fault; ``retry_after_s`` is the other side's wish, where it gave one."""

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Standby(Retriable):
    """Another process does the work, and this one is there in case it dies: look again after ``retry_after_s``."""


class Fatal(StreamdriftError):
    """The process can't go on. ``exit_code`` is the one of the command line contract."""

    exit_code = 1


class SettingsProblem(Fatal):
    """A setting or an argument is wrong (exit code 2)."""

    exit_code = 2


class InputProblem(Fatal):
    """An input is missing or unreadable, or an output can't be written (exit code 3)."""

    exit_code = 3


class Interrupted(Fatal):
    """The user ended it (exit code 130)."""

    exit_code = 130


class BrokerProblem(Fatal):
    """The broker can't be reached, or refused us (exit code 3)."""

    exit_code = 3


class OutOfReach(BrokerProblem):
    """Nobody answers where the broker should be: at start an end, later a reason to wait."""
