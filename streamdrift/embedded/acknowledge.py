"""`streamdrift acknowledge`: notes in the ledger that an incident is known, and that its data are the new normal.

The ledger may be in use by a running worker. What is noted comes first, the order with it, in one transaction; then the
order is written. A run that was cut off between the two is made good by giving the command again: the order is the one
in the ledger, with the same ``change_id``, and twice is as once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

import orjson

from streamdrift.alerts import rfc3339
from streamdrift.embedded.outputs import STDIO
from streamdrift.embedded.rebaseline import change, moment, write
from streamdrift.errors import SettingsProblem
from streamdrift.escalate.acknowledgements import Acknowledgement
from streamdrift.escalate.events import acknowledged
from streamdrift.escalate.incident import Incident
from streamdrift.escalate.ledger import Ledger
from streamdrift.escalate.mitigation.course import acknowledge as acknowledge_at
from streamdrift.settings import Settings

FEATURES_MAX = 1_000
"""Features that an order names; with more of them it is for all of the model."""


@dataclass(frozen=True, slots=True)
class Acknowledge:
    """What is asked for, as it was typed."""

    incident: str
    new_normal: bool = False
    at: str | None = None
    changes: str | None = None
    as_json: bool = False

    def check(self) -> None:
        """Refuse what can't be meant."""
        if not self.new_normal and (self.at is not None or self.changes is not None):
            raise SettingsProblem("--at and --changes say where the order of --new-normal goes; add --new-normal")


def acknowledge(options: Acknowledge, settings: Settings, now: float, publish: Callable[[bytes, bytes], str]) -> str:
    """Acknowledge an incident; return a line that says what was done.

    Parameters
    ----------
    now
        Seconds since the epoch.
    publish
        Puts value and key on the changes topic, and says where that is.

    Raises
    ------
    SettingsProblem
        An argument is wrong, or there is no such incident.
    InputProblem
        There is no ledger, or it or the file of ``--changes`` can't be written.
    BrokerProblem
        The broker can't be reached, or refuses; the incident is acknowledged, and the order waits for the next try.
    """
    options.check()
    at = round(now * 1000) if options.at is None else moment(options.at)
    with closing(Ledger(settings.escalate.ledger, shared=True)) as ledger:
        with ledger.transaction():
            incident = incident_of(ledger, options.incident)
            found = _noted(ledger, incident, now, at if options.new_normal else None)
            told = acknowledge_at(ledger, incident, now) if incident.is_open else []
        if found.order is None or not options.new_normal:
            return _said(options, incident, told, "acknowledged; it pages again if it grows, and when it is over")
        done = write(found.order, incident.model, options.changes, publish)
        ledger.acknowledgements.published(incident.incident_id)
    if options.changes == STDIO:
        return done
    order = orjson.loads(found.order)
    said = f"acknowledged as the new normal; {order['summary']} from {order['occurred_at']} on; {done}"
    return _said(options, incident, told, said, order)


def _said(
    options: Acknowledge,
    incident: Incident,
    told: Sequence[str],
    said: str,
    order: dict[str, Any] | None = None,
) -> str:
    if not options.as_json:
        return f"{incident.incident_id}: {said}" + (f"; the worker tells {', '.join(told)}" if told else "")
    status = "acknowledged" if incident.status == "open" else incident.status
    found = {"incident_id": incident.incident_id, "status": status, "done": said, "told": list(told)}
    return orjson.dumps(found | ({"order": order} if order else {}), option=orjson.OPT_INDENT_2).decode()


def incident_of(ledger: Ledger, given: str) -> Incident:
    """Return the incident of this id, or the only one whose id begins with it.

    Raises
    ------
    SettingsProblem
        There is none, or more than one.
    """
    ids = ledger.incidents.beginning_with(given.strip()) if given.strip() else []
    incident = ledger.incidents.get(ids[0]) if len(ids) == 1 else None
    if incident is not None:
        return incident
    if ids:
        raise SettingsProblem(f"{len(ids)} or more incidents begin with {given}; give the whole id")
    opened = ledger.incidents.latest_open()
    hint = f"the latest that is open is {opened}" if opened else "none is open"
    raise SettingsProblem(f"no incident {given} in the ledger; {hint}")


def _noted(ledger: Ledger, incident: Incident, now: float, at: int | None) -> Acknowledgement:
    before = ledger.acknowledgements.get(incident.incident_id)
    if incident.status == "resolved" and (before is None or before.order is None):
        raise SettingsProblem(f"incident {incident.incident_id} is resolved; there is nothing left to acknowledge")
    order = None if at is None else orjson.dumps(order_of(incident, at))
    anew = order is not None and (before is None or before.order is None)
    if incident.status == "open" or anew:
        event = acknowledged(new_normal=order is not None)
        ledger.timeline.add(incident.incident_id, round(now * 1000), event.kind, event.text, event.detail)
    if incident.status == "open":  # after its entry, so that what is published has it
        ledger.incidents.save(replace(incident, status="acknowledged"), incident, now)
    return ledger.acknowledgements.put(incident.incident_id, now, order)


def order_of(incident: Incident, at: int) -> dict[str, object]:
    """Return the change event by which the references of what fires in an incident are learned anew.

    Its scope is the features that fire, in their one segment; where they fire in several, or in all traffic, in all of them.

    Parameters
    ----------
    at
        From this event time on, milliseconds since the epoch.
    """
    segments = {tuple(sorted(alert.segment.items())) for alert in incident.firing}
    segment = dict(next(iter(segments))) if len(segments) == 1 and not incident.beyond else {}
    features = sorted({alert.feature for alert in incident.firing})
    if incident.beyond or len(features) > FEATURES_MAX:
        features = []
    return change(f"acknowledged-{incident.incident_id}", rfc3339(at), incident.model, features, segment)
