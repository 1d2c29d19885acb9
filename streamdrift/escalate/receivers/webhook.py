"""A webhook, signed as https://www.standardwebhooks.com has it.

A receiver that keeps the ``webhook-id`` of what it has handled takes every page once: the id stays the same over retries.
"""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64decode, b64encode

import orjson
from pydantic import SecretStr

from streamdrift.alerts import rfc3339
from streamdrift.escalate.receivers.base import Outcome, Page
from streamdrift.escalate.receivers.http import Answer, Failure, HttpDoor, outcome
from streamdrift.settings import WebhookSettings

TYPE = "io.streamdrift.incident.v1"
PREFIX = "whsec_"


class SignedDoor:
    """One URL, to which what is posted is signed.

    Parameters
    ----------
    secret
        ``whsec_`` and base64, or plain text; without one nothing is signed.
    timeout_s, private
        As ``HttpDoor`` has them.
    """

    def __init__(self, url: str, secret: SecretStr | None, timeout_s: float, *, private: bool = True) -> None:
        text = None if secret is None else secret.get_secret_value()
        self._key = None if text is None else signing_key(text)
        spellings = [] if text is None else [text, text.removeprefix(PREFIX), signing_key(text).decode("latin-1")]
        self._door = HttpDoor(url, timeout_s, spellings, private=private)

    @property
    def place(self) -> str:
        """What may be told of the URL."""
        return self._door.place

    def post(self, message_id: str, body: bytes, now: float) -> Answer | Failure:
        """Post once; see ``HttpDoor.ask``."""
        headers = {"Content-Type": "application/json", "webhook-id": message_id, "webhook-timestamp": str(int(now))}
        if self._key is not None:
            headers["webhook-signature"] = signature(self._key, message_id, int(now), body)
        return self._door.post(body, headers, now)


class Webhook:
    """One URL.

    It answers 2xx for what it took. 410 says that it wants no more, and like every other 4xx but 408, 425 and 429 it puts
    the page aside; a redirect is not followed.
    """

    name = "webhook"

    def __init__(self, settings: WebhookSettings, *, private: bool = True) -> None:
        if settings.url is None:
            raise ValueError("a webhook needs a url")
        self._door = SignedDoor(settings.url, settings.secret, settings.timeout_s, private=private)

    def __repr__(self) -> str:
        return f"Webhook({self._door.place})"

    def send(self, page: Page, now: float) -> Outcome:
        """Make one attempt; see ``Receiver``."""
        return outcome(self._door.post(page.delivery_id, encode(page), now))


def encode(page: Page) -> bytes:
    """Return the body: ``type``, ``timestamp`` and ``data``."""
    data = {
        "action": page.action,
        "dedup_key": page.dedup_key,
        "headline": page.headline,
        "incident": page.incident,
        "alerts": page.alerts,
    }
    return orjson.dumps({"type": TYPE, "timestamp": rfc3339(page.at), "data": data})


def signing_key(secret: str) -> bytes:
    """The key that a secret stands for: ``whsec_`` and base64, or plain text.

    >>> signing_key("whsec_c2VjcmV0"), signing_key("secret")
    (b'secret', b'secret')
    """
    return b64decode(secret.removeprefix(PREFIX)) if secret.startswith(PREFIX) else secret.encode()


def signature(key: bytes, message_id: str, timestamp_s: int, body: bytes) -> str:
    """Return the header's value: ``v1,`` and the base64 HMAC-SHA256 of ``id.timestamp.body``."""
    signed = f"{message_id}.{timestamp_s}.".encode() + body
    return "v1," + b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
