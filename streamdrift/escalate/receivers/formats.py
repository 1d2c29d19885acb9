"""A document as text, Markdown, XHTML (mail, Confluence) and Atlassian's document format, every text in it escaped."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from streamdrift.escalate import safe_text
from streamdrift.escalate.receivers.documents import Block, Bullets, Code, Document, Heading, Paragraph, Table

TEXT_MAX = 2_000
"""Characters of one paragraph, item or cell."""
CODE_LINES_MAX = 400
LEFT_OUT = "What is left out here did not fit."


def fitting(document: Document, size: Callable[[Document], int], size_max: int) -> Document:
    """Return the document with as many of its blocks, the first ones, as fit."""
    if size(document) <= size_max:
        return document
    few, many = 0, len(document.blocks)
    while few < many:  # most blocks that fit with the note
        middle = (few + many + 1) // 2
        few, many = (middle, many) if size(_first(document, middle)) <= size_max else (few, middle - 1)
    return _first(document, few)


def _first(document: Document, count: int) -> Document:
    return replace(document, blocks=(*document.blocks[:count], Paragraph(LEFT_OUT)))


def to_text(document: Document) -> str:
    """Plain text, a blank line between blocks."""
    return "\n\n".join(_text(block) for block in document.blocks) + "\n"


def _text(block: Block) -> str:
    match block:
        case Heading(text) | Paragraph(text):
            return safe_text.plain(text, TEXT_MAX)
        case Bullets(items):
            return "\n".join(f"- {safe_text.plain(item, TEXT_MAX)}" for item in items)
        case Table(head, rows):
            told = [row for row in (head, *rows) if any(row)]
            if len(head) == 2:
                return "\n".join(": ".join(safe_text.plain(cell, TEXT_MAX) for cell in row) for row in told)
            return "\n".join(" | ".join(safe_text.plain(cell, TEXT_MAX) for cell in row) for row in told)
        case Code(text):
            return "\n".join(f"    {line}" for line in _lines(text))


def to_markdown(document: Document) -> str:
    """Markdown with GitHub's tables; the title is its heading."""
    parts = [f"# {safe_text.markdown(document.title, TEXT_MAX)}", *(_markdown(block) for block in document.blocks)]
    return "\n\n".join(parts) + "\n"


def _markdown(block: Block) -> str:
    match block:
        case Heading(text):
            return f"## {safe_text.markdown(text, TEXT_MAX)}"
        case Paragraph(text):
            return safe_text.markdown(text, TEXT_MAX)
        case Bullets(items):
            return "\n".join(f"- {safe_text.markdown(item, TEXT_MAX)}" for item in items)
        case Table(head, rows):
            lines = [[safe_text.markdown(cell, TEXT_MAX) for cell in row] for row in (head, *rows)]
            lines.insert(1, ["---"] * len(head))
            return "\n".join(f"| {' | '.join(line)} |" for line in lines)
        case Code(text):
            told = _lines(text)
            longest = max((len(run) for line in told for run in re.findall("`+", line)), default=0)
            fence = "`" * max(3, longest + 1)  # longer than any within: nothing in it can end it
            return "\n".join([fence, *told, fence])


def _lines(text: str) -> list[str]:
    """Each line by itself made plain: what would act, or break the line, is spelt out."""
    return [safe_text.plain(line, TEXT_MAX) for line in text.split("\n")][:CODE_LINES_MAX]


def to_xhtml(document: Document) -> str:
    """Elements of HTML that Confluence's storage format has too, without the title."""
    return "".join(_xhtml(block) for block in document.blocks)


def _xhtml(block: Block) -> str:
    match block:
        case Heading(text):
            return f"<h2>{safe_text.xml(text, TEXT_MAX)}</h2>"
        case Paragraph(text):
            return f"<p>{safe_text.xml(text, TEXT_MAX)}</p>"
        case Bullets(items):
            return "<ul>" + "".join(f"<li>{safe_text.xml(item, TEXT_MAX)}</li>" for item in items) + "</ul>"
        case Table(head, rows):
            top = [_row(head, "th")] if any(head) else []
            return f"<table><tbody>{''.join([*top, *(_row(row, 'td') for row in rows)])}</tbody></table>"
        case Code(text):
            return f"<pre>{_escaped(text)}</pre>"


def _escaped(text: str) -> str:
    return "\n".join(safe_text.xml(line, TEXT_MAX) for line in _lines(text))


def _row(cells: tuple[str, ...], tag: str) -> str:
    return "<tr>" + "".join(f"<{tag}>{safe_text.xml(cell, TEXT_MAX)}</{tag}>" for cell in cells) + "</tr>"


def to_adf(document: Document) -> dict[str, Any]:
    """Atlassian's document format, version 1, without the title."""
    return {"type": "doc", "version": 1, "content": [_adf(block) for block in document.blocks]}


def _adf(block: Block) -> dict[str, Any]:
    match block:
        case Heading(text):
            return {"type": "heading", "attrs": {"level": 2}, "content": _nodes(text)}
        case Paragraph(text):
            return _paragraph(text)
        case Bullets(items):
            listed = [{"type": "listItem", "content": [_paragraph(item)]} for item in items]
            return {"type": "bulletList", "content": listed} if listed else _paragraph("")
        case Table(head, rows):
            lines = [_cells(head, "tableHeader")] if any(head) else []
            return {"type": "table", "content": [*lines, *(_cells(row, "tableCell") for row in rows)]}
        case Code(text):
            told = "\n".join(_lines(text)) or " "
            return {"type": "codeBlock", "attrs": {}, "content": [{"type": "text", "text": told}]}


def _cells(row: tuple[str, ...], kind: str) -> dict[str, Any]:
    return {"type": "tableRow", "content": [{"type": kind, "attrs": {}, "content": [_paragraph(cell)]} for cell in row]}


def _paragraph(text: str) -> dict[str, Any]:
    return {"type": "paragraph", "content": _nodes(text)}


def _nodes(text: str) -> list[dict[str, Any]]:
    return [{"type": "text", "text": safe_text.node(text, TEXT_MAX)}]
