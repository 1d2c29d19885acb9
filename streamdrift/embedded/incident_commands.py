"""`streamdrift incidents`: what the ledger has, and what a person does to it beside a running worker.

``list`` and ``show`` read; ``resolve`` and ``redrive`` change the ledger in one transaction, and the worker delivers what they
put into the outbox. ``ack`` is in ``acknowledge``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

import orjson

from streamdrift.embedded.acknowledge import incident_of
from streamdrift.embedded.incident_text import as_dead, as_detail, as_list
from streamdrift.errors import SettingsProblem
from streamdrift.escalate import events, page
from streamdrift.escalate.incident import Incident
from streamdrift.escalate.ledger import Ledger
from streamdrift.escalate.mitigation.course import Course
from streamdrift.escalate.outbox_rows import Dead, told_of
from streamdrift.escalate.policy import resolved_by_hand
from streamdrift.escalate.triage import headline
from streamdrift.settings import Settings

RESOLVED_SHOWN = 20
"""Incidents that are over, in a list without ``--all``."""
REASON_LENGTH_MAX = 1_000


@dataclass(frozen=True, slots=True)
class Incidents:
    """What is asked for, as it was typed.

    Attributes
    ----------
    action
        ``list``, ``show``, ``resolve`` or ``redrive``.
    everything
        List all that are kept; send again all that is dead.
    width
        Columns of the terminal; None where it is none.
    """

    action: str
    incident: str | None = None
    reason: str = ""
    receiver: str | None = None
    everything: bool = False
    as_json: bool = False
    width: int | None = None


def incidents(options: Incidents, settings: Settings, now: float) -> str:
    """Do what is asked for; return what is to be printed.

    Parameters
    ----------
    now
        Seconds since the epoch.

    Raises
    ------
    SettingsProblem
        There is no such incident, or nothing that could be done to it.
    InputProblem
        There is no ledger, or it can't be read or written.
    """
    with _opened(settings) as ledger:
        match options.action, options.incident:
            case "list", _:
                return _listed(ledger, options)
            case "show", str(given):
                return _shown(ledger, incident_of(ledger, given), options)
            case "resolve", str(given):
                return _resolved(ledger, given, options, settings, now)
            case _:
                return _redriven(ledger, options, now)


@contextmanager
def _opened(settings: Settings) -> Iterator[Ledger]:
    with closing(Ledger(settings.escalate.ledger, shared=True)) as ledger:
        yield ledger


def _listed(ledger: Ledger, options: Incidents) -> str:
    with ledger.transaction():  # all of it as it was at one moment
        found = ledger.incidents.latest(None if options.everything else RESOLVED_SHOWN)
        kept = ledger.incidents.count()
    if options.as_json:
        return _json([page.described(incident) | {"headline": headline(incident)} for incident in found])
    return as_list(found, kept, options.width)


def _shown(ledger: Ledger, incident: Incident, options: Incidents) -> str:
    with ledger.transaction():
        incident = ledger.incidents.get(incident.incident_id) or incident
        entries = ledger.timeline.entries(incident.incident_id)
        deliveries = ledger.outbox.rows(incident.incident_id)
    if not options.as_json:
        return as_detail(incident, entries, deliveries, options.width)
    return _json(
        page.described(incident)
        | {
            "headline": headline(incident),
            "timeline": [
                {"id": e.entry_id, "at": e.at, "kind": e.kind, "text": e.text, "detail": e.detail} for e in entries
            ],
            "held": [
                orjson.loads(alert.to_cloudevent())["data"] | {"over": incident.is_over(alert)}
                for alert in incident.alerts
            ],
            "deliveries": deliveries,
        }
    )


def _resolved(ledger: Ledger, given: str, options: Incidents, settings: Settings, now: float) -> str:
    reason = options.reason.strip()
    if not reason:
        raise SettingsProblem("--reason is empty; say why it is over, for those who read the timeline")
    at = round(now * 1000)
    with ledger.transaction():
        incident = incident_of(ledger, given)
        if not incident.is_open:
            raise SettingsProblem(f"incident {incident.incident_id} is resolved already")
        left = len(incident.firing) + len(incident.beyond)
        Course(ledger, settings.escalate, now).closed(incident)
        over = resolved_by_hand(incident, at)
        ledger.incidents.save(over, incident, now)
        payload = page.compose(over, at)
        told = [name for name in ledger.outbox.receivers(over.incident_id) if over.pages]
        for receiver in told:
            ledger.outbox.resolve(over, receiver, payload, now)
        event = events.resolved_by_hand(reason[:REASON_LENGTH_MAX], left)
        ledger.timeline.add(over.incident_id, at, event.kind, event.text, event.detail)
        ledger.learn(over)
    done = f"resolved, with {left:,} of its alerts still firing" if left else "resolved"
    done += f"; the worker tells {', '.join(told)}" if told else "; nobody had been paged"
    return _done(over, done, options)


def _redriven(ledger: Ledger, options: Incidents, now: float) -> str:
    given = None if options.incident is None else incident_of(ledger, options.incident).incident_id
    with ledger.transaction():
        dead = ledger.outbox.dead(given, options.receiver)
        chosen = [one for one in dead if one.kept_back is None] if given or options.everything else []
        for one in chosen:
            ledger.outbox.redrive(one, now)
            what = "postmortem" if one.is_postmortem else one.action
            event = events.redriven(one.receiver, what, one.dedup_key)
            ledger.timeline.add(told_of(one.incident_id), round(now * 1000), event.kind, event.text, event.detail)
    if options.as_json:
        return _json([_dead_json(one, sent=one in chosen) for one in dead])
    return as_dead(dead, chosen, options.width)


def _dead_json(one: Dead, *, sent: bool) -> dict[str, Any]:
    return {
        "incident_id": told_of(one.incident_id),
        "receiver": one.receiver,
        "action": one.action,
        "dedup_key": one.dedup_key,
        "attempts": one.attempts,
        "outcome": one.outcome,
        "headline": one.headline,
        "kept_back": one.kept_back,
        "sent_again": sent,
    }


def _done(incident: Incident, said: str, options: Incidents) -> str:
    if options.as_json:
        return _json({"incident_id": incident.incident_id, "status": incident.status, "done": said})
    return f"{incident.incident_id}: {said}"


def _json(value: object) -> str:
    return orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()
