"""Certificates towards a broker, its own and ours: what is wrong with one is said at once, in one sentence with the setting."""

from __future__ import annotations

import re
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from streamdrift.errors import BrokerProblem, SettingsProblem
from streamdrift.settings import KafkaSettings
from streamdrift.transports.kafka import open_admin, require
from streamdrift.transports.kafka.tls import principal, tls_context
from tests.broker import SCRAM, Broker
from tests.certificates import Certificate, authority, signed
from tests.command import streamdrift
from tests.transports.clock import RealClock

NAME = "STREAMDRIFT_KAFKA__"
SOON_S = 3.0
"""A bootstrap time-out would take ten times as long."""


@dataclass(frozen=True)
class Ours:
    """Certificates of a client: of the right authority, of another, and one that has expired."""

    good: Certificate
    locked: Certificate
    expired: Certificate
    stranger: Certificate


@pytest.fixture(scope="module")
def ours(kafka_broker: Broker) -> Ours:
    clients = kafka_broker.clients
    return Ours(
        signed(clients, "good"),
        signed(clients, "locked", password="key-secret"),
        signed(clients, "expired", expired=True),
        authority(clients.path.parent, "stranger"),
    )


def mutual(broker: Broker, certificate: Certificate | None = None, **more: Any) -> KafkaSettings:
    own = {} if certificate is None else {"ssl_certfile": certificate.path, "ssl_keyfile": certificate.key}
    given = {"bootstrap_servers": broker.mtls, "security_protocol": "SSL", "ssl_cafile": broker.cafile}
    return KafkaSettings.model_validate({**given, **own, **more})


def refusal(settings: KafkaSettings) -> str:
    began = time.monotonic()
    with pytest.raises(BrokerProblem) as raised:
        open_admin(settings, RealClock())
    assert time.monotonic() - began < SOON_S
    assert raised.value.exit_code == 3
    assert "\n" not in str(raised.value)
    return str(raised.value)


@pytest.mark.broker
def test_by_a_certificate_of_ones_own(kafka_broker: Broker, ours: Ours) -> None:
    for settings in (
        mutual(kafka_broker, ours.good),
        mutual(kafka_broker, ours.locked, ssl_password="key-secret"),
    ):
        open_admin(settings, RealClock()).close()


@pytest.mark.broker
def test_the_user_of_a_certificate_is_named_as_the_broker_has_it(kafka_broker: Broker, ours: Ours) -> None:
    with pytest.raises(BrokerProblem, match=r"user 'CN=good' lacks READ on topic 'events', WRITE on topic 'alerts'"):
        require(mutual(kafka_broker, ours.good), RealClock(), reads=["events"], writes=["alerts"])


@pytest.mark.broker
def test_a_broker_that_asks_for_a_certificate(kafka_broker: Broker, ours: Ours) -> None:
    said = refusal(mutual(kafka_broker))
    assert "the broker asks its clients for a certificate" in said
    assert f"set {NAME}SSL_CERTFILE and {NAME}SSL_KEYFILE to one that it trusts" in said
    said = refusal(mutual(kafka_broker, ours.stranger))
    assert f"the broker refuses the certificate {ours.stranger.path} (certificate unknown)" in said
    assert f"set {NAME}SSL_CERTFILE and {NAME}SSL_KEYFILE to one that is signed by an authority that the broker" in said
    said = refusal(mutual(kafka_broker, ours.expired))
    assert re.search(rf"the certificate {ours.expired.path} expired on .*GMT, and the broker refuses it", said)
    assert f"set {NAME}SSL_CERTFILE to a valid one" in said


@pytest.mark.broker
def test_login_by_password_over_tls(kafka_broker: Broker) -> None:
    def settings(password: str, **more: Any) -> KafkaSettings:
        given = {
            "bootstrap_servers": kafka_broker.scram,
            "security_protocol": "SASL_SSL",
            "sasl_mechanism": "SCRAM-SHA-512",
            "sasl_username": "detect",
            "sasl_password": password,
            "ssl_cafile": kafka_broker.cafile,
        }
        return KafkaSettings.model_validate(given | more)

    open_admin(settings(SCRAM["detect"]), RealClock()).close()
    said = refusal(settings("wrong-secret"))
    assert "user or password refused for 'detect' (Authentication failed during authentication" in said
    assert f"correct {NAME}SASL_USERNAME, {NAME}SASL_PASSWORD" in said
    assert "wrong-secret" not in said
    said = refusal(settings(SCRAM["detect"], ssl_cafile=kafka_broker.other_cafile))
    assert f"{kafka_broker.other_cafile} does not vouch for the broker's certificate" in said
    said = refusal(settings(SCRAM["detect"], bootstrap_servers=kafka_broker.scram.replace("localhost", "127.0.0.1")))
    assert "the broker's certificate is not for the name '127.0.0.1'" in said
    said = refusal(KafkaSettings(bootstrap_servers=kafka_broker.scram))
    assert f"the port speaks TLS; set {NAME}SECURITY_PROTOCOL to SSL or SASL_SSL" in said
    said = refusal(mutual(kafka_broker, bootstrap_servers=kafka_broker.scram))
    assert f"the port asks for a login (SCRAM-SHA-512); set {NAME}SECURITY_PROTOCOL to SASL_SSL" in said


@pytest.mark.broker
@pytest.mark.parametrize("command", ["detect", "escalate"])
def test_the_command_says_so(kafka_broker: Broker, ours: Ours, tmp_path: Path, command: str) -> None:
    given = {
        "BOOTSTRAP_SERVERS": kafka_broker.mtls,
        "SECURITY_PROTOCOL": "SSL",
        "SSL_CAFILE": str(kafka_broker.cafile),
        "SSL_CERTFILE": str(ours.expired.path),
        "SSL_KEYFILE": str(ours.expired.key),
    }
    settings = {f"{NAME}{name}": value for name, value in given.items()} | {
        "STREAMDRIFT_TELEMETRY__PORT": "0",
        "STREAMDRIFT_ESCALATE__LEDGER": str(tmp_path / "ledger"),
    }
    done = streamdrift(command, settings=settings)
    assert done.code == 3
    assert f"the certificate {ours.expired.path} expired on" in done.said.splitlines()[-1]


# Without a broker ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def signer(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return authority(tmp_path_factory.mktemp("certificates"), "signer")


@contextmanager
def server(certificate: Certificate, asks: Certificate | None = None) -> Iterator[int]:
    """A port with TLS 1.2 that says nothing more; with ``asks`` it wants certificates that were signed by it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate.path, certificate.key)
    if asks is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(asks.path)
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listening.accept()
                    with connection, suppress(OSError), context.wrap_socket(connection, server_side=True) as secured:
                        secured.recv(1)

        thread = threading.Thread(target=serve)
        thread.start()
        yield int(listening.getsockname()[1])
        listening.shutdown(socket.SHUT_RDWR)
        thread.join()


def to(port: int, signer: Certificate, own: Certificate | None = None) -> KafkaSettings:
    return KafkaSettings(
        bootstrap_servers=f"localhost:{port}",
        security_protocol="SSL",
        ssl_cafile=signer.path,
        ssl_certfile=None if own is None else own.path,
        ssl_keyfile=None if own is None else own.key,
    )


def test_a_broker_whose_certificate_has_expired(signer: Certificate) -> None:
    with server(signed(signer, "old", expired=True)) as port:
        said = refusal(to(port, signer))
    assert "the broker's certificate has expired; renew it there (if it is valid, this host's clock is wrong)" in said


def test_a_broker_that_knows_tls_1_2_alone_refuses_in_the_handshake(signer: Certificate) -> None:
    with server(signer, asks=signer) as port:
        said = refusal(to(port, signer))
        assert "the broker asks its clients for a certificate (handshake failure)" in said
        own = authority(signer.path.parent, "unknown")
        said = refusal(to(port, signer, own))
        assert f"the broker refuses the certificate {own.path} (unknown ca)" in said
        open_to_us = tls_context(to(port, signer, signed(signer, "known")))
        assert open_to_us is not None
        with socket.create_connection(("localhost", port)) as plain:
            open_to_us.wrap_socket(plain, server_hostname="localhost").close()


def test_certificates_and_keys_that_do_not_fit(signer: Certificate, tmp_path: Path) -> None:
    one, other, locked = signed(signer, "one"), signed(signer, "another"), signed(signer, "shut", password="key-secret")
    text = tmp_path / "text.pem"
    text.write_text("no certificate")

    def problem(certificate: Path, key: Path, password: str | None = None) -> str:
        given = {"ssl_certfile": certificate, "ssl_keyfile": key, "ssl_password": password}
        settings = KafkaSettings.model_validate({"security_protocol": "SSL", "ssl_cafile": signer.path} | given)
        with pytest.raises(SettingsProblem) as raised:
            tls_context(settings)
        return str(raised.value)

    gone = tmp_path / "gone.pem"
    assert f"{NAME}SSL_CERTFILE: {gone} can't be used: No such file or directory; give" in problem(gone, one.key)
    assert f"{NAME}SSL_KEYFILE: {gone} can't be used: No such file" in problem(one.path, gone)
    assert f"{NAME}SSL_KEYFILE: {other.key} can't be used: it is not the key of {one.path}" in problem(
        one.path, other.key
    )
    assert "can't be used: not PEM files; give a certificate and its key" in problem(text, one.key)
    assert f"{NAME}SSL_PASSWORD: the key {locked.key} is locked, and no password is set" in problem(
        locked.path, locked.key
    )
    said = problem(locked.path, locked.key, "wrong-secret")
    assert f"{NAME}SSL_PASSWORD: the key {locked.key} does not open with this password" in said
    assert "secret" not in said


def test_the_name_of_a_user_is_the_subject_of_the_certificate(signer: Certificate) -> None:
    assert principal(signer.path) == "CN=signer"
    assert principal(signer.key) is None
