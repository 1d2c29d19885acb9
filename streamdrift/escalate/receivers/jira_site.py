"""The requests to Jira: tickets made, found, commented and moved; none is repeated here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import quote

import orjson

from streamdrift.escalate import safe_text
from streamdrift.escalate.receivers.base import Ambiguous, Delivered, Outcome, RetryAt
from streamdrift.escalate.receivers.documents import Document
from streamdrift.escalate.receivers.formats import fitting, to_adf
from streamdrift.escalate.receivers.http import HttpDoor, basic, outcome
from streamdrift.settings import JiraSettings

SUMMARY_MAX = 255
DESCRIPTION_MAX = 32_000
"""Jira takes 32,767 characters; over it the ticket is refused, and its number lost."""
SETTLING_S = 60.0
"""The search knows a new ticket seconds later, at times a minute."""
COMMENTS_MAX, FOUND_MAX = 100, 50

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Issue:
    """A ticket to be made."""

    summary: str
    document: Document
    kind: str
    labels: tuple[str, ...]


class JiraSite:
    """One site and project."""

    def __init__(self, settings: JiraSettings, *, private: bool = True) -> None:
        if settings.url is None or settings.user is None or settings.token is None or settings.project is None:
            raise ValueError("Jira needs a url, a user, a token and a project")
        token = settings.token.get_secret_value()
        login = basic(settings.user, token)
        self._door = HttpDoor(settings.url, settings.timeout_s, [token], login=login, private=private)
        self._project = settings.project

    @property
    def place(self) -> str:
        """What may be told of the URL."""
        return self._door.place

    def create(self, issue: Issue, now: float) -> str | Outcome:
        """Make a ticket; return its key."""
        fields = {
            "project": {"key": self._project},
            "issuetype": {"name": issue.kind},
            "summary": safe_text.header(issue.summary, SUMMARY_MAX),
            "description": described(issue.document),
            "labels": list(issue.labels),
        }
        answer = self._call("POST", "issue", {"fields": fields}, now)
        if isinstance(answer, Ambiguous):
            return Ambiguous(answer.reason, SETTLING_S)
        if not isinstance(answer, dict):
            return answer
        key = str(answer.get("key") or "")
        return key or Ambiguous("accepted, but the answer names no ticket", SETTLING_S)

    def labelled(self, label: str, now: float, without: tuple[str, ...] = ()) -> list[str] | Outcome:
        """Return the keys of the tickets with a label, and without others, the oldest first."""
        query = f"project = {safe_text.jql(self._project)} AND labels = {safe_text.jql(label)}"
        query += f" AND labels not in ({', '.join(map(safe_text.jql, without))})" if without else ""
        query += " ORDER BY created ASC"
        return self._search(query, ("summary",), now, lambda issue: str(issue.get("key")))

    def comment(self, key: str, document: Document, now: float) -> Outcome:
        """Add a comment."""
        answer = self._call("POST", f"issue/{quote(key, safe='')}/comment", {"body": described(document)}, now)
        if isinstance(answer, dict):
            return Delivered() if answer.get("id") else Ambiguous("accepted, but the answer names no comment")
        return answer

    def commented(self, key: str, text: str, now: float) -> bool | Outcome:
        """Whether one of the latest comments has this text in it."""
        query = {"orderBy": "-created", "maxResults": str(COMMENTS_MAX)}
        answer = self._call("GET", f"issue/{quote(key, safe='')}/comment", None, now, query)
        return _looked(answer, lambda fields: text in orjson.dumps(fields.get("comments") or []).decode())

    def move(self, key: str, transition: str, now: float) -> Outcome:
        """Take a transition by its name, where it can be taken; elsewhere the ticket has gone that way, or another."""
        path = f"issue/{quote(key, safe='')}/transitions"
        answer = self._call("GET", path, None, now)
        if not isinstance(answer, dict):
            return answer
        for offered in answer.get("transitions") or ():
            if str(offered.get("name")).casefold() == transition.casefold():
                done = self._call("POST", path, {"transition": {"id": str(offered.get("id"))}}, now, reads=False)
                return Delivered() if isinstance(done, dict) else done
        return Delivered(f"no transition {transition!r} is offered")

    def statuses(self, keys: tuple[str, ...], now: float) -> dict[str, tuple[str, bool]] | Outcome:
        """Return of each ticket the name of its status, and whether that is one of being done."""
        if not keys:
            return {}
        listed = ", ".join(safe_text.jql(key) for key in keys[:FOUND_MAX])
        found = self._search(f"key in ({listed})", ("status",), now, _status)
        return dict(found) if isinstance(found, list) else found

    def _search(
        self, query: str, fields: tuple[str, ...], now: float, read: Callable[[dict[str, Any]], T]
    ) -> list[T] | Outcome:
        body = {"jql": query, "fields": list(fields), "maxResults": FOUND_MAX}
        answer = self._call("POST", "search/jql", body, now)
        return _looked(answer, lambda told: [read(issue) for issue in told.get("issues") or ()])

    def _call(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None,
        now: float,
        query: Mapping[str, str] | None = None,
        *,
        reads: bool = True,
    ) -> dict[str, Any] | Outcome:
        headers = {"Accept": "application/json"} | ({} if body is None else {"Content-Type": "application/json"})
        encoded = None if body is None else orjson.dumps(body)
        answer = self._door.ask(
            method, f"/rest/api/3/{path}", now, body=encoded, headers=headers, query=query, reads=reads
        )
        found = outcome(answer)
        return getattr(answer, "fields", {}) if isinstance(found, Delivered) else found


def described(document: Document) -> dict[str, Any]:
    """A document in Jira's format, as much of it as Jira takes."""
    return to_adf(fitting(document, lambda some: len(orjson.dumps(to_adf(some)).decode()), DESCRIPTION_MAX))


def _looked(answer: dict[str, Any] | Outcome, read: Callable[[dict[str, Any]], T]) -> T | Outcome:
    """What was read: asking changes nothing, so that it is asked again where no answer came."""
    if isinstance(answer, Ambiguous):
        return RetryAt(reason=answer.reason)
    return read(answer) if isinstance(answer, dict) else answer


def _status(issue: Mapping[str, Any]) -> tuple[str, tuple[str, bool]]:
    status = (issue.get("fields") or {}).get("status") or {}
    done = (status.get("statusCategory") or {}).get("key") == "done"
    return str(issue.get("key")), (str(status.get("name") or ""), done)
