"""Corrective actions in the ledger, each with its state, until it is done; and with its ticket in Jira, if there is one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, get_args

import orjson
from sqlalchemy import ColumnElement, func, or_, select

from streamdrift.escalate.database import Database
from streamdrift.escalate.postmortem.action import Action, State
from streamdrift.escalate.tables import actions

ACTIONS_MAX = 10_000
"""Over it no more are taken in."""
FAR_S = 86_400.0
"""Nothing is looked at later than that; what seems to be was noted by a clock that has been set back since."""
LIVE: tuple[State, ...] = ("proposed", "accepted")

_C = actions.c
_COLUMNS = (
    *(_C.action_id, _C.incident_id, _C.kind, _C.title, _C.body, _C.rule, _C.cites),
    *(_C.state, _C.reason, _C.ticket, _C.ticket_status),
)


class Actions:
    """Actions, by id."""

    def __init__(self, database: Database, actions_max: int = ACTIONS_MAX) -> None:
        self._database, self._max = database, actions_max

    def propose(self, proposed: Sequence[Action], now: float) -> None:
        """Take in what an incident proposes; what nobody has decided on is brought up to date, the rest stays as it is."""
        ((count,),) = self._database.execute(select(func.count()).select_from(actions))
        for number, action in enumerate(proposed, 1):
            known = self.get(action.action_id)
            told = {
                "title": action.title,
                "body": action.text,
                "rule": orjson.dumps(action.rule).decode(),
                "cites": orjson.dumps(action.alerts).decode(),
                "number": number,
            }
            if known is not None:
                mine = (_C.action_id == action.action_id, _C.state == "proposed")
                self._database.execute(actions.update().where(*mine).values(**told))
            elif count < self._max:
                count += 1
                self._database.execute(
                    actions.insert().values(
                        action_id=action.action_id,
                        incident_id=action.incident_id,
                        kind=action.kind,
                        state="proposed",
                        reason="",
                        changed_at=now,
                        look_at=now,
                        **told,
                    )
                )

    def get(self, action_id: str) -> Action | None:
        """Return one; None where there is none of this id."""
        found = self._read(_C.action_id == action_id)
        return found[0] if found else None

    def beginning_with(self, text: str) -> list[Action]:
        """Return those whose id begins with a text; two at most."""
        return self._read(func.substr(_C.action_id, 1, len(text)) == text, limit=2)

    def of(self, incident_id: str) -> list[Action]:
        """Return those of an incident, in their order."""
        return self._read(_C.incident_id == incident_id)

    def in_states(self, states: Iterable[str], limit: int | None = None) -> list[Action]:
        """Return those in these states, those that changed last first."""
        asked = select(*_COLUMNS).where(_C.state.in_(tuple(states))).order_by(_C.changed_at.desc(), _C.action_id)
        return [_action(row) for row in self._database.execute(asked.limit(limit))]

    def move(self, action: Action, state: State, now: float, reason: str = "") -> Action:
        """Put an action into another state; one that is accepted is looked at by the worker at once."""
        if state not in get_args(State):
            raise ValueError(f"{state} is no state of an action")
        moved = {"state": state, "reason": reason, "changed_at": now, "look_at": now}
        self._database.execute(actions.update().where(_C.action_id == action.action_id).values(**moved))
        return replace(action, state=state, reason=reason)

    # Tickets ---------------------------------------------------------------------------------------------------------

    def untold(self, now: float) -> Action | None:
        """Return an accepted action that has no ticket yet, and whose turn it is; None without."""
        found = self._read(_C.state == "accepted", _C.ticket.is_(None), _due(now), limit=1, by_turn=True)
        return found[0] if found else None

    def followed(self, now: float, limit: int) -> list[Action]:
        """Return accepted actions whose tickets are to be looked at."""
        return self._read(_C.state == "accepted", _C.ticket.is_not(None), _due(now), limit=limit, by_turn=True)

    def look_again(self, ids: Sequence[str], at: float) -> None:
        """Note when to look at them next; before each attempt, so that a crash makes none sooner."""
        self._database.execute(actions.update().where(_C.action_id.in_(ids)).values(look_at=at))

    def ticket(self, action_id: str, key: str, status: str | None = None) -> None:
        """Note an action's ticket, and how far it is."""
        told = {"ticket": key} | ({} if status is None else {"ticket_status": status})
        self._database.execute(actions.update().where(_C.action_id == action_id).values(**told))

    def prune(self, before: float) -> None:
        """Forget what nobody took up, and what is done or dropped, since then."""
        old = (_C.state != "accepted", _C.changed_at < before)
        self._database.execute(actions.delete().where(*old))

    def _read(self, *where: ColumnElement[bool], limit: int | None = None, by_turn: bool = False) -> list[Action]:
        order = (_C.look_at, _C.action_id) if by_turn else (_C.incident_id, _C.number, _C.action_id)
        rows = self._database.execute(select(*_COLUMNS).where(*where).order_by(*order).limit(limit))
        return [_action(row) for row in rows]


def _due(now: float) -> ColumnElement[bool]:
    return or_(_C.look_at <= now, _C.look_at > now + FAR_S)


def _action(row: tuple[Any, ...]) -> Action:
    made, incident_id, kind, title, body, rule, cites, state, reason, ticket, status = row
    alerts = tuple(orjson.loads(cites))
    return Action(made, incident_id, kind, title, body, orjson.loads(rule), alerts, state, reason, ticket, status)
