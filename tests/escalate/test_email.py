"""E-mail against a real mail server: threads, logins, TLS, and every way in which a server refuses or goes away."""

from __future__ import annotations

import asyncio
import email
import email.policy
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

pytest.importorskip("aiosmtpd", reason="needs aiosmtpd as a mail server")
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword

from streamdrift.escalate.receivers import Delivered, Email, Outcome
from streamdrift.settings import EmailSettings
from tests.certificates import authority, signed
from tests.escalate.conftest import NOW
from tests.escalate.rigs import PASSWORD, make_page

RECIPIENTS = ("oncall@example.com", "team@example.com")


class Mailbox:
    """Keeps the mails; answers by script at each step: a line, or ``reset`` to hang up."""

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []
        self.script: dict[str, str] = {}
        self.logins: list[tuple[bytes, bytes]] = []

    def _answer(self, server: Any, step: str) -> str:
        answer = self.script.get(step, "250 OK")
        if answer == "reset":
            server.transport.abort()
        return answer

    async def handle_MAIL(self, server: Any, _s: Any, envelope: Any, address: str, _o: Any) -> str:  # noqa: N802 - aiosmtpd's name
        envelope.mail_from = address
        return self._answer(server, "MAIL")

    async def handle_RCPT(self, server: Any, _s: Any, envelope: Any, address: str, _o: Any) -> str:  # noqa: N802 - aiosmtpd's name
        answer = self._answer(server, f"RCPT {address}" if f"RCPT {address}" in self.script else "RCPT")
        if answer.startswith("250"):
            envelope.rcpt_tos.append(address)
        return answer

    async def handle_DATA(self, server: Any, _s: Any, envelope: Any) -> str:  # noqa: N802 - aiosmtpd's name
        self.mails.append(email.message_from_bytes(envelope.content, policy=email.policy.default))
        if self.script.get("DATA") == "silent":
            await asyncio.sleep(1.5)
        return self._answer(server, "DATA")

    def authenticate(self, _server: Any, _session: Any, _envelope: Any, _mechanism: str, given: Any) -> AuthResult:
        assert isinstance(given, LoginPassword)
        self.logins.append((given.login, given.password))
        return AuthResult(success=given.password == PASSWORD.encode(), handled=False)


Serve = Callable[..., Any]


@contextmanager
def serving(mailbox: Mailbox, **other: Any) -> Iterator[int]:
    controller = Controller(mailbox, hostname="127.0.0.1", port=0, **other)
    controller.port = free_port()
    controller.start()
    try:
        yield controller.port
    finally:
        controller.stop()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def settings(port: int, **other: Any) -> EmailSettings:
    base: dict[str, Any] = {"host": "127.0.0.1", "sender": "drift@example.com", "recipients": RECIPIENTS}
    return EmailSettings(**{**base, "port": port, "security": "none", "timeout_s": 5, **other})


@pytest.fixture
def mailbox() -> Mailbox:
    return Mailbox()


def sent(mailbox: Mailbox, *script: tuple[str, str], **other: Any) -> Outcome:
    mailbox.script = dict(script)
    with serving(mailbox) as port:
        return Email(settings(port, **other)).send(make_page(), NOW)


def test_a_mail_says_what_it_is_about(mailbox: Mailbox) -> None:
    assert sent(mailbox).name == "delivered"
    (mail,) = mailbox.mails
    assert mail["Subject"].startswith("[open] flight-delay: null_rate on feature_0 in origin=EWR")
    assert (mail["From"], mail["To"]) == ("drift@example.com", ", ".join(RECIPIENTS))
    assert mail["Date"] == "Wed, 17 Apr 2013 10:00:00 -0000"
    text, html = (mail.get_body((kind,)) for kind in ("plain", "html"))
    assert text is not None
    assert html is not None
    assert "Share of traffic: 36 %" in text.get_content()
    assert "<td>Share of traffic</td><td>36 %</td>" in html.get_content()
    assert "0.1 % → 10.2 % null" in text.get_content()


def test_mails_of_an_incident_are_a_thread_and_a_repeated_one_is_the_same(mailbox: Mailbox) -> None:
    with serving(mailbox) as port:
        receiver = Email(settings(port))
        for page in (make_page(), make_page(key="incident-1.2"), make_page("resolve"), make_page()):
            assert receiver.send(replace(page, uncertain=True), NOW).name == "delivered"
    ids = [mail["Message-ID"] for mail in mailbox.mails]
    assert len(set(ids[:3])) == 3
    assert ids[3] == ids[0]
    assert {mail["References"] for mail in mailbox.mails} == {"<incident-1@example.com>"}
    assert mailbox.mails[2]["Subject"].startswith("[resolved] ")


@pytest.mark.parametrize(
    ("step", "answer", "name"),
    [
        ("MAIL", "451 4.3.0 try later", "retry"),
        ("MAIL", "550 5.7.1 not you", "permanent"),
        ("MAIL", "reset", "retry"),
        ("RCPT", "450 4.2.1 greylisted", "retry"),
        ("RCPT", "550 5.1.1 nobody here", "permanent"),
        ("RCPT", "reset", "retry"),
        ("DATA", "452 4.3.1 full", "retry"),
        ("DATA", "421 4.3.2 going down", "retry"),
        ("DATA", "554 5.6.0 spam", "permanent"),
        ("DATA", "reset", "ambiguous"),
    ],
)
def test_every_refusal_has_its_outcome(mailbox: Mailbox, step: str, answer: str, name: str) -> None:
    found = sent(mailbox, (step, answer))
    assert found.name == name, found
    if answer != "reset":
        assert answer.split(" ", 1)[1] in found.reason


def test_silence_is_ambiguous_and_ends_in_time(mailbox: Mailbox) -> None:
    began = time.perf_counter()
    found = sent(mailbox, ("DATA", "silent"), timeout_s=0.4)
    assert found.name == "ambiguous", found
    assert time.perf_counter() - began < 5


def test_a_dripping_greeting_ends_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=_drip, args=(listening,), daemon=True)
        thread.start()
        began = time.perf_counter()
        found = Email(settings(listening.getsockname()[1], timeout_s=0.4)).send(make_page(), NOW)
        assert time.perf_counter() - began < 4
        thread.join(5)
    assert (found.name, "no answer within 0.4 s" in found.reason) == ("retry", True)


def _drip(listening: socket.socket) -> None:
    connection, _ = listening.accept()
    with connection, suppress(OSError):
        for _ in range(40):
            connection.sendall(b"2")
            time.sleep(0.1)


def test_a_recipient_that_is_refused_does_not_stop_the_others(mailbox: Mailbox) -> None:
    found = sent(mailbox, ("RCPT team@example.com", "550 5.1.1 nobody here"))
    assert isinstance(found, Delivered)
    assert "not for 1 of 2: SMTP 550: 5.1.1 nobody here" in found.reason


def test_nobody_there_is_retried() -> None:
    assert Email(settings(free_port())).send(make_page(), NOW).name == "retry"
    assert Email(settings(25, host="nowhere.invalid", timeout_s=2)).send(make_page(), NOW).name == "retry"


# TLS and logins ------------------------------------------------------------------------------------------------------


@pytest.fixture
def context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    known = authority(tmp_path, "known")
    own = signed(known, "localhost")
    made = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    made.load_cert_chain(own.path, own.key)
    monkeypatch.setenv("SSL_CERT_FILE", str(known.path))
    return made


def test_starttls_and_a_login(mailbox: Mailbox, context: ssl.SSLContext) -> None:
    login = {"host": "localhost", "security": "starttls", "username": "drift"}
    with serving(
        mailbox, tls_context=context, require_starttls=True, auth_required=True, authenticator=mailbox.authenticate
    ) as port:
        assert Email(settings(port, **login, password=SecretStr(PASSWORD))).send(make_page(), NOW).name == "delivered"
        assert mailbox.logins == [(b"drift", PASSWORD.encode())]
        found = Email(settings(port, **login, password=SecretStr("canary-wrong"))).send(make_page(), NOW)
        assert found.name == "permanent"
        assert "535" in found.reason
        assert "canary" not in repr(found)
    assert len(mailbox.mails) == 1


def test_tls_from_the_first_byte(mailbox: Mailbox, context: ssl.SSLContext) -> None:
    with serving(mailbox, ssl_context=context) as port:
        found = Email(settings(port, host="localhost", security="tls")).send(make_page(), NOW)
    assert found.name == "delivered", found


def test_a_server_that_is_not_vouched_for_is_told_nothing(
    mailbox: Mailbox, context: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    with serving(mailbox, tls_context=context) as port:
        found = Email(settings(port, host="localhost", security="starttls")).send(make_page(), NOW)
    assert (found.name, mailbox.mails) == ("retry", [])
    assert "TLS failed" in found.reason


def test_without_starttls_nothing_is_sent(mailbox: Mailbox) -> None:
    found = sent(mailbox, security="starttls", username="drift", password=SecretStr(PASSWORD))
    assert (found.name, mailbox.mails, mailbox.logins) == ("permanent", [], [])
    assert "STARTTLS" in found.reason
