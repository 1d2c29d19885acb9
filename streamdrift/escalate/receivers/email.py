"""E-mail by SMTP, with TLS, one connection per mail.

A delivery's Message-ID is always the same, and every mail of an incident refers to one id: mail programs show them as a
thread, and servers that look for duplicates drop a second copy. So a mail whose acceptance was not heard is sent again,
as RFC 5321 (4.5.3.2.6) wants it.
"""

from __future__ import annotations

import smtplib
import ssl
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate

from streamdrift.escalate import safe_text
from streamdrift.escalate.receivers.base import Ambiguous, Delivered, Outcome, Page, Permanent, RetryAt
from streamdrift.escalate.receivers.deadline import Deadline
from streamdrift.escalate.receivers.documents import of_page, state
from streamdrift.escalate.receivers.formats import to_text, to_xhtml
from streamdrift.escalate.receivers.http import DETAIL_BYTES_MAX, MASK, cause
from streamdrift.settings import EmailSettings

SUBJECT_MAX = 300


class Email:
    """One mail server, and those who are told by it."""

    name = "email"

    def __init__(self, settings: EmailSettings) -> None:
        if settings.host is None or settings.sender is None or not settings.recipients:
            raise ValueError("e-mail needs a host, a sender and recipients")
        self._settings, self._host, self._sender = settings, settings.host, settings.sender
        self._password = settings.password.get_secret_value() if settings.password is not None else None

    def __repr__(self) -> str:
        return f"Email({self._host}:{self._settings.port})"

    def send(self, page: Page, now: float) -> Outcome:
        """Make one attempt; see ``Receiver``."""
        mail = compose(page, now, self._sender, self._settings.recipients).as_bytes(policy=SMTP)
        client = self._client()
        with _ended(client), Deadline(client, self._settings.timeout_s) as deadline:
            try:
                self._connect(client)
                refused = self._envelope(client)
            except (OSError, smtplib.SMTPException) as e:
                return self._failed(e, late=deadline.passed)
            try:
                code, told = client.data(mail)
            except smtplib.SMTPDataError as e:  # refused before the mail itself
                return self._refused(e.smtp_code, e.smtp_error)
            except (OSError, smtplib.SMTPException) as e:
                why = f"no answer within {self._settings.timeout_s:g} s" if deadline.passed else cause(e)
                return Ambiguous(reason=f"sent to {self._host}, but then {why}")
            if code != 250:
                return self._refused(code, told)
            some = f"; not for {len(refused)} of {len(self._settings.recipients)}: {refused[0]}" if refused else ""
            return Delivered(self._said(code, told) + some)

    def _client(self) -> smtplib.SMTP:
        timeout_s = self._settings.timeout_s
        if self._settings.security == "tls":
            return smtplib.SMTP_SSL(timeout=timeout_s, context=ssl.create_default_context())
        return smtplib.SMTP(timeout=timeout_s)

    def _connect(self, client: smtplib.SMTP) -> None:
        client._host = self._host  # type: ignore[attr-defined]  # noqa: SLF001 - a client that is connected later has no name to check the certificate against
        code, told = client.connect(self._host, self._settings.port)
        if code != 220:
            raise smtplib.SMTPConnectError(code, told)

    def _envelope(self, client: smtplib.SMTP) -> list[str]:
        """Everything before the mail; return what was said about recipients that were refused."""
        client.ehlo_or_helo_if_needed()
        if self._settings.security == "starttls":
            client.starttls(context=ssl.create_default_context())
            client.ehlo()
        if self._password is not None:
            client.login(self._settings.username or "", self._password)
        code, told = client.mail(self._sender)
        if code != 250:
            raise smtplib.SMTPSenderRefused(code, told, self._sender)
        refused: list[tuple[int, bytes]] = []
        for recipient in self._settings.recipients:
            code, told = client.rcpt(recipient)
            if code not in {250, 251}:
                refused.append((code, told))
        if len(refused) == len(self._settings.recipients):
            passing = [answer for answer in refused if answer[0] < 500]
            code, told = (passing or refused)[0]
            raise smtplib.SMTPResponseException(code, told)
        return [self._said(code, told) for code, told in refused]

    def _failed(self, error: Exception, *, late: bool) -> Outcome:
        """What a failure means before the mail itself was sent: it is not told."""
        if isinstance(error, smtplib.SMTPResponseException) and not late:
            return self._refused(error.smtp_code, error.smtp_error)
        if isinstance(error, smtplib.SMTPNotSupportedError):
            return Permanent(f"{self._host} offers no STARTTLS or login that we know; see escalate.email.security")
        why = f"no answer within {self._settings.timeout_s:g} s" if late else cause(error)
        return RetryAt(reason=f"not sent to {self._host}:{self._settings.port}: {why}")

    def _refused(self, code: int, told: bytes | str) -> Outcome:
        said = self._said(code, told)
        return Permanent(said) if 500 <= code < 600 else RetryAt(reason=said)

    def _said(self, code: int, told: bytes | str) -> str:
        text = told.decode("utf-8", "replace") if isinstance(told, bytes) else told
        for secret in self._secrets():
            text = text.replace(secret, MASK)
        return f"SMTP {code}: {safe_text.plain(' '.join(text.split()), DETAIL_BYTES_MAX)}"

    def _secrets(self) -> Iterator[str]:
        if self._password is not None:
            yield from spellings(self._settings.username or "", self._password)


def spellings(user: str, password: str) -> list[str]:
    """A password as it stands, and as logins send it."""
    plain = _base64(f"\0{user}\0{password}")
    return sorted({password, plain, _base64(password)}, key=len, reverse=True)


def _base64(text: str) -> str:
    return b64encode(text.encode()).decode()


def compose(page: Page, now: float, sender: str, recipients: tuple[str, ...]) -> EmailMessage:
    """The mail of a page, as text and as HTML."""
    domain = sender.rpartition("@")[2]
    incident = safe_text.file_name(str(page.incident.get("incident_id") or page.dedup_key))
    mail = EmailMessage(policy=SMTP)
    mail["From"] = sender
    mail["To"] = ", ".join(recipients)
    mail["Subject"] = safe_text.header(f"[{state(page)}] {page.headline}", SUBJECT_MAX)
    mail["Date"] = formatdate(now)
    mail["Message-ID"] = f"<{safe_text.file_name(page.delivery_id)}@{domain}>"
    mail["References"] = f"<{incident}@{domain}>"
    mail["In-Reply-To"] = f"<{incident}@{domain}>"
    mail["Auto-Submitted"] = "auto-generated"
    mail["X-Streamdrift-Dedup-Key"] = safe_text.file_name(page.dedup_key)
    document = of_page(page)
    mail.set_content(to_text(document), cte="quoted-printable")
    html = f'<!DOCTYPE html><html><head><meta charset="utf-8"></head><body>{to_xhtml(document)}</body></html>'
    mail.add_alternative(html, subtype="html", cte="quoted-printable")
    return mail


@contextmanager
def _ended(client: smtplib.SMTP) -> Iterator[None]:
    try:
        yield
    finally:
        with suppress(OSError, smtplib.SMTPException):
            if client.sock is not None:
                client.sock.settimeout(1.0)
                client.quit()
        client.close()
