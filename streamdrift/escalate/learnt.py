"""What post-mortems, and what was learnt of past incidents, add to a timeline, in words."""

from __future__ import annotations

from streamdrift.escalate.events import Event
from streamdrift.escalate.incident import Incident
from streamdrift.escalate.past import PastIncidents
from streamdrift.escalate.postmortem.action import Action
from streamdrift.escalate.postmortem.likeness import Likeness
from streamdrift.escalate.postmortem.record import Cause
from streamdrift.escalate.suspects import Upstream, kinds
from streamdrift.escalate.words import named


def first_sight(past: PastIncidents, incident: Incident, above: Upstream | None) -> list[Event]:
    """Return what is known of an incident when it first pages: that nothing was deployed, and which past one it is like."""
    told = [no_deployment(above.no_deployment)] if above is not None and above.no_deployment else []
    return told + [seen_before(found) for found in past.like(incident, kinds(above))]


def seen_before(found: Likeness) -> Event:
    """It is like a past one."""
    return Event("note", found.sentence, {"seen_before": found.to_json()})


def no_deployment(said: str) -> Event:
    """The model was not deployed lately."""
    return Event("note", said, {"no_deployment": True})


def confirmed(cause: Cause) -> Event:
    """A person said what it was."""
    change = f"{named(cause.kind or '', 24)} {named(cause.change_id, 64)}: " if cause.change_id else ""
    detail = {"cause": {"change_id": cause.change_id, "kind": cause.kind, "text": cause.text}}
    return Event("note", f"cause confirmed as {change}{named(cause.text, 1_000)}", detail)


def moved(action: Action) -> Event:
    """A corrective action is in another state."""
    why = f": {named(action.reason, 500)}" if action.reason else ""
    said = f"corrective action {action.action_id} {action.state}{why} ({named(action.title, 200)})"
    return Event("note", said, {"action": action.action_id, "state": action.state})


def ticketed(action: Action, key: str) -> Event:
    """A corrective action has a ticket."""
    said = f"corrective action {action.action_id} is ticket {named(key, 40)} ({named(action.title, 200)})"
    return Event("note", said, {"action": action.action_id, "ticket": key})


def asked_for(receivers: list[str]) -> Event:
    """The post-mortem is to be published."""
    return Event("note", f"post-mortem handed to {', '.join(receivers)}", {"postmortem": receivers})
