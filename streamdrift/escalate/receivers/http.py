"""One HTTP door: one request on a connection of its own; no redirects, no retries, and an end to it by a total deadline."""

from __future__ import annotations

import re
import ssl
from base64 import b64encode
from collections.abc import Container, Iterable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from ipaddress import IPv6Address, ip_address
from typing import Any
from urllib.parse import urlencode, urlsplit

import orjson
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NameResolutionError

from streamdrift.errors import SettingsProblem
from streamdrift.escalate.receivers.base import Ambiguous, Delivered, Outcome, Permanent, RetryAt
from streamdrift.escalate.receivers.deadline import Deadline
from streamdrift.settings.values import url_tokens

DETAIL_BYTES_MAX = 300
"""Of an error's body: enough for the reason that it gives."""
MASK = "**********"
PASSING = frozenset({408, 425, 429})
"""With all 5xx. The rest of 3xx and 4xx says that this request is wrong, and will be."""


BODY_BYTES_MAX = 2_000_000
"""Of an answer that is read."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The status, the other side's wish for a pause, and the beginning of an error's body.

    Attributes
    ----------
    body
        The body of an acceptance, where it was asked for and came whole; None otherwise.
    """

    status: int
    retry_after_s: float | None = None
    detail: str = ""
    body: bytes | None = None

    @property
    def fields(self) -> dict[str, Any]:
        """The body's JSON object; empty where it is none."""
        with suppress(orjson.JSONDecodeError):
            found = orjson.loads(self.body or b"")
            if isinstance(found, dict):
                return found
        return {}


Failure = RetryAt | Ambiguous | Permanent


def bearer(token: str) -> str:
    """Return the Authorization header of a token."""
    return f"Bearer {token}"


def basic(user: str, password: str) -> str:
    """Return the Authorization header of a user and password.

    >>> basic("me", "secret")
    'Basic bWU6c2VjcmV0'
    """
    return "Basic " + b64encode(f"{user}:{password}".encode()).decode()


class HttpDoor:
    """Asks at one URL, and at paths below it.

    What it says about failures has neither the URL's path and query in it, which can hold a token, nor any of ``secrets``.

    Parameters
    ----------
    timeout_s
        Of the attempt, once connected; connecting may take as long for each address that the name has.
    secrets
        Texts that are masked in what the other side says.
    login
        The Authorization header, from ``bearer`` or ``basic``.
    private
        Whether it may be at an address that is not of the public internet.

    Raises
    ------
    SettingsProblem
        The URL has a port that there can't be.
    """

    def __init__(
        self, url: str, timeout_s: float, secrets: Iterable[str] = (), *, login: str | None = None, private: bool = True
    ) -> None:
        self._url, self._timeout_s, self._private = urlsplit(url), timeout_s, private
        self._login = {} if login is None else {"Authorization": login}
        try:
            self._port = self._url.port or (443 if self._url.scheme == "https" else 80)
        except ValueError:
            raise SettingsProblem(f"{self.place} has a port that is not between 1 and 65535; mend that URL") from None
        spellings = [] if login is None else [login, login.partition(" ")[2]]
        self._secrets = sorted({*url_tokens(url), *secrets, *spellings}, key=len, reverse=True)

    def __repr__(self) -> str:
        return f"HttpDoor({self.place})"

    @property
    def place(self) -> str:
        """Scheme, host and port: what may be told of the URL."""
        return f"{self._url.scheme}://{self._url.netloc}"

    def post(self, body: bytes, headers: Mapping[str, str], now: float) -> Answer | Failure:
        """Post once to the URL itself; see ``ask``."""
        return self.ask("POST", "", now, body=body, headers=headers)

    def ask(
        self,
        method: str,
        path: str,
        now: float,
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
        reads: bool = False,
    ) -> Answer | Failure:
        """Make one request.

        Parameters
        ----------
        path
            Appended to the URL's.
        reads
            Whether an acceptance's body is needed; one that breaks off is ambiguous then.

        Returns
        -------
        Answer
            Whatever the status.
        RetryAt
            Nothing was sent.
        Ambiguous
            Something was sent, and no answer came.
        Permanent
            It is at a private address, where it may not be.
        """
        target = self._target(path, query or {})
        with closing(self._connection()) as connection:
            try:
                connection.connect()
            except (HTTPError, OSError, ValueError) as e:
                return RetryAt(reason=f"no connection to {self.place}: {cause(e)}")
            if not self._private and is_private(connection):
                return Permanent(f"{self.place} is at a private address, which escalate.private_addresses refuses")
            with Deadline(connection, self._timeout_s) as deadline:
                try:
                    connection.request(
                        method, target, body=body, headers={**(headers or {}), **self._login}, preload_content=False
                    )
                    return self._answer(connection, now, reads=reads)
                except (HTTPError, HTTPException, OSError, ValueError) as e:
                    why = f"no answer within {self._timeout_s:g} s" if deadline.passed else cause(e)
                    return Ambiguous(reason=f"sent to {self.place}, but then {why}")

    def _target(self, path: str, query: Mapping[str, str]) -> str:
        whole = (self._url.path.rstrip("/") if path else self._url.path) + path
        asked = "&".join(filter(None, (self._url.query, urlencode(query))))
        return self._url._replace(scheme="", netloc="", fragment="", path=whole or "/", query=asked).geturl()

    def _connection(self) -> HTTPConnection:
        host = self._url.hostname or ""
        if self._url.scheme == "https":
            context = ssl.create_default_context()
            return HTTPSConnection(host, self._port, timeout=self._timeout_s, ssl_context=context)
        return HTTPConnection(host, self._port, timeout=self._timeout_s)

    def _answer(self, connection: HTTPConnection, now: float, *, reads: bool) -> Answer:
        response = connection.getresponse()
        detail, body = b"", None
        if response.status >= 300:
            with suppress(HTTPError, HTTPException, OSError, ValueError):  # the status alone is an answer
                detail = response.read(DETAIL_BYTES_MAX + max(map(len, self._secrets), default=0))
        elif reads:
            body = response.read(BODY_BYTES_MAX)
        wish = retry_after(response.headers.get("Retry-After"), response.headers.get("Date"), now)
        return Answer(response.status, wish, self.masked(detail), body)

    def masked(self, detail: bytes) -> str:
        """Return what the other side said, on one line and short, with no secret in it."""
        text = detail.decode("utf-8", "replace")
        for secret in self._secrets:  # before it is cut, which could cut one in two
            text = text.replace(secret, MASK)
        return re.sub(r"[^\x20-\x7e]+", " ", text).strip()[:DETAIL_BYTES_MAX]


def is_private(connection: HTTPConnection) -> bool:
    """Whether it leads to an address that is not of the public internet."""
    if connection.sock is None:
        return True
    address = ip_address(str(connection.sock.getpeername()[0]).partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return not (mapped or address).is_global


def outcome(answer: Answer | Failure, accepted: Container[int] = range(200, 300)) -> Outcome:
    """Return what a status means for a page."""
    if not isinstance(answer, Answer):
        return answer
    told = f"HTTP {answer.status}" + (f": {answer.detail}" if answer.detail else "")
    if answer.status in accepted:
        return Delivered(told)
    if answer.status in PASSING or answer.status >= 500:
        return RetryAt(answer.retry_after_s, told)
    if answer.status < 300:
        return RetryAt(
            answer.retry_after_s, f"{told}, which is no acceptance; is something between us and the receiver?"
        )
    if answer.status < 400:
        return Permanent(f"{told}: a redirect, which is never followed; set the URL that it leads to")
    return Permanent(told)


def retry_after(value: str | None, date: str | None, now: float) -> float | None:
    """Read Retry-After, seconds or an HTTP date, as seconds from now; None where it is neither.

    A date is taken against the answer's own ``Date``, which is right even where the clocks differ.

    >>> retry_after("120", None, 0.0)
    120.0
    >>> retry_after("Wed, 21 Oct 2015 07:28:30 GMT", "Wed, 21 Oct 2015 07:28:00 GMT", 0.0)
    30.0
    >>> retry_after("soon", None, 0.0) is None
    True
    """
    text = (value or "").strip()
    if re.fullmatch(r"[0-9]{1,9}", text):
        return float(text)
    then = _date(text)
    return None if then is None else max(0.0, then - (_date(date or "") or now))


def _date(text: str) -> float | None:
    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def cause(error: Exception) -> str:
    """What happened, in words of our own: those of the libraries can repeat the URL."""
    match error:
        case NameResolutionError():
            return "its name does not resolve"
        case ConnectTimeoutError() | TimeoutError():
            return "it took too long"
        case ssl.SSLError():
            return f"TLS failed ({error.reason or type(error).__name__})"
        case ConnectionResetError() | BrokenPipeError():
            return "the connection was reset"
        case OSError() if error.strerror:
            return error.strerror
    inner = error.__cause__ or error.__context__
    return cause(inner) if isinstance(inner, Exception) else f"it failed ({type(error).__name__})"
