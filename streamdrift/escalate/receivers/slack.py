"""Slack's web API: one message per incident, kept up to date, and a thread for what happens to it.

Slack knows no dedup keys. Each message carries the delivery's id as metadata, by which one that may have got through is found.
https://docs.slack.dev/reference/methods/chat.postMessage
"""

from __future__ import annotations

from typing import Any

import orjson

from streamdrift.escalate.receivers.base import Ambiguous, Delivered, Outcome, Page, Permanent, RetryAt
from streamdrift.escalate.receivers.http import Answer, Failure, HttpDoor, bearer, outcome
from streamdrift.escalate.receivers.reference import Reference, reference_of
from streamdrift.escalate.receivers.slack_blocks import message, reply
from streamdrift.settings import SlackSettings

EVENT_TYPE = "streamdrift_page"
PASSING = frozenset({"ratelimited", "rate_limited", "service_unavailable", "request_timeout", "team_added_to_org"})
UNKNOWN = frozenset({"internal_error", "fatal_error"})
"""With these, as Slack says, some of it may have been done."""
GONE = frozenset({"message_not_found", "thread_not_found", "cant_update_message", "edit_window_closed"})
LOOKED_AT = 100
"""Messages of the channel, or of the thread, among which one that may have got through is looked for."""
SETTLING_S = 5.0


class Slack:
    """One channel."""

    name = "slack"

    def __init__(self, settings: SlackSettings, *, private: bool = True) -> None:
        if settings.token is None or settings.channel is None:
            raise ValueError("Slack needs a token and a channel")
        token = settings.token.get_secret_value()
        self._channel = settings.channel
        self._door = HttpDoor(settings.url, settings.timeout_s, [token], login=bearer(token), private=private)

    def __repr__(self) -> str:
        return f"Slack({self._door.place})"

    def send(self, page: Page, now: float) -> Outcome:
        """Make one attempt; see ``Receiver``."""
        known = reference_of(page)
        if page.action == "resolve" and known.over:
            return Delivered("its end was told before")
        if not known.name:
            return self._begin(page, now)
        updated = self._update(page, known, now)
        if isinstance(updated, Permanent) and updated.reason in GONE:
            return self._begin(page, now)
        # an update changes nothing when it is repeated, so that it goes first; the reply is what calls somebody
        return updated if not isinstance(updated, Delivered) else self._reply(page, known, now)

    def _begin(self, page: Page, now: float) -> Outcome:
        found = self._found(page, "", now) if page.uncertain or page.action == "resolve" else None
        if isinstance(found, str):
            known = Reference(found)
            return self._reply(page, known, now) if page.action == "resolve" else Delivered("found", str(known))
        if found is not None:
            return found
        if page.action != "trigger":
            return Delivered("nothing was told that could be over")
        return self._post({**message(page), "metadata": _metadata(page)}, now)

    def _reply(self, page: Page, known: Reference, now: float) -> Outcome:
        over = Reference(known.name, over=page.action == "resolve")
        found = self._found(page, known.name, now) if page.uncertain else None
        if isinstance(found, str):
            return Delivered("found", str(over))
        if found is not None:
            return found
        body = {**reply(page), "thread_ts": known.name, "metadata": _metadata(page)}
        if page.action == "trigger":
            body["reply_broadcast"] = True
        return self._post(body, now, over)

    def _post(self, body: dict[str, Any], now: float, known: Reference | None = None) -> Outcome:
        answer = self._call("chat.postMessage", {"channel": self._channel, **body}, now)
        if not isinstance(answer, dict):
            return answer
        return Delivered(reference=str(known or Reference(str(answer.get("ts") or ""))) or None)

    def _update(self, page: Page, known: Reference, now: float) -> Outcome:
        body = {"channel": self._channel, "ts": known.name, **message(page)}
        answer = self._call("chat.update", body, now)
        if isinstance(answer, Ambiguous):
            return RetryAt(answer.seconds, answer.reason)
        return Delivered() if isinstance(answer, dict) else answer

    def _found(self, page: Page, thread: str, now: float) -> str | Outcome | None:
        """Look for this delivery's message, or with the end of an incident for any of its own; None where there is none."""
        method = "conversations.replies" if thread else "conversations.history"
        query = {"channel": self._channel, "include_all_metadata": "true", "limit": str(LOOKED_AT)}
        if thread:
            query["ts"] = thread
        answer = self._call(method, None, now, query)
        if isinstance(answer, Ambiguous):
            return RetryAt(answer.seconds, answer.reason)
        if isinstance(answer, Permanent) and page.uncertain:
            return Permanent(f"perhaps delivered: it was sent, and can't be looked for ({answer.reason})")
        if not isinstance(answer, dict):
            return answer
        begun = page.action == "resolve" and not thread
        for found in answer.get("messages") or ():
            payload = (found.get("metadata") or {}).get("event_payload") or {}
            if payload.get("delivery_id") == page.delivery_id or (
                begun and payload.get("incident_id") == _incident(page)
            ):
                return str(found.get("ts") or "")
        return None

    def _call(
        self, method: str, body: dict[str, Any] | None, now: float, query: dict[str, str] | None = None
    ) -> dict[str, Any] | Outcome:
        """Return what a method answered that went well."""
        headers = {} if body is None else {"Content-Type": "application/json; charset=utf-8"}
        encoded = None if body is None else orjson.dumps(body)
        verb = "GET" if body is None else "POST"
        answer = self._door.ask(verb, f"/{method}", now, body=encoded, headers=headers, query=query, reads=True)
        return judged(answer)


def judged(answer: Answer | Failure) -> dict[str, Any] | Outcome:
    """Return what Slack answered, or what its refusal means: it says by the body whether it took something."""
    found = outcome(answer)
    if not isinstance(answer, Answer) or not isinstance(found, Delivered):
        return found
    fields = answer.fields
    if fields.get("ok") is True:
        return fields
    error = str(fields.get("error") or "")
    if error in PASSING:
        return RetryAt(answer.retry_after_s, error)
    if error in UNKNOWN or fields.get("ok") is not False:
        return Ambiguous(error or f"HTTP {answer.status}, but no answer of Slack's", SETTLING_S)
    return Permanent(error[:100] or "ok: false")


def _metadata(page: Page) -> dict[str, Any]:
    payload = {"delivery_id": page.delivery_id, "incident_id": _incident(page), "dedup_key": page.dedup_key}
    return {"event_type": EVENT_TYPE, "event_payload": payload}


def _incident(page: Page) -> str:
    return str(page.incident.get("incident_id") or page.dedup_key)
