"""The services of docker-compose.yml as processes of this machine: from recorded traffic to pages, by a real broker."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from streamdrift.alerts import series_id
from streamdrift.demo.incidents import INCIDENTS, MODEL
from streamdrift.settings import TopicSettings

ROOT = Path(__file__).resolve().parents[1]
SERVICES = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"]
PACE = "5000"
"""Ten times the stack's own. Some incidents are over before their page is due, and then nobody is called: what is waited
for is what was decided."""
ALERTS_S = 90.0


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def command(name: str) -> list[str]:
    service = SERVICES[name]
    if "entrypoint" in service:
        return [sys.executable, *(f"{ROOT}{argument}" for argument in service["entrypoint"][1:])]
    return [sys.executable, "-m", "streamdrift", *service["command"]]


class Stack:
    """Runs services with the environment of the compose file, but for addresses and names."""

    def __init__(self, folder: Path, broker: str, prefix: str) -> None:
        self.folder, self.running = folder, dict[str, subprocess.Popen[bytes]]()
        self.ports = {name: free_port() for name in ("detect", "escalate", "pages")}
        topics = {field: f"{prefix}{name}" for field, name in TopicSettings().model_dump().items()}
        self.given = {
            "STREAMDRIFT_KAFKA__BOOTSTRAP_SERVERS": broker,
            "STREAMDRIFT_KAFKA__GROUP": f"{prefix}group",
            "STREAMDRIFT_TOPICS": json.dumps(topics),
        }

    def start(self, name: str, **given: str) -> subprocess.Popen[bytes]:
        theirs = {key: str(value) for key, value in SERVICES[name]["environment"].items()}
        own = self.given if "STREAMDRIFT_KAFKA__BOOTSTRAP_SERVERS" in theirs else {}
        port = {"STREAMDRIFT_TELEMETRY__PORT": str(self.ports[name])} if name in {"detect", "escalate"} else {}
        with self.log(name).open("wb") as log:
            process = subprocess.Popen(
                command(name),
                cwd=self.folder,
                env=_clean() | theirs | own | port | given,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self.running[name] = process
        return process

    def log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def finish(self, name: str, timeout_s: float = 60) -> None:
        code = self.running.pop(name).wait(timeout_s)
        assert code == 0, f"{name} left with {code}:\n{self.log(name).read_text()[-3000:]}"


def _clean() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if not key.startswith("STREAMDRIFT_")}


@contextmanager
def stack(folder: Path, broker: str, prefix: str) -> Iterator[Stack]:
    running = Stack(folder, broker, prefix)
    try:
        yield running
    finally:
        for process in running.running.values():
            process.kill()
            process.wait(10)


def until_ready(port: int) -> None:
    for _ in range(300):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    pytest.fail(f"nothing is ready on port {port}")


def missing(log: Path) -> list[str]:
    """Incidents of the demo of which the escalation worker has taken no alert."""
    lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    taken = {line["series"] for line in lines if line["event"] == "alert taken" and line["status"] == "firing"}
    return [i.name for i in INCIDENTS if series_id(MODEL["name"], i.segment, i.feature) not in taken]


@pytest.mark.broker
@pytest.mark.slow
def test_from_traffic_to_pages_and_a_clean_stop(broker: str, topic_prefix: str, tmp_path: Path) -> None:
    with stack(tmp_path, broker, topic_prefix) as services:
        services.start("topics")
        services.finish("topics")
        services.start("pages", PAGES_PORT=str(services.ports["pages"]))
        services.start("detect")
        services.start(
            "escalate",
            STREAMDRIFT_ESCALATE__LEDGER=str(tmp_path / "ledger.sqlite3"),
            STREAMDRIFT_ESCALATE__WEBHOOK__URL=f"http://127.0.0.1:{services.ports['pages']}/",
        )
        until_ready(services.ports["detect"])
        until_ready(services.ports["escalate"])
        services.start("traffic", TRAFFIC_EVENTS_PER_S=PACE)
        services.finish("traffic")
        deadline = time.monotonic() + ALERTS_S
        while missing(services.log("escalate")) and time.monotonic() < deadline:
            time.sleep(0.5)
        pages = services.log("pages").read_text()
        assert not missing(services.log("escalate")), services.log("detect").read_text()[-3000:]
        assert f"PAGE trigger: {MODEL['name']}: " in pages
        assert "refused" not in pages
        for name in ("detect", "escalate"):
            services.running[name].send_signal(signal.SIGTERM)
            services.finish(name)
