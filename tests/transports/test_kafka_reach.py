"""Every way not to reach a broker ends in one sentence, soon, with exit code 3."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaAdminClient, errors

from streamdrift.errors import BrokerProblem, OutOfReach, SettingsProblem
from streamdrift.settings import KafkaSettings, Settings, TopicSettings
from streamdrift.transports.kafka import KafkaSink, KafkaSource, create_topics, open_admin, unreadable
from tests.broker import ADMIN, LIMITED, Broker
from tests.transports.clock import RealClock

NAME = "STREAMDRIFT_KAFKA__"


def refusal(seconds_max: float, **settings: Any) -> str:
    threads = threading.active_count()
    began = time.monotonic()
    with pytest.raises(BrokerProblem) as raised:
        open_admin(KafkaSettings(**{"bootstrap_timeout_s": 6, **settings}), RealClock())
    assert time.monotonic() - began < seconds_max
    assert raised.value.exit_code == 3
    assert threading.active_count() <= threads
    said = str(raised.value)
    assert "\n" not in said
    assert settings["bootstrap_servers"].split(",")[0] in said
    return said


def login(user: tuple[str, str], mechanism: str = "PLAIN") -> dict[str, Any]:
    return {
        "security_protocol": "SASL_PLAINTEXT",
        "sasl_mechanism": mechanism,
        "sasl_username": user[0],
        "sasl_password": user[1],
    }


def unused_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def test_nobody_listens() -> None:
    address = f"127.0.0.1:{unused_port()}"
    said = refusal(3.0, bootstrap_servers=f"{address},{address}")
    assert f"nobody listens on 127.0.0.1 port {address.split(':')[1]}; start the broker, or correct {NAME}BOOT" in said


def test_an_unknown_name() -> None:
    said = refusal(6.0, bootstrap_servers="nosuch.invalid:9092")
    assert "the name 'nosuch.invalid' is not known" in said


def test_source_and_sink_say_the_same() -> None:
    settings = KafkaSettings(bootstrap_servers=f"127.0.0.1:{unused_port()}")
    began = time.monotonic()
    with pytest.raises(BrokerProblem, match="nobody listens"):
        KafkaSource(settings, "events", "group", clock=RealClock())
    with pytest.raises(BrokerProblem, match="nobody listens"):
        KafkaSink(settings, RealClock()).send("alerts", b"1")
    assert time.monotonic() - began < 6.0


def test_a_web_server() -> None:
    class Quiet(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - named by the base class
            pass

    with HTTPServer(("127.0.0.1", 0), Quiet) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            said = refusal(6.0, bootstrap_servers=f"127.0.0.1:{server.server_port}")
        finally:
            server.shutdown()
            thread.join()
    assert f"this is a web server; correct the port in {NAME}BOOTSTRAP_SERVERS" in said


@contextmanager
def listener(answer: bytes | None) -> Iterator[int]:
    """A port that says ``answer`` to everybody; None: it hangs up, empty: it is silent."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        held: list[socket.socket] = []

        def serve() -> None:
            try:
                while True:
                    connection, _ = server.accept()
                    if answer is None:
                        connection.close()
                    else:
                        connection.sendall(answer)
                        held.append(connection)
            except OSError:
                pass

        thread = threading.Thread(target=serve)
        thread.start()
        yield int(server.getsockname()[1])
        server.shutdown(socket.SHUT_RDWR)
        thread.join()
        for connection in held:
            connection.close()


def test_another_service() -> None:
    with listener(b"SSH-2.0-OpenSSH_9.2\r\n") as port:
        said = refusal(3.0, bootstrap_servers=f"127.0.0.1:{port}")
    assert "this is no Kafka broker (it answers b'SSH-')" in said


def test_a_port_that_hangs_up() -> None:
    with listener(None) as port:
        said = refusal(8.0, bootstrap_servers=f"127.0.0.1:{port}")
    assert "it accepts connections and drops them; either it wants another protocol" in said


@pytest.mark.slow
def test_a_port_that_is_silent() -> None:
    with listener(b"") as port:
        said = refusal(14.0, bootstrap_servers=f"127.0.0.1:{port}")
    assert "it accepts connections, but did not answer as Kafka within 6 s" in said


@pytest.mark.broker
def test_the_right_settings(kafka_broker: Broker) -> None:
    for settings in (
        {"bootstrap_servers": f"127.0.0.1:{unused_port()},{kafka_broker.plaintext}"},
        {"bootstrap_servers": kafka_broker.sasl, **login(ADMIN)},
        {"bootstrap_servers": kafka_broker.tls, "security_protocol": "SSL", "ssl_cafile": kafka_broker.cafile},
    ):
        open_admin(KafkaSettings.model_validate(settings), RealClock()).close()


@pytest.mark.broker
def test_a_broker_that_goes_while_it_is_asked_says_nothing_of_the_topic(
    kafka_settings: KafkaSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Taken for an answer, a worker began without state, labels or orders, and went on so for its life."""

    def gone(admin: KafkaAdminClient, topics: list[str]) -> None:
        admin.close()
        raise errors.KafkaConnectionError(f"socket disconnected while {topics} was asked about")

    why = unreadable(kafka_settings, RealClock(), "no-such-topic")
    assert why is not None
    assert "topics create" in why
    monkeypatch.setattr(KafkaAdminClient, "describe_topics", gone)
    with pytest.raises(OutOfReach, match="looking up topic 'no-such-topic'"):
        unreadable(kafka_settings, RealClock(), "no-such-topic")


@pytest.mark.broker
def test_a_wrong_password(kafka_broker: Broker) -> None:
    said = refusal(3.0, bootstrap_servers=kafka_broker.sasl, **login(("admin", "wrong-secret")))
    assert "user or password refused for 'admin' (Authentication failed: Invalid username or password)" in said
    assert f"correct {NAME}SASL_USERNAME, {NAME}SASL_PASSWORD" in said
    assert "wrong-secret" not in said


@pytest.mark.broker
def test_a_mechanism_that_is_not_offered(kafka_broker: Broker) -> None:
    said = refusal(3.0, bootstrap_servers=kafka_broker.sasl, **login(ADMIN, "SCRAM-SHA-512"))
    assert f"offers no login by SCRAM-SHA-512; set {NAME}SASL_MECHANISM to one that it offers: PLAIN" in said


@pytest.mark.broker
def test_login_where_none_is_asked_and_none_where_one_is(kafka_broker: Broker) -> None:
    said = refusal(3.0, bootstrap_servers=kafka_broker.plaintext, **login(ADMIN))
    assert f"the port asks for no login; set {NAME}SECURITY_PROTOCOL to PLAINTEXT" in said
    said = refusal(3.0, bootstrap_servers=kafka_broker.sasl)
    assert f"the port asks for a login (PLAIN); set {NAME}SECURITY_PROTOCOL to SASL_PLAINTEXT" in said


@pytest.mark.broker
def test_tls_against_plaintext_and_the_other_way_round(kafka_broker: Broker) -> None:
    said = refusal(6.0, bootstrap_servers=kafka_broker.plaintext, security_protocol="SSL")
    assert "the TLS handshake failed (" in said
    assert f"the port seems to speak no TLS: correct the port in {NAME}BOOTSTRAP_SERVERS, or set" in said
    said = refusal(6.0, bootstrap_servers=kafka_broker.tls)
    assert f"the port speaks TLS; set {NAME}SECURITY_PROTOCOL to SSL or SASL_SSL" in said


@pytest.mark.broker
def test_certificates(kafka_broker: Broker) -> None:
    tls = {"bootstrap_servers": kafka_broker.tls, "security_protocol": "SSL"}
    said = refusal(3.0, **tls, ssl_cafile=kafka_broker.other_cafile)
    assert f"{kafka_broker.other_cafile} does not vouch for the broker's certificate (self-signed certificate)" in said
    said = refusal(3.0, **tls)
    assert "the system's certificates do not vouch for the broker's certificate" in said
    assert f"set {NAME}SSL_CAFILE to the certificate of the authority that signed it" in said
    said = refusal(3.0, **(tls | {"bootstrap_servers": kafka_broker.ssl}), ssl_cafile=kafka_broker.cafile)
    assert "the broker's certificate is not for the name '127.0.0.1'" in said


def test_certificates_that_can_not_be_read(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")
    for path, why in ((tmp_path / "none.pem", "No such file"), (tmp_path / "ca.pem", "")):
        settings = KafkaSettings(security_protocol="SSL", ssl_cafile=path)
        with pytest.raises(
            SettingsProblem, match=rf"SSL_CAFILE: {path} can't be used: {why}.*give a readable PEM file"
        ):
            KafkaSource(settings, "events", "group", clock=RealClock())


@pytest.mark.broker
def test_a_controller(kafka_broker: Broker) -> None:
    said = refusal(6.0, bootstrap_servers=kafka_broker.controller)
    assert "this is a controller, not a broker" in said


@pytest.mark.broker
def test_an_advertised_address_that_leads_nowhere(kafka_broker: Broker) -> None:
    said = refusal(6.0, bootstrap_servers=kafka_broker.misled)
    assert "the broker tells its clients to connect to nosuch.invalid:9092" in said
    assert "correct advertised.listeners of the broker" in said


@pytest.mark.broker
def test_a_topic_that_is_not_there(kafka_settings: KafkaSettings) -> None:
    for use in (
        lambda: KafkaSource(kafka_settings, "nosuch", "group", clock=RealClock()),
        lambda: KafkaSink(kafka_settings, RealClock()).send("nosuch", b"1"),
    ):
        with pytest.raises(BrokerProblem, match="has no topic 'nosuch'; run `streamdrift topics create`"):
            use()


@pytest.mark.broker
def test_no_right_to_a_topic(kafka_broker: Broker) -> None:
    settings = KafkaSettings(bootstrap_servers=kafka_broker.sasl, **login(LIMITED))
    with pytest.raises(BrokerProblem, match=r"user 'limited' lacks READ on topic 'events', READ on group 'group'"):
        KafkaSource(settings, "events", "group", clock=RealClock())
    with pytest.raises(BrokerProblem, match="lacks DESCRIBE on topic 'inference-events', DESCRIBE on topic '"):
        create_topics(Settings(kafka=settings), RealClock())


@pytest.mark.broker
def test_topics_are_created_once(kafka_settings: KafkaSettings, topic_prefix: str) -> None:
    names = {name: f"{topic_prefix}{name}" for name in TopicSettings.model_fields}
    settings = Settings(kafka=kafka_settings, topics=TopicSettings(**names))
    lines = create_topics(settings, RealClock())
    assert lines[0] == f"{names['events']}: created, 3 partitions"
    assert f"{names['changes']}: created, 1 partition" in lines
    assert len(lines) == len(names)
    assert create_topics(settings, RealClock())[0] == f"{names['events']}: exists, 3 partitions"
    fewer = settings.model_copy(update={"kafka": kafka_settings.model_copy(update={"partitions": 2})})
    assert (
        f"{names['blocks']}: exists with 3 partitions, not 2 as {NAME}PARTITIONS says; left as it is, for more "
        "partitions would move keys to others"
    ) in create_topics(fewer, RealClock())
    more = settings.model_copy(
        update={
            "kafka": kafka_settings.model_copy(update={"replication_factor": 3}),
            "topics": TopicSettings(events=f"{topic_prefix}more"),
        }
    )
    with pytest.raises(BrokerProblem, match=f"there are fewer brokers than copies asked for; lower {NAME}REPLICATION"):
        create_topics(more, RealClock())


@pytest.mark.broker
def test_the_topic_of_state_has_as_many_partitions_as_what_it_keeps_state_of(
    kafka_settings: KafkaSettings, topic_prefix: str
) -> None:
    names = {name: f"{topic_prefix}{name}" for name in TopicSettings.model_fields}
    settings = Settings(kafka=kafka_settings, topics=TopicSettings(**names))
    admin = open_admin(kafka_settings, RealClock())
    admin.create_topics({names["events"]: {"num_partitions": 5, "replication_factor": 1}}, wait_for_metadata=True)
    assert create_topics(settings, RealClock())[-1] == f"{names['state']}: created, 5 partitions"
    assert create_topics(settings, RealClock())[-1] == f"{names['state']}: exists, 5 partitions"
    admin.create_partitions({names["events"]: 7})
    time.sleep(0.5)
    admin.close()
    assert create_topics(settings, RealClock())[-1] == (
        f"{names['state']}: exists with 5 partitions, and a topic whose state it keeps has 7; give it as many "
        "(kafka-topics.sh --alter), which moves no state"
    )
