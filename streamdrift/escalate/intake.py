"""From records of the alerts topic to incidents and the outbox, within one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from streamdrift.alerts import Alert
from streamdrift.errors import Rejected
from streamdrift.escalate import events, page, reading
from streamdrift.escalate.burning import Burning
from streamdrift.escalate.events import Event
from streamdrift.escalate.incident import Incident
from streamdrift.escalate.learnt import first_sight
from streamdrift.escalate.ledger import Ledger
from streamdrift.escalate.paging import Paging
from streamdrift.escalate.policy import Decision, apply, choose, may_reopen
from streamdrift.escalate.suspects import Upstream, suspects, upstream
from streamdrift.events import change
from streamdrift.events.change import REBASELINE, Change
from streamdrift.events.inference import Limits
from streamdrift.ports import Partition, Record
from streamdrift.settings import EscalateSettings
from streamdrift.slo.measures import Slice

OPEN_PER_MODEL_MAX = 100
"""Incidents of one model that are open at once; over it the one that was quiet longest is put aside."""


SUSPECTED_MAX = 1_000
"""Incidents that are looked at when a change comes."""


@dataclass(frozen=True, slots=True)
class Feed:
    """The topic of upstream changes, and the bounds of a message on it."""

    topic: str
    limits: Limits


@dataclass(slots=True)
class Taken:
    """What came of a batch, to be counted and logged once it is recorded.

    Attributes
    ----------
    refused
        Records that are no alerts, each with what is wrong.
    seen
        Records left out because they were taken before.
    anew
        Partitions whose offsets began anew: the topic was made again.
    put_aside
        Incidents closed because a model had too many.
    untold
        Entries for which a timeline had no room.
    changes, forgotten
        Upstream changes that are new, and that had to go for them.
    done
        Next offset per partition.
    """

    decided: list[tuple[Alert, Decision]] = field(default_factory=list)
    refused: list[tuple[Record, Rejected]] = field(default_factory=list)
    seen: int = 0
    anew: set[Partition] = field(default_factory=set)
    put_aside: list[Incident] = field(default_factory=list)
    untold: int = 0
    changes: int = 0
    forgotten: int = 0
    done: dict[Partition, int] = field(default_factory=dict)


class Intake:
    """Takes one batch; made anew for each, inside the ledger's transaction; ``paging`` is of the same transaction."""

    def __init__(
        self,
        ledger: Ledger,
        paging: Paging,
        settings: EscalateSettings,
        now: float,
        feed: Feed | None = None,
        burning: Burning | None = None,
    ) -> None:
        self._ledger, self._paging, self._settings, self._now, self._feed = ledger, paging, settings, now, feed
        self._burning = burning
        self._open: dict[str, dict[str, Incident]] = {}
        self._stored: dict[str, Incident | None] = {}
        self._changed: dict[str, Incident] = {}
        self._new: dict[str, int] = {}
        self.taken = Taken()

    def take(self, records: Sequence[Record]) -> Taken:
        """Take the records in order, upstream changes before alerts, and write what changed."""
        for record in sorted(records, key=lambda record: not self._is_change(record)):
            self._record(record)
        self._save()
        for partition, offset in self.taken.done.items():
            self._ledger.set_next_offset(partition, offset)
        return self.taken

    def alone(self, alerts: Sequence[Alert]) -> Taken:
        """Take alerts that are the worker's own, and write what changed."""
        self._own(alerts)
        self._save()
        return self.taken

    def _own(self, alerts: Sequence[Alert]) -> None:
        for alert in alerts:
            if not self._ledger.knows(alert.alert_id):
                decision = self._decide(alert)
                self._ledger.take(alert, decision, self._now)
                self.taken.decided.append((alert, decision))

    def _save(self) -> None:
        """Write what changed; suspects are named by all that the batch tells of a new incident, not by its first alert."""
        if self._burning is not None:
            self._burning.save()
        for incident_id, at in self._new.items():
            above = self._upstream(self._changed[incident_id])
            self._note(incident_id, at, *map(events.suspect, above.suspects if above else ()))
        for incident_id, incident in self._changed.items():
            self._ledger.incidents.save(incident, self._stored.get(incident_id), self._now)
            self._ledger.learn(incident)
            self._paging.changed(incident)

    def _record(self, record: Record) -> None:
        done = self.taken.done
        if record.partition not in done:
            done[record.partition] = self._ledger.next_offset(record.partition) or 0
        behind = record.offset < done[record.partition]
        try:
            if self._feed is not None and self._is_change(record):
                self._change(change.decode(record, self._feed.limits))
            elif self._burning is not None and record.partition.name == self._burning.topic:
                behind = self._measures(self._burning, record, behind=behind)
            else:
                behind = self._alert(reading.read(record.value), behind=behind, partition=record.partition)
        except Rejected as e:
            if behind:
                self.taken.seen += 1
            else:
                self.taken.refused.append((record, e))
        if not behind:
            done[record.partition] = record.offset + 1

    def _alert(self, alert: Alert, *, behind: bool, partition: Partition) -> bool:
        """Take one alert, unless it was taken before; return whether its offset was done already.

        A fresh alert at an offset that is done means that the topic was made again: passing it over would silence every
        page until the offsets catch up.
        """
        old = self._now - alert.detected_at / 1000 > self._settings.event_age_max_s
        if self._ledger.knows(alert.alert_id) or (behind and old):
            self.taken.seen += 1
            self.taken.decided.append((alert, Decision("ignore", "duplicate", None)))
            return behind
        if behind:
            self.taken.anew.add(partition)
        decision = self._decide(alert)
        self._ledger.take(alert, decision, self._now)
        self.taken.decided.append((alert, decision))
        return False

    def _measures(self, burning: Burning, record: Record, *, behind: bool) -> bool:
        """Take a slice of measures, as an alert is taken: once, and at an offset that is done where the topic was made again."""
        found = Slice.from_cloudevent(record.value)
        if not burning.concerns(found):
            return behind
        old = self._now - record.timestamp_ms / 1000 > self._settings.event_age_max_s
        if burning.has(found) or (behind and old):
            self.taken.seen += 1
            return behind
        if behind:
            self.taken.anew.add(record.partition)
        self._own(burning.take(found, record.timestamp_ms))
        return False

    def _is_change(self, record: Record) -> bool:
        return self._feed is not None and record.partition.name == self._feed.topic

    def _change(self, found: Change) -> None:
        """Note an upstream change; where it is a suspect of something that goes on, its timeline says so."""
        if found.kind == REBASELINE:
            return
        new = self._ledger.changes.put(found)
        self.taken.changes += new is not False
        self.taken.forgotten += new is None
        for incident in self._ledger.incidents.all_opened(SUSPECTED_MAX) if new is not False else ():
            current = self._changed.get(incident.incident_id, incident)
            for suspect in suspects(current, [found]) if current.is_open else ():
                self._note(current.incident_id, found.time, events.suspect(suspect))

    def _decide(self, alert: Alert) -> Decision:
        if alert.status == "firing" and self._ledger.ended(alert):
            return self._late(alert)
        if alert.resolves is not None:
            alert = replace(alert, resolves=self._ledger.opening(alert.resolves))
        if alert.status == "firing" and alert.severity == "warning" and self._burning is not None:
            spent = self._burning.is_nearly_spent(alert.model_name)
            alert = replace(alert, severity="critical") if spent else alert
        return self._apply(alert)

    def _late(self, alert: Alert) -> Decision:
        """What ended before it came fires no more; if what it updates does, the end was that one's, too."""
        decision = self._apply(replace(alert, status="resolved", resolves=alert.opening_id))
        return Decision("ignore", "closed", None) if decision.action == "ignore" else decision

    def _apply(self, alert: Alert) -> Decision:
        mine = self._incidents(alert.model_name)
        chosen = choose([*mine.values(), *self._ended(alert)], alert, self._settings)
        decision = apply(chosen, alert, self._settings, round(self._now * 1000))
        incident = decision.incident
        if incident is None or decision.action == "ignore":
            return decision
        if decision.action in {"open", "reopen"} and len(mine) >= OPEN_PER_MODEL_MAX:
            self._put_aside(mine)
        self._keep(mine, incident)
        before = None if decision.action == "open" else chosen
        told = events.of_decision(before, decision, alert, self._others(incident))
        paged = [event for event in told if event.kind == "paged"]
        self._note(incident.incident_id, alert.detected_at, *(event for event in told if event not in paged))
        if decision.page is not None:
            self._tell(incident, decision, alert, paged)
        return decision

    def _upstream(self, incident: Incident) -> Upstream | None:
        if self._feed is None:
            return None
        changes, alarmed = self._ledger.changes, self._ledger.incidents.alarmed()
        alarmed |= {changed.model for changed in self._changed.values() if changed.is_open}
        return upstream(incident, changes.before(incident.onset_at), alarmed, changes.known_since())

    def _others(self, incident: Incident) -> int:
        return len(self._incidents(incident.model).keys() - {incident.incident_id})

    def _note(self, incident_id: str, at: int, *told: Event) -> None:
        for event in told:
            if self._ledger.timeline.add(incident_id, at, event.kind, event.text, event.detail) is None:
                self.taken.untold += 1

    def _incidents(self, model: str) -> dict[str, Incident]:
        if model not in self._open:
            self._open[model] = {found.incident_id: found for found in self._ledger.incidents.opened(model)}
            self._stored.update(self._open[model])
        return self._open[model]

    def _ended(self, alert: Alert) -> list[Incident]:
        """Incidents of the alert's model that it may open again; at most as many as may be open."""
        if alert.status != "firing" or self._settings.reopen_s == 0:
            return []
        since = alert.detected_at - round(self._settings.reopen_s * 1000)
        limit = OPEN_PER_MODEL_MAX + len(self._changed)  # of the rows some may be open by now
        found = dict.fromkeys(self._ledger.incidents.ended(alert.model_name, since, alert.detected_at, limit))
        found.update(dict.fromkeys(self._changed))
        known = [incident for incident_id in found if (incident := self._known(incident_id)) is not None]
        mine = [i for i in known if i.model == alert.model_name and may_reopen(i, alert, self._settings)]
        return sorted(mine, key=lambda i: (i.resolved_at or 0, i.incident_id), reverse=True)[:OPEN_PER_MODEL_MAX]

    def _known(self, incident_id: str) -> Incident | None:
        if incident_id in self._changed:
            return self._changed[incident_id]
        if incident_id not in self._stored:
            self._stored[incident_id] = self._ledger.incidents.get(incident_id)
        return self._stored[incident_id]

    def _keep(self, mine: dict[str, Incident], incident: Incident) -> None:
        self._changed[incident.incident_id] = incident
        if incident.is_open:
            mine[incident.incident_id] = incident
        else:
            mine.pop(incident.incident_id, None)

    def _put_aside(self, mine: dict[str, Incident]) -> None:
        """Close the quietest without a word to anybody: nothing says that it is over."""
        quietest = min(mine.values(), key=lambda incident: (incident.updated_at, incident.incident_id))
        self._keep(mine, replace(quietest, status="resolved", resolved_at=quietest.updated_at))
        self._note(quietest.incident_id, quietest.updated_at, events.put_aside())
        self.taken.put_aside.append(quietest)

    def _tell(self, incident: Incident, decision: Decision, alert: Alert, paged: Sequence[Event]) -> None:
        if decision.action == "open":
            self._new[incident.incident_id] = alert.detected_at
        if decision.page == "trigger" and incident.pages == 1:
            above = self._upstream(incident)
            self._note(incident.incident_id, alert.detected_at, *first_sight(self._ledger.past, incident, above))
        if decision.page == "resolve":
            above, others = self._upstream(incident), self._others(incident)
            budgets = self._ledger.objectives.states(incident.model)
            told = page.compose(incident, alert.detected_at, others, above, budgets=budgets)
            self._paging.over(incident, told)
        else:
            self._paging.call(incident, alert.detected_at, paged)
