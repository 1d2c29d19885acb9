"""HTML by construction: text becomes markup only through ``tag``, which escapes it.

Feature names, segment values and categories come from events, so from anybody. A ``str`` is text; only ``Markup`` is markup.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from html import escape

TEXT_MAX = 160
"""Characters of one label that are shown."""
VOID = frozenset({"meta", "br", "rect", "path", "line"})


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def tag(name: str, /, *children: Markup | str | Iterable[Markup | str] | None, **attributes: object) -> Markup:
    """Return one element. An attribute's underscores are hyphens, but for a last one; ``None`` leaves it out.

    >>> tag("p", "a < b", class_="note")
    '<p class="note">a &lt; b</p>'
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{text(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in VOID:
        return Markup(f"<{name}{written}/>")
    return Markup(f"<{name}{written}>{join(*children)}</{name}>")


def join(*children: Markup | str | Iterable[Markup | str] | None) -> Markup:
    """Return the children one after another, text escaped."""
    parts: list[str] = []
    for child in children:
        if isinstance(child, str):
            parts.append(child if isinstance(child, Markup) else text(child))
        elif child is not None:
            parts.append(join(*child))
    return Markup("".join(parts))


def text(value: str) -> Markup:
    """Escape text; what can't be seen, or turns the reading direction, is shown as a replacement character."""
    return Markup(escape(visible(value)))


def label(value: str, characters_max: int = TEXT_MAX) -> str:
    """A name from the data, cut to a length that a page can bear.

    >>> label("x" * 200)[-3:]
    'xx…'
    """
    return value if len(value) <= characters_max else value[: characters_max - 1] + "…"


def visible(value: str) -> str:
    r"""Text without what can't be seen, turns the reading direction or speaks to a terminal.

    >>> visible("a\x1b[31mb\n")
    'a�[31mb '
    """
    return "".join(map(_visible, value))


def _visible(character: str) -> str:
    if character in "\n\t":
        return " "
    # controls, formats such as the bidi overrides, surrogates and private use
    return "\ufffd" if unicodedata.category(character) in {"Cc", "Cf", "Cs", "Co"} else character
