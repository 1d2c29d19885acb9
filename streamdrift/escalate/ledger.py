"""What the escalation worker must not forget: incidents, alerts taken, the outbox, and how far the topic is done.

One SQLite file, or one PostgreSQL database. ``transaction`` moves all of it together, so a crash anywhere leaves it as it was
before the batch or after; what was recorded is delivered from the outbox afterwards.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

from sqlalchemy import ColumnElement, Table, exists, or_, select

from streamdrift.alerts import Alert
from streamdrift.escalate.acknowledgements import Acknowledgements
from streamdrift.escalate.actions import Actions
from streamdrift.escalate.causes import Causes
from streamdrift.escalate.changes import Changes
from streamdrift.escalate.database import Database
from streamdrift.escalate.escalations import Escalations, come
from streamdrift.escalate.gathered import Gathered, has_waited, is_over
from streamdrift.escalate.incident import Incident
from streamdrift.escalate.incidents import Incidents
from streamdrift.escalate.mitigation.rows import Mitigations, is_due
from streamdrift.escalate.objectives import Objectives
from streamdrift.escalate.outbox import OUTBOX_MAX, Outbox
from streamdrift.escalate.outbox_rows import POSTMORTEM
from streamdrift.escalate.past import PAST_KEPT_S, PastIncidents
from streamdrift.escalate.places import place_of
from streamdrift.escalate.policy import Decision
from streamdrift.escalate.silences import Silences
from streamdrift.escalate.tables import alerts, incidents, offsets, outbox, past, references, timeline
from streamdrift.escalate.timeline import Timeline
from streamdrift.escalate.withheld import Withheld, waited
from streamdrift.ports import Partition

KEPT_S = 30 * 86_400.0
"""How long what is over is kept: alerts, resolved incidents, deliveries. What was learnt of them is kept for longer."""
LEARNT_MAX = 1_000
"""Incidents noted as past in one round of pruning, where an older release had left them out."""


class Ledger:
    """The ledger of one escalation worker.

    Parameters
    ----------
    place
        The file, made where there is none (``:memory:`` forgets at the end), or the URL of a database.
    outbox_max
        Deliveries that may wait for one receiver.
    shared
        Open one that is there, beside the worker that uses it.

    Raises
    ------
    InputProblem
        It can't be opened, read or written, or is of a later version; from any method.
    Standby
        Another worker has it, and dies perhaps (PostgreSQL).
    Retriable, OutOfReach
        Its server went away, from any method, or isn't there.
    """

    def __init__(self, place: str | Path, outbox_max: int = OUTBOX_MAX, *, shared: bool = False) -> None:
        self._database = Database(place_of(place), shared=shared)
        self.changes = Changes(self._database)
        self.acknowledgements = Acknowledgements(self._database)
        self.incidents = Incidents(self._database)
        self.outbox = Outbox(self._database, outbox_max)
        self.timeline = Timeline(self._database)
        self.silences, self.withheld = Silences(self._database), Withheld(self._database)
        self.mitigations = Mitigations(self._database)
        self.escalations, self.gathered = Escalations(self._database), Gathered(self._database)
        self.objectives = Objectives(self._database)
        self.past, self.causes, self.actions = (
            PastIncidents(self._database),
            Causes(self._database),
            Actions(self._database),
        )

    def transaction(self) -> AbstractContextManager[None]:
        """Everything inside, or nothing."""
        return self._database.transaction()

    def next_offset(self, partition: Partition) -> int | None:
        """Return the first offset of this partition that is not done; None where nothing of it was."""
        rows = self._database.execute(
            select(offsets.c.next_offset).where(
                offsets.c.topic == partition.name, offsets.c.partition == partition.index
            )
        )
        return int(rows[0][0]) if rows else None

    def set_next_offset(self, partition: Partition, offset: int) -> None:
        """Note that everything before this offset is done."""
        put = self._database.insert(offsets).values(topic=partition.name, partition=partition.index, next_offset=offset)
        self._database.execute(
            put.on_conflict_do_update(index_elements=["topic", "partition"], set_={"next_offset": offset})
        )

    def knows(self, alert_id: str) -> bool:
        """Whether this alert was taken before."""
        return bool(self._database.execute(select(alerts.c.status).where(alerts.c.alert_id == alert_id)))

    def opening(self, alert_id: str) -> str:
        """Return the id of the alert that opened what this one updates; its own where it is not known to."""
        rows = self._database.execute(select(alerts.c.opening).where(alerts.c.alert_id == alert_id))
        return str(rows[0][0]) if rows and rows[0][0] else alert_id

    def ended(self, alert: Alert) -> bool:
        """Whether the end of this firing alert was taken before it."""
        ids = [alert.opening_id, alert.alert_id]
        ends = select(alerts.c.alert_id).where(alerts.c.status == "resolved", alerts.c.opening.in_(ids)).limit(1)
        return bool(self._database.execute(ends))

    def take(self, alert: Alert, decision: Decision, now: float) -> None:
        """Record that an alert was taken, and what was decided."""
        opening = alert.opening_id if alert.status == "firing" else self.opening(alert.resolves or alert.alert_id)
        if alert.updates:  # an end that named the update came first: it is that of what opened
            early = (alerts.c.status == "resolved", alerts.c.opening == alert.alert_id)
            self._database.execute(alerts.update().where(*early).values(opening=opening))
        self._database.execute(
            alerts.insert().values(
                alert_id=alert.alert_id,
                series_id=alert.series_id,
                status=alert.status,
                detected_at=alert.detected_at,
                incident_id=None if decision.incident is None else decision.incident.incident_id,
                action=decision.action,
                reason=decision.reason,
                recorded_at=now,
                opening=opening,
            )
        )

    def learn(self, incident: Incident) -> None:
        """Keep what an incident was that is over and was paged, within the caller's transaction; others change nothing."""
        if not incident.is_open and incident.pages:
            entries = self.timeline.entries(incident.incident_id)
            self.past.put(incident, entries, self.causes.get(incident.incident_id))

    def brings(self, now: float, patience_s: float) -> bool:
        """Whether time alone has brought something for ``Paging.round`` to do: one statement, as it is asked in each step."""
        due = (
            exists().where(come(now)),
            exists().where(waited(now)),
            exists().where(has_waited(now, patience_s)),
            exists().where(is_over()),
            exists().where(is_due(now)),
        )
        return bool(self._database.execute(select(1).where(or_(*due))))

    def prune(self, now: float) -> None:
        """Forget what has been over for ``KEPT_S``, and what was noted about incidents that are gone."""
        before = now - KEPT_S
        gone = incidents.delete().where(incidents.c.status == "resolved", incidents.c.recorded_at < before)
        with self.transaction():
            for incident_id in self.past.unknown(LEARNT_MAX):
                if (incident := self.incidents.get(incident_id)) is not None:
                    self.learn(incident)
            self.past.prune(round((now - PAST_KEPT_S) * 1000))
            self.actions.prune(now - PAST_KEPT_S)
            self._database.execute(alerts.delete().where(alerts.c.recorded_at < before))
            self._database.execute(gone)
            self.changes.prune(round(before * 1000))
            self.silences.prune(before)
            self.objectives.prune(now)
            self.causes.prune()
            self._database.execute(timeline.delete().where(~exists().where(_of(timeline))))
            told = references.delete().where(~exists().where(_of(references)), ~exists().where(_of_postmortem()))
            self._database.execute(told)
            old = (outbox.c.state != "pending", outbox.c.created_at < before)
            postmortem = incidents.c.incident_id.concat(POSTMORTEM) == outbox.c.incident_id
            gone = outbox.delete().where(*old, ~exists().where(_of(outbox)), ~exists().where(postmortem))
            self._database.execute(gone)

    def close(self) -> None:
        """Let go of it; a second call does nothing."""
        self._database.close()


def _of(table: Table) -> ColumnElement[bool]:
    """The incident that a row is about is there."""
    return incidents.c.incident_id == table.c.incident_id


def _of_postmortem() -> ColumnElement[bool]:
    """The past incident whose post-mortem a reference names is kept."""
    return past.c.incident_id.concat(POSTMORTEM) == references.c.incident_id
