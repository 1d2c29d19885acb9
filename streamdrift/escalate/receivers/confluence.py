"""Confluence Cloud's API v2: a page per incident, and one for its post-mortem, each made once. https://developer.atlassian.com/cloud/confluence/rest/v2/

A page is made when the incident is over, and belongs to those who edit it from then on: it is never written over. Titles are
unique in a space, so that the title is its dedup key: one that is there already is this one.
"""

from __future__ import annotations

from typing import Any

import orjson

from streamdrift.escalate import safe_text
from streamdrift.escalate.receivers.base import Ambiguous, Delivered, Outcome, Page, Permanent, RetryAt
from streamdrift.escalate.receivers.documents import Document, is_postmortem, of_page
from streamdrift.escalate.receivers.formats import fitting, to_xhtml
from streamdrift.escalate.receivers.http import Answer, HttpDoor, basic, outcome
from streamdrift.settings import ConfluenceSettings

TITLE_MAX = 255
BODY_MAX = 1_000_000
EXISTS = "title already exists"
PAGES = "/wiki/api/v2/pages"


class Confluence:
    """One space."""

    name = "confluence"

    def __init__(self, settings: ConfluenceSettings, *, private: bool = True) -> None:
        if settings.url is None or settings.user is None or settings.token is None or settings.space_id is None:
            raise ValueError("Confluence needs a url, a user, a token and a space_id")
        token = settings.token.get_secret_value()
        login = basic(settings.user, token)
        self._door = HttpDoor(settings.url, settings.timeout_s, [token], login=login, private=private)
        self._space, self._parent = str(settings.space_id), settings.parent_id

    def __repr__(self) -> str:
        return f"Confluence({self._door.place})"

    def send(self, page: Page, now: float) -> Outcome:
        """Make one attempt; see ``Receiver``."""
        if page.action != "resolve" and not is_postmortem(page):
            return Delivered("its page is made when it is over")
        if page.reference:
            return Delivered("its page was made before")
        if is_postmortem(page):
            return self.publish(page.headline, of_page(page), now)
        incident = str(page.incident.get("incident_id") or page.dedup_key)
        return self.publish(title(page.incident.get("model"), incident), of_page(page), now)

    def publish(self, name: str, document: Document, now: float) -> Outcome:
        """Make a page, a post-mortem for one; ``Delivered.reference`` is its id.

        Parameters
        ----------
        name
            Its title, which tells it from every other: the same name is the same page, and is not written over.
        """
        answer = self._door.ask(
            "POST", PAGES, now, body=orjson.dumps(self._body(name, document)), headers=_HEADERS, reads=True
        )
        found = outcome(answer)
        if isinstance(answer, Answer) and answer.status in {400, 409} and EXISTS in answer.detail:
            return self._there(name, now)
        if not isinstance(found, Delivered) or not isinstance(answer, Answer):
            return found
        number = str(answer.fields.get("id") or "")
        return Delivered(found.reason, number) if number else Ambiguous(f"{found.reason}, but it names no page")

    def _there(self, name: str, now: float) -> Outcome:
        query = {"space-id": self._space, "title": _title(name), "status": "current", "limit": "1"}
        answer = self._door.ask("GET", PAGES, now, headers=_HEADERS, query=query, reads=True)
        found = outcome(answer)
        if isinstance(found, Ambiguous):
            return RetryAt(reason=found.reason)
        if not isinstance(found, Delivered) or not isinstance(answer, Answer):
            return found
        pages = answer.fields.get("results") or ()
        if not pages:
            return Permanent("a page of this title exists, and is archived, deleted or not to be seen")
        return Delivered("it was there", str(pages[0].get("id")))

    def _body(self, name: str, document: Document) -> dict[str, Any]:
        value = to_xhtml(fitting(document, lambda some: len(to_xhtml(some).encode()), BODY_MAX))
        body: dict[str, Any] = {
            "spaceId": self._space,
            "status": "current",
            "title": _title(name),
            "body": {"representation": "storage", "value": value},
        }
        return body if self._parent is None else {**body, "parentId": str(self._parent)}


_HEADERS = {"Content-Type": "application/json", "Accept": "application/json"}


def title(model: Any, incident_id: str) -> str:
    """The title of an incident's page: its id is not cut, whatever the model is called."""
    return f"Incident {safe_text.plain(incident_id, 80)}: {safe_text.plain(model or 'unknown model', 100)}"


def _title(name: str) -> str:
    return safe_text.header(name, TITLE_MAX)
