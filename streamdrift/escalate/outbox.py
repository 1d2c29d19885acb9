"""The outbox: what receivers are still to be told, each in its turn, until it is told or dead.

A delivery is noted as attempted before it is sent. So what a crash leaves behind counts as perhaps delivered
(``uncertain``), and a resolve is sent for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from streamdrift.alerts import digest
from streamdrift.escalate import page
from streamdrift.escalate.database import Database
from streamdrift.escalate.incident import Incident
from streamdrift.escalate.receivers.base import Action, Page

State = Literal["pending", "done", "dead"]

OUTBOX_MAX = 10_000
"""Deliveries of one receiver that may wait; further ones are dead at once, and the other receivers go on."""
FAR_S = 86_400.0
"""No wait is longer; one that seems to be was noted by a clock that has been set back since."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """One page to one receiver.

    Attributes
    ----------
    attempts
        Made before this one.
    uncertain
        Whether one of them may have told it.
    created_at
        Seconds since the epoch.
    """

    sequence: int
    incident_id: str
    receiver: str
    page: Page
    attempts: int
    uncertain: bool
    created_at: float


@dataclass(frozen=True, slots=True)
class Row:
    """One delivery as it stands, without what it says; for reports and tests."""

    incident_id: str
    receiver: str
    action: Action
    dedup_key: str
    state: State
    attempts: int
    outcome: str


class Outbox:
    """Deliveries, by sequence."""

    def __init__(self, database: Database, pending_max: int = OUTBOX_MAX) -> None:
        self._database, self._pending_max = database, pending_max

    def trigger(self, incident: Incident, receiver: str, payload: bytes, now: float) -> bool:
        """Take in an incident's latest page, which stands for earlier ones not yet sent; False where there is no room."""
        self._cancel(incident.incident_id, receiver, "superseded by a later page")
        ((waiting,),) = self._database.execute(
            "SELECT count(*) FROM outbox WHERE state = 'pending' AND receiver = ?", [receiver]
        )
        full = f"{waiting} deliveries were waiting for {receiver}" if waiting >= self._pending_max else ""
        self._add(incident.incident_id, receiver, "trigger", incident.dedup_keys[-1], payload, now, full)
        return not full

    def resolve(self, incident: Incident, receiver: str, payload: bytes, now: float) -> None:
        """Take in the end of every page that the receiver was, or may have been, told of."""
        self._cancel(incident.incident_id, receiver, "cancelled: resolved before it was delivered")
        keys = self._database.execute(
            "SELECT dedup_key FROM outbox WHERE incident_id = ? AND receiver = ? AND action = 'trigger' "
            "AND uncertain ORDER BY sequence",
            [incident.incident_id, receiver],
        )
        for (key,) in keys:
            # there are never more of them than triggers that had room
            self._add(incident.incident_id, receiver, "resolve", key, payload, now)

    def _cancel(self, incident_id: str, receiver: str, outcome: str) -> None:
        self._database.execute(
            "UPDATE outbox SET state = 'done', outcome = ? "
            "WHERE incident_id = ? AND receiver = ? AND state = 'pending' AND action = 'trigger'",
            [outcome, incident_id, receiver],
        )

    def _add(
        self,
        incident_id: str,
        receiver: str,
        action: Action,
        dedup_key: str,
        payload: bytes,
        now: float,
        dead: str = "",
    ) -> None:
        self._database.execute(
            "INSERT INTO outbox (delivery_id, incident_id, receiver, action, dedup_key, payload, state, outcome, "
            "created_at, next_attempt_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (delivery_id) DO NOTHING",
            [
                digest(receiver, action, dedup_key),
                incident_id,
                receiver,
                action,
                dedup_key,
                payload,
                "dead" if dead else "pending",
                dead,
                now,
                now,
            ],
        )

    def due(self, receiver: str, now: float) -> Delivery | None:
        """Return the oldest delivery that may be attempted now, if any: never one before an earlier one of its key."""
        rows = self._database.execute(
            "SELECT sequence, incident_id, delivery_id, action, dedup_key, payload, attempts, uncertain, created_at "
            "FROM outbox AS o WHERE receiver = ? AND state = 'pending' "
            "AND (next_attempt_at <= ? OR next_attempt_at > ?) "
            "AND NOT EXISTS (SELECT 1 FROM outbox AS e WHERE e.state = 'pending' AND e.receiver = o.receiver "
            "AND e.dedup_key = o.dedup_key AND e.sequence < o.sequence) ORDER BY sequence LIMIT 1",
            [receiver, now, now + FAR_S],
        )
        if not rows:
            return None
        sequence, incident_id, delivery_id, action, dedup_key, payload, attempts, uncertain, created_at = rows[0]
        told = page.read(payload, delivery_id, action, dedup_key)
        return Delivery(sequence, incident_id, receiver, told, attempts, bool(uncertain), created_at)

    def attempting(self, delivery: Delivery) -> None:
        """Note an attempt before it is made."""
        self._database.execute(
            "UPDATE outbox SET attempts = attempts + 1, uncertain = 1 WHERE sequence = ?", [delivery.sequence]
        )

    def settle(
        self, delivery: Delivery, state: State, outcome: str, *, uncertain: bool, next_attempt_at: float = 0.0
    ) -> None:
        """Note what became of an attempt.

        Parameters
        ----------
        state
            ``done`` (told), ``dead`` (will not be told), ``pending`` (to be tried again at ``next_attempt_at``).
        uncertain
            Whether this or an earlier attempt told it, or may have.
        """
        self._database.execute(
            "UPDATE outbox SET state = ?, outcome = ?, uncertain = ?, next_attempt_at = ? WHERE sequence = ?",
            [state, outcome, uncertain, next_attempt_at, delivery.sequence],
        )

    def retire(self, receivers: tuple[str, ...]) -> int:
        """Let go of what waits for receivers that are no longer set up; return how many there were."""
        marks = ", ".join("?" for _ in receivers)
        rows = self._database.execute(
            "UPDATE outbox SET state = 'dead', outcome = 'its receiver is no longer set up' "  # noqa: S608 - marks alone
            f"WHERE state = 'pending' AND receiver NOT IN ({marks}) RETURNING sequence",
            receivers,
        )
        return len(rows)

    def pending(self) -> tuple[int, float | None]:
        """Return how many deliveries wait, and when the oldest was taken in."""
        ((count, oldest),) = self._database.execute(
            "SELECT count(*), min(created_at) FROM outbox WHERE state = 'pending'"
        )
        return count, oldest

    def rows(self) -> list[Row]:
        """Return every delivery that is kept, in order."""
        found = self._database.execute(
            "SELECT incident_id, receiver, action, dedup_key, state, attempts, outcome FROM outbox ORDER BY sequence"
        )
        return [Row(*row) for row in found]
