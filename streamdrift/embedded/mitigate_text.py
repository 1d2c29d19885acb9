"""Mitigations of an incident for a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from streamdrift.embedded.incident_text import WIDTH
from streamdrift.escalate.incident import Incident
from streamdrift.escalate.mitigation import told
from streamdrift.escalate.mitigation.offers import Offer
from streamdrift.escalate.mitigation.states import Mitigation
from streamdrift.escalate.triage import headline
from streamdrift.escalate.words import moment
from streamdrift.settings import MitigationSettings

BEFORE_SHOWN = 10
VERDICTS = {"clear": "", "unknown": "not known: ", "hit": ""}


def as_standing(
    incident: Incident,
    offers: Sequence[Offer],
    before: Sequence[Mitigation],
    settings: MitigationSettings,
    now: float,
    width: int | None,
) -> str:
    """Return what could be done, what not and why, what is under way, and what was."""
    columns = width or WIDTH
    running = [one for one in before if one.is_running]
    over = [one for one in before if not one.is_running and one.state != "proposed"]
    lines = [f"incident {incident.incident_id}, {incident.status}", *textwrap.wrap(headline(incident), columns)]
    lines += _part("under way", [_running(one, settings, now) for one in running], columns)
    could = [offer for offer in offers if not offer.refused]
    if incident.is_open:
        lines += _part("could", [line for offer in could for line in _could(incident, offer)], columns)
        refused = [f"{offer.title}: {offer.refused}" for offer in offers if offer.refused]
        lines += _part("not offered", refused, columns)
    lines += _part("before", [_before(one) for one in over[-BEFORE_SHOWN:]], columns)
    if not offers:
        lines += ["", "escalate.mitigation.offers has nothing for this model"]
    return "\n".join(lines)


def _part(title: str, said: Sequence[str], columns: int) -> list[str]:
    if not said:
        return []
    lines = ["", title]
    for one in said:
        if one.startswith("streamdrift "):
            lines.append(f"    {one}")  # whole, to be copied
        else:
            lines += textwrap.wrap(one, columns, initial_indent="  ", subsequent_indent="    ", break_on_hyphens=False)
    return lines


def _could(incident: Incident, offer: Offer) -> list[str]:
    why = f": {VERDICTS[offer.verdict]}{'; '.join(offer.why)}" if offer.why else ""
    # what comes from traffic is not in it: somebody will paste it into a shell
    command = (
        f"streamdrift incidents mitigate {incident.incident_id[: told.ID_SHOWN]} --action {offer.action} --approve"
    )
    return [offer.title + why, command]


def _running(one: Mitigation, settings: MitigationSettings, now: float) -> str:
    what = f"{told.title(one)}: {one.state}, approved {told.WHO.get(one.by, '')}"
    if one.due_at is None or one.state == "reverting":
        return what
    left = told.lasts(one.due_at - now)
    if one.state == "approved":
        return f"{what}; given up in {left} unless it can be delivered"
    then = "is taken back" if one.action in settings.reverts else "somebody is called"
    return f"{what}; {then} in {left} unless the alerts recover; --keep leaves it in force"


def _before(one: Mitigation) -> str:
    at = f"{moment(round(one.proposed_at * 1000))} UTC "
    return f"{at}{told.event(one).text}"
