"""What a receiver is given, and what it answers.

A receiver makes one attempt and says what became of it; it never waits, retries, or raises for what the other side did.
The worker does the rest by the outbox: backoff, order, dedup.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol

Action = Literal["trigger", "acknowledge", "resolve", "mitigate", "revert"]
"""What a page is for. The last two go to the serving side alone (``mitigation.serving``)."""

REFERENCE_LENGTH_MAX = 500
"""A longer one is not kept: half a key is none."""


@dataclass(frozen=True, slots=True)
class Page:
    """One thing to tell.

    Attributes
    ----------
    delivery_id
        Stable over retries and restarts; two deliveries never share it.
    dedup_key
        What a trigger and its resolve have in common.
    at
        Event time of the alert that caused it, milliseconds since the epoch.
    incident
        The incident in JSON terms, with its ``blast_radius``.
    alerts
        The ``data`` of its alerts' CloudEvents, the lead first.
    reference
        What this receiver last answered as ``Delivered.reference`` about the incident; None before.
    uncertain
        Whether an earlier attempt may have told it. A receiver whose other side knows no dedup keys looks there first.
    """

    delivery_id: str
    action: Action
    dedup_key: str
    at: int
    headline: str
    incident: dict[str, Any]
    alerts: tuple[dict[str, Any], ...]
    reference: str | None = None
    uncertain: bool = False


@dataclass(frozen=True, slots=True)
class Delivered:
    """It is told.

    Attributes
    ----------
    reference
        What the other side calls it (a message's timestamp, an issue's key): kept per receiver and incident, and given back
        with the incident's next page, which may then update or answer it. At most ``REFERENCE_LENGTH_MAX`` characters. None
        leaves what was kept before.
    """

    name: ClassVar[str] = "delivered"
    reason: str = ""
    reference: str | None = None


@dataclass(frozen=True, slots=True)
class RetryAt:
    """It is not told; try the same again.

    Attributes
    ----------
    seconds
        The other side's wish (Retry-After); None where it gave none.
    """

    name: ClassVar[str] = "retry"
    seconds: float | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Permanent:
    """It is not told, and the same will never be taken."""

    name: ClassVar[str] = "permanent"
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Ambiguous:
    """It may have been told: it was sent, and no answer came.

    It is tried again: the other side knows it by its dedup key, or the receiver sees by ``Page.uncertain`` that it has to look
    there first.

    Attributes
    ----------
    seconds
        How long to wait before looking; None where it doesn't matter.
    """

    name: ClassVar[str] = "ambiguous"
    reason: str = ""
    seconds: float | None = None


Outcome = Delivered | RetryAt | Permanent | Ambiguous
OUTCOMES: tuple[type[Outcome], ...] = (Delivered, RetryAt, Permanent, Ambiguous)


class Receiver(Protocol):
    """Somewhere that pages go. ``checks.receivers`` has the suite that each passes."""

    @property
    def name(self) -> str:
        """Short and fixed: a metric label, and the receiver's name in the ledger."""
        ...

    def send(self, page: Page, now: float) -> Outcome:
        """Make one attempt.

        Parameters
        ----------
        now
            Seconds since the epoch.
        """
        ...
