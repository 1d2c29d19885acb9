"""Corrective actions that were accepted as tickets in Jira, followed until they are done.

Before an attempt it is noted when to look again, a minute later: after a crash in between the ticket is looked for once the search
knows it, and not made twice.
"""

from __future__ import annotations

from structlog.typing import FilteringBoundLogger

from streamdrift.escalate import learnt
from streamdrift.escalate.events import Event
from streamdrift.escalate.ledger import Ledger
from streamdrift.escalate.postmortem.action import Action
from streamdrift.escalate.receivers.base import Ambiguous, Delivered, Outcome, Permanent, RetryAt
from streamdrift.escalate.receivers.jira_actions import CorrectiveAction, JiraActions
from streamdrift.escalate.receivers.jira_site import FOUND_MAX, SETTLING_S
from streamdrift.escalate.words import named
from streamdrift.ports import Clock
from streamdrift.settings import EscalateSettings

FOLLOW_S = 300.0
"""How often a ticket is looked at."""
REFUSED_S = 3_600.0
"""How long to wait where Jira refuses: somebody has to change something."""
WISH_S_MAX = 3_600.0
STATUS_MAX = 60


class Tickets:
    """One step asks Jira about one action that has no ticket, or about all whose turn it is that have."""

    def __init__(self, ledger: Ledger, jira: JiraActions, clock: Clock, log: FilteringBoundLogger) -> None:
        self._ledger, self._jira, self._clock, self._log = ledger, jira, clock, log
        self._paused_until = clock.monotonic()

    @classmethod
    def of(cls, ledger: Ledger, settings: EscalateSettings, clock: Clock, log: FilteringBoundLogger) -> Tickets | None:
        """Return what the settings ask for: nothing without Jira."""
        if settings.jira.url is None:
            return None
        return cls(ledger, JiraActions(settings.jira, private=settings.private_addresses), clock, log)

    def step(self) -> None:
        """Make what is due next; after a failure nothing for a minute, whatever else waits: attempts take time from pages."""
        if self._clock.monotonic() < self._paused_until:
            return
        now = self._clock.now()
        action = self._ledger.actions.untold(now)
        if action is not None:
            self._open(action, now)
            return
        followed = self._ledger.actions.followed(now, FOUND_MAX)
        if followed:
            self._follow(followed, now)

    def _open(self, action: Action, now: float) -> None:
        actions = self._ledger.actions
        actions.look_again([action.action_id], now + SETTLING_S)
        told = CorrectiveAction(action.action_id, action.incident_id, action.title, action.text)
        done = self._jira.open(told, now)
        if isinstance(done, Delivered) and done.reference:
            with self._ledger.transaction():
                actions.ticket(action.action_id, done.reference)
                self._enter(action.incident_id, learnt.ticketed(action, done.reference))
            self._log.info("corrective action has a ticket", action=action.action_id, ticket=done.reference)
        else:
            self._put_off([action], done, now)

    def _follow(self, followed: list[Action], now: float) -> None:
        actions = self._ledger.actions
        actions.look_again([action.action_id for action in followed], now + FOLLOW_S)
        found = self._jira.progress([action.ticket or "" for action in followed], now)
        if not isinstance(found, dict):
            self._put_off(followed, found, now)
            return
        for action in followed:
            progress = found.get(action.ticket or "")
            if progress is None:
                continue  # gone, or not to be seen: it may come back
            with self._ledger.transaction():
                current = actions.get(action.action_id)
                actions.ticket(action.action_id, action.ticket or "", progress.status[:STATUS_MAX])
                if progress.done and current is not None and current.state == "accepted":
                    moved = actions.move(
                        action, "done", now, f"ticket {action.ticket} is {progress.status[:STATUS_MAX]}"
                    )
                    self._enter(action.incident_id, learnt.moved(moved))

    def _put_off(self, some: list[Action], outcome: Outcome, now: float) -> None:
        wish_s = outcome.seconds if isinstance(outcome, RetryAt | Ambiguous) else None
        wait_s = REFUSED_S if isinstance(outcome, Permanent) else min(max(wish_s or 0.0, SETTLING_S), WISH_S_MAX)
        self._ledger.actions.look_again([action.action_id for action in some], now + wait_s)
        self._paused_until = self._clock.monotonic() + SETTLING_S
        self._log.warning(
            "corrective actions could not be told to Jira",
            actions=len(some),
            outcome=outcome.name,
            reason=named(outcome.reason, 300),
            wait_s=wait_s,
        )

    def _enter(self, incident_id: str, event: Event) -> None:
        at = round(self._clock.now() * 1000)
        if self._ledger.incidents.get(incident_id) is not None:  # what is forgotten has no timeline any more
            self._ledger.timeline.add(incident_id, at, event.kind, event.text, event.detail)
