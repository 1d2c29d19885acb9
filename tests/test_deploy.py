"""What is shipped to run it: the compose stack, the image, the rules and the dashboard, held to the code."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from fnmatch import fnmatch
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import Counter, Gauge, Histogram
from pydantic import SecretStr

from streamdrift.escalate.receivers import Delivered, Page, Permanent, Webhook
from streamdrift.ports import Record
from streamdrift.settings import KafkaSettings, Settings, TopicSettings, WebhookSettings, load
from streamdrift.telemetry import Health, Metrics, serve
from streamdrift.transports.kafka import KafkaSource, create_topics
from tests.transports.clock import RealClock

ROOT = Path(__file__).resolve().parents[1]
PROMETHEUS = ROOT / "deploy" / "prometheus"
RULES: list[dict[str, Any]] = yaml.safe_load((PROMETHEUS / "rules.yml").read_text(encoding="utf-8"))["groups"][0][
    "rules"
]
DASHBOARD: dict[str, Any] = json.loads(
    (ROOT / "deploy/grafana/dashboards/streamdrift.json").read_text(encoding="utf-8")
)
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
OURS = {name: service for name, service in COMPOSE["services"].items() if service["image"] == "streamdrift:local"}
EXAMPLES = {
    "stage": ("assemble", "detect", "escalate"),
    "kind": ("drift", "anomaly"),
    "status": ("firing", "resolved"),
    "outcome": ("delivered", "dead", "joined", "orphan", "failed"),
}
"""Label values that the queries ask for; any other label has one made up."""


def tool(name: str) -> str:
    """Return where a program is; on a developer's machine a test may do without it, in CI not."""
    found = shutil.which(name)
    if found is None:
        reason = f"no {name} here; Debian has it in the package prometheus"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return found


def run(*command: str, cwd: Path = ROOT) -> None:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"


def panels() -> list[tuple[str, str]]:
    """Title and query of everything that the dashboard draws."""
    return [(panel["title"], target["expr"]) for panel in DASHBOARD["panels"] for target in panel.get("targets", ())]


def metric_names() -> set[str]:
    """Every name that a scrape of us can have."""
    names = set()
    for family in Metrics().registry.collect():
        endings = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"], "info": ["_info"]}
        names |= {family.name + ending for ending in endings.get(family.type, [""])}
    return names


def instruments() -> Iterator[Counter | Gauge | Histogram]:
    for value in vars(Metrics()).values():
        if isinstance(value, (Counter, Gauge, Histogram)):
            yield value


def labels_of(name: str) -> set[str]:
    """Return the labels of a metric, with those that a scrape adds."""
    own = {"version", "engine", "config_hash"} if name == "streamdrift_build_info" else set()
    for instrument in instruments():
        base = instrument._name
        if name in {base, f"{base}_total", f"{base}_bucket"}:
            own = set(instrument._labelnames)
    return own | {"job", "instance"}


@pytest.mark.parametrize(("where", "query"), [*panels(), *((rule["alert"], rule["expr"]) for rule in RULES)])
def test_every_query_names_metrics_that_exist(where: str, query: str) -> None:
    named = set(re.findall(r"\b(?:streamdrift|process)_\w+", query))
    assert named or "up{" in query, where
    assert named <= metric_names(), where


def test_the_rules_pass_promtool() -> None:
    promtool = tool("promtool")
    run(promtool, "check", "config", "prometheus.yml", cwd=PROMETHEUS)
    run(promtool, "check", "rules", "--lint=all", "--lint-fatal", "rules.yml", cwd=PROMETHEUS)
    run(promtool, "test", "rules", "rules.test.yml", cwd=PROMETHEUS)


def test_each_rule_says_what_to_do_and_is_tested() -> None:
    operations = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
    tests = (PROMETHEUS / "rules.test.yml").read_text(encoding="utf-8")
    for rule in RULES:
        name = rule["alert"]
        assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
        assert rule["annotations"]["runbook_url"] == f"docs/operations.md#{name.lower()}"
        assert re.search(rf"^### {name}$", operations, re.MULTILINE), f"no run-book for {name}"
        assert rule["labels"]["severity"] in {"warning", "critical"}
        assert name in tests


def test_the_rules_are_tested_on_series_as_we_have_them() -> None:
    tests = yaml.safe_load((PROMETHEUS / "rules.test.yml").read_text(encoding="utf-8"))["tests"]
    for series in (series["series"] for test in tests for series in test["input_series"]):
        name, _, labels = series.partition("{")
        assert name in metric_names() | {"up"}
        assert set(re.findall(r"(\w+)=", labels)) <= labels_of(name), series


def test_the_dashboard_s_panels_are_whole() -> None:
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))
    for panel in DASHBOARD["panels"]:
        if panel["type"] != "row":
            assert panel["description"]
            assert panel["datasource"]["uid"] == "prometheus"
    datasource = yaml.safe_load((ROOT / "deploy/grafana/provisioning/datasources/prometheus.yml").read_text("utf-8"))
    assert datasource["datasources"][0]["uid"] == "prometheus"


def fill(metrics: Metrics) -> None:
    """Count something in every metric, under every label that a query may ask for."""
    for instrument in vars(metrics).values():
        if isinstance(instrument, (Counter, Gauge, Histogram)):
            names = instrument._labelnames
            for value in EXAMPLES.get(names[-1] if names else "", ("x",)):
                child = instrument.labels(*("x" for _ in names[:-1]), value) if names else instrument
                child.observe(0.01) if isinstance(child, Histogram) else child.inc()
    metrics.alerts.labels("drift", "firing").inc()


@contextlib.contextmanager
def prometheus(folder: Path, target: int) -> Iterator[str]:
    """Run a Prometheus that scrapes a local port each second; give the address of its query API."""
    config = {
        "global": {"scrape_interval": "1s"},
        "scrape_configs": [{"job_name": "streamdrift", "static_configs": [{"targets": [f"127.0.0.1:{target}"]}]}],
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    command = [
        tool("prometheus"),
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    try:
        yield f"http://127.0.0.1:{port}/api/v1/query"
    finally:
        process.terminate()
        process.wait(20)


def ask(api: str, query: str) -> list[Any]:
    with urllib.request.urlopen(f"{api}?{urllib.parse.urlencode({'query': query})}", timeout=10) as answer:
        found: list[Any] = json.load(answer)["data"]["result"]
    return found


def test_prometheus_scrapes_us_and_every_panel_shows_something(tmp_path: Path) -> None:
    tool("prometheus")
    metrics = Metrics()
    metrics.info.info({"version": "1", "engine": "reference", "config_hash": "x"})
    server = serve("127.0.0.1", 0, metrics, Health(RealClock()))
    try:
        with prometheus(tmp_path, server.port) as api:
            deadline, empty = time.monotonic() + 60, panels()
            while empty and time.monotonic() < deadline:
                fill(metrics)
                time.sleep(0.5)
                try:
                    empty = [
                        (title, query)
                        for title, query in empty
                        if not ask(api, query.replace("$__rate_interval", "1m"))
                    ]
                except (ConnectionError, urllib.error.URLError) as e:
                    assert not isinstance(e, urllib.error.HTTPError), e.read()  # it came up and refused the query
            assert not empty, (tmp_path / "log").read_text()
            for rule in RULES:
                ask(api, rule["expr"])
    finally:
        server.stop()


def test_the_compose_file_is_valid() -> None:
    run(
        sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", "docker-compose.yml"
    )  # fmt: skip


@pytest.mark.parametrize("name", COMPOSE["services"])
def test_each_service_is_confined(name: str) -> None:
    service = COMPOSE["services"][name]
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert ":" in service["image"]
    assert not service["image"].endswith(":latest")
    assert not service.get("privileged")
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))
    if name != "kafka":  # its image writes its configuration at start, as a user of its own
        assert service["read_only"] is True
        assert int(service["user"].split(":")[0]) > 0
    for volume in service.get("volumes", ()):
        source = volume.split(":")[0]
        assert (ROOT / source).exists() if source.startswith(".") else source in COMPOSE["volumes"]
    for other in service.get("depends_on", ()):
        assert other in COMPOSE["services"]


@pytest.mark.parametrize("name", OURS)
def test_our_services_are_given_settings_that_hold(name: str) -> None:
    given = OURS[name].get("environment", {})
    settings = load(given, root=ROOT).settings  # an unknown STREAMDRIFT_ name is an error
    if name in {"topics", "detect", "escalate", "traffic"}:
        assert (
            f":{settings.kafka.bootstrap_servers.split(':')[1]},"
            in (COMPOSE["services"]["kafka"]["environment"]["KAFKA_ADVERTISED_LISTENERS"])
        )
    if "healthcheck" in OURS[name]:
        program = OURS[name]["healthcheck"]["test"][-1]
        compile(program, name, "exec")
        assert f":{settings.telemetry.port}/livez" in program


def test_prometheus_scrapes_the_services_that_compose_runs() -> None:
    config = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text(encoding="utf-8"))
    (job,) = config["scrape_configs"]
    targets = [target for static in job["static_configs"] for target in static["targets"]]
    assert targets == [f"{name}:9464" for name in ("detect", "escalate")]
    assert set(config["rule_files"]) <= {path.name for path in PROMETHEUS.iterdir()}


def copied() -> list[str]:
    lines = (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines()
    copies = [line.split()[1:-1] for line in lines if line.startswith("COPY") and "--from" not in line]
    return [source for sources in copies for source in sources]


def test_the_image_is_built_from_what_is_there() -> None:
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    let_through = [pattern[1:] for pattern in ignored if pattern.startswith("!")]
    for source in copied():
        assert (ROOT / source).exists(), source
        assert any(fnmatch(source, pattern) for pattern in let_through), f".dockerignore keeps {source} out"


def test_the_image_runs_without_root_and_without_build_tools() -> None:
    runtime = (ROOT / "Dockerfile").read_text(encoding="utf-8").split("FROM ")[-1]
    user = re.search(r"^USER (\d+):(\d+)$", runtime, re.MULTILINE)
    assert user
    assert OURS["detect"]["user"] == f"{user[1]}:{user[2]}"
    assert not re.search(r"apt-get|gcc|pip install", runtime)
    assert 'ENTRYPOINT ["streamdrift"]' in runtime


@pytest.mark.skipif(shutil.which("hadolint") is None, reason="no hadolint here")
def test_the_dockerfile_passes_hadolint() -> None:
    run(str(shutil.which("hadolint")), "Dockerfile")


def script(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, ROOT / "deploy" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_stand_in_pager_takes_what_is_signed_and_nothing_else() -> None:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    given = os.environ | {"PAGES_SECRET": "right", "PAGES_PORT": str(port)}
    pager = subprocess.Popen(
        [sys.executable, "deploy/pages.py"], cwd=ROOT, env=given, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    page = Page("d-1", "trigger", "k", 0, "flight-delay: null_rate", {}, ())
    try:
        for _ in range(100):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.1)
        for secret, outcome in (("right", Delivered), ("wrong", Permanent)):
            settings = WebhookSettings(url=f"http://127.0.0.1:{port}/", secret=SecretStr(secret))
            assert isinstance(Webhook(settings).send(page, time.time()), outcome)
    finally:
        pager.terminate()
    told = pager.communicate(timeout=10)[0].decode().splitlines()
    assert told[0] == "PAGE trigger: flight-delay: null_rate"
    assert told[1].startswith("refused: no signature fits")


@pytest.mark.broker
def test_the_traffic_is_the_demo_s(
    kafka_settings: KafkaSettings, topic_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    traffic = script("traffic")
    first = list(islice(traffic.events(), 50))
    monkeypatch.setattr(traffic, "events", lambda: iter(first))
    monkeypatch.setenv("STREAMDRIFT_KAFKA__BOOTSTRAP_SERVERS", kafka_settings.bootstrap_servers)
    monkeypatch.setenv("STREAMDRIFT_TOPICS__EVENTS", f"{topic_prefix}events")
    topics = TopicSettings(**{name: f"{topic_prefix}{name}" for name in TopicSettings.model_fields})
    one = kafka_settings.model_copy(update={"partitions": 1})
    create_topics(Settings(kafka=one, topics=topics), RealClock())
    began = time.monotonic()
    assert traffic.play(per_second=100.0) == len(first)
    assert time.monotonic() - began >= 0.4
    source = KafkaSource(one, topics.events, f"{topic_prefix}reader", clock=RealClock())
    try:
        found: list[Record] = []
        while len(found) < len(first) and time.monotonic() < began + 60:
            found += source.poll(100, 0.3)
    finally:
        source.close()
    assert [record.value for record in found] == first
