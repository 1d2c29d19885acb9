"""One mitigation, and what may become of it. Pure.

proposed  → approved | refused | expired
approved  → sent | refused (as long as nothing was sent) | expired | failed | reverting (nobody knows whether it arrived)
sent      → verified | reverting | kept
reverting → reverted | failed | verified (the alerts recovered before anything was sent)
failed    → reverted (somebody let the revert be sent again) | kept (its answer came after it was let go of)
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, get_args

from streamdrift.alerts import digest

Action = Literal["roll_back", "shadow", "stop_segment", "fallback"]
ACTIONS: tuple[Action, ...] = get_args(Action)
State = Literal[
    "proposed", "approved", "refused", "expired", "sent", "verified", "kept", "reverting", "reverted", "failed"
]
STATES: tuple[State, ...] = get_args(State)
NEXT: dict[State, frozenset[State]] = {
    "proposed": frozenset({"approved", "refused", "expired"}),
    "approved": frozenset({"sent", "refused", "expired", "failed", "reverting"}),
    "sent": frozenset({"verified", "reverting", "kept"}),
    "reverting": frozenset({"reverted", "failed", "verified"}),
    "failed": frozenset({"reverted", "kept"}),
}
RUNNING: frozenset[State] = frozenset({"approved", "sent", "reverting"})
"""As long as one of a model is in these, no other of that model is sent."""
LIVE = RUNNING | {"proposed"}

Verdict = Literal["clear", "unknown", "hit"]
"""Of the check that belongs to an action: nothing speaks against it, something isn't known, or it would not help."""


@dataclass(frozen=True, slots=True)
class Mitigation:
    """One thing that the serving side may be asked to do. Times of the clock are in seconds since the epoch.

    Attributes
    ----------
    number
        From 1, within its incident.
    target, current
        Versions: the one to roll back to, and the one that serves. None where that isn't known or not asked for.
    segment
        Of the model's traffic; ``{}`` is all of it.
    why
        What the verdict comes from, a phrase each.
    by
        Who approved: ``person``, ``settings``, or nobody yet.
    dry_run
        The serving side only says what it would do.
    sent_at
        When it was carried out, or may have been; None of a dry run.
    due_at
        When its state lasts no longer, or somebody has to be told of it; None where nothing waits.
    said
        Why it is in this state, where that isn't plain.
    """

    mitigation_id: str
    incident_id: str
    number: int
    model: str
    action: Action
    state: State
    target: str | None
    current: str | None
    segment: dict[str, str]
    verdict: Verdict
    why: tuple[str, ...]
    proposed_at: float
    dry_run: bool = False
    by: str = ""
    approved_at: float | None = None
    sent_at: float | None = None
    due_at: float | None = None
    said: str = ""

    @property
    def is_running(self) -> bool:
        """Whether it is on its way, or in force and not verified."""
        return self.state in RUNNING and not (self.dry_run and self.state == "sent")


def mitigation_id(incident_id: str, number: int) -> str:
    """Return the id of an incident's n-th mitigation; what is sent of it is known by it."""
    return digest("mitigation", incident_id, str(number))


def moved(mitigation: Mitigation, state: State, *, due_at: float | None = None, **changed: object) -> Mitigation:
    """Return the mitigation in another state.

    Raises
    ------
    ValueError
        Nothing leads there.
    """
    if state not in NEXT.get(mitigation.state, frozenset()):
        raise ValueError(f"a mitigation that is {mitigation.state} can't become {state}")
    return replace(mitigation, state=state, due_at=due_at, **changed)  # type: ignore[arg-type] # fields by name
