"""One or three brokers that can be killed, stopped, robbed of their disk, and brought back with what they had.

The data of a broker that was killed are in the kernel's hands, so a kill -9 loses nothing that was acknowledged; what is
tested is what clients make of it. A full disk is a limit on the size of files (``RLIMIT_FSIZE``): every further write fails,
as it does on a full disk, and Kafka gives the log directory up. It needs neither root nor a file system of its own.
"""

from __future__ import annotations

import os
import resource
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.broker import NoBrokerError, _free_ports, _leash, _pick, _run, _Runtime, _wait
from tests.soak.link import Link

SESSION_MS = 6_000
FSIZE_FULL = 4_096
PORTS = 4

PROPERTIES = """\
process.roles=broker,controller
node.id={node}
controller.quorum.voters={voters}
listeners=PLAINTEXT://127.0.0.1:{port},LINKED://127.0.0.1:{linked},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port},LINKED://127.0.0.1:{link}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,LINKED:PLAINTEXT,CONTROLLER:PLAINTEXT
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
auto.create.topics.enable=false
log.dirs={folder}/data
log.retention.ms=-1
broker.session.timeout.ms={session}
default.replication.factor={copies}
min.insync.replicas={in_sync}
offsets.topic.replication.factor={copies}
offsets.topic.num.partitions=4
transaction.state.log.replication.factor={copies}
transaction.state.log.min.isr={in_sync}
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor={copies}
share.coordinator.state.topic.min.isr={in_sync}
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
controlled.shutdown.enable=false
log.cleaner.dedupe.buffer.size=2097152
num.network.threads=2
num.io.threads=2
"""


@dataclass
class Node:
    """One broker; it keeps its ports and its folder from one life to the next."""

    folder: Path
    port: int
    properties: Path
    link: Link
    link_port: int
    """Where workers find it: behind a link that can be cut. The judge and the other brokers go the direct way."""
    process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> Path:
        return self.folder / "broker.log"

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def start(self, runtime: _Runtime) -> None:
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(
                [*_leash(), *runtime.kafka("kafka.Kafka", str(self.properties))],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
            )

    def signal(self, number: signal.Signals) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        if self.process is not None:
            self.process.wait(30)

    def fill_disk(self) -> None:
        if self.process is not None:
            resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE, (FSIZE_FULL, resource.RLIM_INFINITY))

    def free_disk(self) -> None:
        if self.running and self.process is not None:
            unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
            resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE, unlimited)


@dataclass
class Cluster:
    """The brokers; ``bootstrap`` names all of them, ``linked`` as workers are to find them."""

    runtime: _Runtime
    nodes: list[Node] = field(default_factory=list)

    @property
    def bootstrap(self) -> str:
        return ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)

    @property
    def linked(self) -> str:
        return ",".join(f"127.0.0.1:{node.link_port}" for node in self.nodes)

    def start(self, index: int) -> None:
        self.nodes[index].start(self.runtime)

    def up(self, index: int) -> bool:
        """Whether a broker takes connections, which it does only when it is ready."""
        try:
            socket.create_connection(("127.0.0.1", self.nodes[index].port), 1).close()
        except OSError:
            return False
        return True

    def wait(self, index: int) -> None:
        """Return when a broker that was started takes connections."""
        node = self.nodes[index]
        if node.process is None:
            raise RuntimeError(f"broker {index} was not started")
        _wait(node.process, node.port, node.log)


@contextmanager
def running(folder: Path, brokers: int) -> Iterator[Cluster]:
    """Run so many brokers; they are gone afterwards.

    Raises
    ------
    NoBrokerError
        Java or Maven is missing.
    """
    if _pick():
        raise NoBrokerError("brokers that are killed and come back take Java 17 and Maven; a container won't do")
    cluster = Cluster(_Runtime(folder, image=False))
    ports = _free_ports(PORTS * brokers)
    voters = ",".join(f"{n + 1}@127.0.0.1:{ports[PORTS * n + 1]}" for n in range(brokers))
    identity = uuid.uuid4().hex[:22]
    for n in range(brokers):
        cluster.nodes.append(_made(cluster.runtime, folder / f"broker-{n}", n, ports, voters, identity))
    try:
        for n, node in enumerate(cluster.nodes):
            node.link.start()
            cluster.start(n)
        for n in range(brokers):
            cluster.wait(n)
        yield cluster
    finally:
        for node in cluster.nodes:
            node.signal(signal.SIGCONT)
            node.kill()
            node.link.close()


def _made(runtime: _Runtime, folder: Path, n: int, ports: list[int], voters: str, identity: str) -> Node:
    brokers = len(ports) // PORTS
    port, controller, linked, link = ports[PORTS * n : PORTS * (n + 1)]
    folder.mkdir(parents=True)
    node = Node(folder, port, folder / "server.properties", Link(link, linked), link)
    node.properties.write_text(
        PROPERTIES.format(
            node=n + 1,
            voters=voters,
            port=port,
            controller=controller,
            linked=linked,
            link=link,
            folder=folder,
            session=SESSION_MS,
            copies=min(3, brokers),
            in_sync=2 if brokers >= 3 else 1,
        )
    )
    _run(runtime.kafka("kafka.tools.StorageTool", "format", "-t", identity, "-c", str(node.properties)))
    return node


def memory_kb(pid: int) -> int:
    """Resident memory of a process; 0 where it is gone."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE") // 1024


def until(done: Callable[[], bool], seconds: float, every: float = 0.2) -> bool:
    """Wait for ``done()`` to be true; tell whether it came to be."""
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() > deadline:
            return False
        time.sleep(every)
    return True
