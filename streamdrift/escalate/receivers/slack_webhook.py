"""An incoming webhook of Slack: a message for each page, and no more. https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks

There are no dedup keys, and no way to look for a message: one that may have been told is not told again.
"""

from __future__ import annotations

import orjson

from streamdrift.escalate.receivers.base import Ambiguous, Delivered, Outcome, Page, Permanent, RetryAt
from streamdrift.escalate.receivers.http import Answer, HttpDoor, outcome
from streamdrift.escalate.receivers.slack_blocks import message, reply
from streamdrift.settings import SlackWebhookSettings

TAKEN = b"ok"


class SlackWebhook:
    """One webhook, which is one channel."""

    name = "slack_webhook"

    def __init__(self, settings: SlackWebhookSettings, *, private: bool = True) -> None:
        if settings.url is None:
            raise ValueError("a webhook needs a url")
        url = settings.url.get_secret_value()
        self._door = HttpDoor(url, settings.timeout_s, [url], private=private)

    def __repr__(self) -> str:
        return f"SlackWebhook({self._door.place})"

    def send(self, page: Page, now: float) -> Outcome:
        """Make one attempt; see ``Receiver``."""
        if page.uncertain:
            return Permanent("perhaps delivered: it was sent, no answer came, and a webhook of Slack can't be asked")
        body = message(page) if page.action == "trigger" else reply(page)
        told = {name: body[name] for name in ("text", "blocks")}
        headers = {"Content-Type": "application/json"}
        answer = self._door.ask("POST", "", now, body=orjson.dumps(told), headers=headers, reads=True)
        found = outcome(answer)
        if not isinstance(found, Delivered) or not isinstance(answer, Answer) or answer.body == TAKEN:
            return found
        if not answer.body:
            return Ambiguous(f"{found.reason}, but not Slack's ok")
        return RetryAt(answer.retry_after_s, f"{found.reason}, but not Slack's ok; is something between us and Slack?")
