"""What explains an incident: feature and segment by contribution, each with the alerts that show the same."""

from __future__ import annotations

from streamdrift.alerts import Alert
from streamdrift.escalate.contribution import Cell
from streamdrift.escalate.explanation import also_seen, place
from streamdrift.escalate.incident import Incident
from streamdrift.escalate.triage import blast_radius
from streamdrift.report import words
from streamdrift.report.markup import Markup, label, tag

CELLS_MAX = 12
SEEN_MAX = 8
HEAD = ("Feature", "Segment", "Reason", "How much", "Of its change", "Also seen in")


def table(incident: Incident) -> Markup | None:
    """The cells that contribute most; None where a single alert says all."""
    cells = blast_radius(incident).cells
    if len(cells) == 1 and not cells[0].also:
        return None
    rest = len(cells) - CELLS_MAX
    return tag(
        "section",
        tag("h3", "What explains it"),
        tag(
            "div",
            tag(
                "table",
                tag("thead", tag("tr", (tag("th", name, scope="col") for name in HEAD))),
                tag("tbody", (_row(cell) for cell in cells[:CELLS_MAX])),
                class_="plain",
            ),
            class_="scroll",
        ),
        tag("p", f"and {rest:,} more that contribute less", class_="more") if rest > 0 else None,
    )


def _row(cell: Cell) -> Markup:
    told = (
        label(cell.alert.feature),
        label(place(cell.segment)),
        label(cell.alert.reason.replace("_", " ")),
        words.effect(cell.alert),
        label(f"follows {cell.follows}") if cell.follows else words.percent(cell.explains),
        also_seen(cell, SEEN_MAX),
    )
    return tag("tr", (tag("td", one) for one in told))


def ordered(incident: Incident) -> list[tuple[Alert, str]]:
    """Every alert that fires or fired, below the cell that explains it, with the name of that cell's place if it is another.

    Those of series that recovered while the incident goes on come last.
    """
    found: list[tuple[Alert, str]] = []
    for cell in blast_radius(incident).cells:
        found.append((cell.alert, ""))
        found += [(alert, "" if alert.segment == cell.segment else place(cell.segment)) for alert in cell.also]
    told = {id(alert) for alert, _ in found}
    over = sorted((a for a in incident.alerts if id(a) not in told), key=lambda a: (a.detected_at, a.series_id))
    return found + [(alert, "") for alert in over]
