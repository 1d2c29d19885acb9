"""A request to an answer: is there such an endpoint, may the sender, what does it say, is that safe with the broker.

``refusal`` needs the request's head alone, so that a body is read of those alone who may send one; ``answer`` needs all of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hmac import compare_digest
from typing import Any
from urllib.parse import parse_qs, urlsplit

from pydantic import SecretStr

from streamdrift.errors import Rejected, Retriable
from streamdrift.events import strict_json
from streamdrift.events.inference import Limits
from streamdrift.feeds import mlflow, native, openlineage, pagerduty
from streamdrift.feeds.drafts import NAMES_MAX, Scope, Sent, looked, made, reported
from streamdrift.feeds.inbox import Inbox
from streamdrift.feeds.rate import Rate
from streamdrift.feeds.schemas import Schemas
from streamdrift.ports import Clock
from streamdrift.settings import Settings

CHANGES, SOURCES, LINEAGE = "/v1/changes", "/v1/sources", "/api/v1/lineage"
MLFLOW, PAGERDUTY = "/v1/mlflow", "/v2/change/enqueue"
ENDPOINTS = (CHANGES, SOURCES, LINEAGE, MLFLOW, PAGERDUTY)
DEPTH_MAX = 64
"""Levels of a body."""
MESSAGES_MAX = 300
AGAIN_S = 5
"""When a sender whose change is not safe may come again."""
QUERY_LENGTH_MAX = 4_096


@dataclass(frozen=True, slots=True)
class Request:
    """What came.

    Attributes
    ----------
    headers
        Names in lower case.
    """

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes = b""

    @property
    def path(self) -> str:
        """The endpoint's, or what stands in its place."""
        try:
            return urlsplit(self.target).path if len(self.target) <= QUERY_LENGTH_MAX else ""
        except ValueError:  # such as an address of no host
            return ""


@dataclass(frozen=True, slots=True)
class Answer:
    """What is said to it.

    Attributes
    ----------
    outcome
        A short fixed name: label of the metric, field of the log.
    detail
        A sentence; None where it went well.
    """

    status: int
    outcome: str
    detail: str | None = None
    ids: tuple[str, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)

    def body(self) -> dict[str, Any]:
        """The answer in JSON terms. ``status`` and ``message`` are what PagerDuty's senders look for."""
        if self.detail is None:
            return {"status": "success", "message": "Change event processed", "change_ids": list(self.ids)}
        return {"error": {"reason": self.outcome, "detail": self.detail}}


class Hook:
    """Takes requests, from any number of threads."""

    def __init__(self, settings: Settings, inbox: Inbox, clock: Clock) -> None:
        self._settings, self._sources, self._inbox, self._clock = settings.changes, settings.sources, inbox, clock
        self._limits = Limits.of(settings)
        self._rate, self._schemas = Rate(self._settings.requests_per_minute_max, clock), Schemas()
        self._readers: dict[str, Callable[[Mapping[str, Any], Scope, float], Sent]] = {
            CHANGES: self._change,
            SOURCES: self._report,
            LINEAGE: self._lineage,
            MLFLOW: self._mlflow,
            PAGERDUTY: self._pagerduty,
        }

    def endpoint(self, request: Request) -> str:
        """Return the endpoint's name for metrics: of a path that is none, ``other``."""
        return request.path if request.path in ENDPOINTS else "other"

    # The head ---------------------------------------------------------------------------------------------------------

    def refusal(self, request: Request) -> Answer | None:
        """Return what is wrong with a request whose body was not read yet; None where nothing is."""
        if request.path not in ENDPOINTS:
            return Answer(404, "no_such_endpoint", f"POST to one of {', '.join(ENDPOINTS)}")
        if request.method != "POST":
            return Answer(405, "wrong_method", "only POST is taken here", headers={"Allow": "POST"})
        secret = self._secret(request.path)
        if secret is None:
            return Answer(404, "not_set_up", "this endpoint has no secret in the settings, so it is off")
        if request.path in {CHANGES, SOURCES, LINEAGE} and not _bearer(request, secret):
            wrong = "the bearer token is missing or wrong: send `Authorization: Bearer …` with changes.token"
            return Answer(401, "unauthorized", wrong, headers={"WWW-Authenticate": "Bearer"})
        return self._sized(request)

    def _secret(self, path: str) -> SecretStr | None:
        settings = self._settings
        return {MLFLOW: settings.mlflow_secret, PAGERDUTY: settings.pagerduty_key}.get(path, settings.token)

    def _sized(self, request: Request) -> Answer | None:
        length = request.headers.get("content-length", "")
        if "transfer-encoding" in request.headers or not (length.isascii() and length.isdecimal() and len(length) < 16):
            return Answer(411, "no_length", "the body's size has to be said beforehand, by one `Content-Length`")
        if int(length) > self._settings.body_bytes_max:
            return Answer(413, "too_large", f"at most {self._settings.body_bytes_max} bytes are read")
        if request.headers.get("content-encoding", "identity").lower() != "identity":
            return Answer(415, "encoded", "the body has to be plain JSON, not compressed")
        return None

    # All of it --------------------------------------------------------------------------------------------------------

    def answer(self, request: Request) -> Answer:
        """Return the answer; one of success means that what was said is with all replicas in sync."""
        now = self._clock.now()
        try:
            body = self._body(request, now)
        except Rejected as e:
            return Answer(401 if e.reason == "unauthorized" else 400, e.reason, e.detail)
        wait = self._rate.take()
        if wait:
            again = {"Retry-After": str(math.ceil(wait))}
            return Answer(429, "too_many", "more requests than changes.requests_per_minute_max", headers=again)
        try:
            sent = self._readers[request.path](body, scope(request), now)
            if len(sent.messages) > MESSAGES_MAX:
                raise Rejected("too_many_changes", f"it says {len(sent.messages)} things; at most {MESSAGES_MAX}")  # noqa: TRY301 - as what readers raise
        except Rejected as e:
            return Answer(422, e.reason, e.detail)
        return self._published(sent)

    def _published(self, sent: Sent) -> Answer:
        try:
            if sent.messages:
                self._inbox.submit(sent.messages, self._settings.publish_timeout_s + 1)
        except Retriable as e:
            again = {"Retry-After": str(AGAIN_S)}
            return Answer(503, "not_safe", f"{e}; send it again, twice is as once", headers=again)
        self._schemas.keep(sent.schemas)
        return Answer(202, "taken" if sent.messages else "nothing", ids=tuple(m.change_id for m in sent.messages))

    def _body(self, request: Request, now: float) -> dict[str, Any]:
        """Return the body of a request whose secret is right, wherever that is."""
        secret = self._secret(request.path)
        if request.path == MLFLOW and secret is not None:
            wrong = mlflow.signed(request.headers, request.body, secret.get_secret_value(), now)
            if wrong is not None:
                raise Rejected("unauthorized", wrong)
        body = strict_json.loads(request.body, self._settings.body_bytes_max)
        if type(body) is not dict:
            raise Rejected("not_an_object", "the body has to be one JSON object")
        if deeper(body, DEPTH_MAX):
            raise Rejected("too_deep", f"the body has more than {DEPTH_MAX} levels")
        given = body.get("routing_key")
        if request.path == PAGERDUTY and not (secret and same(given if isinstance(given, str) else "", secret)):
            raise Rejected("unauthorized", "the routing_key is missing or wrong: it must be changes.pagerduty_key")
        return body

    def _change(self, body: Mapping[str, Any], said: Scope, now: float) -> Sent:
        return Sent((made(native.read(body, said, now), self._limits, now),))

    def _report(self, body: Mapping[str, Any], _said: Scope, now: float) -> Sent:
        return Sent((looked(body, self._limits, now),))

    def _lineage(self, body: Mapping[str, Any], said: Scope, now: float) -> Sent:
        failed_only = self._settings.job_runs == "failed"
        found = openlineage.read(body, said, self._sources, self._schemas, failed_only=failed_only)
        changes = [made(draft, self._limits, now) for draft in found.drafts]
        return Sent((*changes, *map(reported, found.reports)), found.schemas)

    def _mlflow(self, body: Mapping[str, Any], said: Scope, now: float) -> Sent:
        draft = mlflow.read(body, said)
        return Sent(() if draft is None else (made(draft, self._limits, now),))

    def _pagerduty(self, body: Mapping[str, Any], said: Scope, now: float) -> Sent:
        return Sent((made(pagerduty.read(body, said, now), self._limits, now),))


def scope(request: Request) -> Scope:
    """Return what the URL says of all that its sender sends.

    Raises
    ------
    Rejected
        It has too many names.
    """
    try:
        given = parse_qs(urlsplit(request.target).query, max_num_fields=2 * NAMES_MAX)
    except ValueError:
        raise Rejected("too_many_names", f"the URL has more than {2 * NAMES_MAX} names") from None
    kind = given.get("kind", [""])[0]
    return Scope(tuple(given.get("model", ())), tuple(given.get("feature", ())), kind or None)


def _bearer(request: Request, secret: SecretStr) -> bool:
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    return same(given.strip(), secret) and scheme.lower() == "bearer"


def same(given: str, secret: SecretStr) -> bool:
    """Compare in a time that tells nothing of where they differ."""
    return compare_digest(given.encode("utf-8", "replace"), secret.get_secret_value().encode())


def deeper(value: Any, levels: int) -> bool:
    """Tell whether a JSON value has more levels than these; without recursion."""
    below = [value]
    for _ in range(levels):
        below = [inner for one in below for inner in _inner(one)]
        if not below:
            return False
    return True


def _inner(value: Any) -> list[Any]:
    """The objects and lists in it."""
    values = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [inner for inner in values if isinstance(inner, (dict, list))]
