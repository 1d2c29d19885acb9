"""`streamdrift incidents mitigate`: what the serving side could do about an incident, and somebody's word on it.

Without ``--approve``, ``--refuse`` or ``--keep`` nothing is changed. What is approved stands in the outbox with the approval, in one
transaction beside a running worker, which sends it.
"""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

import orjson

from streamdrift.embedded.acknowledge import incident_of
from streamdrift.embedded.mitigate_text import as_standing
from streamdrift.errors import SettingsProblem
from streamdrift.escalate import page
from streamdrift.escalate.incident import Incident
from streamdrift.escalate.ledger import Ledger
from streamdrift.escalate.mitigation import message, told
from streamdrift.escalate.mitigation.course import Course
from streamdrift.escalate.mitigation.offers import Offer
from streamdrift.escalate.mitigation.states import Mitigation
from streamdrift.escalate.triage import headline
from streamdrift.escalate.words import named
from streamdrift.settings import Settings

TEXT_MAX = 256


@dataclass(frozen=True, slots=True)
class Mitigate:
    """What is asked for, as it was typed.

    Attributes
    ----------
    target
        The version to roll back to.
    width
        Columns of the terminal; None where it is none.
    """

    incident: str
    action: str | None = None
    target: str | None = None
    segment: str | None = None
    dry_run: bool = False
    approve: bool = False
    refuse: bool = False
    keep: bool = False
    as_json: bool = False
    width: int | None = None

    def check(self) -> None:
        """Refuse what can't be meant."""
        if self.approve + self.refuse + self.keep > 1:
            raise SettingsProblem("--approve, --refuse and --keep are three different answers; give one of them")
        if self.target is not None and self.action != "roll_back":
            raise SettingsProblem("--to names the version of a rollback; add --action roll_back, or leave it out")
        if self.segment is not None and self.action != "stop_segment":
            raise SettingsProblem("--segment names what is stopped; add --action stop_segment, or leave it out")
        if self.dry_run and (self.refuse or self.keep):
            raise SettingsProblem(
                "--dry-run goes with --approve, or stands alone: --refuse and --keep change nothing outside"
            )
        if self.approve and self.action is None:
            raise SettingsProblem(
                "--approve needs --action: what is meant must not depend on what is offered this minute"
            )
        for name, text in (("--to", self.target), ("--segment", self.segment)):
            if text is not None and not _is_text(text):
                raise SettingsProblem(
                    f"{name} is empty, no text, or longer than {TEXT_MAX} characters; give it as the events have it"
                )

    def where(self) -> dict[str, str] | None:
        """The segment that is asked for."""
        if self.segment is None:
            return None
        dimension, equals, value = self.segment.partition("=")
        if not dimension or not equals:
            raise SettingsProblem(f"--segment {named(self.segment, 80)} is not dimension=value")
        return {dimension: value}


def _is_text(text: str) -> bool:
    return 0 < len(text) <= TEXT_MAX and not any("\ud800" <= character <= "\udfff" for character in text)


def mitigate(options: Mitigate, settings: Settings, now: float) -> tuple[str, int]:
    """Do what is asked for; return what is to be printed, and the exit code.

    Raises
    ------
    SettingsProblem
        An argument is wrong, mitigation is off, or what is asked for can't be done now.
    InputProblem
        There is no ledger, or it can't be read or written.
    """
    options.check()
    if settings.escalate.mitigation.url is None:
        raise SettingsProblem(
            "mitigation is off; set escalate.mitigation.url and escalate.mitigation.secret to turn it on"
        )
    with closing(Ledger(settings.escalate.ledger, shared=True)) as ledger, ledger.transaction():
        asked = _Asked(ledger, incident_of(ledger, options.incident), options, settings, now)
        if options.approve:
            return asked.approved(), 0
        if options.refuse:
            return asked.refused(), 0
        return (asked.kept() if options.keep else asked.shown()), 0


class _Asked:
    """One command, within its transaction."""

    def __init__(self, ledger: Ledger, incident: Incident, options: Mitigate, settings: Settings, now: float) -> None:
        self._ledger, self._incident, self._options, self._now = ledger, incident, options, now
        self._settings = settings.escalate.mitigation
        self._course = Course(ledger, settings.escalate, now)
        self._before = ledger.mitigations.of(incident.incident_id)
        self._offers = self._course.offers(incident, target=options.target, segment=options.where())

    def shown(self) -> str:
        """What could be done, what not and why, what is under way; of one action what would be sent."""
        offers = [offer for offer in self._offers if self._options.action in {None, offer.action}]
        if self._options.action is not None:
            self._offered()
        if self._options.as_json:
            return _json(
                page.described(self._incident)
                | {
                    "headline": headline(self._incident),
                    "offers": [_offer(offer) for offer in offers],
                    "mitigations": [told.to_json(one) for one in self._before],
                }
            )
        would = "" if self._options.action is None else self._would_send(offers[0])
        return as_standing(self._incident, offers, self._before, self._settings, self._now, self._options.width) + would

    def _offered(self) -> Offer:
        """What is asked for, as the settings offer it."""
        found = next((offer for offer in self._offers if offer.action == self._options.action), None)
        if found is None:
            known = ", ".join(offer.action for offer in self._offers) or "none"
            raise SettingsProblem(
                f"{self._options.action} is not offered for {named(self._incident.model, 80)}: escalate.mitigation.offers has {known}"
            )
        return found

    def _would_send(self, offer: Offer) -> str:
        if offer.refused:
            return ""
        made = self._made(offer, kept=False)
        body = orjson.loads(message.compose(replace(made, by="person"), "mitigate", self._incident, self._now))
        told_as = _json({"operation": "mitigate"} | body["incident"])
        shown = "".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in told_as)
        return f"\n\nwith --approve the serving side is sent (docs/mitigation.md):\n{shown}"

    def _made(self, offer: Offer, *, kept: bool) -> Mitigation:
        """The proposal that stands for it, as the check is now; a new one where there is none. Written if it is kept."""
        same = (offer.action, offer.target, offer.segment)
        dry_run = self._options.dry_run or self._settings.dry_run
        for one in self._before:
            live = one.state == "proposed" and (one.due_at is None or one.due_at > self._now)
            if live and (one.action, one.target, one.segment) == same:
                return replace(one, current=offer.current, verdict=offer.verdict, why=offer.why, dry_run=dry_run)
        if kept:
            return self._course.make(self._incident, offer, dry_run=dry_run)
        return self._course.proposal(self._incident, offer, dry_run=dry_run)

    def approved(self) -> str:
        """Let it be sent."""
        offer = self._offered()
        if not self._incident.is_open:
            raise SettingsProblem(
                f"incident {self._incident.incident_id} is resolved; there is nothing left to mitigate"
            )
        if offer.refused:
            raise SettingsProblem(f"{offer.title} is not offered: {offer.refused}")
        one = self._course.approve(self._made(offer, kept=True), self._incident, "person")
        said = f"{told.title(one)}: approved; the worker sends it" + (" as a dry run" if one.dry_run else "")
        if offer.verdict == "unknown":
            said += f", though {'; '.join(offer.why)}"
        return self._done(one, said if one.dry_run else said + self._then(one))

    def _then(self, one: Mitigation) -> str:
        within = told.lasts(self._course.patience_s(self._incident))
        if one.action in self._settings.reverts:
            return f", and takes it back unless the alerts recover within {within}"
        return f"; whether the alerts recover is looked at for {within}"

    def refused(self) -> str:
        """Let it be nothing."""
        mine = [
            one
            for one in self._before
            if self._options.action in {None, one.action} and one.state in {"proposed", "approved"}
        ]
        if not mine:
            raise SettingsProblem(f"nothing of incident {self._incident.incident_id} waits for an answer")
        for one in mine:
            if self._course.refuse(one) is None:
                raise SettingsProblem(
                    f"{told.title(one)} is on its way to the serving side, or there; nothing was refused"
                )
        return self._done(mine[-1], f"refused: {', '.join(told.title(one) for one in mine)}")

    def kept(self) -> str:
        """Let it stay in force, whether or not the alerts recover."""
        mine = [one for one in self._before if one.state == "sent" and one.is_running]
        if not mine:
            raise SettingsProblem(f"nothing of incident {self._incident.incident_id} is in force that could be kept")
        one = self._course.keep(mine[-1], "somebody keeps it")
        if self._incident.status == "mitigating":
            self._ledger.incidents.save(replace(self._incident, status="acknowledged"), self._incident, self._now)
        return self._done(one, f"{told.title(one)}: stays in force; nothing takes it back by itself")

    def _done(self, one: Mitigation, said: str) -> str:
        if self._options.as_json:
            present = self._ledger.mitigations.get(one.mitigation_id) or one
            incident = self._incident.incident_id
            return _json({"incident_id": incident, "done": said, "mitigation": told.to_json(present)})
        return f"{self._incident.incident_id}: {said}"


def _offer(offer: Offer) -> dict[str, Any]:
    return {
        "action": offer.action,
        "title": offer.title,
        "to_version": offer.target,
        "from_version": offer.current,
        "segment": offer.segment,
        "verdict": offer.verdict,
        "why": list(offer.why),
        "offered": not offer.refused,
        "refused": offer.refused or None,
    }


def _json(value: object) -> str:
    return orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()
