"""What a process says beside its log: the sentence that it ends with, and the traceback of a bug. They have no secrets either."""

from __future__ import annotations

import sys
import threading
import traceback
from collections.abc import Iterable
from types import TracebackType

from streamdrift.telemetry.redact import Redact

_known: list[Redact] = []  # of this process's settings; one at most


def leave_out(secrets: Iterable[str]) -> None:
    """Mask these from now on, also where Python itself prints a traceback; a hook that others have set is left to them."""
    _known[:] = [Redact(secrets)]
    if sys.excepthook is sys.__excepthook__:
        sys.excepthook = _uncaught
    if threading.excepthook is threading.__excepthook__:
        threading.excepthook = _uncaught_in_thread


def masked(text: str) -> str:
    """Return a text without the secrets of the settings that were read."""
    return _known[0].masked(text) if _known else text


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
    elif sys.stderr is not None:
        sys.stderr.write(masked("".join(traceback.format_exception(kind, error, trace))))


def _uncaught_in_thread(raised: threading.ExceptHookArgs) -> None:
    if raised.exc_value is not None and raised.exc_type is not SystemExit:
        _uncaught(raised.exc_type, raised.exc_value, raised.exc_traceback)
