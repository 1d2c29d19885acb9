"""A corrective action: what is proposed so that it doesn't come again, or is noticed before it harms."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from streamdrift.alerts import digest, segment_name

State = Literal["proposed", "accepted", "done", "dropped"]
STATES: tuple[str, ...] = get_args(State)
ID_DIGITS = 12


@dataclass(frozen=True, slots=True)
class Action:
    """One corrective action.

    Attributes
    ----------
    action_id
        From what it is about: the same incident proposes it under the same id, however often it is drafted.
    rule
        The check in JSON terms: what a validation at the source, or in the pipeline, would hold the data to.
    alerts
        Ids of the alerts that it is derived from.
    reason
        Why it was dropped.
    ticket, ticket_status
        Its key in Jira, and how far that is; None without.
    """

    action_id: str
    incident_id: str
    kind: str
    title: str
    text: str
    rule: dict[str, Any] = field(default_factory=dict)
    alerts: tuple[str, ...] = ()
    state: State = "proposed"
    reason: str = ""
    ticket: str | None = None
    ticket_status: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The action in JSON terms."""
        return {
            "action_id": self.action_id,
            "incident_id": self.incident_id,
            "kind": self.kind,
            "state": self.state,
            "title": self.title,
            "text": self.text,
            "rule": self.rule,
            "reason": self.reason,
            "ticket": self.ticket,
            "ticket_status": self.ticket_status,
        }


def action_id(incident_id: str, kind: str, feature: str, segment: dict[str, str]) -> str:
    """The id of what an incident proposes about a feature.

    >>> len(action_id("c0ffee", "null_share", "dep_delay", {"origin": "EWR"}))
    12
    """
    return digest(incident_id, kind, feature, segment_name(segment))[:ID_DIGITS]
