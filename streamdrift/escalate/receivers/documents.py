"""A text of headings, paragraphs, lists and tables, before it has a format: what a page says at length, or a post-mortem.

Everything in it is plain text, as it came; ``formats`` writes it, and escapes it there.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from streamdrift.alerts import segment_name
from streamdrift.escalate.receivers.base import Page
from streamdrift.escalate.words import percent

ALERTS_MAX = 20
NAMES_MAX = 12
"""Features told by name."""


@dataclass(frozen=True, slots=True)
class Heading:
    """A title of a part."""

    text: str


@dataclass(frozen=True, slots=True)
class Paragraph:
    """Some sentences."""

    text: str


@dataclass(frozen=True, slots=True)
class Bullets:
    """A list."""

    items: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """Rows with as many cells as the head."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Code:
    """Lines to copy, as they are."""

    text: str


Block = Heading | Paragraph | Bullets | Table | Code


@dataclass(frozen=True, slots=True)
class Document:
    """A title, and blocks; the first of them are the last to be left out where there is no room."""

    title: str
    blocks: tuple[Block, ...]


def is_postmortem(page: Page) -> bool:
    """Whether a page is a post-mortem to be published, and calls nobody."""
    return "postmortem" in page.incident


def to_json(document: Document) -> dict[str, Any]:
    """A document in JSON terms."""
    blocks = [{"is": type(block).__name__.casefold()} | asdict(block) for block in document.blocks]
    return {"title": document.title, "blocks": blocks}


def from_json(told: dict[str, Any]) -> Document:
    """Read what ``to_json`` wrote."""
    return Document(str(told["title"]), tuple(_block(block) for block in told["blocks"]))


def _block(told: dict[str, Any]) -> Block:
    match told["is"]:
        case "heading":
            return Heading(told["text"])
        case "bullets":
            return Bullets(tuple(told["items"]))
        case "table":
            return Table(tuple(told["head"]), tuple(tuple(row) for row in told["rows"]))
        case "code":
            return Code(told["text"])
        case _:
            return Paragraph(told["text"])


def state(page: Page) -> str:
    """The incident's state in one word, as the page tells it."""
    if page.action == "resolve":
        return "resolved"
    return "acknowledged" if page.action == "acknowledge" else str(page.incident.get("status") or "open")


def of_page(page: Page) -> Document:
    """What a page says, at length; a post-mortem as it was written."""
    if is_postmortem(page):
        return from_json(page.incident["postmortem"])
    blocks: list[Block] = [Paragraph(page.headline), Table(("", ""), facts(page))]
    explained = tuple(str(sentence) for sentence in page.incident.get("explanation") or ())
    if explained:
        blocks += [Heading("What explains it"), Bullets(explained)]
    if page.alerts:
        blocks += [Heading(f"Alerts ({page.incident.get('alerts', len(page.alerts))})"), _alerts(page)]
    return Document(page.headline, tuple(blocks))


def facts(page: Page) -> tuple[tuple[str, str], ...]:
    """Names and values that belong at the top."""
    incident, radius = page.incident, page.incident.get("blast_radius") or {}
    called = ", ".join(str(one.get("name")) for one in on_call(page))
    if incident.get("storm"):
        return _storm(page, called)
    features = [str(name) for name in radius.get("features") or ()]
    rest = len(features) - NAMES_MAX
    told = {
        "State": state(page),
        "Severity": incident.get("severity"),
        "Model": incident.get("model"),
        "Since": incident.get("onset_at"),
        "Where": _segments(radius),
        "Share of traffic": percent(radius.get("traffic_share")) if radius else None,
        "Features": ", ".join(features[:NAMES_MAX]) + (f" and {rest:,} more" if rest > 0 else ""),
        "On call": called,
        "Incident": incident.get("incident_id"),
    }
    return tuple((name, str(value)) for name, value in told.items() if value)


def on_call(page: Page) -> tuple[dict[str, Any], ...]:
    """Whom the page calls: ``name``, ``list`` and handles of each."""
    return tuple(page.incident.get("on_call") or ())


def _storm(page: Page, called: str) -> tuple[tuple[str, str], ...]:
    """Of many incidents that are told as one page."""
    storm = page.incident["storm"]
    told = {
        "State": state(page),
        "Severity": page.incident.get("severity"),
        "Incidents": f"{storm.get('incidents_in_all', 0):,}",
        "Models": f"{storm.get('models', 0):,}",
        "Since": page.incident.get("onset_at"),
        "On call": called,
        "Incident": page.incident.get("incident_id"),
    }
    return tuple((name, str(value)) for name, value in told.items() if value)


def _segments(radius: dict[str, Any]) -> str:
    if radius.get("all_traffic"):
        return "all traffic"
    return ", ".join(segment_name(segment) for segment in (radius.get("segments") or ())[:NAMES_MAX])


def _alerts(page: Page) -> Table:
    head = ("Feature", "Segment", "Reason", "Severity", "Since")
    rows = [
        (
            str(alert.get("feature")),
            segment_name(alert.get("segment") or {}) or "all traffic",
            str(alert.get("reason")),
            str(alert.get("severity")),
            str(alert.get("onset_at")),
        )
        for alert in page.alerts[:ALERTS_MAX]
    ]
    return Table(head, tuple(rows))
