"""`streamdrift incidents postmortem`, `… actions` and `… search`: what is learnt of incidents, beside a running worker.

What is written (a confirmed cause, proposals, a post-mortem to be published) is written in one transaction, and the worker tells
it: a command that is killed has done all or nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import orjson

from streamdrift.embedded import learning_text
from streamdrift.embedded.acknowledge import incident_of
from streamdrift.errors import SettingsProblem
from streamdrift.escalate import learnt
from streamdrift.escalate.actions import LIVE
from streamdrift.escalate.events import Event
from streamdrift.escalate.incident import Incident
from streamdrift.escalate.ledger import Ledger
from streamdrift.escalate.outbox_rows import POSTMORTEM
from streamdrift.escalate.past import terms_of, words
from streamdrift.escalate.postmortem.action import Action, State
from streamdrift.escalate.postmortem.checks import proposed
from streamdrift.escalate.postmortem.draft import Draft, draft
from streamdrift.escalate.postmortem.likeness import Likeness
from streamdrift.escalate.postmortem.publishing import DOCUMENT_RECEIVERS, payload
from streamdrift.escalate.postmortem.record import Cause, Record
from streamdrift.escalate.receivers.formats import to_markdown
from streamdrift.escalate.receivers.reference import read_text
from streamdrift.escalate.triage import headline
from streamdrift.escalate.words import named
from streamdrift.settings import EscalateSettings, Settings

CAUSE_LENGTH_MAX, REASON_LENGTH_MAX = 1_000, 500
FOUND_MAX, OPEN_MAX, ACTIONS_MAX = 20, 1_000, 200
MOVES: dict[str, State] = {"accept": "accepted", "done": "done", "drop": "dropped"}
EARLIER = {
    None: "handed to the worker",
    "pending": "waits for the worker already",
    "dead": "handed to the worker again: it had been given up",
}


@dataclass(frozen=True, slots=True)
class Learning:
    """What is asked for, as it was typed.

    Attributes
    ----------
    action
        ``postmortem``, ``search``; of corrective actions ``list``, ``accept``, ``done`` or ``drop``.
    corrective
        A corrective action's id, or the beginning of it.
    width
        Columns of the terminal; None where it is none.
    """

    action: str
    incident: str | None = None
    cause: str | None = None
    publish: bool = False
    to: tuple[str, ...] = ()
    text: str = ""
    like: str | None = None
    corrective: str | None = None
    reason: str = ""
    everything: bool = False
    markdown: bool = False
    as_json: bool = False
    width: int | None = None


def learning(options: Learning, settings: Settings, now: float) -> tuple[str, int]:
    """Do what is asked for; return what is to be printed, and the exit code.

    Parameters
    ----------
    now
        Seconds since the epoch.

    Raises
    ------
    SettingsProblem
        There is no such incident, change, receiver or action, or nothing that could be done to it.
    InputProblem
        There is no ledger, or it can't be read or written.
    """
    with closing(Ledger(settings.escalate.ledger, shared=True)) as ledger:
        match options.action:
            case "postmortem":
                return _postmortem(ledger, options, settings.escalate, now), 0
            case "search":
                return _search(ledger, options), 0
            case "list":
                return _listed(ledger, options), 0
            case _:
                return _moved(ledger, options, settings.escalate, now), 0


# Post-mortems --------------------------------------------------------------------------------------------------------


def _postmortem(ledger: Ledger, options: Learning, settings: EscalateSettings, now: float) -> str:
    receivers = _receivers(options, settings)
    at = round(now * 1000)
    with ledger.transaction():
        incident = incident_of(ledger, options.incident or "")
        if receivers and incident.is_open:
            raise SettingsProblem(
                f"incident {incident.incident_id} is {incident.status}; a post-mortem is published once, so publish it when it is over"
            )
        cause = None if options.cause is None else _confirmed(ledger, incident, options.cause, at)
        made = drafted(ledger, incident, now)
        told = {name: _published(ledger, made, name, now) for name in receivers}
        if told:
            _enter(ledger, incident.incident_id, learnt.asked_for(list(told)), at)
    if options.as_json:
        return _json(made.to_json() | {"actions": _actions_json(ledger, incident), "published": told})
    if told or cause is not None:
        said = [] if cause is None else [learnt.confirmed(cause).text]
        lines = [*said, *(f"post-mortem to {name}: {done}" for name, done in told.items())]
        return "\n".join(f"{incident.incident_id}: {line}" for line in lines)
    document = made.document()
    return to_markdown(document).rstrip() if options.markdown else learning_text.as_text(document, options.width)


def drafted(ledger: Ledger, incident: Incident, now: float) -> Draft:
    """Draft a post-mortem of what the ledger has, within its transaction; its proposals are noted there."""
    ledger.actions.propose(proposed(incident), now)
    return draft(
        Record(
            incident,
            tuple(ledger.timeline.entries(incident.incident_id)),
            round(now * 1000),
            ledger.causes.get(incident.incident_id),
            tuple(ledger.actions.of(incident.incident_id)),
        )
    )


def _confirmed(ledger: Ledger, incident: Incident, given: str, at: int) -> Cause:
    text = " ".join(given.split())[:CAUSE_LENGTH_MAX]
    if not text:
        raise SettingsProblem("--cause is empty; give the id of a change, or a sentence that says what it was")
    known = _changes(ledger, incident)
    if text not in known and " " not in text:
        some = ", ".join(named(name, 64) for name in list(known)[:5]) or "none"
        raise SettingsProblem(
            f"--cause {named(text, 64)} is no change that is known here (suspects: {some}); give one's id, or a sentence"
        )
    change_id = text if text in known else None
    kind, said = known.get(text, (None, text))
    cause = Cause(incident.incident_id, at, said, change_id, kind)
    entry = _enter(ledger, incident.incident_id, learnt.confirmed(cause), at)
    noted = Cause(incident.incident_id, at, said, change_id, kind, entry)
    ledger.causes.put(noted)
    ledger.learn(incident)
    return noted


def _changes(ledger: Ledger, incident: Incident) -> dict[str, tuple[str | None, str]]:
    """Kind and summary of the changes that may be confirmed: the suspects, then what else is known of that time."""
    found: dict[str, tuple[str | None, str]] = {}
    for entry in ledger.timeline.entries(incident.incident_id):
        if entry.kind == "suspect" and entry.detail.get("change_id"):
            detail = entry.detail
            found[str(detail["change_id"])] = (str(detail.get("kind", "")), str(detail.get("summary", "")))
    for change in ledger.changes.before(incident.onset_at):
        found.setdefault(change.change_id, (change.kind, change.summary))
    return found


def _receivers(options: Learning, settings: EscalateSettings) -> list[str]:
    """Where it is to be published."""
    if not options.publish:
        if options.to:
            raise SettingsProblem("--to says where --publish goes; add --publish")
        return []
    places = (settings.confluence.url, settings.markdown.folder, settings.jira.url)
    there = [name for name, place in zip(DOCUMENT_RECEIVERS, places, strict=True) if place is not None]
    if not there:
        raise SettingsProblem(
            "no receiver that keeps documents is set up; set escalate.confluence, escalate.markdown or escalate.jira, or use --markdown"
        )
    for name in options.to:
        if name not in there:
            raise SettingsProblem(
                f"--to {named(name, 40)} is not set up for documents; {', '.join(there)} can be named"
            )
    return list(dict.fromkeys(options.to)) or there


def _published(ledger: Ledger, made: Draft, receiver: str, now: float) -> str:
    ticket = read_text(ledger.outbox.reference(receiver, made.incident_id)).name if receiver == "jira" else None
    earlier = ledger.outbox.publish(made.incident_id, receiver, payload(made, ticket), now)
    if earlier in EARLIER:
        return EARLIER[earlier]
    name = ledger.outbox.reference(receiver, made.incident_id + POSTMORTEM)
    return f"told before{f', as {named(name, 100)}' if name else ''}; it belongs to those who edit it"


def _enter(ledger: Ledger, incident_id: str, event: Event, at: int) -> int | None:
    entry = ledger.timeline.add(incident_id, at, event.kind, event.text, event.detail)
    return None if entry is None else entry.seq


# Corrective actions --------------------------------------------------------------------------------------------------


def _listed(ledger: Ledger, options: Learning) -> str:
    with ledger.transaction():
        if options.incident is not None:
            found = ledger.actions.of(incident_of(ledger, options.incident).incident_id)
        else:
            states = (*LIVE, "done", "dropped") if options.everything else LIVE
            found = ledger.actions.in_states(states, ACTIONS_MAX)
    if options.as_json:
        return _json([action.to_json() for action in found])
    return learning_text.as_actions(found, options.width)


def _moved(ledger: Ledger, options: Learning, settings: EscalateSettings, now: float) -> str:
    state, reason = MOVES[options.action], " ".join(options.reason.split())[:REASON_LENGTH_MAX]
    if state == "dropped" and not reason:
        raise SettingsProblem("--reason is empty; say why it won't be done, for those who meet the next one")
    with ledger.transaction():
        action = _action_of(ledger, options.corrective or "")
        if action.state == state:
            raise SettingsProblem(f"corrective action {action.action_id} is {state} already")
        moved = ledger.actions.move(action, state, now, reason)
        if ledger.incidents.get(moved.incident_id) is not None:
            _enter(ledger, moved.incident_id, learnt.moved(moved), round(now * 1000))
    if options.as_json:
        return _json(moved.to_json())
    ticket = moved.ticket is None and state == "accepted" and settings.jira.url is not None
    return f"{moved.action_id}: {state}{'; the worker makes its ticket' if ticket else ''} ({named(moved.title, 200)})"


def _action_of(ledger: Ledger, given: str) -> Action:
    found = ledger.actions.beginning_with(given.strip()) if given.strip() else []
    if len(found) == 1:
        return found[0]
    if found:
        raise SettingsProblem(
            f"{len(found)} or more corrective actions begin with {named(given, 40)}; give the whole id"
        )
    raise SettingsProblem(
        f"no corrective action {named(given, 40)}; `streamdrift incidents actions list` has them, and `postmortem` proposes them"
    )


def _actions_json(ledger: Ledger, incident: Incident) -> list[dict[str, Any]]:
    return [action.to_json() for action in ledger.actions.of(incident.incident_id)]


# Past incidents ------------------------------------------------------------------------------------------------------


def _search(ledger: Ledger, options: Learning) -> str:
    if (options.like is None) == (not options.text.strip()):
        raise SettingsProblem("search for words, or with --like INCIDENT for those that it is like: one of the two")
    with ledger.transaction():
        if options.like is not None:
            likest = ledger.past.like(incident_of(ledger, options.like), limit=FOUND_MAX)
            return _json([_like_json(one) for one in likest]) if options.as_json else _likest(likest, options)
        going = _going(ledger, options.text)
        over = ledger.past.search(options.text, FOUND_MAX)
    if options.as_json:
        return _json([_going_json(one) for one in going] + [one.to_json() | {"status": "resolved"} for one in over])
    return learning_text.as_found(going, over, options.width)


def _likest(likest: Sequence[Likeness], options: Learning) -> str:
    return learning_text.as_likest(likest, options.width)


def _like_json(one: Likeness) -> dict[str, Any]:
    return one.to_json() | {"past": one.past.to_json()}


def _going(ledger: Ledger, text: str) -> list[Incident]:
    """Incidents that go on, in which each word is."""
    found: list[Incident] = []
    for incident in ledger.incidents.all_opened(OPEN_MAX):
        told = [headline(incident), incident.incident_id, incident.model, incident.severity]
        for alert in incident.alerts:
            told += [alert.reason, alert.feature, *(f"{name}={value}" for name, value in alert.segment.items())]
        said = words(told)
        if all(term in said for term in terms_of(text)):
            found.append(incident)
    return found[:FOUND_MAX]


def _going_json(incident: Incident) -> dict[str, Any]:
    return {
        "incident_id": incident.incident_id,
        "model": incident.model,
        "severity": incident.severity,
        "onset_at": incident.onset_at,
        "headline": headline(incident),
        "status": incident.status,
    }


def _json(value: object) -> str:
    return orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()
