r"""Text from traffic, written so that nothing in it acts: one escape for each format that receivers write.

Names of features and values of segments are chosen by whoever sends events. ``plain`` takes from them what acts anywhere (control
characters, line breaks, marks that turn the direction of writing, characters of no width); the others escape what acts in one format.

>>> plain("a\r\nb\u202ec", 40)
'a\\r\\nb\\u202ec'
>>> slack("<!channel> & co", 40)
'&lt;!channel&gt; &amp; co'
>>> markdown("[x](javascript:1) *b*", 40)
'\\[x\\](javascript\\:1) \\*b\\*'
>>> xml('<ac:macro a="1">', 40)
'&lt;ac:macro a=&quot;1&quot;&gt;'
>>> file_name("../../etc/passwd"), file_name("c0ffee.2")
('3754d6cb3a38e1185e5b382d5f3ef3f118af75bf4bf0254d1fdb8437f51423e0', 'c0ffee.2')
"""

from __future__ import annotations

import html
import re
import unicodedata
from hashlib import sha256

MARKS_MAX = 4
"""Marks above and below one letter; more of them paint over the lines around."""
SCANNED_PER_CHARACTER = 8
"""Of a text that is cut, so many more characters are looked at than are kept."""


def plain(text: object, length_max: int) -> str:
    """One line of characters that are seen as they are, at most ``length_max`` of them; what is not, is spelt out."""
    shown: list[str] = []
    length, marks = 0, 0
    for character in str(text)[: length_max * SCANNED_PER_CHARACTER + 1]:
        marks = marks + 1 if unicodedata.combining(character) else 0
        if marks > MARKS_MAX:
            continue
        told = character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
        length += len(told)
        shown.append(told)
        if length > length_max:
            break
    return cut("".join(shown), length_max)


def cut(text: str, length_max: int) -> str:
    """Shorten at the end, and say so by an ellipsis.

    >>> cut("abcdef", 4), cut("abcd", 4)
    ('abc…', 'abcd')
    """
    return text if len(text) <= length_max else text[: max(0, length_max - 1)].rstrip() + "…"


def slack(text: object, length_max: int) -> str:
    """For Slack's mrkdwn: no mention, link or entity; its stars and underscores only change how text looks."""
    return html.escape(plain(text, length_max), quote=False)


def markdown(text: object, length_max: int) -> str:
    """For Markdown: neither link, image, HTML, code, table nor heading; nor an address that readers make a link of."""
    told = re.sub(r"([\\`*_\[\]{}<>#|~&!@$^=:])", r"\\\1", plain(text, length_max))
    told = re.sub(r"(?i)\b(www)\.", r"\1\\.", told)
    return re.sub(
        r"^(\s*)([-+]|\d+(?=[.)]))", lambda m: f"{m[1]}{m[2]}\\" if m[2][0].isdigit() else f"{m[1]}\\{m[2]}", told
    )


def xml(text: object, length_max: int) -> str:
    """For HTML, and for Confluence's storage format, which is XHTML with macros: neither element nor entity."""
    return html.escape(plain(text, length_max), quote=True)


def header(text: object, length_max: int) -> str:
    """For a header of a mail: one line, no second header."""
    return " ".join(plain(text, length_max).split())


def node(text: object, length_max: int) -> str:
    """For a text node of Atlassian's document format, which interprets nothing, but may not be empty."""
    return plain(text, length_max) or " "


def jql(text: str) -> str:
    r"""For a text in a query of Jira, with its quotes.

    >>> jql('a"b')
    '"a\\"b"'
    """
    return '"' + plain(text, 255).replace("\\", "\\\\").replace('"', '\\"') + '"'


def file_name(text: str) -> str:
    """A name for a file or label: the text itself where it is harmless, else a digest of it."""
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", text) and not text.endswith("."):
        return text
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
