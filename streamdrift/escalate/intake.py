"""From records of the alerts topic to incidents and the outbox, within one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from streamdrift.alerts import Alert
from streamdrift.errors import Rejected
from streamdrift.escalate import page, reading
from streamdrift.escalate.incident import Incident
from streamdrift.escalate.ledger import Ledger
from streamdrift.escalate.policy import Decision, apply, choose, quieted
from streamdrift.ports import Partition, Record
from streamdrift.settings import EscalateSettings

OPEN_PER_MODEL_MAX = 100
"""Incidents of one model that are open at once; over it the one that was quiet longest is put aside."""


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
    full
        Receivers whose outbox had no room, once for each page.
    done
        Next offset per partition.
    """

    decided: list[tuple[Alert, Decision]] = field(default_factory=list)
    refused: list[tuple[Record, Rejected]] = field(default_factory=list)
    seen: int = 0
    anew: set[Partition] = field(default_factory=set)
    put_aside: list[Incident] = field(default_factory=list)
    full: list[str] = field(default_factory=list)
    done: dict[Partition, int] = field(default_factory=dict)


class Intake:
    """Takes one batch; made anew for each, inside the ledger's transaction."""

    def __init__(self, ledger: Ledger, receivers: Sequence[str], settings: EscalateSettings, now: float) -> None:
        self._ledger, self._receivers, self._settings, self._now = ledger, receivers, settings, now
        self._open: dict[str, dict[str, Incident]] = {}
        self._stored: dict[str, Incident | None] = {}
        self._changed: dict[str, Incident] = {}
        self.taken = Taken()

    def take(self, records: Sequence[Record]) -> Taken:
        """Take the records in order, and write what changed."""
        for record in records:
            self._record(record)
        for incident_id, incident in self._changed.items():
            self._ledger.incidents.save(incident, self._stored.get(incident_id), self._now)
        for partition, offset in self.taken.done.items():
            self._ledger.set_next_offset(partition, offset)
        return self.taken

    def _record(self, record: Record) -> None:
        done = self.taken.done
        if record.partition not in done:
            done[record.partition] = self._ledger.next_offset(record.partition) or 0
        behind = record.offset < done[record.partition]
        try:
            alert = reading.read(record.value)
        except Rejected as e:
            if behind:
                self.taken.seen += 1
            else:
                self.taken.refused.append((record, e))
        else:
            behind = self._alert(alert, behind=behind, partition=record.partition)
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

    def _decide(self, alert: Alert) -> Decision:
        if alert.status == "firing" and self._ledger.ended(alert):
            return self._late(alert)
        if alert.resolves is not None:
            alert = replace(alert, resolves=self._ledger.opening(alert.resolves))
        return self._apply(alert)

    def _late(self, alert: Alert) -> Decision:
        """What ended before it came fires no more; if what it updates does, the end was that one's, too."""
        decision = self._apply(replace(alert, status="resolved", resolves=alert.opening_id))
        return Decision("ignore", "closed", None) if decision.action == "ignore" else decision

    def _apply(self, alert: Alert) -> Decision:
        mine = self._incidents(alert.model_name)
        chosen = choose(mine.values(), alert, self._settings)
        decision = apply(chosen, alert, self._settings, round(self._now * 1000))
        incident = decision.incident
        if incident is None or decision.action == "ignore":
            return decision
        if decision.page == "trigger" and self._ledger.acknowledgements.get(incident.incident_id) is not None:
            decision = quieted(incident)
            incident = decision.incident or incident
        if decision.action == "open" and len(mine) >= OPEN_PER_MODEL_MAX:
            self._put_aside(mine)
        self._keep(mine, incident)
        if decision.page is not None:
            self._tell(incident, decision, alert)
        return decision

    def _incidents(self, model: str) -> dict[str, Incident]:
        if model not in self._open:
            self._open[model] = {found.incident_id: found for found in self._ledger.incidents.opened(model)}
            self._stored.update(self._open[model])
        return self._open[model]

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
        self.taken.put_aside.append(quietest)

    def _tell(self, incident: Incident, decision: Decision, alert: Alert) -> None:
        payload = page.compose(incident, alert.detected_at)
        outbox = self._ledger.outbox
        for receiver in self._receivers:
            if decision.page == "resolve":
                outbox.resolve(incident, receiver, payload, self._now)
            elif not outbox.trigger(incident, receiver, payload, self._now):
                self.taken.full.append(receiver)
