"""The outbox: what receivers are still to be told, each in its turn, until it is told or dead.

A delivery is noted as attempted before it is sent. So what a crash leaves behind counts as perhaps delivered
(``uncertain``), and a resolve is sent for it.
"""

from __future__ import annotations

from typing import Any

import orjson
from sqlalchemy import ColumnElement, exists, func, or_, select

from streamdrift.alerts import digest
from streamdrift.escalate import page
from streamdrift.escalate.database import Database
from streamdrift.escalate.incident import Incident
from streamdrift.escalate.outbox_rows import POSTMORTEM, Dead, Delivery, Row, State
from streamdrift.escalate.receivers.base import Action
from streamdrift.escalate.tables import incidents, outbox, references

OUTBOX_MAX = 10_000
"""Deliveries of one receiver that may wait; further ones are dead at once, and the other receivers go on."""
FAR_S = 86_400.0
"""No wait is longer; one that seems to be was noted by a clock that has been set back since."""

_PENDING = outbox.c.state == "pending"


class Outbox:
    """Deliveries, by sequence."""

    def __init__(self, database: Database, pending_max: int = OUTBOX_MAX) -> None:
        self._database, self._pending_max = database, pending_max

    def trigger(self, incident: Incident, receiver: str, payload: bytes, now: float) -> bool:
        """Take in an incident's latest page, which stands for earlier ones not yet sent; False where there is no room."""
        return self.put(incident.incident_id, incident.dedup_keys[-1], receiver, payload, now)

    def put(self, incident_id: str, dedup_key: str, receiver: str, payload: bytes, now: float) -> bool:
        """Take in a page, as ``trigger`` does."""
        self._cancel(incident_id, receiver, "superseded by a later page")
        ((waiting,),) = self._database.execute(
            select(func.count()).select_from(outbox).where(_PENDING, outbox.c.receiver == receiver)
        )
        full = f"{waiting} deliveries were waiting for {receiver}" if waiting >= self._pending_max else ""
        self._add(incident_id, receiver, "trigger", dedup_key, payload, now, full)
        return not full

    def publish(self, incident_id: str, receiver: str, payload: bytes, now: float) -> State | None:
        """Take in an incident's post-mortem, once for each receiver; return how an earlier one stands, None where there is none.

        One that is dead is attempted again, as it is by now; one that was told belongs to those who edit it.
        """
        told = incident_id + POSTMORTEM
        known = self._database.execute(
            select(outbox.c.sequence, outbox.c.state).where(*_to(told, receiver)).order_by(outbox.c.sequence).limit(1)
        )
        if not known:
            self._add(told, receiver, "trigger", told, payload, now)
            return None
        sequence, state = known[0]
        found: State = state
        if found == "dead":
            mine = outbox.c.sequence == sequence
            self._database.execute(outbox.update().where(mine).values(payload=payload, **_again(now)))
        return found

    def lately(self, receiver: str, since: float, until: float) -> int:
        """Return how many pages were taken in for a receiver after a time, up to another."""
        when = (outbox.c.created_at > since, outbox.c.created_at <= until)
        mine = (outbox.c.receiver == receiver, outbox.c.action == "trigger", outbox.c.state != "dead")
        ((count,),) = self._database.execute(select(func.count()).select_from(outbox).where(*mine, *when))
        return int(count)

    def acknowledge(self, incident_id: str, receiver: str, payload: bytes, now: float) -> int:
        """Take in that somebody knows, for every page that the receiver was, may have been, or is to be told of; return how many.

        Its end, once taken in, says more: then there is nothing to add.
        """
        told = (*_to(incident_id, receiver), outbox.c.action == "trigger", or_(outbox.c.uncertain.is_(True), _PENDING))
        keys = self._database.execute(select(outbox.c.dedup_key).where(*told).order_by(outbox.c.sequence))
        return sum(self._add(incident_id, receiver, "acknowledge", key, payload, now) for (key,) in keys)

    def once(self, incident_id: str, receiver: str, action: Action, dedup_key: str, payload: bytes, now: float) -> None:
        """Take in what stands for itself: nothing later stands for it, and the end of an incident leaves it alone."""
        self._add(incident_id, receiver, action, dedup_key, payload, now)

    def withdraw(self, receiver: str, dedup_key: str, outcome: str, *, untouched: bool = False) -> bool | None:
        """Let go of what waits under a key; return whether an attempt may have told it, None where nothing was let go of.

        Parameters
        ----------
        untouched
            Only what was never attempted.
        """
        c = outbox.c
        waiting = (c.receiver == receiver, c.dedup_key == dedup_key, _PENDING)
        rows = self._database.execute(
            outbox.update()
            .where(*waiting, *([c.attempts == 0] if untouched else []))
            .values(state="done", outcome=outcome)
            .returning(c.uncertain)
        )
        return any(uncertain for (uncertain,) in rows) if rows else None

    def resolve(self, incident: Incident, receiver: str, payload: bytes, now: float) -> None:
        """Take in the end of every page that the receiver was, or may have been, told of."""
        self.end(incident.incident_id, receiver, payload, now)

    def end(self, incident_id: str, receiver: str, payload: bytes, now: float) -> None:
        """Take in the end of what has an id, as ``resolve`` does."""
        self._cancel(incident_id, receiver, "cancelled: resolved before it was delivered")
        told = (*_to(incident_id, receiver), outbox.c.action == "trigger", outbox.c.uncertain.is_(True))
        keys = self._database.execute(select(outbox.c.dedup_key).where(*told).order_by(outbox.c.sequence))
        for (key,) in keys:
            # there are never more of them than triggers that had room
            self._add(incident_id, receiver, "resolve", key, payload, now)

    def _cancel(self, incident_id: str, receiver: str, outcome: str) -> None:
        waiting = (*_to(incident_id, receiver), _PENDING, outbox.c.action == "trigger")
        self._database.execute(outbox.update().where(*waiting).values(state="done", outcome=outcome))
        untold = exists().where(
            (told := outbox.alias("told")).c.receiver == outbox.c.receiver,
            told.c.dedup_key == outbox.c.dedup_key,
            told.c.action == "trigger",
            told.c.uncertain.is_(True),
        )
        of_these = (*_to(incident_id, receiver), _PENDING, outbox.c.action == "acknowledge", ~untold)
        self._database.execute(outbox.update().where(*of_these).values(state="done", outcome=outcome))

    def _add(
        self,
        incident_id: str,
        receiver: str,
        action: Action,
        dedup_key: str,
        payload: bytes,
        now: float,
        dead: str = "",
    ) -> bool:
        """Add a delivery, unless it was added before; return whether it is new."""
        put = self._database.insert(outbox).values(
            delivery_id=digest(receiver, action, dedup_key),
            incident_id=incident_id,
            receiver=receiver,
            action=action,
            dedup_key=dedup_key,
            payload=payload,
            state="dead" if dead else "pending",
            outcome=dead,
            created_at=now,
            next_attempt_at=now,
        )
        once = put.on_conflict_do_nothing(index_elements=["delivery_id"]).returning(outbox.c.sequence)
        return bool(self._database.execute(once))

    def due(self, receiver: str, now: float) -> Delivery | None:
        """Return the oldest delivery that may be attempted now, if any: never one before an earlier one of its key."""
        c, earlier = outbox.c, outbox.alias("earlier")
        first = ~exists().where(
            earlier.c.state == "pending",
            earlier.c.receiver == c.receiver,
            earlier.c.dedup_key == c.dedup_key,
            earlier.c.sequence < c.sequence,
        )
        when = or_(c.next_attempt_at <= now, c.next_attempt_at > now + FAR_S)
        rows = self._database.execute(
            select(c.sequence, c.incident_id, c.delivery_id, c.action, c.dedup_key, c.payload, c.attempts)
            .add_columns(c.uncertain, c.created_at)
            .where(c.receiver == receiver, _PENDING, when, first)
            .order_by(c.sequence)
            .limit(1)
        )
        if not rows:
            return None
        sequence, incident_id, delivery_id, action, dedup_key, payload, attempts, uncertain, created_at = rows[0]
        told = page.read(payload, delivery_id, action, dedup_key, self.reference(receiver, incident_id))
        return Delivery(sequence, incident_id, receiver, told, attempts, bool(uncertain), created_at)

    def reference(self, receiver: str, incident_id: str) -> str | None:
        """Return what a receiver last called an incident; None where it gave it no name."""
        c = references.c
        rows = self._database.execute(select(c.reference).where(c.receiver == receiver, c.incident_id == incident_id))
        return str(rows[0][0]) if rows else None

    def attempting(self, delivery: Delivery) -> bool:
        """Note an attempt before it is made; False where it is not to be made, as somebody withdrew it this very moment."""
        noted = (
            outbox.update()
            .where(outbox.c.sequence == delivery.sequence, _PENDING)
            .values(attempts=outbox.c.attempts + 1, uncertain=True)
            .returning(outbox.c.sequence)
        )
        return bool(self._database.execute(noted))

    def settle(
        self,
        delivery: Delivery,
        state: State,
        outcome: str,
        *,
        uncertain: bool,
        next_attempt_at: float = 0.0,
        reference: str | None = None,
    ) -> None:
        """Note what became of an attempt, within the caller's transaction where it is given a reference.

        Parameters
        ----------
        state
            ``done`` (told), ``dead`` (will not be told), ``pending`` (to be tried again at ``next_attempt_at``).
        uncertain
            Whether this or an earlier attempt told it, or may have.
        reference
            What the receiver calls it; None keeps what it called it before.
        """
        settled = (
            outbox.update()
            .where(outbox.c.sequence == delivery.sequence)
            .values(state=state, outcome=outcome, uncertain=uncertain, next_attempt_at=next_attempt_at)
        )
        if reference is None:
            self._database.execute(settled)
            return
        named = self._database.insert(references).values(
            receiver=delivery.receiver, incident_id=delivery.incident_id, reference=reference
        )
        self._database.execute(settled)
        self._database.execute(
            named.on_conflict_do_update(index_elements=["receiver", "incident_id"], set_={"reference": reference})
        )

    def retire(self, receivers: tuple[str, ...]) -> int:
        """Let go of what waits for receivers that are no longer set up; return how many there were."""
        rows = self._database.execute(
            outbox.update()
            .where(_PENDING, outbox.c.receiver.not_in(receivers))
            .values(state="dead", outcome="its receiver is no longer set up")
            .returning(outbox.c.sequence)
        )
        return len(rows)

    def pending(self) -> tuple[int, float | None]:
        """Return how many deliveries wait, and when the oldest was taken in."""
        ((count, oldest),) = self._database.execute(select(func.count(), func.min(outbox.c.created_at)).where(_PENDING))
        return count, oldest

    def rows(self, incident_id: str | None = None) -> list[Row]:
        """Return every delivery that is kept, or those of one incident, in order."""
        c = outbox.c
        asked = select(c.incident_id, c.receiver, c.action, c.dedup_key, c.state, c.attempts, c.outcome)
        if incident_id is not None:
            asked = asked.where(c.incident_id.in_(_ids(incident_id)))
        return [Row(*row) for row in self._database.execute(asked.order_by(c.sequence))]

    def receivers(self, incident_id: str) -> list[str]:
        """Return the receivers that were, or are to be, told of an incident."""
        c = outbox.c
        told = (c.incident_id == incident_id, c.action == "trigger")
        rows = self._database.execute(select(c.receiver).where(*told).distinct())
        return sorted(str(name) for (name,) in rows)

    def dead(self, incident_id: str | None = None, receiver: str | None = None) -> list[Dead]:
        """Return the deliveries that were given up, in order; of all, or of one incident or receiver."""
        asked: list[ColumnElement[bool]] = [] if incident_id is None else [outbox.c.incident_id.in_(_ids(incident_id))]
        asked += [] if receiver is None else [outbox.c.receiver == receiver]
        return self._dead(asked)

    def unreported(self, limit: int) -> list[Dead]:
        """Return the first of those that were given up since the last look."""
        return self._dead([outbox.c.reported == 0], limit)

    def _dead(self, asked: list[ColumnElement[bool]], limit: int | None = None) -> list[Dead]:
        c, later = outbox.c, outbox.alias("later")
        newer = exists().where(
            later.c.incident_id == c.incident_id,
            later.c.receiver == c.receiver,
            later.c.action == "trigger",
            later.c.sequence > c.sequence,
        )
        going = exists().where(incidents.c.incident_id == c.incident_id, incidents.c.status != "resolved")
        rows = self._database.execute(
            select(c.sequence, c.incident_id, c.receiver, c.action, c.dedup_key, c.attempts, c.outcome, c.payload)
            .add_columns(newer, going)
            .where(c.state == "dead", *asked)
            .order_by(c.sequence)
            .limit(limit)
        )
        return [_dead(*row) for row in rows]

    def payload(self, dead: Dead) -> bytes:
        """Return what a delivery that was given up would have said."""
        ((payload,),) = self._database.execute(select(outbox.c.payload).where(outbox.c.sequence == dead.sequence))
        return bytes(payload)

    def reported(self, dead: Dead) -> None:
        """Note that somebody was told of it, or that nobody has to be."""
        self._database.execute(outbox.update().where(outbox.c.sequence == dead.sequence).values(reported=1))

    def report(self, dead: Dead, receiver: str, payload: bytes, now: float) -> None:
        """Take in a page to another receiver about one that was given up; it ends with the incident."""
        self._add(dead.incident_id, receiver, "trigger", f"{dead.dedup_key}/{dead.receiver}", payload, now)

    def redrive(self, dead: Dead, now: float) -> None:
        """Let a delivery that was given up be attempted again, from the beginning."""
        mine = outbox.c.sequence == dead.sequence
        self._database.execute(outbox.update().where(mine).values(**_again(now)))


def _ids(incident_id: str) -> tuple[str, str]:
    """Of an incident's deliveries."""
    return (incident_id, incident_id + POSTMORTEM)


def _again(now: float) -> dict[str, Any]:
    return {
        "state": "pending",
        "attempts": 0,
        "outcome": "sent again by hand",
        "next_attempt_at": now,
        "reported": 0,
    }


def _to(incident_id: str, receiver: str) -> tuple[ColumnElement[bool], ...]:
    return (outbox.c.incident_id == incident_id, outbox.c.receiver == receiver)


def _dead(*row: Any) -> Dead:
    sequence, incident_id, receiver, action, dedup_key, attempts, outcome, payload, newer, going = row
    why = None
    if action == "trigger" and not incident_id.endswith(POSTMORTEM):
        why = "a later page of its incident stands for it" if newer else None if going else "its incident is over"
    elif action == "acknowledge" and not going:
        why = "its incident is over"
    elif action == "mitigate":
        why = "a mitigation is not sent again by itself; `streamdrift incidents mitigate` asks anew"
    said = orjson.loads(payload)["headline"]
    return Dead(sequence, incident_id, receiver, action, dedup_key, attempts, outcome, said, why)
