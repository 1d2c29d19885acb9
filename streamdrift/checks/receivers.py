"""What every receiver of pages must keep: run these over a factory that aims one at a URL.

>>> from streamdrift.checks.receivers import receiver_checks
>>> [check.__name__ for check in receiver_checks()][:2]
['a_page_is_delivered', 'a_resolve_has_its_triggers_key']
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from pathlib import Path
from typing import Literal, Protocol

DROPPED_S = 30.0
TIMEOUT_S = 0.4
PATIENCE_S = 3.0
"""By so much may an attempt outlast its timeout on a busy machine."""
BODY_BYTES_MAX = 600_000


class Outcome(Protocol):
    """What a receiver says of an attempt: ``delivered``, ``retry``, ``permanent`` or ``ambiguous``, and why."""

    @property
    def name(self) -> str:
        """Which of the four."""
        ...

    @property
    def reason(self) -> str:
        """Why, for logs and the ledger."""
        ...


class Rig(Protocol):
    """One receiver aimed at a URL, with secrets set up."""

    secrets: tuple[str, ...]
    """Texts that no outcome, error or repr may hold."""
    accepted: int
    """The status by which its other side takes a page."""
    answer: bytes
    """The body with it."""
    path: str
    """Of its first request, below the URL."""
    garbage: tuple[str, ...]
    """What it may make of an acceptance with another body: ``delivered`` where the status says all."""

    def send(self, action: Literal["trigger", "resolve"], incident: str, alerts: int = 1) -> Outcome:
        """Make one attempt to tell of an incident; the same arguments are the same page."""
        ...


Factory = Callable[[str, float], Rig]
"""From a URL and a timeout in seconds."""
Check = Callable[[Factory], None]


def receiver_checks() -> tuple[Check, ...]:
    """Return the checks; each raises ``AssertionError`` with what was broken."""
    return (
        a_page_is_delivered,
        a_resolve_has_its_triggers_key,
        a_repeated_page_is_the_same_page,
        two_incidents_have_two_keys,
        garbage_after_the_status_changes_nothing,
        a_refusal_is_permanent,
        a_redirect_is_not_followed,
        a_passing_fault_is_retried_once_only_by_us,
        retry_after_is_read,
        nobody_there_is_retried,
        a_reset_is_ambiguous,
        silence_is_ambiguous_and_ends_in_time,
        a_dripping_answer_ends_in_time,
        nonsense_is_ambiguous,
        secrets_are_not_told,
        a_large_incident_fits,
    )


# The other side ------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Request:
    """One request as it came."""

    head: str
    body: bytes

    def header(self, name: str) -> str | None:
        """Return a header's value."""
        for line in self.head.split("\r\n")[1:]:
            key, _, value = line.partition(":")
            if key.lower() == name.lower():
                return value.strip()
        return None


@dataclass(slots=True)
class Script:
    """One answer: a status with headers and body, or one of the ways in which servers fail.

    ``reset`` closes the connection rudely once the request is read; ``silent`` never answers; ``drip`` sends a byte of its
    headers now and then; ``nonsense`` answers in no protocol.
    """

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b"{}"
    fault: Literal["", "reset", "silent", "drip", "nonsense"] = ""


class ScriptedServer:
    """A server on a free local port that answers by script and keeps what came.

    Parameters
    ----------
    default
        The answer once the script is at its end.
    certificate
        Files of a certificate and its key, to speak TLS.
    """

    def __init__(self, default: Script, certificate: tuple[Path, Path] | None = None) -> None:
        self._tls = None if certificate is None else ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        if self._tls is not None and certificate is not None:
            self._tls.load_cert_chain(*certificate)
        self.requests: list[Request] = []
        self.script: deque[Script] = deque()
        self._default = default
        self._ended = threading.Event()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._run, name="scripted server", daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._socket.getsockname()[1]}/in/path-token-canary"

    def stop(self) -> None:
        """Stop listening; a second call does nothing."""
        if self._ended.is_set():
            return
        self._ended.set()
        with socket.socket() as last:
            last.connect_ex(self._socket.getsockname())
        self._thread.join(5)
        self._socket.close()

    def _run(self) -> None:
        while True:
            connection, _ = self._socket.accept()
            if self._ended.is_set():
                connection.close()
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        connection.settimeout(DROPPED_S)
        try:
            # wrapping detaches the connection: what it returns is the one to close
            with connection if self._tls is None else self._tls.wrap_socket(connection, server_side=True) as stream:
                self.requests.append(_read(stream))
                self._answer(stream, self.script.popleft() if self.script else self._default)
        except OSError:
            connection.close()

    def _answer(self, connection: socket.socket, script: Script) -> None:
        lines = [f"HTTP/1.1 {script.status} Scripted", f"Content-Length: {len(script.body)}", "Connection: close"]
        lines += [f"{name}: {value}" for name, value in script.headers.items()]
        message = "\r\n".join(lines).encode() + b"\r\n\r\n" + script.body
        match script.fault:
            case "":
                connection.sendall(message)
            case "reset":
                linger = (1).to_bytes(4, "little") + (0).to_bytes(4, "little")
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            case "silent":
                self._ended.wait(DROPPED_S)
            case "nonsense":
                connection.sendall(b"\x00\xff nonsense \r\n\r\n")
            case "drip":
                for byte in message:
                    connection.sendall(bytes([byte]))
                    if self._ended.wait(TIMEOUT_S / 4):
                        return


def _read(connection: socket.socket) -> Request:
    data = b""
    while b"\r\n\r\n" not in data:
        data += _more(connection)
    head, body = data.split(b"\r\n\r\n", 1)
    request = Request(head.decode("latin-1"), body)
    length = int(request.header("Content-Length") or 0)
    while len(request.body) < length:
        request.body += _more(connection)
    return request


def _more(connection: socket.socket) -> bytes:
    data = connection.recv(65_536)
    if not data:
        raise ConnectionError("the client went away")
    return data


@contextmanager
def serving(make: Factory, timeout_s: float = 5.0) -> Iterator[tuple[Rig, ScriptedServer]]:
    """Give a receiver and the server that it is aimed at, which accepts unless its script says otherwise."""
    server = ScriptedServer(Script())
    try:
        rig = make(server.url, timeout_s)
        server._default.status, server._default.body = rig.accepted, rig.answer  # noqa: SLF001 - our own class
        yield rig, server
    finally:
        server.stop()


def _is(outcome: Outcome, name: str, when: str) -> None:
    assert outcome.name == name, f"{when}: {outcome.name} ({outcome.reason}), not {name}"


# The checks ----------------------------------------------------------------------------------------------------------


def a_page_is_delivered(make: Factory) -> None:
    """One POST, and the incident is in it."""
    with serving(make) as (rig, server):
        _is(rig.send("trigger", "incident-1"), "delivered", "a server that accepts")
        assert len(server.requests) == 1, f"{len(server.requests)} requests for one page"
        assert server.requests[0].head.startswith(f"POST /in/path-token-canary{rig.path} "), server.requests[0].head


def a_resolve_has_its_triggers_key(make: Factory) -> None:
    """The other side can tell what is resolved."""
    with serving(make) as (rig, server):
        _is(rig.send("trigger", "incident-1"), "delivered", "trigger")
        _is(rig.send("resolve", "incident-1"), "delivered", "resolve")
        assert all(b"incident-1" in request.body for request in server.requests), "the dedup key is missing"
        assert server.requests[0].body != server.requests[1].body, "trigger and resolve look alike"


def a_repeated_page_is_the_same_page(make: Factory) -> None:
    """A retry is known for what it is: the same body, under the same id where there is one."""
    with serving(make) as (rig, server):
        for _ in range(2):
            rig.send("trigger", "incident-1")
        first, second = server.requests
        assert first.body == second.body, "a retry has another body"
        assert first.header("webhook-id") == second.header("webhook-id"), "a retry has another id"


def two_incidents_have_two_keys(make: Factory) -> None:
    """Nothing of one incident names another."""
    with serving(make) as (rig, server):
        rig.send("trigger", "incident-1")
        rig.send("trigger", "incident-2")
        assert b"incident-1" not in server.requests[1].body, "the second page names the first incident"


def garbage_after_the_status_changes_nothing(make: Factory) -> None:
    """Accepted is accepted, whatever the body says or lacks; or, where the body is what says it, nothing is taken on trust."""
    with serving(make) as (rig, server):
        for script in (
            Script(rig.accepted, body=b"\x00\xff" * 100),
            Script(rig.accepted, body=b""),
            Script(rig.accepted, {"Content-Encoding": "gzip"}, b"no gzip"),
        ):
            server.script.append(script)
            found = rig.send("trigger", "incident-1")
            assert found.name in rig.garbage, f"accepted with {script.headers} {script.body[:10]!r}: {found.name}"
        server.script.append(Script(rig.accepted, {"Retry-After": "9", "X": "y" * 10_000}, rig.answer))
        _is(rig.send("trigger", "incident-1"), "delivered", "accepted with headers that say more")


def a_refusal_is_permanent(make: Factory) -> None:
    """What is wrong with a request is wrong the next time, too."""
    with serving(make) as (rig, server):
        for status in (400, 401, 403, 404, 405, 410, 413, 422):
            server.script.append(Script(status))
            _is(rig.send("trigger", "incident-1"), "permanent", f"status {status}")


def a_redirect_is_not_followed(make: Factory) -> None:
    """A page, and its key, go nowhere but to the URL of the settings."""
    elsewhere = ScriptedServer(Script())
    try:
        with serving(make) as (rig, server):
            for status in (301, 302, 303, 307, 308):
                server.script.append(Script(status, {"Location": elsewhere.url}))
                _is(rig.send("trigger", "incident-1"), "permanent", f"status {status}")
            assert not elsewhere.requests, "a redirect was followed"
    finally:
        elsewhere.stop()


def a_passing_fault_is_retried_once_only_by_us(make: Factory) -> None:
    """One attempt is one request: waiting and trying again is the worker's."""
    with serving(make) as (rig, server):
        for status in (408, 425, 429, 500, 502, 503, 504):
            server.script.append(Script(status))
            _is(rig.send("trigger", "incident-1"), "retry", f"status {status}")
        assert len(server.requests) == 7, f"{len(server.requests)} requests for 7 attempts"


def retry_after_is_read(make: Factory) -> None:
    """As seconds and as an HTTP date; nonsense is passed over."""
    date = 1_700_000_000.0
    wishes: list[tuple[str, float | None]] = [("7", 7.0), (formatdate(date + 90, usegmt=True), 90.0)]
    wishes += [(formatdate(date - 90, usegmt=True), 0.0), ("soon", None), ("-1", None), ("1e3", None)]
    with serving(make) as (rig, server):
        for status in (429, 503):
            for value, seconds in wishes:
                server.script.append(Script(status, {"Retry-After": value, "Date": formatdate(date, usegmt=True)}))
                outcome = rig.send("trigger", "incident-1")
                _is(outcome, "retry", f"Retry-After {value!r}")
                found = getattr(outcome, "seconds", None)
                assert found == seconds, f"Retry-After {value!r} was read as {found}, not {seconds}"


def nobody_there_is_retried(make: Factory) -> None:
    """Nothing was sent, so nothing was told."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    _is(make(f"http://127.0.0.1:{port}/", 1.0).send("trigger", "incident-1"), "retry", "a port where nobody listens")
    _is(make("http://nowhere.invalid/", 1.0).send("trigger", "incident-1"), "retry", "a name that does not resolve")


def a_reset_is_ambiguous(make: Factory) -> None:
    """The request was read, the answer never came: it may have been taken."""
    with serving(make) as (rig, server):
        server.script.append(Script(fault="reset"))
        _is(rig.send("trigger", "incident-1"), "ambiguous", "a reset after the request")


def silence_is_ambiguous_and_ends_in_time(make: Factory) -> None:
    """A server that never answers holds nobody up for longer than the timeout."""
    _ends_in_time(make, Script(fault="silent"))


def a_dripping_answer_ends_in_time(make: Factory) -> None:
    """Nor does one that always has one more byte."""
    _ends_in_time(make, Script(fault="drip"))


def _ends_in_time(make: Factory, script: Script) -> None:
    with serving(make, TIMEOUT_S) as (rig, server):
        server.script.append(script)
        began = time.perf_counter()
        _is(rig.send("trigger", "incident-1"), "ambiguous", f"an answer by {script.fault}")
        took = time.perf_counter() - began
        assert took < TIMEOUT_S + PATIENCE_S, f"an attempt with a timeout of {TIMEOUT_S} s took {took:.1f} s"


def nonsense_is_ambiguous(make: Factory) -> None:
    """An answer that is no HTTP says nothing."""
    with serving(make) as (rig, server):
        server.script.append(Script(fault="nonsense"))
        _is(rig.send("trigger", "incident-1"), "ambiguous", "an answer that is no HTTP")


def secrets_are_not_told(make: Factory) -> None:
    """Not in an outcome, even where the other side repeats them, nor in a repr."""
    with serving(make, TIMEOUT_S) as (rig, server):
        secrets = (*rig.secrets, "path-token-canary")
        echo = " ".join(secrets).encode()
        scripts = [Script(status, body=echo) for status in (400, 404, 429, 500)]
        scripts += [Script(302, {"Location": server.url}, echo), Script(fault="reset"), Script(fault="silent")]
        for script in scripts:
            server.script.append(script)
            told = repr(rig.send("trigger", "incident-1"))
            assert not any(secret in told for secret in secrets), f"a secret is in {told}"
        dead = make("http://127.0.0.1:1/in/path-token-canary", 1.0)
        told = repr(dead.send("trigger", "incident-1"))
        assert not any(secret in told for secret in secrets), f"a secret is in {told}"


def a_large_incident_fits(make: Factory) -> None:
    """Two hundred alerts make a body of bounded size."""
    with serving(make) as (rig, server):
        _is(rig.send("trigger", "incident-1", alerts=200), "delivered", "200 alerts")
        size = len(server.requests[0].body)
        assert size <= BODY_BYTES_MAX, f"a body of {size} bytes"
