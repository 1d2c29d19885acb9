"""Alertmanager itself: what it makes of an incident's pages, and what it tells on."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest

from streamdrift.checks.receivers import Script, ScriptedServer
from streamdrift.escalate.receivers import Alertmanager
from streamdrift.settings import AlertmanagerSettings
from tests.escalate.hostile import HOSTILE
from tests.escalate.rigs import make_page

PROGRAM = next(filter(None, map(shutil.which, ("prometheus-alertmanager", "alertmanager"))), None)
CONFIGURATION = """
route: {{receiver: hook, group_by: [incident], group_wait: 0s, group_interval: 1s, repeat_interval: 1h}}
global: {{resolve_timeout: 2s}}
receivers: [{{name: hook, webhook_configs: [{{url: "{url}", send_resolved: true}}]}}]
"""

pytestmark = pytest.mark.skipif(
    PROGRAM is None, reason="needs Alertmanager (Debian: apt-get install prometheus-alertmanager)"
)


@dataclass
class Running:
    url: str
    hook: ScriptedServer

    def alerts(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = orjson.loads(urllib.request.urlopen(f"{self.url}/api/v2/alerts").read())
        return found

    def told(self) -> list[tuple[str, list[str]]]:
        """Status of each notification, and the pages in it."""
        bodies = [orjson.loads(request.body) for request in self.hook.requests]
        return [(body["status"], [alert["labels"]["page"] for alert in body["alerts"]]) for body in bodies]


def until(true: Callable[[], object], what: str, seconds: float = 15.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, what
        time.sleep(0.05)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder, hook = tmp_path_factory.mktemp("alertmanager"), ScriptedServer(Script(200))
    (folder / "alertmanager.yml").write_text(CONFIGURATION.format(url=hook.url))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with (folder / "log").open("wb") as log:
        process = start(folder, port, log)
        made = Running(f"http://127.0.0.1:{port}", hook)
        try:
            until(lambda: ready(made.url), (folder / "log").read_text())
            yield made
        finally:
            process.terminate()
            process.wait(10)
            hook.stop()


def start(folder: Path, port: int, log: Any) -> subprocess.Popen[bytes]:
    command = [str(PROGRAM), f"--config.file={folder}/alertmanager.yml", f"--storage.path={folder}/data"]
    command += [f"--web.listen-address=127.0.0.1:{port}", "--cluster.listen-address="]
    return subprocess.Popen(command, stdout=log, stderr=log)


def ready(url: str) -> bool:
    try:
        return bool(urllib.request.urlopen(f"{url}/-/ready", timeout=1).status == 200)
    except OSError:
        return False


def receiver(running: Running) -> Alertmanager:
    return Alertmanager(AlertmanagerSettings(url=running.url))


def test_an_incident_fires_grows_and_ends(running: Running) -> None:
    made = receiver(running)
    assert made.send(make_page(key="am-1"), time.time()).name == "delivered"
    until(lambda: ("firing", ["am-1"]) in running.told(), "the first page")
    time.sleep(2.5)  # past resolve_timeout: it fires until its own end
    assert [alert["status"]["state"] for alert in running.alerts() if alert["labels"]["page"] == "am-1"] == ["active"]

    assert made.send(make_page(key="am-1.2", severity="critical"), time.time()).name == "delivered"
    until(lambda: ("firing", ["am-1", "am-1.2"]) in running.told(), "the growth")

    for key in ("am-1", "am-1.2"):
        assert made.send(make_page("resolve", key, severity="critical"), time.time()).name == "delivered"
    until(lambda: any(status == "resolved" for status, _ in running.told()), "the end")
    assert not [alert for alert in running.alerts() if alert["labels"]["incident"] == "am-1"]


def test_a_page_told_twice_is_one_alert(running: Running) -> None:
    made = receiver(running)
    for _ in range(3):
        assert made.send(make_page(key="am-2"), time.time()).name == "delivered"
    assert len([alert for alert in running.alerts() if alert["labels"]["incident"] == "am-2"]) == 1
    made.send(make_page("resolve", "am-2"), time.time())


def test_an_end_of_what_it_does_not_know_tells_nobody(running: Running) -> None:
    assert receiver(running).send(make_page("resolve", "am-3"), time.time()).name == "delivered"
    time.sleep(2)
    assert not [pages for _, pages in running.told() if "am-3" in pages]


def test_it_takes_whatever_a_model_is_called(running: Running) -> None:
    made = receiver(running)
    for number, label in enumerate(HOSTILE):
        page = make_page(key=f"am-4-{number}")
        page.incident["model"] = label
        assert made.send(page, time.time()).name == "delivered", ascii(label)
    found = [alert for alert in running.alerts() if alert["labels"]["incident"].startswith("am-4-")]
    assert len(found) == len(HOSTILE)


def test_times_ahead_of_ours_are_taken(running: Running) -> None:
    page = make_page(key="am-5")
    page.incident["opened_at"] = "2090-01-01T00:00:00.000Z"
    assert receiver(running).send(page, time.time()).name == "delivered"
