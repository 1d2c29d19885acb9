"""How settings, and what is wrong with them, are put on one line: nothing in a value can break it or give a secret away."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from streamdrift.settings.fields import (
    CONFIG,
    FILE,
    LEAVES,
    PREFIX,
    RULES,
    SECTIONS,
    Place,
    dotted,
    environment_name,
    key,
)

MASK = "**********"
SHOWN_MAX = 120
"""Characters of a value that a problem repeats."""


def printable(text: str) -> str:
    r"""Escape what a terminal or a line-based log would act on.

    >>> printable("a\nb\x1b[2J")
    'a\\nb\\x1b[2J'
    """
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def shown(value: Any, *, secret: bool = False) -> str:
    """Return a value on one line, masked if it is a secret.

    >>> shown(("origin", "carrier")), shown(None), shown(""), shown(True), shown("x", secret=True)
    ('["origin","carrier"]', '(not set)', '""', 'true', '**********')
    """
    if value is None:
        return "(not set)"
    if secret or isinstance(value, SecretStr):
        return MASK
    if isinstance(value, str | Path):
        return _without_password(printable(str(value))) or '""'
    return printable(json.dumps(value, separators=(",", ":"), ensure_ascii=False, default=str))


def shown_at(place: Place, value: Any) -> str:
    """Return a setting's value on one line: masked if it is a secret, a URL without its path and query.

    >>> shown_at(("escalate", "webhook", "url"), "https://hooks.example.com/T1/abcdefgh?key=x")
    'https://hooks.example.com/**********'
    """
    return shown(told(place, value))


def told(place: Place, value: Any) -> Any:
    """Return of a setting's value what may be told."""
    leaf = LEAVES.get(key(place))
    if leaf is None or value is None or value == leaf.default:
        return value
    if leaf.secret:
        return MASK
    if leaf.is_url and not isinstance(value, str):  # nobody knows what that is
        return MASK
    if leaf.is_url:
        return re.sub(r"(?<![:/])[/?#](?!$).*", f"/{MASK}", _without_password(value), count=1, flags=re.DOTALL)
    if leaf.is_database and "://" in str(value):
        return re.sub(r"\?.*", f"?{MASK}", _without_password(str(value)), count=1, flags=re.DOTALL)
    return value


def cut(text: str) -> str:
    """Shorten what a problem repeats."""
    return text if len(text) <= SHOWN_MAX else text[:SHOWN_MAX] + "…"


def _without_password(text: str) -> str:
    r"""Mask what stands before an @ as user and password do.

    >>> _without_password("https://me:pa/ss@example.com"), _without_password("me:pass@example.com:9092")
    ('https://**********@example.com', '**********@example.com:9092')
    """
    return re.sub(r"(?:([A-Za-z][\w+.-]*://)|[^\s@,/]*:)[^\s@]*@", lambda m: f"{m[1] or ''}{MASK}@", text)


def problem(place: Place, what: str, origin: str | None, value: Any = None) -> str:
    """Return the sentence for one setting: name, value, what is wrong, what is allowed, where it came from."""
    leaf = LEAVES.get(key(place))
    repeated = "" if value is None else " = " + cut(shown_at(place, value))
    allowed = f"; allowed: {leaf.allowed}" if leaf else ""
    where = origin or f"not set; {environment_name(place)} would set it"
    return f"{printable(dotted(place))}{repeated}: {what}{allowed} ({where})"


def closest(name: str, names: Iterable[str]) -> str | None:
    """Return the name that was probably meant."""
    found = get_close_matches(name, list(names), n=1, cutoff=0.6)
    return found[0] if found else None


def meant_in_file(place: Place) -> str | None:
    """Return the dotted name that an unknown one in the file is nearest to."""
    return closest(dotted(place), (dotted(known) for known in _known(place)))


def meant_in_environment(name: str) -> str | None:
    """Return the environment name that an unknown one is nearest to."""
    # The prefix is in every name and would make strangers look alike, unless it is itself what is misspelt.
    common = PREFIX if name.upper().startswith(PREFIX) else ""
    place = tuple(name.upper().removeprefix(PREFIX).lower().split("__"))
    names = [CONFIG, *(environment_name(known) for known in _known(place))]
    meant = closest(name.upper().removeprefix(common), (known.removeprefix(common) for known in names))
    return None if meant is None else common + meant


def _known(place: Place) -> Iterable[Place]:
    """Every place there is, with the rule's own name of this one below ``overrides`` or ``sources``."""
    rule = place[1] if len(place) > 1 and place[0] in RULES else "rule"
    for known, leaf in LEAVES.items():
        yield (named := tuple(rule if name == "*" else name for name in known))
        if leaf.secret:
            yield (*named[:-1], named[-1] + FILE)
    yield from (known for known in SECTIONS if known and "*" not in known)
