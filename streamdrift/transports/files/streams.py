"""Bytes of a file, plain or packed, in pieces; every fault in a sentence."""

from __future__ import annotations

import gzip
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, BinaryIO

from streamdrift.errors import InputProblem

PIECE_BYTES = 4 << 20
"""About as many events as go into a block: with thousands of segments, each has the more rows in it."""

ZSTD_PIECE_BYTES = 4_096
"""Of packed input at a time: a hostile file unpacks to at most 128 MiB of it, the format's largest ratio."""

Read = Callable[[], bytes]
"""Gives the next piece, as soon as there is one; empty at the end."""


def readable(path: str) -> None:
    """Make sure that a file can be opened, before hours are spent on those before it.

    Raises
    ------
    InputProblem
        It can't.
    """
    with _opened(path):
        pass


@contextmanager
def pieces(path: str) -> Iterator[Read]:
    """Open a file, or standard input for ``-``, and unpack it by its suffix: ``.gz``, ``.zst``.

    Raises
    ------
    InputProblem
        It is missing, unreadable, or needs a package that is not installed.
    """
    with _opened(path) as file:
        if path.endswith(".gz"):
            with gzip.open(file) as unpacked:
                # read1: one step at a time, so that all that came before a fault is delivered before it
                yield lambda: unpacked.read1(PIECE_BYTES)
        elif path.endswith(".zst"):
            yield _Zstd(file, path)
        else:
            yield lambda: file.read1(PIECE_BYTES)


def _opened(path: str) -> AbstractContextManager[Any]:
    if path == "-":
        if sys.stdin is None:
            raise InputProblem("standard input (-) is closed; name a file, or lead one in: streamdrift replay - < FILE")
        return nullcontext(sys.stdin.buffer)
    if Path(path).is_dir():
        raise InputProblem(f"{path} is a directory; name the files in it, as in {path.rstrip('/')}/*.ndjson")
    try:
        return Path(path).open("rb")
    except FileNotFoundError:
        raise InputProblem(f"{path} does not exist; check the path") from None
    except PermissionError:
        raise InputProblem(f"{path} can't be read: permission denied; give this user the right to read it") from None
    except (OSError, ValueError) as e:
        raise InputProblem(f"{path} can't be opened: {getattr(e, 'strerror', None) or e}; check the path") from None


def damage(path: str, error: Exception, reached: str) -> InputProblem:
    """Say how a file broke off.

    Parameters
    ----------
    reached
        How far it was good: ``line 17``.
    """
    if isinstance(error, EOFError) or getattr(error, "truncated", False):
        what, then = "ends in the middle of its packed data", "it was not written or copied to the end: get it again"
    elif isinstance(error, gzip.BadGzipFile) and "Not a gzipped" in str(error):
        what, then = "is not packed with gzip, as its name says", "rename it, or pack it"
    elif isinstance(error, (gzip.BadGzipFile, zlib.error, _ZstdFaultError)):
        what, then = f"is damaged ({error})", "get it again"
    else:
        what, then = f"can't be read any further ({getattr(error, 'strerror', None) or error})", "check the disk"
    return InputProblem(f"{path} {what}, after {reached}; what came before was used; {then}")


class _ZstdFaultError(Exception):
    """The packed data are damaged, or end before their end."""

    def __init__(self, what: str, *, truncated: bool) -> None:
        super().__init__(what)
        self.truncated = truncated


FAULTS = (OSError, EOFError, zlib.error, _ZstdFaultError)
"""What reading a piece may raise; ``damage`` puts it into a sentence."""


class _Zstd:
    """Unpacks frame after frame. The package's own reader takes a truncated file for a complete one."""

    def __init__(self, file: BinaryIO, path: str) -> None:
        try:
            import zstandard  # noqa: PLC0415 - an optional dependency
        except ImportError:
            raise InputProblem(f"{path} is packed with zstd; to read it: pip install streamdrift[zstd]") from None
        self._file, self._zstd = file, zstandard.ZstdDecompressor()
        self._error: type[Exception] = zstandard.ZstdError
        self._frame: Any = None
        self._fault: _ZstdFaultError | None = None

    def __call__(self) -> bytes:
        while self._fault is None and (packed := self._file.read(ZSTD_PIECE_BYTES)):
            if unpacked := self._unpack(packed):
                return unpacked
        if self._fault is not None:
            raise self._fault
        if self._frame is not None:
            raise _ZstdFaultError("", truncated=True)
        return b""

    def _unpack(self, packed: bytes) -> bytes:
        unpacked = []
        while packed:
            if self._frame is None:
                self._frame = self._zstd.decompressobj()
            try:
                unpacked.append(self._frame.decompress(packed))
            except self._error as e:  # told after what was good before it
                self._fault = _ZstdFaultError(str(e), truncated=False)
                break
            packed = b""
            if self._frame.eof:
                packed, self._frame = self._frame.unused_data, None
        return b"".join(unpacked)
