"""Is there a broker, and does it take us? kafka-python says "Unable to bootstrap" to everything; here the cause is found.

First a plain TCP connection (nobody listens: known at once), then TLS and login by hand (see ``handshake``), then short
trials of a real client, whose log lines tell what is left.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterable
from typing import Any

from kafka import KafkaAdminClient
from kafka.errors import KafkaError
from kafka.net.compat import KafkaNetClient

from streamdrift.errors import BrokerProblem, OutOfReach
from streamdrift.ports import Clock
from streamdrift.settings import KafkaSettings
from streamdrift.transports.kafka.client import addresses, captured, options
from streamdrift.transports.kafka.handshake import NAME, complaint
from streamdrift.transports.kafka.tls import alert, distrust, refused, tls_context

CONNECT_S = 3.0
"""How long one TCP connection or TLS handshake may take."""

ROUNDS = 3
"""How often every address is tried before nobody is said to listen."""

ROUND_PAUSE_S = 0.5

TRIAL_S = 1.5
"""Length of the first trial of a real client; each further one is twice as long."""


def open_admin(settings: KafkaSettings, clock: Clock) -> Any:
    """Return an admin client that is connected; the caller closes it.

    Raises
    ------
    BrokerProblem
        With one sentence: which address, which protocol, what is likely wrong, what to do.
    SettingsProblem
        A certificate or key can't be read.
    """
    tls_context(settings)
    deadline = clock.monotonic() + settings.bootstrap_timeout_s
    address = _listening(settings, clock)
    _shake_hands(address, settings, clock)
    trial_s, seen = TRIAL_S, 0
    while True:
        left = max(deadline - clock.monotonic(), 0.5)
        with captured() as lines:
            admin = _trial(settings, min(trial_s, left))
            if admin is not None:
                return _answering(admin, settings)
        seen += 1
        why = cause(lines)
        if why is not None:
            raise BrokerProblem(f"{_where(address, settings)} {why}")
        if clock.monotonic() >= deadline or (seen > 1 and _dropped(lines)):
            raise OutOfReach(f"{_where(address, settings)} {_unclear(lines, settings)}")
        trial_s *= 2


def _where(address: str, settings: KafkaSettings) -> str:
    return f"Kafka at {address} ({settings.security_protocol}):"


def _split(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        return address.rstrip(":"), 9092
    return host.strip("[]"), int(port)


def _listening(settings: KafkaSettings, clock: Clock) -> str:
    """Return the first address that accepts a connection."""
    servers, why = addresses(settings), "no address is set"
    for attempt in range(ROUNDS):
        if attempt:
            clock.sleep(ROUND_PAUSE_S)
        for address in servers:
            try:
                socket.create_connection(_split(address), CONNECT_S).close()
            except OSError as e:
                why = _refusal(address, e)
            else:
                return address
    shown = ", ".join(servers[:3]) + (", …" if len(servers) > 3 else "")
    raise OutOfReach(
        f"no Kafka broker at {shown}: {why}; start the broker, or correct {NAME}BOOTSTRAP_SERVERS (host:port)"
    )


def _refusal(address: str, error: OSError) -> str:
    host, port = _split(address)
    if isinstance(error, socket.gaierror):
        return f"the name {host!r} is not known"
    if isinstance(error, TimeoutError):
        return f"no answer from {host} port {port} (a firewall, or a wrong address)"
    if isinstance(error, ConnectionRefusedError):
        return f"nobody listens on {host} port {port}"
    return f"{host} port {port}: {error.strerror or error}"


def _shake_hands(address: str, settings: KafkaSettings, clock: Clock) -> None:
    """Connect once, with TLS and login as set, and hang up; a mere hanging up of the broker is left to the trials."""
    host, port = _split(address)
    try:
        with socket.create_connection((host, port), CONNECT_S) as plain, _secured(plain, host, settings) as connection:
            why = complaint(connection, host, settings)
    except ssl.SSLCertVerificationError as e:
        why = distrust(e, host, settings)
    except ssl.SSLError as e:  # with TLS 1.3 what the broker says of our certificate comes after the handshake
        why = refused(alert(e), settings, clock.now()) if alert(e) else None
    except _NoTlsError as e:
        why = (
            f"the TLS handshake failed ({e}); the port seems to speak no TLS: correct the port in "
            f"{NAME}BOOTSTRAP_SERVERS, or set {NAME}SECURITY_PROTOCOL to PLAINTEXT or SASL_PLAINTEXT"
        )
    except OSError:
        return
    if why is not None:
        raise BrokerProblem(f"{_where(address, settings)} {why}")


class _NoTlsError(Exception):
    """No TLS connection came about, and not for the certificate's sake."""


def _secured(plain: socket.socket, host: str, settings: KafkaSettings) -> socket.socket:
    context = tls_context(settings)
    if context is None:
        return plain
    try:
        return context.wrap_socket(plain, server_hostname=host)
    except OSError as e:
        if isinstance(e, ssl.SSLCertVerificationError) or (isinstance(e, ssl.SSLError) and alert(e)):
            raise
        raise _NoTlsError(_brief(e)) from None


def _brief(error: OSError) -> str:
    if isinstance(error, TimeoutError):
        return "no answer"
    return str(getattr(error, "reason", None) or error.strerror or error).lower().replace("_", " ")


def _trial(settings: KafkaSettings, seconds: float) -> Any:
    """Return a connected admin client, or None where it didn't connect in this time."""
    made: list[Any] = []

    def net_client(**config: Any) -> Any:
        made.append(KafkaNetClient(**config))
        return made[-1]

    try:
        return KafkaAdminClient(bootstrap_timeout_ms=int(seconds * 1_000), kafka_client=net_client, **options(settings))
    except KafkaError:
        for net in made:  # a constructor that fails leaves its connections and its thread behind
            net.close()
        return None


def _answering(admin: Any, settings: KafkaSettings) -> Any:
    """Return ``admin`` if the address that the broker gives to clients can be reached too."""
    told = [(broker.host, broker.port) for broker in admin._manager.cluster.brokers()]  # noqa: SLF001 - no public way
    refusals = []
    for host, port in told:
        try:
            socket.create_connection((host, port), CONNECT_S).close()
        except OSError as e:
            refusals.append(_refusal(f"{host}:{port}", e))
        else:
            return admin
    admin.close()
    given = ", ".join(f"{host}:{port}" for host, port in told[:3])
    raise BrokerProblem(
        f"{_where(addresses(settings)[0], settings)} the broker tells its clients to connect to {given}, and "
        f"{refusals[0] if refusals else 'that is no address'}; correct advertised.listeners of the broker"
    )


def cause(lines: Iterable[str]) -> str | None:
    """Return what kafka-python's lines say went wrong, where they say it for sure."""
    for line in lines:
        if "does not support the 'MetadataRequest'" in line:
            return f"this is a controller, not a broker; set {NAME}BOOTSTRAP_SERVERS to the port for clients"
        if "SaslAuthenticationFailed" in line:
            return f"the login was refused; correct {NAME}SASL_USERNAME and {NAME}SASL_PASSWORD"
    return None


def _dropped(lines: list[str]) -> bool:
    return any("socket disconnected" in line or "Connection reset" in line for line in lines)


def _unclear(lines: list[str], settings: KafkaSettings) -> str:
    if _dropped(lines):
        return (
            f"it accepts connections and drops them; either it wants another protocol ({NAME}SECURITY_PROTOCOL), or "
            f"this is not Kafka's port ({NAME}BOOTSTRAP_SERVERS), or the broker is not ready yet"
        )
    return (
        f"it accepts connections, but did not answer as Kafka within {settings.bootstrap_timeout_s:g} s; either this "
        f"is not Kafka's port, or the broker is overloaded; correct {NAME}BOOTSTRAP_SERVERS, or try again"
    )
