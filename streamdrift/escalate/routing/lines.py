"""In which line of a TOML document something stands: ``tomllib`` keeps no places."""

from __future__ import annotations

import re
from collections import Counter

Place = tuple[str | int, ...]

_HEADER = re.compile(r"\s*(\[\[?)\s*([^\[\]]+?)\s*\]\]?\s*(#.*)?")
_KEY = re.compile(r"""\s*([\w-]+|"[^"]*"|'[^']*')\s*(?:\.[^=]*)?=""")
_PART = re.compile(r"""\s*(?:"([^"]*)"|'([^']*)'|([\w-]+))\s*\.?""")


def lines_of(text: str) -> dict[Place, int]:
    r"""Return the line, from 1, of each header and each key in a document that parses.

    >>> found = lines_of('[root]\nname = "a"\n[[root.routes]]\nmatch = []\n[[root.routes]]\n')
    >>> found["root", "name"], found["root", "routes", 0, "match"], found["root", "routes", 1]
    (2, 4, 5)
    """
    found: dict[Place, int] = {}
    counts: Counter[Place] = Counter()
    here: Place = ()
    for number, line in enumerate(text.splitlines(), 1):
        header, key = _HEADER.fullmatch(line), _KEY.match(line)
        if header:
            here = _resolved(_parts(header[2]), counts, new=header[1] == "[[")
            found.setdefault(here, number)
        elif key:
            found.setdefault((*here, *_parts(key[1])), number)
    return found


def line_of(place: Place, lines: dict[Place, int]) -> int | None:
    """Return the line of a place, or of the nearest one around it that has a line."""
    for length in range(len(place), 0, -1):
        if place[:length] in lines:
            return lines[place[:length]]
    return None


def _parts(dotted: str) -> list[str]:
    return [next(part for part in match.groups() if part is not None) for match in _PART.finditer(dotted)]


def _resolved(names: list[str], counts: Counter[Place], *, new: bool) -> Place:
    """The place that a header means: of an array of tables the latest one, or a new one."""
    place: Place = ()
    for position, name in enumerate(names):
        place = (*place, name)
        last = position == len(names) - 1
        if new and last:
            counts[place] += 1
        if place in counts:
            place = (*place, counts[place] - 1)
    return place
