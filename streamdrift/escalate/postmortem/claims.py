"""What a post-mortem is made of: claims that say what they rest on, or that it is not known."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from streamdrift.escalate.receivers.documents import Block, Bullets, Code, Heading, Paragraph, Table

CITES_SHOWN = 8
UNKNOWN = "unknown"
CITATION = "#"


@dataclass(frozen=True, slots=True)
class Claim:
    """One statement.

    Attributes
    ----------
    about
        What it answers, or is named by; may be empty.
    cites
        Ids of timeline entries (``INCIDENT#seq``); where no entry tells it, of alerts (``alert ID``).
    unknown
        What would answer it, where it isn't known; empty where it is.
    """

    text: str
    cites: tuple[str, ...] = ()
    about: str = ""
    unknown: str = ""

    @property
    def said(self) -> str:
        """The statement, with *unknown* before what isn't known."""
        return f"{UNKNOWN}: {self.text}; what would tell: {self.unknown}" if self.unknown else self.text

    @property
    def evidence(self) -> str:
        """Its citations, in short: ``#3, #7``."""
        told = [short(cite) for cite in self.cites[:CITES_SHOWN]]
        rest = len(self.cites) - len(told)
        return ", ".join(told + ([f"{rest:,} more"] if rest else []))

    @property
    def sentence(self) -> str:
        """The statement and what it rests on, in one line."""
        told = labelled(self.about, self.said)
        return f"{told} ({self.evidence})" if self.cites else told

    def to_json(self) -> dict[str, Any]:
        """The claim in JSON terms, citations whole."""
        told: dict[str, Any] = {"about": self.about, "text": self.said, "cites": list(self.cites)}
        return told | ({"unknown": self.unknown} if self.unknown else {})


def labelled(about: str, said: str) -> str:
    """What is said, after what it is about.

    >>> labelled("Traffic", "36 %"), labelled("1. Why?", "because"), labelled("", "so")
    ('Traffic: 36 %', '1. Why? because', 'so')
    """
    return f"{about}{'' if about.endswith('?') else ':'} {said}" if about else said


def short(cite: str) -> str:
    """A citation as it stands within a document about one incident.

    >>> short("c0ffee#3"), short("alert 8c3f2f6b0f4c4f0e9b1d6a7c2e5f8a01")
    ('#3', 'alert 8c3f2f6b')
    """
    if CITATION in cite:
        return CITATION + cite.rpartition(CITATION)[2]
    return cite[: len("alert ") + 8]


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the document.

    Attributes
    ----------
    head
        Where the claims are a table: what they are about, what they say, what they rest on.
    table
        Rows that are no claims: the timeline itself.
    code
        Below them, as it is: a snippet to copy.
    """

    title: str
    claims: tuple[Claim, ...] = ()
    head: tuple[str, str, str] | None = None
    table: Table | None = None
    code: tuple[str, ...] = ()
    note: str = ""
    empty: str = field(default="", kw_only=True)

    @property
    def blocks(self) -> tuple[Block, ...]:
        """The section as blocks of a document."""
        found: list[Block] = [Heading(self.title)]
        found += [Paragraph(self.note)] if self.note else []
        if self.claims and self.head is not None:
            rows = tuple((claim.about, claim.said, claim.evidence) for claim in self.claims)
            found.append(Table(self.head, rows))
        elif self.claims:
            found.append(Bullets(tuple(claim.sentence for claim in self.claims)))
        elif self.empty and self.table is None:
            found.append(Paragraph(self.empty))
        found += [self.table] if self.table is not None else []
        return (*found, *(Code(text) for text in self.code))

    def to_json(self) -> dict[str, Any]:
        """The section in JSON terms."""
        told: dict[str, Any] = {"title": self.title, "claims": [claim.to_json() for claim in self.claims]}
        return told | ({"code": list(self.code)} if self.code else {})
