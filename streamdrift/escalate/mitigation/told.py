"""Mitigations in words: titles, the line of a page, entries of the timeline. Pure."""

from __future__ import annotations

from typing import Any

from streamdrift.alerts import rfc3339, segment_name
from streamdrift.escalate.events import Event
from streamdrift.escalate.mitigation.states import Action, Mitigation, State
from streamdrift.escalate.mitigation.versions import shown
from streamdrift.escalate.timeline import Kind
from streamdrift.escalate.words import duration, named

ID_SHOWN = 8
KINDS: dict[State, Kind] = {
    "proposed": "mitigation_proposed",
    "approved": "mitigation_approved",
    "refused": "mitigation_refused",
    "expired": "mitigation_expired",
    "sent": "mitigation_sent",
    "verified": "mitigation_verified",
    "kept": "mitigation_kept",
    "reverting": "mitigation_reverting",
    "reverted": "mitigation_reverted",
    "failed": "mitigation_failed",
}
SAID: dict[State, str] = {
    "proposed": "offered",
    "approved": "approved",
    "refused": "refused",
    "expired": "expired",
    "sent": "the serving side took it",
    "verified": "verified, the alerts recovered",
    "kept": "stays in force, not verified",
    "reverting": "is to be taken back",
    "reverted": "taken back",
    "failed": "failed",
}
WHO = {"person": "by hand", "settings": "by the settings"}


def titled(action: Action, target: str | None, segment: dict[str, str]) -> str:
    """What an action does.

    >>> titled("roll_back", "11", {}), titled("stop_segment", None, {"origin": "EWR"})
    ('roll back to version 11', 'stop segment origin=EWR')
    """
    match action:
        case "roll_back":
            return f"roll back to {shown(target)}" if target is not None else "roll back"
        case "stop_segment":
            return f"stop segment {named(segment_name(segment), 80)}" if segment else "stop a segment"
        case "shadow":
            return "shadow mode: it answers nobody"
        case "fallback":
            return "switch to the fallback"


def title(mitigation: Mitigation) -> str:
    """What a mitigation does."""
    return titled(mitigation.action, mitigation.target, mitigation.segment)


def line(mitigation: Mitigation) -> str:
    """What a page says of one that is live.

    No version and no segment is in the command: they come from traffic, and somebody will paste it into a shell.
    """
    what = title(mitigation) + (" (dry run)" if mitigation.dry_run else "")
    if mitigation.state != "proposed":
        return f"mitigation under way: {what}, {mitigation.state}, approved {WHO.get(mitigation.by, '')}".rstrip()
    doubt = f"; {'; '.join(mitigation.why)}" if mitigation.why else ""
    return f"could: {what} — approve with `{command(mitigation)} --approve`{doubt}"


def command(mitigation: Mitigation) -> str:
    """The beginning of the command that is about one."""
    return f"streamdrift incidents mitigate {mitigation.incident_id[:ID_SHOWN]} --action {mitigation.action}"


def event(mitigation: Mitigation) -> Event:
    """Return what its present state adds to the timeline."""
    return Event(KINDS[mitigation.state], _said(mitigation), to_json(mitigation))


def _said(mitigation: Mitigation) -> str:
    what = title(mitigation) + (" (dry run)" if mitigation.dry_run else "")
    if mitigation.state == "proposed":
        return f"could {what}" + (f": {'; '.join(mitigation.why)}" if mitigation.why else "")
    who = WHO.get(mitigation.by, "") if mitigation.state == "approved" else ""
    why = f": {mitigation.said}" if mitigation.said else ""
    return f"{what}: {SAID[mitigation.state]} {who}".rstrip() + why


def news(mitigation: Mitigation) -> str:
    """What the headline of a page begins with that says how one ended which did not help."""
    what = title(mitigation)
    match mitigation.state:
        case "reverted":
            return f"not recovered, {what} was taken back: "
        case "kept":
            return f"not recovered, {what} stays in force: "
        case _:
            return f"{what} failed: "


def to_json(mitigation: Mitigation) -> dict[str, Any]:
    """A mitigation in JSON terms."""
    told: dict[str, Any] = {
        "mitigation_id": mitigation.mitigation_id,
        "action": mitigation.action,
        "state": mitigation.state,
        "title": title(mitigation),
        "to_version": mitigation.target,
        "from_version": mitigation.current,
        "segment": mitigation.segment,
        "verdict": mitigation.verdict,
        "why": list(mitigation.why),
        "dry_run": mitigation.dry_run,
        "approved": mitigation.by or None,
        "said": mitigation.said,
    }
    for name in ("proposed_at", "approved_at", "sent_at", "due_at"):
        at = getattr(mitigation, name)
        told[name] = None if at is None else rfc3339(round(at * 1000))
    return told


def lasts(seconds: float) -> str:
    """A time in words, never empty."""
    return duration(max(0.0, seconds)) or "0 s"
