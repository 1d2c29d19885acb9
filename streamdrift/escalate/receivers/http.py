"""One HTTP door: one POST on a connection of its own; no redirects, no retries, and an end to it by a total deadline."""

from __future__ import annotations

import re
import socket
import ssl
import threading
from collections.abc import Container, Iterable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NameResolutionError

from streamdrift.errors import SettingsProblem
from streamdrift.escalate.receivers.base import Ambiguous, Delivered, Outcome, Permanent, RetryAt
from streamdrift.settings.values import url_tokens

DETAIL_BYTES_MAX = 300
"""Of an error's body: enough for the reason that it gives."""
MASK = "**********"
PASSING = frozenset({408, 425, 429})
"""With all 5xx. The rest of 3xx and 4xx says that this request is wrong, and will be."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The status, the other side's wish for a pause, and the beginning of an error's body."""

    status: int
    retry_after_s: float | None = None
    detail: str = ""


class HttpDoor:
    """Posts to one URL.

    What it says about failures has neither the URL's path and query in it, which can hold a token, nor any of ``secrets``.

    Parameters
    ----------
    timeout_s
        Of the attempt, once connected; connecting may take as long for each address that the name has.
    secrets
        Texts that are masked in what the other side says.

    Raises
    ------
    SettingsProblem
        The URL has a port that there can't be.
    """

    def __init__(self, url: str, timeout_s: float, secrets: Iterable[str] = ()) -> None:
        self._url, self._timeout_s = urlsplit(url), timeout_s
        try:
            self._port = self._url.port or (443 if self._url.scheme == "https" else 80)
        except ValueError:
            raise SettingsProblem(f"{self.place} has a port that is not between 1 and 65535; mend that URL") from None
        self._secrets = sorted({*url_tokens(url), *secrets}, key=len, reverse=True)

    def __repr__(self) -> str:
        return f"HttpDoor({self.place})"

    @property
    def place(self) -> str:
        """Scheme, host and port: what may be told of the URL."""
        return f"{self._url.scheme}://{self._url.netloc}"

    def post(self, body: bytes, headers: Mapping[str, str], now: float) -> Answer | RetryAt | Ambiguous:
        """Post once.

        Returns
        -------
        Answer
            Whatever the status.
        RetryAt
            Nothing was sent.
        Ambiguous
            Something was sent, and no answer came.
        """
        with closing(self._connection()) as connection:
            try:
                connection.connect()
            except (HTTPError, OSError, ValueError) as e:
                return RetryAt(reason=f"no connection to {self.place}: {_cause(e)}")
            with _Deadline(connection.sock, self._timeout_s) as deadline:
                try:
                    return self._exchange(connection, body, headers, now)
                except (HTTPError, HTTPException, OSError, ValueError) as e:
                    cause = f"no answer within {self._timeout_s:g} s" if deadline.passed else _cause(e)
                    return Ambiguous(reason=f"sent to {self.place}, but then {cause}")

    def _connection(self) -> HTTPConnection:
        host = self._url.hostname or ""
        if self._url.scheme == "https":
            context = ssl.create_default_context()
            return HTTPSConnection(host, self._port, timeout=self._timeout_s, ssl_context=context)
        return HTTPConnection(host, self._port, timeout=self._timeout_s)

    def _exchange(self, connection: HTTPConnection, body: bytes, headers: Mapping[str, str], now: float) -> Answer:
        path = self._url._replace(scheme="", netloc="", fragment="", path=self._url.path or "/")
        connection.request("POST", path.geturl(), body=body, headers=headers, preload_content=False)
        response = connection.getresponse()
        detail = b""
        if response.status >= 300:
            with suppress(HTTPError, HTTPException, OSError, ValueError):  # the status alone is an answer
                detail = response.read(DETAIL_BYTES_MAX + max(map(len, self._secrets), default=0))
        wish = retry_after(response.headers.get("Retry-After"), response.headers.get("Date"), now)
        return Answer(response.status, wish, self._plain(detail)[:DETAIL_BYTES_MAX])

    def _plain(self, detail: bytes) -> str:
        text = detail.decode("utf-8", "replace")
        for secret in self._secrets:  # before it is cut, which could cut one in two
            text = text.replace(secret, MASK)
        return re.sub(r"[^\x20-\x7e]+", " ", text).strip()


def outcome(answer: Answer | RetryAt | Ambiguous, accepted: Container[int] = range(200, 300)) -> Outcome:
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


def _cause(error: Exception) -> str:
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
    return _cause(inner) if isinstance(inner, Exception) else f"it failed ({type(error).__name__})"


class _Deadline:
    """Ends an exchange that drips: a socket's own timeout begins anew with every byte."""

    def __init__(self, sock: socket.socket | None, seconds: float) -> None:
        self.passed = False
        self._sock = sock
        self._timer = threading.Timer(seconds, self._end)
        self._timer.daemon = True

    def _end(self) -> None:
        self.passed = True
        if self._sock is not None:
            with suppress(OSError):
                socket.socket.shutdown(self._sock, socket.SHUT_RDWR)  # below TLS, which another thread is using

    def __enter__(self) -> Self:
        self._timer.start()
        return self

    def __exit__(self, _t: type[BaseException] | None, _e: BaseException | None, _b: TracebackType | None) -> None:
        self._timer.cancel()
