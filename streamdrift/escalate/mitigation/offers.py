"""What can be offered for an incident now, and of the rest why not. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from streamdrift.alerts import segment_name
from streamdrift.escalate.incident import Incident
from streamdrift.escalate.mitigation.states import ACTIONS, LIVE, Action, Mitigation, Verdict
from streamdrift.escalate.mitigation.told import titled
from streamdrift.escalate.mitigation.versions import Known, check, previous, serving, shown
from streamdrift.escalate.triage import blast_radius
from streamdrift.escalate.words import duration, named
from streamdrift.settings import MitigationSettings

PER_INCIDENT_MAX = 50
"""Mitigations of one incident, whatever became of them."""


@dataclass(frozen=True, slots=True)
class Offer:
    """One action as it could be asked for.

    Attributes
    ----------
    verdict, why
        Of its check; see ``states.Mitigation``.
    refused
        Why it is not offered; empty where it is.
    """

    action: Action
    target: str | None = None
    current: str | None = None
    segment: dict[str, str] = field(default_factory=dict)
    verdict: Verdict = "clear"
    why: tuple[str, ...] = ()
    refused: str = ""

    @property
    def title(self) -> str:
        """What it would do, in words."""
        return titled(self.action, self.target, self.segment)


@dataclass(frozen=True, slots=True)
class Past:
    """What was done before.

    Attributes
    ----------
    of_incident
        Every mitigation of the incident.
    running
        That of the model which is on its way or in force; of whichever incident.
    sent
        When each action was last sent for the model, seconds since the epoch.
    """

    of_incident: Sequence[Mitigation] = ()
    running: Mitigation | None = None
    sent: dict[str, float] = field(default_factory=dict)


def allowed(model: str, settings: MitigationSettings) -> tuple[Action, ...]:
    """Return the actions that the settings offer for a model, in their order.

    >>> from pydantic import SecretStr
    >>> on = MitigationSettings(url="https://serving.example", secret=SecretStr("key"), offers=("fraud-*=fallback,shadow",))
    >>> allowed("fraud-eu", on), allowed("shop", on), allowed("fraud-eu", MitigationSettings())
    (('fallback', 'shadow'), (), ())
    """
    for rule in settings.offers if settings.url is not None else ():
        pattern, _, named_actions = rule.rpartition("=")
        if fnmatchcase(model, pattern):
            return tuple(action for name in named_actions.split(",") for action in ACTIONS if action == name)
    return ()


def offers(
    incident: Incident,
    settings: MitigationSettings,
    known: Known,
    past: Past,
    now: float,
    *,
    target: str | None = None,
    segment: dict[str, str] | None = None,
) -> list[Offer]:
    """Return one for each action that the settings name for its model, in their order.

    Parameters
    ----------
    target, segment
        What somebody asks for, in place of what follows from the incident.
    """
    return [
        _held_back(_offer(action, incident, known, target, segment), past, settings, now)
        for action in allowed(incident.model, settings)
    ]


def chosen(found: Sequence[Offer], past: Past, settings: MitigationSettings, now: float) -> Offer | None:
    """Return what is sent without asking; None where somebody has to be asked.

    Once for an incident: what did not help is followed by nothing that nobody looked at. Never within the cool-down of any
    action of the model, and nothing of which something isn't known.
    """
    tried = any(one.approved_at is not None for one in past.of_incident)
    cooling = any(0 <= now - at < settings.cooldown_s for at in past.sent.values())
    if settings.approval != "automatic" or tried or cooling or past.running is not None:
        return None
    return next((offer for offer in found if not offer.refused and offer.verdict == "clear"), None)


def _offer(
    action: Action, incident: Incident, known: Known, target: str | None, segment: dict[str, str] | None
) -> Offer:
    current = serving(incident, known)
    match action:
        case "roll_back":
            return _rolled_back(incident, known, current, target)
        case "stop_segment":
            return _stopped(incident, current, segment)
        case _:
            return Offer(action, current=current)


def _rolled_back(incident: Incident, known: Known, current: str | None, asked: str | None) -> Offer:
    target = previous(current, incident, known) if asked is None else asked
    if target is None:
        return Offer("roll_back", current=current, refused="no older version is known; name it with --to")
    if target == current:
        return Offer("roll_back", target, current, refused=f"{shown(target)} is the one that serves")
    found = check(incident, target, current, known)
    refused = f"it would not help: {found.why[0]}" if found.verdict == "hit" else ""
    return Offer("roll_back", target, current, {}, found.verdict, found.why, refused)


def _stopped(incident: Incident, current: str | None, asked: dict[str, str] | None) -> Offer:
    """Of the segments that explain the incident, the one; another only where alerts of it fire."""
    radius = blast_radius(incident)
    if asked is None and (radius.all_traffic or len(radius.segments) != 1):
        refused = "it is in all traffic" if radius.all_traffic else "it is in several segments; name one with --segment"
        return Offer("stop_segment", current=current, refused=refused)
    segment = dict(radius.segment) if asked is None else asked
    if segment not in [alert.segment for alert in incident.firing]:
        name = named(segment_name(segment), 80)
        return Offer("stop_segment", None, current, segment, refused=f"no alert of it fires in {name}")
    return Offer("stop_segment", None, current, segment)


def _held_back(offer: Offer, past: Past, settings: MitigationSettings, now: float) -> Offer:
    """The offer, refused for what was done before, if it is not already."""
    why = offer.refused or _busy(past) or _cooling(offer, past, settings, now) or _full(past)
    return Offer(offer.action, offer.target, offer.current, offer.segment, offer.verdict, offer.why, why)


def _busy(past: Past) -> str:
    if past.running is None:
        return ""
    one = past.running
    what = titled(one.action, one.target, one.segment)
    return f"another is running for this model: {what} ({one.state}, incident {one.incident_id[:8]})"


def _cooling(offer: Offer, past: Past, settings: MitigationSettings, now: float) -> str:
    since = past.sent.get(offer.action)
    if since is None or not 0 <= now - since < settings.cooldown_s:
        return ""
    left = duration(since + settings.cooldown_s - now)
    return f"in the cool-down for another {left}: it was sent for this model {duration(now - since) or '0 s'} ago"


def _full(past: Past) -> str:
    if len(past.of_incident) < PER_INCIDENT_MAX:
        return ""
    return f"the incident has had {PER_INCIDENT_MAX} mitigations or offers of them"


def is_new(offer: Offer, past: Past) -> bool:
    """Whether it is to be proposed: it is not already, and nobody refused the same for this incident."""
    same = [
        one
        for one in past.of_incident
        if (one.action, one.target, one.segment) == (offer.action, offer.target, offer.segment)
    ]
    return not offer.refused and not any(one.state in LIVE or one.state == "refused" for one in same)
