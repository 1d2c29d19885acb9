"""What receivers without dedup keys keep about an incident: the name that the other side gave it, and whether it was told the end.

An incident has a dedup key for each of its pages, and each of them is resolved. Where all are one message or ticket, only
the first end is told.
"""

from __future__ import annotations

from dataclasses import dataclass

from streamdrift.escalate.receivers.base import Page

OVER = " over"


@dataclass(frozen=True, slots=True)
class Reference:
    """The other side's name of an incident; empty where it has none yet.

    >>> read_text("OPS-17 over").name, str(Reference("OPS-17"))
    ('OPS-17', 'OPS-17')
    """

    name: str = ""
    over: bool = False

    def __str__(self) -> str:
        return self.name + (OVER if self.over else "")


def read_text(text: str | None) -> Reference:
    """Read what ``str`` wrote."""
    told = text or ""
    return Reference(told.removesuffix(OVER), told.endswith(OVER))


def reference_of(page: Page) -> Reference:
    """What this page's receiver calls the incident."""
    return read_text(page.reference)
