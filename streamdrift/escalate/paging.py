"""What becomes of a page that the policy decided on: withheld, told to those whom its route names, or gathered.

One object works within one transaction of the ledger: ``call``, ``over`` and ``changed`` for a batch of alerts, ``round`` for what
time brings (steps, ends of silences, summaries), then ``finish``, which tells the most severe first, as far as the rate limit goes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from streamdrift.escalate import page, storm
from streamdrift.escalate.above import above
from streamdrift.escalate.escalations import Due
from streamdrift.escalate.events import Event
from streamdrift.escalate.gathered import Held
from streamdrift.escalate.hush import Hush
from streamdrift.escalate.incident import Incident
from streamdrift.escalate.ledger import Ledger
from streamdrift.escalate.mitigation import told as mitigation_told
from streamdrift.escalate.mitigation.course import Course
from streamdrift.escalate.mitigation.states import Mitigation
from streamdrift.escalate.routing.document import Routes
from streamdrift.escalate.routing.labels import of_incident
from streamdrift.escalate.routing.tree import Leg, legs
from streamdrift.escalate.suspects import Upstream, kinds
from streamdrift.escalate.triage import headline
from streamdrift.escalate.withheld import CHECK_S
from streamdrift.escalate.words import duration
from streamdrift.settings import EscalateSettings, SourceSettings

MINUTE_S = 60.0
STEPS_PER_ROUND_MAX, CHECKS_PER_ROUND_MAX = 200, 200
LIMIT = "pages_per_minute_max"


@dataclass(frozen=True, slots=True)
class Desk:
    """What pages go by: the receivers that are set up, the routes, the settings."""

    receivers: tuple[str, ...]
    routes: Routes
    settings: EscalateSettings
    changes: bool = False
    """Whether upstream changes are known, for suspects."""
    sources: Mapping[str, SourceSettings] = field(default_factory=dict)
    """What features come from."""


@dataclass(frozen=True, slots=True)
class Call:
    """One receiver to be told of one incident.

    Attributes
    ----------
    on_call
        Names of the lists whose people are called.
    preface
        What the headline begins with.
    """

    incident: Incident
    receiver: str
    dedup_key: str
    at: int
    on_call: tuple[str, ...]
    preface: str = ""


@dataclass(slots=True)
class Paged:
    """What came of it, to be counted and logged once it is recorded.

    Attributes
    ----------
    said
        What happened, with the fields of its log line.
    full
        Receivers whose outbox had no room, once for each page.
    limited
        Pages over the rate limit.
    untold
        Entries for which a timeline had no room.
    """

    said: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    full: list[str] = field(default_factory=list)
    limited: int = 0
    untold: int = 0


class Paging:
    """Decides who is told, now, within the ledger's transaction."""

    def __init__(self, ledger: Ledger, desk: Desk, now: float) -> None:
        self._ledger, self._desk, self._now = ledger, desk, now
        self._hush = Hush(ledger, desk.routes, desk.settings, now)
        self._called: dict[str, tuple[Incident, int, Sequence[Event]]] = {}
        self._changed: list[Incident] = []
        self._calls: list[Call] = []
        self._beside: dict[str, tuple[Incident, Mapping[str, Any]]] = {}
        self.paged = Paged()
        self.course = Course(ledger, desk.settings, now)

    # Alerts ----------------------------------------------------------------------------------------------------------

    def call(self, incident: Incident, at: int, told: Sequence[Event]) -> None:
        """Take in an incident's latest page.

        Parameters
        ----------
        at
            Event time of the alert that caused it.
        told
            What it adds to the timeline, unless it is withheld.
        """
        self._called[incident.incident_id] = (incident, at, told)

    def over(self, incident: Incident, payload: bytes) -> None:
        """Take in an incident's end, as ``page.compose`` told it, to all who were told of it, however they are routed now."""
        self._called.pop(incident.incident_id, None)
        self._forget(incident.incident_id)
        for receiver in self._desk.receivers:
            self._ledger.outbox.resolve(incident, receiver, payload, self._now)

    def changed(self, incident: Incident) -> None:
        """Note an incident as it is after the batch: it may have gone beyond what silenced it."""
        if incident.incident_id in self._called:
            self._called[incident.incident_id] = (incident, *self._called[incident.incident_id][1:])
        elif incident.is_open:
            self._changed.append(incident)

    # Time ------------------------------------------------------------------------------------------------------------

    def is_due(self) -> bool:
        """Whether ``round`` has anything to do; asked without a transaction."""
        return self._ledger.brings(self._now, self._desk.settings.storm_summary_s)

    def round(self, *, caught_up: bool = False) -> None:
        """Take in what has become due; ``caught_up`` is as ``Course.round`` has it."""
        for incident_id, at, why in self._ledger.withheld.due(self._now, CHECKS_PER_ROUND_MAX):
            self._look_again(self._ledger.incidents.get(incident_id), incident_id, at, why)
        for step in self._ledger.escalations.due(self._now, STEPS_PER_ROUND_MAX):
            self._step(step)
        for receiver, since in self._ledger.gathered.since().items():
            if self._waited(since, self._desk.settings.storm_summary_s):
                self._sum_up(receiver)
        for receiver, made_id in self._ledger.gathered.over():
            self._end_summary(receiver, made_id)
        for mitigation, incident in self.course.round(caught_up=caught_up):
            self._no_help(mitigation, incident)

    def _no_help(self, mitigation: Mitigation, incident: Incident) -> None:
        """Call for an incident that is open again, as what was done about it ended without help, under a key of its own."""
        said = mitigation_told.news(mitigation)
        if why := self._hush.why(incident):
            self._note(
                incident, Event("silenced", f"a page is withheld ({said.removesuffix(': ')}): {why}", {"why": why})
            )
            return
        at, key = round(self._now * 1000), f"{incident.incident_id}.m{mitigation.number}.{mitigation.state}"
        self._note(incident, Event("paged", f"paged: {said}{headline(incident)}", {"dedup_key": key}))
        self._call(incident, at, key, said)

    def _waited(self, since: float, patience_s: float) -> bool:
        return not since <= self._now < since + patience_s  # a clock that was set back has waited, too

    def _look_again(self, incident: Incident | None, incident_id: str, at: int, why: str) -> None:
        """Tell what was withheld, once, if it is open, nobody knows of it, and nothing withholds it any more."""
        if incident is None or not incident.is_open or self._is_known(incident):
            self._ledger.withheld.drop(incident_id)
        elif still := self._hush.why(incident):
            self._ledger.withheld.put(incident_id, at, still, self._now)
        else:
            told = Event(
                "paged", f"paged, as nothing withholds it any more ({why}): {headline(incident)}", {"why": why}
            )
            self._called[incident_id] = (incident, at, (told,))

    def _step(self, step: Due) -> None:
        incident = self._ledger.incidents.get(step.incident_id)
        if incident is None or not incident.is_open or self._is_known(incident):
            self._ledger.escalations.drop(step.incident_id)
            return
        if self._hush.why(incident):
            self._ledger.escalations.postpone(step, self._now + CHECK_S)
            return
        self._ledger.escalations.done(step)
        key = f"{incident.dedup_keys[-1]}.s{step.number}"
        after = duration(step.after_s)
        told = ", ".join(step.receivers)
        said = f"not acknowledged after {after}: step {step.number}, {told}"
        self._note(incident, Event("paged", said, {"step": step.number, "receivers": list(step.receivers)}))
        self._say("escalated", incident, step=step.number, receivers=told, after_s=step.after_s)
        self._calls += [
            Call(incident, receiver, key, step.at, step.on_call, f"not acknowledged after {after}: ")
            for receiver in step.receivers
            if receiver in self._desk.receivers
        ]

    def _is_known(self, incident: Incident) -> bool:
        """Whether somebody has said that they know of it."""
        return incident.status in {"acknowledged", "mitigating"}

    # Out -------------------------------------------------------------------------------------------------------------

    def finish(self) -> None:
        """Put into the outbox what is to be told."""
        for incident in self._changed:
            held = self._ledger.withheld.get(incident.incident_id)
            if held is not None:
                self._look_again(incident, incident.incident_id, *held)
        for incident, at, told in self._called.values():
            self._page(incident, at, told)
        for receiver in self._desk.receivers:
            self._tell([call for call in self._calls if call.receiver == receiver], receiver)

    def _page(self, incident: Incident, at: int, told: Sequence[Event]) -> None:
        why = self._hush.why(incident)
        if why:
            self._ledger.withheld.put(incident.incident_id, at, why, self._now)
            self._ledger.escalations.drop(incident.incident_id)
            self._ledger.gathered.drop(incident.incident_id)
            self._note(incident, Event("silenced", f"page {incident.pages} is withheld: {why}", {"why": why}), at)
            self._say("page withheld", incident, why=why)
            return
        self._forget(incident.incident_id)
        for event in told:
            self._note(incident, event, at)
        self.course.propose(incident)
        self._call(incident, at, incident.dedup_keys[-1])

    def _call(self, incident: Incident, at: int, key: str, preface: str = "") -> None:
        """Let the receivers be told that its routes name, and plan their steps."""
        taken = legs(self._desk.routes.route, self._labels(incident), self._desk.receivers)
        self._plan(incident, at, taken)
        who: dict[str, dict[str, None]] = {}
        for leg in taken:
            for receiver in leg.receivers:
                who.setdefault(receiver, {}).update({leg.on_call: None} if leg.on_call else {})
        if not who:
            self._say("page to nobody, as its route says", incident, routes=[leg.route for leg in taken])
        self._calls += [Call(incident, receiver, key, at, tuple(lists), preface) for receiver, lists in who.items()]

    def _plan(self, incident: Incident, at: int, taken: Iterable[Leg]) -> None:
        steps = sorted((step for leg in taken for step in leg.steps), key=lambda step: step.after_s)
        due = [
            Due(
                incident.incident_id,
                number,
                step.after_s,
                self._now + step.after_s,
                at,
                step.receivers or (),
                (step.on_call,) if step.on_call else (),
            )
            for number, step in enumerate(steps, 1)
        ]
        self._ledger.escalations.plan(incident.incident_id, due)

    def _labels(self, incident: Incident) -> Any:
        return of_incident(incident, self._desk.routes.team(incident.model))

    def _forget(self, incident_id: str) -> None:
        self._ledger.withheld.drop(incident_id)
        self._ledger.escalations.drop(incident_id)
        self._ledger.gathered.drop(incident_id)

    # The rate limit --------------------------------------------------------------------------------------------------

    def _tell(self, calls: list[Call], receiver: str) -> None:
        """Tell the most severe first; what is over the limit is gathered, and once some is, all but the critical."""
        if not calls:
            return
        room, storm_room = self._room(receiver)
        gathering = bool(self._ledger.gathered.since().get(receiver))
        for call in sorted(calls, key=lambda call: storm.by_severity(call.incident)[:2]):  # else as they came
            critical = call.incident.severity == "critical"
            if receiver in self._desk.settings.pages_unlimited or (
                room > 0 and (critical or (storm_room > 0 and not gathering))
            ):
                room, storm_room = room - 1, storm_room - 1
                self._put(call)
            else:
                gathering = True
                self._gather(call)

    def _room(self, receiver: str) -> tuple[int, int]:
        """How many critical pages there is room for, and how many others."""
        most = self._desk.settings.pages_per_minute_max
        told = self._ledger.outbox.lately(receiver, self._now - MINUTE_S, self._now)
        return most - told, (most + 1) // 2 - told

    def _put(self, call: Call) -> None:
        payload = page.compose(
            call.incident,
            call.at,
            preface=call.preface,
            on_call=self._people(call.on_call),
            **self._known_of(call.incident),
        )
        if not self._ledger.outbox.put(call.incident.incident_id, call.dedup_key, call.receiver, payload, self._now):
            self.paged.full.append(call.receiver)

    def _known_of(self, incident: Incident) -> Mapping[str, Any]:
        """What every page of an incident says beside its alerts, looked up once for all receivers."""
        found = self._beside.get(incident.incident_id)
        if found is None or found[0] is not incident:
            upstream = self._above(incident)
            found = self._beside[incident.incident_id] = (
                incident,
                {
                    "others": self._ledger.incidents.going(incident.model) - 1,
                    "upstream": upstream,
                    "mitigations": self.course.of_page(incident.incident_id),
                    "like": next(iter(self._ledger.past.like(incident, kinds(upstream))), None),
                    "budgets": self._ledger.objectives.states(incident.model),
                },
            )
        return found[1]

    def _above(self, incident: Incident) -> Upstream | None:
        """What is known of changes before an incident; None where they aren't read."""
        if not self._desk.changes:
            return None
        return above(self._ledger, incident, self._ledger.incidents.alarmed(), self._desk.sources, self._now)

    def _gather(self, call: Call) -> None:
        self.paged.limited += 1
        held = Held(
            call.receiver, call.incident.incident_id, call.dedup_key, call.at, self._now, call.preface, call.on_call
        )
        self._ledger.gathered.put(held)

    def _people(self, lists: Iterable[str]) -> list[dict[str, str]]:
        found = [self._desk.routes.called(name, self._now) for name in lists]
        return [called for called in found if called]

    def _sum_up(self, receiver: str) -> None:
        """Tell what was gathered: one by one where that is possible by now, else as one page."""
        pages: list[tuple[Held, Incident]] = []
        for held in self._ledger.gathered.waiting(receiver):
            incident = self._ledger.incidents.get(held.incident_id)
            if incident is None or not incident.is_open or self._is_known(incident):
                self._ledger.gathered.drop(held.incident_id, receiver)
            else:
                pages.append((held, incident))
        if len(pages) <= self._room(receiver)[1]:
            for held, incident in pages:
                self._ledger.gathered.drop(held.incident_id, receiver)
                self._put(Call(incident, receiver, held.dedup_key, held.at, held.on_call, held.preface))
            return
        incidents = [incident for _, incident in pages]
        made_id = storm.summary_id(receiver, incidents, self._now)
        called = self._people(dict.fromkeys(name for held, _ in pages for name in held.on_call))
        payload = storm.compose(made_id, incidents, called)
        self._ledger.gathered.summed_up(receiver, made_id)
        if not self._ledger.outbox.put(made_id, made_id, receiver, payload, self._now):
            self.paged.full.append(receiver)
        for incident in incidents:
            told = f"told to {receiver} in a summary of {len(incidents):,} incidents"
            self._note(incident, Event("paged", told, {"receiver": receiver, "summary": made_id}))
        self.paged.said.append(
            ("incidents told in one page", {"receiver": receiver, "summary": made_id, "incidents": len(incidents)})
        )

    def _end_summary(self, receiver: str, made_id: str) -> None:
        ids = self._ledger.gathered.of(receiver, made_id)
        incidents = [found for found in map(self._ledger.incidents.get, ids) if found is not None]
        if incidents:
            payload = storm.compose(made_id, incidents, ())
            self._ledger.outbox.end(made_id, receiver, payload, self._now)
        self._ledger.gathered.done(receiver, made_id)

    # Telling ---------------------------------------------------------------------------------------------------------

    def _note(self, incident: Incident, event: Event, at: int | None = None) -> None:
        """Add to the timeline, at an event time or now."""
        when = round(self._now * 1000) if at is None else at
        if self._ledger.timeline.add(incident.incident_id, when, event.kind, event.text, event.detail) is None:
            self.paged.untold += 1

    def _say(self, event: str, incident: Incident, **fields: Any) -> None:
        self.paged.said.append((event, {"incident": incident.incident_id, "model": incident.model, **fields}))
