"""An incident's explanation in sentences: what moved, what it explains, and where else the same was seen."""

from __future__ import annotations

from streamdrift.alerts import Alert, segment_name
from streamdrift.escalate.contribution import Cell
from streamdrift.escalate.incident import Incident
from streamdrift.escalate.triage import blast_radius
from streamdrift.escalate.words import effect, named, percent

CELLS_MAX = 5
SEEN_MAX = 4
"""Alerts told with each cell."""


def sentences(incident: Incident) -> list[str]:
    """One sentence for each of the first ``CELLS_MAX`` cells, the one that contributes most first.

    ``null_rate on dep_delay in origin=EWR: 0.1 % → 10.2 % null, 100 % of its change; also seen in all traffic (diluted)``
    """
    cells = blast_radius(incident).cells
    told = [_sentence(cell) for cell in cells[:CELLS_MAX]]
    rest = len(cells) - len(told)
    return [*told, f"and {rest:,} more"] if rest else told


def _sentence(cell: Cell) -> str:
    alert = cell.alert
    told = f"{named(alert.reason, 24)} on {named(alert.feature, 40)} in {place(cell.segment)}: {effect(alert)}, "
    told += f"follows {named(cell.follows, 40)}" if cell.follows else f"{percent(cell.explains)} of its change"
    seen = also_seen(cell, SEEN_MAX)
    return f"{told}; also seen in {seen}" if seen else told


def also_seen(cell: Cell, places_max: int) -> str:
    """Where else the cell's change was seen, by name; all traffic is diluted where only a part of it moved."""
    places = list(dict.fromkeys(_seen(alert, cell) for alert in cell.also if alert.segment != cell.segment))
    reasons = sorted({alert.reason for alert in cell.also if alert.segment == cell.segment})
    told = places[:places_max]
    rest = len(places) - len(told)
    told += [f"{rest:,} more"] if rest else []
    return ", ".join(told + [f"as {named(reason, 24)}" for reason in reasons if reason != cell.alert.reason])


def _seen(alert: Alert, cell: Cell) -> str:
    return place(alert.segment) + (" (diluted)" if cell.segment and not alert.segment else "")


def place(segment: dict[str, str]) -> str:
    """A segment by name."""
    return named(segment_name(segment), 48) or "all traffic"
