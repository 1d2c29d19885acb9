"""What the escalation worker must not forget: incidents, alerts taken, the outbox, and how far the topic is done.

One SQLite file. ``transaction`` moves all of it together, so a crash anywhere leaves it as it was before the batch or
after; what was recorded is delivered from the outbox afterwards.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

from streamdrift.alerts import Alert
from streamdrift.escalate.acknowledgements import Acknowledgements
from streamdrift.escalate.database import Database
from streamdrift.escalate.incidents import Incidents
from streamdrift.escalate.outbox import OUTBOX_MAX, Outbox
from streamdrift.escalate.policy import Decision
from streamdrift.ports import Partition

KEPT_S = 30 * 86_400.0
"""How long what is over is kept: alerts, resolved incidents, deliveries."""


class Ledger:
    """The ledger of one escalation worker.

    Parameters
    ----------
    path
        The file; made where there is none. ``:memory:`` forgets at the end.
    outbox_max
        Deliveries that may wait for one receiver.
    shared
        Open one that is there, beside the worker that uses it.

    Raises
    ------
    InputProblem
        It can't be opened, read or written, or is of a later version; from any method.
    """

    def __init__(self, path: Path, outbox_max: int = OUTBOX_MAX, *, shared: bool = False) -> None:
        self._database = Database(path, shared=shared)
        self.acknowledgements = Acknowledgements(self._database)
        self.incidents = Incidents(self._database)
        self.outbox = Outbox(self._database, outbox_max)

    def transaction(self) -> AbstractContextManager[None]:
        """Everything inside, or nothing."""
        return self._database.transaction()

    def next_offset(self, partition: Partition) -> int | None:
        """Return the first offset of this partition that is not done; None where nothing of it was."""
        rows = self._database.execute(
            "SELECT next_offset FROM offsets WHERE topic = ? AND partition = ?", [partition.name, partition.index]
        )
        return int(rows[0][0]) if rows else None

    def set_next_offset(self, partition: Partition, offset: int) -> None:
        """Note that everything before this offset is done."""
        self._database.execute(
            "INSERT INTO offsets VALUES (?, ?, ?) "
            "ON CONFLICT (topic, partition) DO UPDATE SET next_offset = excluded.next_offset",
            [partition.name, partition.index, offset],
        )

    def knows(self, alert_id: str) -> bool:
        """Whether this alert was taken before."""
        return bool(self._database.execute("SELECT 1 FROM alerts WHERE alert_id = ?", [alert_id]))

    def opening(self, alert_id: str) -> str:
        """Return the id of the alert that opened what this one updates; its own where it is not known to."""
        rows = self._database.execute("SELECT opening FROM alerts WHERE alert_id = ?", [alert_id])
        return str(rows[0][0]) if rows and rows[0][0] else alert_id

    def ended(self, alert: Alert) -> bool:
        """Whether the end of this firing alert was taken before it."""
        return bool(
            self._database.execute(
                "SELECT 1 FROM alerts WHERE status = 'resolved' AND opening IN (?, ?)",
                [alert.opening_id, alert.alert_id],
            )
        )

    def take(self, alert: Alert, decision: Decision, now: float) -> None:
        """Record that an alert was taken, and what was decided."""
        incident_id = None if decision.incident is None else decision.incident.incident_id
        opening = alert.opening_id if alert.status == "firing" else self.opening(alert.resolves or alert.alert_id)
        if alert.updates:  # an end that named the update came first: it is that of what opened
            self._database.execute(
                "UPDATE alerts SET opening = ? WHERE status = 'resolved' AND opening = ?", [opening, alert.alert_id]
            )
        self._database.execute(
            "INSERT INTO alerts (alert_id, series_id, status, detected_at, incident_id, action, reason, recorded_at, "
            "opening) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                alert.alert_id,
                alert.series_id,
                alert.status,
                alert.detected_at,
                incident_id,
                decision.action,
                decision.reason,
                now,
                opening,
            ],
        )

    def prune(self, now: float) -> None:
        """Forget what has been over for ``KEPT_S``."""
        before = now - KEPT_S
        with self.transaction():
            self._database.execute("DELETE FROM alerts WHERE recorded_at < ?", [before])
            self._database.execute("DELETE FROM incidents WHERE status = 'resolved' AND recorded_at < ?", [before])
            self._database.execute(
                "DELETE FROM outbox WHERE state != 'pending' AND created_at < ? AND NOT EXISTS "
                "(SELECT 1 FROM incidents WHERE incidents.incident_id = outbox.incident_id)",
                [before],
            )

    def close(self) -> None:
        """Let go of the file; a second call does nothing."""
        self._database.close()
