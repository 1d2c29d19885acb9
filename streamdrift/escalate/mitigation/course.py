"""How mitigations move on in the ledger: proposed with a page, approved, sent, verified by recovery, or taken back.

Everything here happens within a transaction of the caller's: that of a batch of alerts, of a round, of a delivery's outcome, or of a
command beside the worker. So a mitigation, its delivery, the incident's status and the timeline are never of different minds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from streamdrift.alerts import Alert
from streamdrift.escalate import page
from streamdrift.escalate.incident import Incident
from streamdrift.escalate.ledger import Ledger
from streamdrift.escalate.mitigation import message, told
from streamdrift.escalate.mitigation.offers import PER_INCIDENT_MAX, Offer, chosen, is_new, offers
from streamdrift.escalate.mitigation.proof import proof_s
from streamdrift.escalate.mitigation.serving import NAME
from streamdrift.escalate.mitigation.states import LIVE, RUNNING, Mitigation, State, mitigation_id, moved
from streamdrift.escalate.mitigation.versions import Known
from streamdrift.escalate.policy import Decision
from streamdrift.escalate.receivers import ACKNOWLEDGING
from streamdrift.settings import EscalateSettings
from streamdrift.settings.mitigation import EXPIRY_MAX_S

DUE_PER_ROUND_MAX = 100
OVER: tuple[State, ...] = ("failed", "reverted", "kept")
"""Ends of which somebody is told by a page."""


class Course:
    """Moves mitigations on; made anew for each transaction.

    Attributes
    ----------
    moved
        What became of which, to be counted and logged once it is recorded.
    untold
        Entries for which a timeline had no room.
    limits
        Bounds that were reached.
    """

    def __init__(self, ledger: Ledger, settings: EscalateSettings, now: float) -> None:
        self._ledger, self._all, self._settings, self._now = ledger, settings, settings.mitigation, now
        self.moved: list[Mitigation] = []
        self.untold = 0
        self.limits: list[str] = []
        self._known: dict[str, Known] = {}

    # Offers ----------------------------------------------------------------------------------------------------------

    def offers(
        self, incident: Incident, *, target: str | None = None, segment: dict[str, str] | None = None
    ) -> list[Offer]:
        """Return what can be offered for an incident now, and of the rest why not."""
        if self._settings.url is None:
            return []
        past = self._ledger.mitigations.past(incident.incident_id, incident.model)
        if incident.model not in self._known:
            self._known[incident.model] = self._ledger.mitigations.known(incident.model, self._ledger.changes)
        known = self._known[incident.model]
        return offers(incident, self._settings, known, past, self._now, target=target, segment=segment)

    def propose(self, incident: Incident) -> None:
        """Offer with a page what can be; where the settings approve, send the first of it."""
        found = self.offers(incident)
        past = self._ledger.mitigations.past(incident.incident_id, incident.model)
        sent = chosen(found, past, self._settings, self._now)
        self.limits += ["mitigations_per_incident_max"] if found and len(past.of_incident) >= PER_INCIDENT_MAX else []
        for offer in found:
            if is_new(offer, past):
                made = self.make(incident, offer)
                if offer is sent:
                    self.approve(made, incident, "settings")

    def make(self, incident: Incident, offer: Offer, *, dry_run: bool = False) -> Mitigation:
        """Propose one."""
        return self._note(self.proposal(incident, offer, dry_run=dry_run))

    def proposal(self, incident: Incident, offer: Offer, *, dry_run: bool = False) -> Mitigation:
        """Return what ``make`` would propose."""
        number = len(self._ledger.mitigations.of(incident.incident_id)) + 1
        return Mitigation(
            mitigation_id(incident.incident_id, number),
            incident.incident_id,
            number,
            incident.model,
            offer.action,
            "proposed",
            offer.target,
            offer.current,
            offer.segment,
            offer.verdict,
            offer.why,
            self._now,
            dry_run=dry_run or self._settings.dry_run,
            due_at=self._now + self._settings.expiry_s,
        )

    def of_page(self, incident_id: str) -> list[Mitigation]:
        """Return what a page tells of: what is offered, and what is under way."""
        if self._settings.url is None:
            return []
        mine = self._ledger.mitigations.of(incident_id)
        return [one for one in mine if one.is_running or (one.state == "proposed" and not self._is_due(one))]

    # By somebody -----------------------------------------------------------------------------------------------------

    def approve(self, mitigation: Mitigation, incident: Incident, by: str) -> Mitigation:
        """Let it be sent; what is sent is written now."""
        until = self._now + self._settings.expiry_s
        approved = moved(mitigation, "approved", due_at=until, by=by, approved_at=self._now)
        self._send(approved, "mitigate", incident)
        return self._note(approved)

    def refuse(self, mitigation: Mitigation) -> Mitigation | None:
        """Let it be nothing; None where it was sent, or may have been."""
        if mitigation.state == "approved" and not self._withdrawn(mitigation, "refused before it was sent"):
            return None
        return self._note(moved(mitigation, "refused"))

    def keep(self, mitigation: Mitigation, why: str) -> Mitigation:
        """Leave in force what was sent: somebody says so, and nothing takes it back by itself."""
        return self._note(moved(mitigation, "kept", said=why))

    def closed(self, incident: Incident) -> None:
        """Take in that somebody closed the incident by hand: what was sent stays, what was not is not."""
        for one in self._ledger.mitigations.of(incident.incident_id):
            if one.state == "sent" and one.is_running:
                self.keep(one, "the incident was resolved by hand")
            elif one.state in {"proposed", "approved"}:
                self._drop(one, "the incident is over")

    # By what alerts say ----------------------------------------------------------------------------------------------

    def took(self, decided: Iterable[tuple[Alert, Decision]]) -> None:
        """Take in what alerts did: an incident that ended by them has recovered. No other end says so."""
        ended = {
            d.incident.incident_id: d.incident for _, d in decided if d.action == "resolve" and d.incident is not None
        }
        for incident in ended.values():
            for one in self._ledger.mitigations.of(incident.incident_id):
                self._recovered(one)

    def _recovered(self, one: Mitigation) -> None:
        if one.state == "sent" and one.is_running:
            after = told.lasts(self._now - (one.sent_at or self._now))
            self._note(moved(one, "verified", said=f"{after} after it was sent"))
        elif one.state == "reverting" and self._withdrawn(one, "the alerts recovered before it was sent"):
            self._note(moved(one, "verified", said="just before it would have been taken back"))
        elif one.state in {"proposed", "approved"}:
            self._drop(one, "the alerts recovered before")

    def _drop(self, one: Mitigation, why: str) -> None:
        """Let go of what was not sent; of what may have been, say so."""
        maybe = one.state != "proposed" and self._ledger.outbox.withdraw(NAME, one.mitigation_id, why)
        if maybe and not one.dry_run:
            doubt = f"{why}, and no answer had come: look at the serving side whether it is in force"
            self._note(moved(one, "failed", said=doubt, sent_at=self._now, due_at=self._now))
        else:
            self._note(moved(one, "expired", said=why))

    # By the serving side ---------------------------------------------------------------------------------------------

    def answered(self, dedup_key: str, action: str, *, done: bool, uncertain: bool, reason: str) -> None:
        """Take in what became of a delivery: it was taken, or it is given up.

        Parameters
        ----------
        uncertain
            Whether an attempt of one that is given up may have been carried out.
        """
        one = self._ledger.mitigations.get(dedup_key)
        if one is None:
            return
        if action == "revert":
            if one.state == "reverting" or (one.state == "failed" and done):
                end: State = "reverted" if done else "failed"
                said = one.said if done else f"it could not be taken back ({reason}); look at the serving side"
                self._note(moved(one, end, said=said, due_at=self._now))
        elif one.state == "approved" and done:
            self._sent(one)
        elif one.state == "approved":
            self._given_up(one, reason, uncertain=uncertain)
        elif one.state == "failed" and done:  # the incident ended while it was under way
            self._note(moved(one, "kept", said="the serving side took it after it was let go of", due_at=self._now))

    def _sent(self, one: Mitigation) -> None:
        if one.dry_run:
            self._note(moved(one, "sent"))
            return
        incident = self._ledger.incidents.get(one.incident_id)
        until = self._now + self.patience_s(incident)
        self._note(moved(one, "sent", sent_at=self._now, due_at=until))
        if incident is not None and incident.status in {"open", "acknowledged"}:
            mitigating = replace(incident, status="mitigating")
            self._ledger.incidents.save(mitigating, incident, self._now)
            self.acknowledge(mitigating)

    def patience_s(self, incident: Incident | None) -> float:
        """Seconds in which an incident's alerts have to recover: no fewer than they need to show it."""
        proof = 0.0 if incident is None else proof_s(incident)
        return min(max(self._settings.verify_s, proof), EXPIRY_MAX_S)

    def acknowledge(self, incident: Incident) -> list[str]:
        """Tell receivers that know acknowledgements that somebody, or something, sees to an incident; return which."""
        return acknowledge(self._ledger, incident, self._now)

    def _given_up(self, one: Mitigation, reason: str, *, uncertain: bool) -> None:
        """What was never told is over; what may have been told is taken back, unless the settings leave such things."""
        if uncertain and not one.dry_run and one.action in self._settings.reverts:
            self._revert(replace(one, sent_at=self._now), f"nobody knows whether it was carried out ({reason})")
        elif uncertain and not one.dry_run:
            doubt = f"nobody knows whether it was carried out ({reason}); look at the serving side"
            self._note(moved(one, "failed", said=doubt, sent_at=self._now, due_at=self._now))
        else:
            self._note(moved(one, "failed", said=reason, due_at=self._now))

    # By time ---------------------------------------------------------------------------------------------------------

    def round(self, *, caught_up: bool) -> list[tuple[Mitigation, Incident]]:
        """Take in what time brings; return those that ended without help, of which somebody is to be told.

        Parameters
        ----------
        caught_up
            Whether every alert that there is was taken, or was waited for long enough: one that waits unread may be the recovery.
        """
        news: list[tuple[Mitigation, Incident]] = []
        for one in self._ledger.mitigations.due(self._now, DUE_PER_ROUND_MAX):
            incident = self._ledger.incidents.get(one.incident_id)
            if incident is None:
                continue
            match one.state:
                case "proposed":
                    self._note(moved(one, "expired", said="nobody approved it in time"))
                case "approved":
                    self._undelivered(one)
                case "sent":
                    self._unverified(one, caught_up=caught_up)
                case _:
                    self._ledger.mitigations.put(replace(one, due_at=None))
                    news += [(one, self._reopened(incident))] if one.state in OVER and incident.is_open else []
        return news

    def _undelivered(self, one: Mitigation) -> None:
        late = "it could not be delivered in time"
        if self._ledger.outbox.withdraw(NAME, one.mitigation_id, late):
            self._given_up(one, late, uncertain=True)
        else:
            self._note(moved(one, "expired", said=late))

    def _unverified(self, one: Mitigation, *, caught_up: bool) -> None:
        """Alerts that wait unread put it off."""
        if not caught_up:
            return
        why = f"the alerts did not recover within {told.lasts(self._now - (one.sent_at or self._now))}"
        if one.action in self._settings.reverts:
            self._revert(one, why)
        else:
            self._note(moved(one, "kept", said=why, due_at=self._now))

    def _revert(self, one: Mitigation, why: str) -> None:
        incident = self._ledger.incidents.get(one.incident_id)
        reverting = moved(one, "reverting", said=why)
        if incident is not None:
            self._send(reverting, "revert", incident)
        self._note(reverting)

    def _reopened(self, incident: Incident) -> Incident:
        """Nothing sees to it any more; somebody has to."""
        opened = replace(incident, status="open")
        self._ledger.incidents.save(opened, incident, self._now)
        return opened

    def switched_off(self) -> list[Mitigation]:
        """Take in that mitigation is no longer set up: nothing can be sent or taken back any more; return what was in force."""
        live = self._ledger.mitigations.all_in(sorted(LIVE)) if self._settings.url is None else []
        for one in live:
            if one.state in RUNNING and one.sent_at is not None:
                state: State = "failed" if one.state == "reverting" else "kept"
                self._note(moved(one, state, said="mitigation was switched off", due_at=self._now))
            elif one.state in {"proposed", "approved"}:
                self._drop(one, "mitigation was switched off")
        return [one for one in live if one.sent_at is not None]

    # Out -------------------------------------------------------------------------------------------------------------

    def _send(self, one: Mitigation, operation: message.Operation, incident: Incident) -> None:
        payload = message.compose(one, operation, incident, self._now)
        self._ledger.outbox.once(one.incident_id, NAME, operation, one.mitigation_id, payload, self._now)

    def _withdrawn(self, one: Mitigation, why: str) -> bool:
        """Whether what waits of it is let go of: it can be as long as nothing was attempted."""
        return self._ledger.outbox.withdraw(NAME, one.mitigation_id, why, untouched=True) is not None

    def _is_due(self, one: Mitigation) -> bool:
        return one.due_at is not None and one.due_at <= self._now

    def _note(self, one: Mitigation) -> Mitigation:
        self._ledger.mitigations.put(one)
        event = told.event(one)
        at = round(self._now * 1000)
        if self._ledger.timeline.add(one.incident_id, at, event.kind, event.text, event.detail) is None:
            self.untold += 1
        self.moved.append(one)
        return one


def acknowledge(ledger: Ledger, incident: Incident, now: float) -> list[str]:
    """Tell receivers that know acknowledgements, of those that were told of an incident; return which are told anew."""
    payload = page.compose(incident, round(now * 1000))
    return [
        receiver
        for receiver in ledger.outbox.receivers(incident.incident_id)
        if receiver in ACKNOWLEDGING and ledger.outbox.acknowledge(incident.incident_id, receiver, payload, now)
    ]


def lines(found: Sequence[Mitigation]) -> list[str]:
    """What a page says of what could be done, and is."""
    return [told.line(one) for one in found]
