"""The first words of Kafka's protocol, spoken over a plain socket, to learn who is at the other end.

A ``SaslHandshake`` request is answered by every Kafka broker, with or without login, and by nobody else. kafka-python
can't tell as much: where the broker refuses a password and hangs up, it often sees only the hanging up.

References
----------
Kafka protocol guide, https://kafka.apache.org/protocol: SaslHandshake version 1, SaslAuthenticate version 0.
"""

from __future__ import annotations

import re
import struct
from socket import SHUT_WR, socket

from kafka.errors import KafkaError
from kafka.net.sasl import get_sasl_mechanism

from streamdrift.settings import KafkaSettings
from streamdrift.transports.kafka.client import options

NAME = "STREAMDRIFT_KAFKA__"
ANSWER_BYTES_MAX = 1_000_000
UNSUPPORTED_MECHANISM, NO_LOGIN_HERE = 33, 34
STEPS_MAX = 10
"""Messages of one login; SCRAM takes two."""


class _ForeignError(Exception):
    """The answer is not Kafka's."""


def complaint(connection: socket, host: str, settings: KafkaSettings) -> str | None:
    """Say why this connection can't be used with these settings; None where nothing speaks against it.

    Raises
    ------
    OSError
        It was closed, or there was no answer in time.
    """
    try:
        error, offered = _handshake(connection, settings.sasl_mechanism or "PLAIN")
        wants_login = error != NO_LOGIN_HERE
        if settings.sasl_mechanism is None:
            return _set_login(offered, settings) if wants_login else None
        if not wants_login:
            return (
                f"the port asks for no login; set {NAME}SECURITY_PROTOCOL to "
                f"{settings.security_protocol.removeprefix('SASL_')}, or use the port for SASL"
            )
        if error == UNSUPPORTED_MECHANISM:
            return (
                f"the broker offers no login by {settings.sasl_mechanism}; set {NAME}SASL_MECHANISM to one that it "
                f"offers: {', '.join(offered)}"
            )
        return _login(connection, host, settings)
    except _ForeignError as e:
        return str(e)
    except TimeoutError:
        return _prompted(connection)


def _prompted(connection: socket) -> str | None:
    """Servers of text wait for the end of a line or of the input: give them that, and see what they say."""
    connection.shutdown(SHUT_WR)
    answer = connection.recv(8)
    return foreign(answer) if answer else None


def _set_login(offered: list[str], settings: KafkaSettings) -> str:
    protocol = "SASL_SSL" if settings.security_protocol.endswith("SSL") else "SASL_PLAINTEXT"
    return (
        f"the port asks for a login ({', '.join(offered)}); set {NAME}SECURITY_PROTOCOL to {protocol}, with "
        f"{NAME}SASL_MECHANISM, {NAME}SASL_USERNAME and {NAME}SASL_PASSWORD"
    )


def _handshake(connection: socket, mechanism: str) -> tuple[int, list[str]]:
    """Return the error code and the mechanisms that the broker offers."""
    answer = _ask(connection, 17, 1, _text(mechanism))
    error, count = struct.unpack_from(">hi", answer)
    offered, at = [], 6
    for _ in range(min(count, 50)):
        (size,) = struct.unpack_from(">h", answer, at)
        offered.append(answer[at + 2 : at + 2 + size].decode("utf-8", "replace"))
        at += 2 + size
    return error, offered


def _login(connection: socket, host: str, settings: KafkaSettings) -> str | None:
    mechanism = get_sasl_mechanism(settings.sasl_mechanism)(host=host, **options(settings))
    for _ in range(STEPS_MAX):
        token = mechanism.auth_bytes()
        answer = _ask(connection, 36, 0, struct.pack(">i", len(token)) + token)
        error, size = struct.unpack_from(">hh", answer)
        at = 4 + max(size, 0)
        if error:
            return _refused(answer[4:at].decode("utf-8", "replace"), settings)
        try:
            mechanism.receive(answer[at + 4 :])
        except (KafkaError, ValueError) as e:  # SCRAM: the broker could not prove that it knows the password
            return _refused(str(e), settings)
        if mechanism.is_done():
            return None if mechanism.is_authenticated() else _refused("", settings)
    return _refused("the login does not come to an end", settings)


def _refused(said: str, settings: KafkaSettings) -> str:
    quoted = f" ({said.strip()[:200]})" if said.strip() else ""
    return (
        f"user or password refused for {settings.sasl_username!r}{quoted}; correct {NAME}SASL_USERNAME, "
        f"{NAME}SASL_PASSWORD or {NAME}SASL_MECHANISM"
    )


def _text(value: str) -> bytes:
    return struct.pack(">h", len(value.encode())) + value.encode()


def _ask(connection: socket, api: int, version: int, body: bytes) -> bytes:
    """Send one request; return its answer without header."""
    request = struct.pack(">hhi", api, version, 1) + _text("streamdrift") + body
    connection.sendall(struct.pack(">i", len(request)) + request)
    head = _read(connection, 4)
    (size,) = struct.unpack(">i", head)
    if not 4 <= size <= ANSWER_BYTES_MAX:
        raise _ForeignError(foreign(head))
    answer = _read(connection, size)
    if answer[:4] != b"\0\0\0\1":
        raise _ForeignError(foreign(head + answer[:4]))
    return answer[4:]


def _read(connection: socket, size: int) -> bytes:
    parts: list[bytes] = []
    while size:
        part = connection.recv(min(size, 65_536))
        if not part:
            raise ConnectionResetError("closed without an answer")
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def foreign(answer: bytes) -> str:
    """Name the protocol whose answer begins with these bytes."""
    if answer[:2] in {b"\x15\x03", b"\x16\x03"}:
        return f"the port speaks TLS; set {NAME}SECURITY_PROTOCOL to SSL or SASL_SSL, or use the plaintext port"
    web = re.match(rb"HTTP|<ht|<HT|<!D|<!d", answer)
    what = "this is a web server" if web else f"this is no Kafka broker (it answers {answer[:8]!r})"
    return f"{what}; correct the port in {NAME}BOOTSTRAP_SERVERS"
