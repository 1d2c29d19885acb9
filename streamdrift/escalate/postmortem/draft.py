"""The draft: all sections, with the timeline at the end, as a document for any format."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from streamdrift.alerts import rfc3339
from streamdrift.escalate.postmortem.action import Action
from streamdrift.escalate.postmortem.blameless import told
from streamdrift.escalate.postmortem.claims import Claim, Section
from streamdrift.escalate.postmortem.contract import contract
from streamdrift.escalate.postmortem.course import detect, mitigate, triage
from streamdrift.escalate.postmortem.overview import impact, summary
from streamdrift.escalate.postmortem.record import Record, clock
from streamdrift.escalate.postmortem.whys import whys
from streamdrift.escalate.receivers.documents import Document, Paragraph, Table
from streamdrift.escalate.timeline import ONGOING, Entry
from streamdrift.escalate.words import named

ENTRIES_SHOWN = 300
GROWTH_SHOWN = 40
"""Entries of growth beyond, that no claim cites, are counted alone."""
DRAFT = "A draft, made of the timeline and of nothing else. What it calls unknown is for those who know to fill in."
GOES_ON = "The incident is not over: what is below is how it stood when this was made."


@dataclass(frozen=True, slots=True)
class Draft:
    """One post-mortem.

    Attributes
    ----------
    made_at
        Milliseconds since the epoch.
    """

    incident_id: str
    model: str
    made_at: int
    goes_on: bool
    sections: tuple[Section, ...]

    @property
    def title(self) -> str:
        """Its name, and on Confluence its key: the id is not cut, whatever the model is called."""
        return f"Post-mortem {self.incident_id}: {named(self.model, 100)}"

    @property
    def claims(self) -> tuple[Claim, ...]:
        """All that it claims."""
        return tuple(claim for section in self.sections for claim in section.claims)

    def document(self) -> Document:
        """The draft as blocks."""
        head = (Paragraph(DRAFT), *([Paragraph(GOES_ON)] if self.goes_on else []))
        return Document(self.title, (*head, *(block for section in self.sections for block in section.blocks)))

    def to_json(self) -> dict[str, Any]:
        """The draft in JSON terms."""
        return {
            "incident_id": self.incident_id,
            "model": self.model,
            "title": self.title,
            "made_at": rfc3339(self.made_at),
            "goes_on": self.goes_on,
            "sections": [section.to_json() for section in self.sections],
        }


def draft(record: Record) -> Draft:
    """Write a post-mortem.

    Raises
    ------
    ValueError
        A claim rests on what is not there, or on nothing without saying so: a bug of ours.
    """
    sections = [summary(record), impact(record), detect(record), triage(record), mitigate(record), whys(record)]
    sections.append(_actions(record))
    claims = [claim for section in sections for claim in section.claims]
    for claim in claims:
        if not claim.cites and not claim.unknown:
            raise ValueError(f"a claim rests on nothing: {claim.text!r}")
        if not all(record.known(cite) for cite in claim.cites):
            raise ValueError(f"a claim rests on what is not there: {claim.text!r}")
    sections.append(_timeline(record, {cite for claim in claims for cite in claim.cites}))
    incident = record.incident
    return Draft(incident.incident_id, incident.model, record.now, incident.is_open, tuple(sections))


def _actions(record: Record) -> Section:
    claims = tuple(_action(record, action) for action in record.actions)
    snippet = contract(record.incident.model, record.actions)
    return Section(
        "Corrective actions",
        claims,
        ("Action", "What", "Evidence"),
        code=(snippet,) if snippet else (),
        empty="None is proposed: the alerts' figures tell of no check that would have noticed it earlier.",
    )


def _action(record: Record, action: Action) -> Claim:
    state = f"{action.state}, {named(action.ticket, 40)}" if action.ticket else action.state
    state += f" {named(action.ticket_status, 40)}" if action.ticket and action.ticket_status else ""
    alerts = [a for a in record.incident.alerts if {a.alert_id, a.opening_id} & set(action.alerts)]
    cites = record.of_alert(*alerts) or record.of_alert(record.lead)
    return Claim(f"{action.title}: {action.text}", cites, f"{action.action_id} ({state})")


def _timeline(record: Record, cites: set[str]) -> Section:
    shown, left_out = _shown(record.entries, cites)
    rows = tuple((entry.entry_id, clock(entry.at), entry.kind, told(entry)) for entry in shown)
    note = (
        f"{left_out:,} entries that nothing above rests on are left out; `streamdrift incidents show` has them."
        if left_out
        else ""
    )
    return Section(
        "Timeline",
        table=Table(("Entry", "When (UTC)", "What", ""), rows) if rows else None,
        note=note,
        empty="It has no entries: it is older than the timeline.",
    )


def _shown(entries: tuple[Entry, ...], cites: set[str]) -> tuple[list[Entry], int]:
    """What is cited, what became of it, and the first of how it grew, as far as there is room."""
    grown = [entry.seq for entry in entries if entry.kind in ONGOING][:GROWTH_SHOWN]
    kept = [e for e in entries if e.entry_id in cites or e.kind not in ONGOING or e.seq in grown]
    first = {e.seq for e in kept if e.entry_id in cites}
    first |= {e.seq for e in [e for e in kept if e.seq not in first][: max(0, ENTRIES_SHOWN - len(first))]}
    shown = [entry for entry in kept if entry.seq in first]
    return shown, len(entries) - len(shown)
