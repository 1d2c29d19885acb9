"""What stands in the outbox, as it is read there: one delivery to one receiver, and how it stands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from streamdrift.escalate.receivers.base import Action, Page

State = Literal["pending", "done", "dead"]
POSTMORTEM = "/postmortem"
"""After an incident's id: its post-mortem, which no later page stands for, and no end ends."""


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


@dataclass(frozen=True, slots=True)
class Dead:
    """One delivery that was given up.

    Attributes
    ----------
    outcome
        Why.
    kept_back
        Why it would not be sent again; None where it would.
    """

    sequence: int
    incident_id: str
    receiver: str
    action: Action
    dedup_key: str
    attempts: int
    outcome: str
    headline: str
    kept_back: str | None

    @property
    def is_postmortem(self) -> bool:
        """Whether nobody was to be called by it."""
        return self.incident_id.endswith(POSTMORTEM)


def told_of(incident_id: str) -> str:
    """The incident that a delivery is about.

    >>> told_of("c0ffee/postmortem"), told_of("c0ffee")
    ('c0ffee', 'c0ffee')
    """
    return incident_id.removesuffix(POSTMORTEM)
