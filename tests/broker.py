"""A real Kafka broker for the tests: one KRaft node on loopback, with what Java, Maven or Docker are there.

Listeners: plaintext (everything allowed), SASL with a user that may do everything and one that may do nothing, TLS with
a certificate made for the occasion, SCRAM over TLS with users that have the rights they are given, and TLS that asks its clients
for a certificate. Maven brings the jars into ``.cache/kafka`` once.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.certificates import Certificate, NoCertificateError, authority

VERSION = "4.1.0"
IMAGE = f"apache/kafka:{VERSION}"
CACHE = Path(__file__).resolve().parents[1] / ".cache" / "kafka"
JAVA_MIN = 17
READY_S = 60.0
ADMIN, LIMITED = ("admin", "admin-secret"), ("limited", "limited-secret")
SCRAM = {name: f"secret-of-{name}" for name in ("detect", "escalate", "changes", "topics", "operator", "consumer")}
"""Users of the listener ``scram``, without any right until a test gives them some; their passwords."""

POM = f"""<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>streamdrift.test</groupId><artifactId>broker</artifactId><version>1</version>
  <dependencies><dependency>
    <groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{VERSION}</version>
  </dependency></dependencies>
</project>
"""

LISTENERS = ("plaintext", "sasl", "ssl", "misled", "scram", "mtls", "controller")
BY_NAME = ("scram", "mtls")
"""Listeners whose address is given by the name that the certificate is for."""

PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{plaintext},SASL_PLAINTEXT://127.0.0.1:{sasl},SSL://127.0.0.1:{ssl},MISLED://127.0.0.1:{misled},SCRAM://127.0.0.1:{scram},MTLS://127.0.0.1:{mtls},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{plaintext},SASL_PLAINTEXT://localhost:{sasl},SSL://localhost:{ssl},MISLED://nosuch.invalid:9092,SCRAM://localhost:{scram},MTLS://localhost:{mtls}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT,SSL:SSL,MISLED:PLAINTEXT,SCRAM:SASL_SSL,MTLS:SSL,CONTROLLER:PLAINTEXT
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
sasl.enabled.mechanisms=PLAIN
listener.name.scram.sasl.enabled.mechanisms=SCRAM-SHA-512
listener.name.scram.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.mtls.ssl.client.auth=required
listener.name.mtls.ssl.truststore.type=PEM
listener.name.mtls.ssl.truststore.location={clients}
listener.name.sasl_plaintext.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_admin="admin-secret" user_limited="limited-secret";
ssl.keystore.type=PEM
ssl.keystore.location={folder}/keystore.pem
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS;User:admin
allow.everyone.if.no.acl.found=false
auto.create.topics.enable=false
log.dirs={folder}/data
log.retention.ms=-1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
log.cleaner.dedupe.buffer.size=2097152
transaction.abort.timed.out.transaction.cleanup.interval.ms=500
num.network.threads=2
num.io.threads=2
"""


class NoBrokerError(Exception):
    """No broker can be had here; the message says what is missing."""


@dataclass(frozen=True)
class Broker:
    """Addresses of a running broker, ``host:port``."""

    plaintext: str
    sasl: str
    ssl: str
    """With a certificate for ``localhost`` alone."""
    misled: str
    """Plaintext, but advertised as an address that leads nowhere."""
    scram: str
    """SCRAM-SHA-512 over TLS, by the name that the certificate is for; users: ``SCRAM``."""
    mtls: str
    """TLS that asks for a client's certificate, by the name that its own is for."""
    controller: str
    cafile: Path
    other_cafile: Path
    """A certificate that vouches for somebody else."""
    clients: Certificate
    """What must have signed the clients' certificates."""
    process: int
    container: str
    """Name of the container; empty where the process is our own."""

    @property
    def tls(self) -> str:
        """The TLS listener by the name that its certificate is for."""
        return self.ssl.replace("127.0.0.1", "localhost")

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Stop the broker in its tracks: connections stay open, and nobody answers."""
        self._signal(signal.SIGSTOP, "pause")
        time.sleep(0.3)  # its threads stop one after another
        try:
            yield
        finally:
            self._signal(signal.SIGCONT, "unpause")

    def _signal(self, number: signal.Signals, verb: str) -> None:
        if self.container:
            _run(["docker", verb, self.container])
        else:
            os.kill(self.process, number)


@dataclass(frozen=True)
class _Runtime:
    """How to run Kafka's classes: the local Java, or the one in the official image."""

    folder: Path
    image: bool

    def command(self, program: str, *arguments: str, name: str = "") -> list[str]:
        if not self.image:
            return [program, *arguments]
        mount = ["-v", f"{self.folder}:{self.folder}", "--user", f"{os.getuid()}:{os.getgid()}"]
        named = ["--name", name] if name else []
        return [
            "docker",
            "run",
            "--rm",
            "--network",
            "host",
            *named,
            *mount,
            "--entrypoint",
            program,
            IMAGE,
            *arguments,
        ]

    def kafka(self, main: str, *arguments: str, name: str = "") -> list[str]:
        jars = "/opt/kafka/libs/*" if self.image else f"{_libs()}/*"
        options = ["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx512m", "-Dlog4j2.level=WARN"]
        return self.command("java", *options, "-cp", jars, main, *arguments, name=name)


@contextmanager
def running(folder: Path) -> Iterator[Broker]:
    """Run a broker whose data are in ``folder``; it is gone afterwards.

    Raises
    ------
    NoBrokerError
        Neither Java and Maven nor Docker are at hand, or the jars can't be fetched.
    """
    runtime = _Runtime(folder, image=_pick())
    ports = dict(zip(LISTENERS, _free_ports(len(LISTENERS)), strict=True))
    properties = folder / "server.properties"
    own, other, clients = _certificates(folder)
    properties.write_text(PROPERTIES.format(folder=folder, clients=clients.path, **ports))
    cluster = uuid.uuid4().hex[:22]
    users = [f"--add-scram=SCRAM-SHA-512=[name={name},password={password}]" for name, password in SCRAM.items()]
    _run(runtime.kafka("kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(properties), *users))
    log = folder / "broker.log"
    name = f"streamdrift-test-{secrets.token_hex(4)}"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [*_leash(), *runtime.kafka("kafka.Kafka", str(properties), name=name)],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            cwd=folder,
        )
    try:
        _wait(process, ports["plaintext"], log)
        here = {name: f"{'localhost' if name in BY_NAME else '127.0.0.1'}:{port}" for name, port in ports.items()}
        yield Broker(
            cafile=own.path,
            other_cafile=other.path,
            clients=clients,
            process=process.pid,
            container=name if runtime.image else "",
            **here,
        )
    finally:
        process.send_signal(signal.SIGTERM if runtime.image else signal.SIGKILL)
        process.wait(30)


def _leash() -> list[str]:
    """Where the tests are killed, the broker goes with them."""
    return ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []


def _pick() -> bool:
    """Whether to take the image; Java with Maven comes first."""
    java = _java_version()
    if java >= JAVA_MIN and (_libs().exists() or shutil.which("mvn")):
        _fetch()
        return False
    if shutil.which("docker") and subprocess.run(["docker", "info"], capture_output=True, check=False).returncode == 0:
        return True
    found = f"Java {java}" if java else "no Java"
    raise NoBrokerError(
        f"no Kafka broker for the tests: it takes Java {JAVA_MIN} or later with Maven (found {found}, "
        f"{'Maven' if shutil.which('mvn') else 'no Maven'}), or a running Docker"
    )


def _java_version() -> int:
    """Major version of the Java on the path; 0 without one."""
    if not shutil.which("java"):
        return 0
    shown = subprocess.run(["java", "-version"], capture_output=True, text=True, check=False).stderr
    found = re.search(r'version "(\d+)', shown)
    return int(found[1]) if found else 0


def _libs() -> Path:
    return CACHE / f"libs-{VERSION}"


def _fetch() -> None:
    """Have Maven copy the jars, once; other test processes wait for it."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if _libs().exists():
            return
        pom, partial = CACHE / "pom.xml", CACHE / f"partial-{VERSION}"
        pom.write_text(POM)
        goal = ["dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={partial}"]
        _run(["mvn", "-q", "-B", "-f", str(pom), *goal])
        partial.rename(_libs())


def _certificates(folder: Path) -> tuple[Certificate, Certificate, Certificate]:
    """Make the broker's certificate, a stranger's, and the authority of the clients."""
    try:
        own, other, clients = (authority(folder, name) for name in ("broker", "other", "clients"))
    except NoCertificateError as e:
        raise NoBrokerError(str(e)) from None
    (folder / "keystore.pem").write_text(own.key.read_text() + own.path.read_text())
    return own, other, clients


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    if done.returncode:
        raise NoBrokerError(f"{command[0]} failed ({done.returncode}): {(done.stdout + done.stderr)[-2000:]}")


def _free_ports(n: int) -> list[int]:
    """Ports of loopback that nobody listens on; held open together, so that they differ."""
    sockets = [socket.socket() for _ in range(n)]
    try:
        for s in sockets:
            s.bind(("127.0.0.1", 0))
        return [int(s.getsockname()[1]) for s in sockets]
    finally:
        for s in sockets:
            s.close()


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    """Return when the broker accepts connections: KRaft opens the listener only when it is ready."""
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise NoBrokerError(f"the broker did not come up; the end of its log:\n{log.read_text(errors='replace')[-3000:]}")
