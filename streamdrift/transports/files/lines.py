"""Pieces of bytes to lines: fast, and never more of a line in memory than its limit."""

from __future__ import annotations

from collections.abc import Iterator

from streamdrift.transports.files.streams import Read

BLANKS_MAX = 10_000
"""Blank lines that are held back, for they may be the file's end."""


def line_lists(read: Read, line_bytes_max: int) -> Iterator[list[bytes]]:
    r"""Yield the lines in order, without their line feeds, many at a time.

    A line over the limit is cut to one byte more than the limit, so that whoever decodes it sees that it is too
    large; the rest of it is skipped. Blank lines at the very end are no lines.

    >>> chunks = iter([b"one\ntw", b"o\n\nth", b"ree", b"\n\n", b""])
    >>> [line for lines in line_lists(lambda: next(chunks), 100) for line in lines]
    [b'one', b'two', b'', b'three']
    """
    cut = line_bytes_max + 1
    rest, skipping = b"", False
    blanks: list[bytes] = []
    while piece := read():
        lines = (rest + piece).split(b"\n")
        rest = lines.pop()
        if skipping and lines:  # the first one is the end of a line that was given already
            del lines[0]
            skipping = False
        if skipping:
            rest = b""
        elif len(rest) > line_bytes_max:
            lines.append(rest[:cut])
            rest, skipping = b"", True
        if lines and len(max(lines, key=len)) > cut:
            lines = [line[:cut] for line in lines]
        if blanks:
            lines, blanks = blanks + lines, []
        if lines and (not lines[-1] or lines[-1].isspace()):
            lines, blanks = _without_blank_end(lines)
        if lines:
            yield lines
    if rest and not rest.isspace():
        yield [*blanks, rest]


def _without_blank_end(lines: list[bytes]) -> tuple[list[bytes], list[bytes]]:
    end = len(lines)
    while end and len(lines) - end < BLANKS_MAX and (not lines[end - 1] or lines[end - 1].isspace()):
        end -= 1
    return lines[:end], lines[end:]
