"""The serving side's webhook, signed as pages to ``receivers.webhook`` are."""

from __future__ import annotations

from streamdrift.escalate.mitigation.message import encode
from streamdrift.escalate.receivers.base import Ambiguous, Outcome, Page
from streamdrift.escalate.receivers.http import Answer, outcome
from streamdrift.escalate.receivers.webhook import SignedDoor
from streamdrift.settings import EscalateSettings

NAME = "mitigation"
"""Of the receiver: in the outbox, in metrics, and as section of the settings. No route leads there."""


class Serving:
    """One URL that changes what serves.

    It answers 2xx for what it did, or had done under the same ``webhook-id``; any other 4xx but 408, 425 and 429 says that it will not.
    A 5xx leaves open whether it did: as with no answer at all, it is asked again, and taken back where that comes to nothing.
    """

    name = NAME

    def __init__(self, settings: EscalateSettings) -> None:
        mitigation = settings.mitigation
        if mitigation.url is None:
            raise ValueError("mitigation needs a url")
        self._door = SignedDoor(
            mitigation.url, mitigation.secret, mitigation.timeout_s, private=settings.private_addresses
        )

    def __repr__(self) -> str:
        return f"Serving({self._door.place})"

    def send(self, page: Page, now: float) -> Outcome:
        """Make one attempt; see ``Receiver``."""
        answer = self._door.post(page.delivery_id, encode(page), now)
        found = outcome(answer)
        if isinstance(answer, Answer) and answer.status >= 500:
            return Ambiguous(found.reason, answer.retry_after_s)
        return found


def serving_of(settings: EscalateSettings) -> Serving | None:
    """Return the serving side of the settings; None where mitigation is off."""
    return None if settings.mitigation.url is None else Serving(settings)
