"""A text of headings, paragraphs, lists and tables, before it has a format: what a page says at length, or a post-mortem.

Everything in it is plain text, as it came; ``formats`` writes it, and escapes it there.
"""

from __future__ import annotations

from dataclasses import dataclass
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


Block = Heading | Paragraph | Bullets | Table


@dataclass(frozen=True, slots=True)
class Document:
    """A title, and blocks; the first of them are the last to be left out where there is no room."""

    title: str
    blocks: tuple[Block, ...]


def state(page: Page) -> str:
    """The incident's state in one word, as the page tells it."""
    if page.action == "resolve":
        return "resolved"
    return "acknowledged" if page.action == "acknowledge" else str(page.incident.get("status") or "open")


def of_page(page: Page) -> Document:
    """What a page says, at length."""
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
        "Incident": incident.get("incident_id"),
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
