"""Least privilege by a real broker's access control lists: those of docs/security.md are enough, and each that is missing is named."""

from __future__ import annotations

import json
import logging
import re
import shlex
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import structlog
from kafka import KafkaAdminClient, KafkaConsumer
from kafka.admin import (
    ACL,
    ACLFilter,
    ACLOperation,
    ACLPermissionType,
    ACLResourcePatternType,
    ResourcePattern,
    ResourcePatternFilter,
    ResourceType,
)
from pydantic import SecretStr
from structlog.testing import capture_logs

from streamdrift import cli
from streamdrift.demo.receiver import Receiver
from streamdrift.detect_service import Detecting
from streamdrift.errors import BrokerProblem
from streamdrift.settings import KafkaSettings, Settings, SloSettings, TopicSettings
from streamdrift.telemetry import Metrics
from streamdrift.transports import kafka
from streamdrift.transports.kafka.client import options
from tests.broker import SCRAM, Broker
from tests.command import SMALL, Done, drifting, environment
from tests.test_services import metric, publish, run, service, stopped, until, values
from tests.test_slo_files import changed
from tests.transports.clock import RealClock

PAGE = Path(__file__).resolve().parents[1] / "docs" / "security.md"
KINDS = {"topic": ResourceType.TOPIC, "group": ResourceType.GROUP, "transactional-id": ResourceType.TRANSACTIONAL_ID}
OPTIONAL = {"inference-labels", "model-changes", "streamdrift-changes-", "streamdrift.state", "streamdrift.incidents"}
"""What `detect` runs without, as the page says."""
MEASURES = "streamdrift.measures"
"""`escalate` runs without it, and holds no objectives against it then."""
SETTLE_S = 10.0

pytestmark = pytest.mark.broker


@dataclass(frozen=True)
class Allowed:
    """One entry of the access control lists."""

    user: str
    operation: str
    kind: str
    name: str
    prefixed: bool

    def __str__(self) -> str:
        return f"{self.user}-{self.operation}-{self.kind}-{self.name}"

    def pattern(self, resource: type[Any]) -> Any:
        kind = ACLResourcePatternType.PREFIXED if self.prefixed else ACLResourcePatternType.LITERAL
        return resource(KINDS[self.kind], self.name, kind)

    def entry(self, of: type[Any], resource: type[Any]) -> Any:
        operation = ACLOperation[self.operation.upper()]
        return of(f"User:{self.user}", "*", operation, ACLPermissionType.ALLOW, self.pattern(resource))


def documented() -> Iterator[Allowed]:
    """Every entry that the commands of the page make."""
    for line in re.findall(r"^\$acls (.+)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE):
        given: dict[str, list[str]] = {}
        words = shlex.split(line)
        for option, value in zip(words[::2], words[1::2], strict=True):
            given.setdefault(option.removeprefix("--"), []).append(value)
        user = given["allow-principal"][0].removeprefix("User:")
        prefixed = given.get("resource-pattern-type") == ["prefixed"]
        for operation, kind in product(given["operation"], KINDS):
            yield from (Allowed(user, operation.upper(), kind, name, prefixed) for name in given.get(kind, ()))


ALLOWED = list(documented())


@dataclass(frozen=True)
class Cluster:
    """A broker whose users have the documented rights to topics and groups of one test."""

    broker: Broker
    prefix: str

    def settings(self, user: str, **more: Any) -> KafkaSettings:
        return KafkaSettings(
            bootstrap_servers=self.broker.scram,
            security_protocol="SASL_SSL",
            sasl_mechanism="SCRAM-SHA-512",
            sasl_username=user,
            sasl_password=SecretStr(SCRAM[user]),
            ssl_cafile=self.broker.cafile,
            group=f"{self.prefix}streamdrift",
            partitions=1,
            bootstrap_timeout_s=15,
            request_timeout_s=15,
            **more,
        )

    def topics(self) -> TopicSettings:
        return TopicSettings(**{name: self.prefix + str(value) for name, value in TopicSettings().model_dump().items()})

    def environment(self, user: str) -> dict[str, str]:
        given = self.settings(user).model_dump(mode="json", exclude_unset=True) | {"sasl_password": SCRAM[user]}
        found = {f"STREAMDRIFT_KAFKA__{name.upper()}": str(value) for name, value in given.items()}
        found |= {f"STREAMDRIFT_TOPICS__{name.upper()}": value for name, value in self.topics().model_dump().items()}
        telemetry = {"STREAMDRIFT_TELEMETRY__PORT": "0", "STREAMDRIFT_TELEMETRY__HOST": "127.0.0.1"}
        hook = {"STREAMDRIFT_CHANGES__PORT": "0", "STREAMDRIFT_CHANGES__HOST": "127.0.0.1"}
        return environment(**found, **SMALL, **telemetry, **hook, STREAMDRIFT_CHANGES__TOKEN="secret-of-the-hook")

    @contextmanager
    def administered(self) -> Iterator[Any]:
        admin = KafkaAdminClient(bootstrap_servers=self.broker.plaintext)
        try:
            yield admin
        finally:
            admin.close()

    def own(self, allowed: Allowed) -> Allowed:
        """The same for the names of this test."""
        return replace(allowed, name=self.prefix + allowed.name)

    def allow(self, *entries: Allowed) -> None:
        with self.administered() as admin:
            admin.create_acls([self.own(entry).entry(ACL, ResourcePattern) for entry in entries])
            for entry in entries:
                self.settled(admin, entry, there=True)

    @contextmanager
    def without(self, entry: Allowed) -> Iterator[None]:
        with self.administered() as admin:
            admin.delete_acls([self.own(entry).entry(ACLFilter, ResourcePatternFilter)])
            self.settled(admin, entry, there=False)
        try:
            yield
        finally:
            self.allow(entry)

    def settled(self, admin: Any, entry: Allowed, *, there: bool) -> None:
        """Wait until the broker acts by it: it takes note of what the controller did a moment later."""
        deadline = time.monotonic() + SETTLE_S
        while bool(admin.describe_acls(self.own(entry).entry(ACLFilter, ResourcePatternFilter))[0]) is not there:
            assert time.monotonic() < deadline, entry
            time.sleep(0.05)


@pytest.fixture(scope="module")
def cluster(kafka_broker: Broker) -> Cluster:
    """The documented rights, given to the users of the documentation; its topics were made by the user `topics`."""
    made = Cluster(kafka_broker, f"rights{time.time_ns()}.")
    made.allow(*ALLOWED)
    kafka.create_topics(Settings(kafka=made.settings("topics"), topics=made.topics()), RealClock())
    return made


def test_the_page_has_every_user_and_each_right_once() -> None:
    assert {allowed.user for allowed in ALLOWED} == set(SCRAM)
    assert len(set(ALLOWED)) == len(ALLOWED) >= 20


def test_every_command_does_its_work_with_the_rights_of_the_page(
    cluster: Cluster, command: Command, tmp_path: Path
) -> None:
    assert command(cluster, "topics", "topics", "create").out.count("exists, 1 partition") == len(
        TopicSettings.model_fields
    )
    plain = KafkaSettings(bootstrap_servers=cluster.broker.plaintext)
    topics, detecting, escalating = cluster.topics(), tmp_path / "detect.log", tmp_path / "escalate.log"
    publish(plain, topics.events, [*drifting(), b"nonsense"])
    assert command(cluster, "operator", "rebaseline", "--model", "other").code == 0
    counted = cluster.environment("detect") | {"STREAMDRIFT_SLO__PUBLISH": "true"}
    with service("detect", counted, detecting) as process:
        until(lambda: bool(values(plain.bootstrap_servers, topics.alerts)), "an alert", detecting)
        until(lambda: bool(values(plain.bootstrap_servers, topics.measures)), "measures", detecting)
        until(lambda: bool(values(plain.bootstrap_servers, topics.rejected)), "a dead letter", detecting)
        until(lambda: metric(detecting, "commits_total") > 0, "a commit", detecting)
        assert stopped(process) == 0
    said = detecting.read_text()
    assert '"rebaseline"' in said
    assert not re.search("no labels are read|can't be read|no state is put away|lacks", said)
    publish(plain, topics.alerts, [b"nonsense"])
    with (
        Receiver("secret-of-the-webhook", RealClock()) as receiver,
        service("escalate", cluster.environment("escalate") | paging(receiver, tmp_path), escalating) as process,
    ):
        until(lambda: bool(receiver.received), "a page", escalating)
        until(lambda: metric(escalating, "slo_budget_left") > 0, "a budget", escalating)
        until(lambda: len(values(plain.bootstrap_servers, topics.rejected)) > 1, "a dead letter", escalating)
        until(lambda: bool(values(plain.bootstrap_servers, topics.incidents)), "an incident on its topic", escalating)
        assert stopped(process) == 0
    assert not re.search("no incidents are published|no upstream changes are read", escalating.read_text())
    taking = tmp_path / "changes.log"
    with service("changes serve", cluster.environment("changes"), taking) as process:
        until(lambda: '"running"' in taking.read_text(), "a start", taking)
        (line,) = [json.loads(line) for line in taking.read_text().splitlines() if '"taking changes"' in line]
        hook = ["--hook", f"http://127.0.0.1:{line['port']}"]
        told = ["changes", "send", "--kind", "deployment", "--summary", "12 replaces 11", "--id", "run-7"]
        assert command(cluster, "operator", *told, *hook).out == "run-7: taken by the hook at 127.0.0.1\n"
        assert stopped(process) == 0
    assert "secret-of-the-hook" not in taking.read_text()
    assert [change["change_id"] for change in map(json.loads, values(plain.bootstrap_servers, topics.changes))][1:] == [
        "run-7"
    ]
    assert command(cluster, "operator", *told).out == f"run-7: published to {topics.changes}\n"
    assert "would have paged" in command(cluster, "operator", "tune", "--topic", topics.events).out
    assert consumed(cluster) == len(values(plain.bootstrap_servers, topics.alerts))


def paging(receiver: Receiver, folder: Path) -> dict[str, str]:
    of_shop = changed("spec/indicator/spec/ratioMetric/raw/metricSource/spec/model", "shop")
    (folder / "slo.json").write_text(json.dumps(of_shop))
    return {
        "STREAMDRIFT_ESCALATE__LEDGER": str(folder / "ledger.sqlite3"),
        "STREAMDRIFT_ESCALATE__EVENT_AGE_MAX_S": "1e12",
        "STREAMDRIFT_SLO__FILES": json.dumps([str(folder / "slo.json")]),
        "STREAMDRIFT_ESCALATE__WEBHOOK__URL": receiver.url,
        "STREAMDRIFT_ESCALATE__WEBHOOK__SECRET": "secret-of-the-webhook",
    }


def consumed(cluster: Cluster) -> int:
    """Number of alerts that a consumer reads in a group of its own."""
    consumer = KafkaConsumer(
        cluster.topics().alerts,
        group_id=f"{cluster.prefix}my-consumers",
        auto_offset_reset="earliest",
        isolation_level="read_committed",
        **options(cluster.settings("consumer")),
    )
    found, deadline = 0, time.monotonic() + 30
    while time.monotonic() < deadline:
        batch = sum(map(len, consumer.poll(timeout_ms=500).values()))
        found += batch
        if found and not batch:
            break
    consumer.commit()
    consumer.close()
    return found


def named(cluster: Cluster, entry: Allowed) -> str:
    """What has to be said where this right is missing."""
    name = cluster.prefix + entry.name
    if entry.kind == "transactional-id":
        return f"'{name}.*the user has no right to this transactional id; allow it WRITE"
    return f"user '{entry.user}' lacks .*{entry.operation} on {entry.kind} '{name}"


@pytest.mark.parametrize("entry", [a for a in ALLOWED if a.user == "detect"], ids=str)
def test_what_detect_lacks_it_names(cluster: Cluster, entry: Allowed) -> None:
    optional, told, deadline = entry.name in OPTIONAL, False, time.monotonic() + SETTLE_S
    with cluster.without(entry):
        while (
            not told and time.monotonic() < deadline
        ):  # what the broker shows as taken away it may grant a moment longer
            refusals, warnings = begun(cluster)
            told = re.search(named(cluster, entry), "".join(warnings if optional else refusals)) is not None
    assert told, (refusals, warnings)
    assert not (refusals if optional else warnings)


def begun(cluster: Cluster) -> tuple[list[str], list[str]]:
    """Build the loops of `detect` until one has something to say; return why one can't be, and why one does less."""
    settings = Settings(
        kafka=cluster.settings("detect", instance="one"),
        topics=cluster.topics(),
        engine="reference",
        slo=SloSettings(publish=True),
    )
    refusals: list[str] = []
    with capture_logs() as logs:
        loops = Detecting(
            settings=settings,
            config_hash="",
            clock=RealClock(),
            metrics=Metrics(),
            log=structlog.get_logger(),
            overcome=lambda _: None,
            alive=lambda _: None,
            stopped=lambda: True,
            caught_up=lambda _: True,
        ).builders()
        for build in loops.values():
            try:
                build().close()
            except BrokerProblem as e:
                refusals.append(str(e))
            if refusals or logs:
                break
    return refusals, [f"{line['event']}: {line['reason']}" for line in logs if "reason" in line]


COMMANDS = {
    "escalate": ["escalate"],
    "changes": ["changes", "serve"],
    "topics": ["topics", "create"],
    "operator-WRITE": ["rebaseline", "--model", "shop"],
    "operator-READ": ["tune", "--topic"],
}


@pytest.mark.parametrize(
    ("topic", "said"),
    [("model-changes", "no upstream changes are read"), ("streamdrift.incidents", "no incidents are published")],
)
def test_escalate_runs_on_without_what_need_not_be_there_and_says_so(
    cluster: Cluster, tmp_path: Path, topic: str, said: str
) -> None:
    (entry,) = (a for a in ALLOWED if a.user == "escalate" and a.name == topic)
    log, ledger = tmp_path / "escalate.log", {"STREAMDRIFT_ESCALATE__LEDGER": str(tmp_path / "ledger.sqlite3")}
    with cluster.without(entry), service("escalate", cluster.environment("escalate") | ledger, log) as process:
        until(
            lambda: metric(log, "last_processed_timestamp_seconds") > 0 or "running" in log.read_text(), "a start", log
        )
        assert stopped(process) == 0
    (line,) = (line for line in log.read_text().splitlines() if said in line)
    assert re.search(named(cluster, entry), line)


OTHERS = [
    a
    for a in ALLOWED
    if a.user in {"topics", "operator", "changes"} or (a.user == "escalate" and a.name not in {*OPTIONAL, MEASURES})
]


@pytest.mark.parametrize("entry", OTHERS, ids=str)
def test_what_another_command_lacks_it_names(cluster: Cluster, command: Command, entry: Allowed) -> None:
    if entry.user == "topics":  # whether it may create is seen where there is nothing yet
        cluster = Cluster(cluster.broker, f"rights{time.time_ns()}.")
        cluster.allow(*(a for a in ALLOWED if a.user == "topics" and a != entry))
    words = COMMANDS.get(f"{entry.user}-{entry.operation}") or COMMANDS[entry.user]
    topic = [cluster.topics().events] if words[-1] == "--topic" else []
    with nullcontext() if entry.user == "topics" else cluster.without(entry):
        done = command(cluster, entry.user, *words, *topic)
    assert done.code == 3
    assert re.search(named(cluster, entry), done.said.splitlines()[-1])


Command = Callable[..., Done]


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Command]:
    """Runs a command as a user, in this process to save the start of another; what it changes here is put back."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    root = logging.getLogger()
    before = root.handlers[:], root.level
    monkeypatch.chdir(tmp_path)

    def run_here(cluster: Cluster, user: str, *words: str) -> Done:
        with monkeypatch.context() as patch:
            for name, value in cluster.environment(user).items():
                patch.setenv(name, value)
            code = cli.run(words)
        out, said = capsys.readouterr()
        assert "Traceback" not in out + said
        return Done(code, out, said)

    yield run_here
    for number, handler in handlers.items():
        signal.signal(number, handler)
    root.handlers[:], root.level = before
    structlog.reset_defaults()
    logging.captureWarnings(capture=False)


def test_the_process_ends_with_the_sentence(cluster: Cluster) -> None:
    (entry,) = (a for a in ALLOWED if a.kind == "transactional-id")
    with cluster.without(entry):
        done = run(["detect"], cluster.environment("detect"))
    assert done.returncode == 3
    assert re.search(named(cluster, entry), done.stderr.splitlines()[-1])
    assert "Traceback" not in done.stderr


def test_a_right_that_goes_while_it_runs_is_named(cluster: Cluster, tmp_path: Path) -> None:
    (entry,) = (a for a in ALLOWED if a.user == "detect" and a.name == "drift-alerts")
    log, plain = tmp_path / "detect.log", KafkaSettings(bootstrap_servers=cluster.broker.plaintext)
    first, second = ([event.replace(b"shop", name) for event in drifting()] for name in (b"first", b"second"))
    with service("detect", cluster.environment("detect"), log) as process:
        publish(plain, cluster.topics().events, first)
        until(lambda: metric(log, "alerts_total") > 0 and metric(log, "commits_total") > 0, "an alert", log)
        with cluster.without(entry):
            publish(plain, cluster.topics().events, second)
            assert process.wait(60) == 3
    said = log.read_text()
    assert "the user has no right to this topic; allow READ where streamdrift reads it, WRITE" in said.splitlines()[-1]
    assert f"'{cluster.topics().alerts}'" in said.splitlines()[-1]
    assert "Traceback" not in said
