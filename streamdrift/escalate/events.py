"""What a decision, an attempt to deliver or a person adds to an incident's timeline, in words. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from streamdrift.alerts import Alert
from streamdrift.escalate.explanation import place
from streamdrift.escalate.incident import Incident
from streamdrift.escalate.policy import Decision
from streamdrift.escalate.suspects import Suspect
from streamdrift.escalate.timeline import Kind
from streamdrift.escalate.triage import headline
from streamdrift.escalate.words import duration, effect, named, onset

WHY = {
    "new_incident": "it is new",
    "first_page": "for the first time",
    "severity": "its severity rose",
    "all_traffic": "it reached all traffic",
    "features": "it reached many more features",
    "traffic_share": "it reached much more of the traffic",
    "effect": "its effect doubled",
    "came_back": "it came back",
}
"""Why a page was made, by the decision's reason."""


@dataclass(frozen=True, slots=True)
class Event:
    """One entry to be, without its time."""

    kind: Kind
    text: str
    detail: dict[str, Any] = field(default_factory=dict)


def of_decision(before: Incident | None, decision: Decision, alert: Alert, others: int | None = None) -> list[Event]:
    """Return what an alert did to an incident, oldest first; nothing where it changed nothing.

    Parameters
    ----------
    before
        The incident as it was; None where the alert opened it.
    others
        Further incidents of its model that go on.
    """
    incident = decision.incident
    if incident is None or decision.action == "ignore":
        return []
    detail = {"alert_id": alert.alert_id, "series_id": alert.series_id, "reason": decision.reason}
    if alert.status == "resolved":
        return _ended(incident, decision, alert, detail)
    told = [_began(before, incident, decision, alert, detail)]
    if decision.page == "trigger":
        why = WHY.get(decision.reason, decision.reason)
        page = {"dedup_key": incident.dedup_keys[-1], "reason": decision.reason}
        told.append(Event("paged", f"paged, as {why}: {headline(incident, others)}", page))
    return told


def suspect(found: Suspect) -> Event:
    """A change upstream may have to do with it."""
    return Event("suspect", found.sentence, found.to_json())


def _began(
    before: Incident | None, incident: Incident, decision: Decision, alert: Alert, detail: dict[str, Any]
) -> Event:
    said = f"{signal(alert)}: {effect(alert)}, since {onset(alert)}"
    detail = detail | {"severity": alert.severity, "onset_at": alert.onset_at}
    detail |= {"events_since_onset": alert.events_since_onset}
    if decision.action == "open" or before is None:
        return Event("detected", said, detail)
    if decision.action == "reopen":
        after = duration(max(0, alert.detected_at - (before.resolved_at or before.updated_at)) / 1000)
        again = detail | {"reopened": incident.reopened}
        return Event("reopened", f"open again {after or '0 s'} after its end: {said}", again)
    return Event("grew", f"grew: {said}" if alert.updates else f"also {said}", detail)


def _ended(incident: Incident, decision: Decision, alert: Alert, detail: dict[str, Any]) -> list[Event]:
    left = len(incident.firing) + len(incident.beyond)
    if decision.action != "resolve":
        return [Event("shrank", f"{signal(alert)} ended; {_alerts(left)} still firing", detail | {"left": left})]
    lasted = duration(max(0, alert.detected_at - incident.opened_at) / 1000)
    return [
        Event("recovered", f"{signal(alert)} ended, the last that held it open", detail | {"left": left}),
        Event("resolved", f"over, {lasted or '0 s'} after it was detected", {"by": "alerts"}),
    ]


def put_aside() -> Event:
    """Return the end of an incident that made room for others: nothing says that it recovered."""
    return Event(
        "resolved", "put aside: its model has too many open incidents; nothing says that it is over", {"by": "limit"}
    )


def acknowledged(new_normal: bool) -> Event:
    """Return what a person said who knows of it."""
    said = "acknowledged as the new normal" if new_normal else "acknowledged"
    return Event("acknowledged", said, {"new_normal": new_normal})


def resolved_by_hand(reason: str, left: int) -> Event:
    """Return the end that a person gave it, with what fired then."""
    said = f"resolved by hand, with {_alerts(left)} still firing: {named(reason, 1_000)}"
    return Event("resolved", said, {"by": "hand", "reason": reason, "left": left})


def delivered(receiver: str, action: str, dedup_key: str, attempts: int, reference: str | None) -> Event:
    """Return that a receiver was told."""
    told = f"{_page(action)} delivered to {receiver}" + (f", by attempt {attempts:,}" if attempts > 1 else "")
    detail: dict[str, Any] = {"receiver": receiver, "action": action, "dedup_key": dedup_key, "attempts": attempts}
    return Event("delivered", told, detail | ({} if reference is None else {"reference": reference}))


def undelivered(receiver: str, action: str, dedup_key: str, attempts: int, reason: str) -> Event:
    """Return that a receiver will not be told."""
    said = f"{_page(action)} not delivered to {receiver}, given up after {attempts:,} attempts: {named(reason, 500)}"
    detail = {"receiver": receiver, "action": action, "dedup_key": dedup_key, "attempts": attempts, "reason": reason}
    return Event("undelivered", said, detail)


def redriven(receiver: str, action: str, dedup_key: str) -> Event:
    """Return that a delivery that was given up is tried again, because somebody asked for it."""
    detail = {"receiver": receiver, "action": action, "dedup_key": dedup_key}
    return Event("note", f"{_page(action)} to {receiver} is sent again by hand", detail)


def signal(alert: Alert) -> str:
    """What an alert is about: ``null_rate on dep_delay in origin=EWR``."""
    return f"{named(alert.reason, 24)} on {named(alert.feature, 40)} in {place(alert.segment)}"


def _page(action: str) -> str:
    known = {"trigger": "page", "resolve": "end", "acknowledge": "acknowledgement", "postmortem": "post-mortem"}
    return known.get(action, action)


def _alerts(n: int) -> str:
    return f"{n:,} {'alert' if n == 1 else 'alerts'}"
