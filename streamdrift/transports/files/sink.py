"""Alerts and dead letters as NDJSON, one message a line."""

from __future__ import annotations

import base64
import errno
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, TextIO

import orjson

from streamdrift.errors import InputProblem
from streamdrift.ports import Headers

STDOUT = 1


class FileSink:
    """Writes each topic's messages to a file.

    A message whose headers say why it was rejected is written with them, as one JSON object: ``reason``, ``detail``,
    ``source``, ``stage``, ``truncated`` where there is more of it, ``value`` as text, and ``value_base64`` where it is not
    text. Others are written as they are.

    Parameters
    ----------
    routes
        Topic to path; ``-`` is standard output. A topic without one goes nowhere.

    Raises
    ------
    InputProblem
        A file can't be opened for writing.
    """

    def __init__(self, routes: Mapping[str, str]) -> None:
        self._files: dict[str, tuple[str, BinaryIO]] = {}
        opened: dict[str, BinaryIO] = {}  # two topics may share a file
        try:
            for topic, path in routes.items():
                if path not in opened:
                    opened[path] = _opened(path)
                self._files[topic] = (path, opened[path])
        except InputProblem:
            self.close()
            raise

    def send(self, topic: str, value: bytes | None, key: bytes | None = None, headers: Headers = ()) -> None:
        """Write one line; it may stay in memory until ``flush``."""
        del key
        if topic not in self._files:
            return
        path, file = self._files[topic]
        try:
            file.write(_line(value or b"", headers))
        except OSError as e:
            raise _unwritten(path, e) from None

    def broadcast(self, topic: str, value: bytes) -> None:
        """Hand over one message: a file is one partition."""
        self.send(topic, value)

    def flush(self, timeout_s: float) -> None:
        """Hand all lines to the operating system; see ``ports.Sink``."""
        del timeout_s
        for path, file in self._files.values():
            try:
                file.flush()
            except OSError as e:
                raise _unwritten(path, e) from None

    def close(self) -> None:
        """Close the files; a second call does nothing."""
        for _, file in self._files.values():
            with suppress(OSError):  # what could not be written was told by flush
                file.close()


def _opened(path: str) -> BinaryIO:
    if path == "-":  # a descriptor of our own: a broken pipe must not trip the interpreter's exit
        standard_output()
        return os.fdopen(os.dup(STDOUT), "wb")
    try:
        return Path(path).open("wb")
    except (OSError, ValueError) as e:
        why = getattr(e, "strerror", None) or str(e)
        raise InputProblem(f"{path} can't be written: {why.lower()}; name a file in a folder that is there") from None


def standard_output() -> TextIO:
    """Return standard output.

    Raises
    ------
    InputProblem
        The process was started without one.
    """
    if sys.stdout is None:
        raise InputProblem("standard output is closed; name a file instead of -")
    return sys.stdout


def _unwritten(path: str, error: OSError) -> InputProblem:
    name = "standard output" if path == "-" else path
    if error.errno == errno.EPIPE:
        return InputProblem(f"{name}: whoever read it has gone away; what came after is not written")
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return InputProblem(f"{name} can't be written: no space left; free some and run it again")
    return InputProblem(f"{name} can't be written: {(error.strerror or str(error)).lower()}; check the disk")


def _line(value: bytes, headers: Headers) -> bytes:
    told = {name: text.decode("utf-8", "replace") for name, text in headers}
    if "reason" not in told or "stage" not in told:
        return value + b"\n"
    letter = {name: told.get(name, "") for name in ("reason", "detail", "source", "stage")}
    if "truncated" in told:
        letter["truncated"] = told["truncated"]
    letter["value"] = value.decode("utf-8", "replace")
    try:
        value.decode("utf-8")
    except UnicodeDecodeError:
        letter["value_base64"] = base64.b64encode(value).decode()
    return orjson.dumps(letter, option=orjson.OPT_APPEND_NEWLINE)
