"""Post-mortems, corrective actions and past incidents for a terminal: plain text, wrapped to its width."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence

from streamdrift.embedded.incident_text import ID, WIDTH, cut
from streamdrift.escalate import safe_text
from streamdrift.escalate.incident import Incident
from streamdrift.escalate.postmortem.action import Action
from streamdrift.escalate.postmortem.claims import labelled, short
from streamdrift.escalate.postmortem.likeness import Likeness, Past, day
from streamdrift.escalate.receivers.documents import Block, Bullets, Code, Document, Heading, Paragraph, Table
from streamdrift.escalate.triage import headline

TEXT_MAX = 2_000
NARROW = 20
"""A terminal is taken to have so many columns at least."""


def as_text(document: Document, width: int | None) -> str:
    """Return a document: headings by themselves, rows of tables as paragraphs with what they are about before them."""
    columns = max(NARROW, width or WIDTH)
    lines = _wrapped(document.title, columns)
    for block in document.blocks:
        if not isinstance(block, Code):
            lines += [""] if isinstance(block, Heading | Paragraph) else []
        lines += _block(block, columns)
    return "\n".join(line.rstrip() for line in lines)


def _block(block: Block, columns: int) -> list[str]:
    match block:
        case Heading(text):
            return [_plain(text).upper()]
        case Paragraph(text):
            return _wrapped(text, columns)
        case Bullets(items):
            return [line for item in items for line in _wrapped(item, columns, "  - ", "    ")]
        case Table(_, rows):
            return [line for row in rows for line in _row(row, columns)]
        case Code(text):
            return ["", *(f"    {_plain(line)}" for line in text.split("\n")), ""]


def _row(row: Sequence[str], columns: int) -> list[str]:
    """``about: what (evidence)``; of the timeline ``#3  when  what  text``."""
    if len(row) == 4:
        entry, when, kind, text = row
        number = short(entry)
        return _wrapped(text, columns, f"  {number:<4} {when}  {_plain(kind):<12} ", " " * 7)
    about, text, evidence = row
    said = labelled(about, text)
    return _wrapped(f"{said} ({evidence})" if evidence else said, columns, "  - ", "    ")


def as_actions(actions: Iterable[Action], width: int | None) -> str:
    """Return corrective actions: a line each, and below it what is to be done."""
    columns = max(NARROW, width or WIDTH)
    lines: list[str] = []
    for action in actions:
        ticket = f"  {_plain(action.ticket)} {_plain(action.ticket_status or '')}".rstrip() if action.ticket else ""
        head = f"{action.action_id}  {action.state:<8}  {action.incident_id[:ID]}{ticket}  {_plain(action.title)}"
        lines.append(cut(head, width))
        lines += _wrapped(action.text, columns, "    ", "    ")
        lines += _wrapped(f"{action.state}: {action.reason}", columns, "    ", "    ") if action.reason else []
    return "\n".join(lines) if lines else "no corrective actions; `streamdrift incidents postmortem` proposes them"


def as_found(going: Sequence[Incident], over: Sequence[Past], width: int | None) -> str:
    """Return what a search found: those that go on first, then what is known of those that are over."""
    lines = [
        cut(f"{one.incident_id[:ID]}  {one.status}  {one.severity}  {_plain(headline(one))}", width) for one in going
    ]
    for past in over:
        lines += _past(past, width)
    return "\n".join(lines) if lines else "nothing found"


def _past(past: Past, width: int | None) -> list[str]:
    head = f"{past.incident_id[:ID]}  {day(past.onset_at)}  {past.severity}  {_plain(past.headline)}"
    return [cut(head, width), *_wrapped(past.outcome, max(NARROW, width or WIDTH), "    ", "    ")]


def as_likest(likest: Sequence[Likeness], width: int | None) -> str:
    """Return the past incidents that one is like, the likest first."""
    lines: list[str] = []
    for one in likest:
        head, *rest = _past(one.past, width)
        lines += [head, *_wrapped(f"alike: {', '.join(one.same)}", max(NARROW, width or WIDTH), "    ", "    "), *rest]
    return "\n".join(lines) if lines else "no past incident is like it"


def _wrapped(text: str, columns: int, first: str = "", then: str = "") -> list[str]:
    return textwrap.wrap(
        _plain(text), columns, initial_indent=first, subsequent_indent=then, break_on_hyphens=False
    ) or [first]


def _plain(text: str) -> str:
    return safe_text.plain(text, TEXT_MAX)
