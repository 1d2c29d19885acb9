"""Secrets are planted in the settings, everything goes wrong that can, and all that is said and written is searched for them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from streamdrift import cli
from streamdrift.escalate.receivers.http import DETAIL_BYTES_MAX
from streamdrift.settings import KafkaSettings, Settings, TopicSettings
from streamdrift.settings.fields import LEAVES, environment_name
from streamdrift.telemetry import last_words
from streamdrift.transports.kafka import create_topics
from tests.broker import Broker
from tests.certificates import authority, signed
from tests.command import COMMAND, Done, drifting, environment, streamdrift
from tests.test_services import metric, publish, service, stopped, until
from tests.transports.clock import RealClock

SECRETS = {place: leaf for place, leaf in LEAVES.items() if leaf.secret}
SCHEMES = {"slack_webhook": "http://127.0.0.1:1/", "apprise": "json://127.0.0.1:1/"}
"""Of the secrets that are URLs."""
CANARIES = {
    place: f"{SCHEMES.get(place[1], '')}Canary+{'-'.join(place).replace('_', '-')}/{n}f6d%"
    for n, place in enumerate(SECRETS)
}
BESIDE = {
    "MITIGATION__URL": "http://127.0.0.1:1",
    "SLACK__CHANNEL": "C0123456789",
    "SLACK__URL": "http://127.0.0.1:1",
    "ALERTMANAGER__URL": "http://127.0.0.1:1",
    "ALERTMANAGER__USERNAME": "drift",
    "JIRA__URL": "http://127.0.0.1:1",
    "JIRA__USER": "drift@example.com",
    "JIRA__PROJECT": "OPS",
    "CONFLUENCE__URL": "http://127.0.0.1:1",
    "CONFLUENCE__USER": "drift@example.com",
    "CONFLUENCE__SPACE_ID": "98304",
    "EMAIL__HOST": "127.0.0.1",
    "EMAIL__PORT": "1",
    "EMAIL__SENDER": "drift@example.com",
    "EMAIL__RECIPIENTS": '["oncall@example.com"]',
    "EMAIL__USERNAME": "drift",
}
"""What receivers need beside their secrets."""
TOKEN = "canary-token-0c6b"
PIECE = re.compile("canary", re.IGNORECASE)
"""In every secret that is planted; the names of variables and files here don't have it."""
PASSWORD, KEY_PASSWORD, ROUTING_KEY, WEBHOOK, *_ = CANARIES
"""As docs/security.md has them."""


def planted(folder: Path, form: str) -> dict[str, str]:
    """Settings with every secret, by value or by file; TLS and a login, so that all are in use."""
    folder.mkdir(exist_ok=True)
    certificates = authority(folder, "authority")
    own = signed(certificates, "own", password=CANARIES[KEY_PASSWORD])
    given = {}
    for place, canary in CANARIES.items():
        if form == "file":
            path = folder / f"{place[-2]}.{place[-1]}.txt"
            path.write_text(canary + "\n")
            given[environment_name(place) + "_FILE"] = str(path)
        else:
            given[environment_name(place)] = canary
    return given | {
        "STREAMDRIFT_KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:1",
        "STREAMDRIFT_KAFKA__SECURITY_PROTOCOL": "SASL_SSL",
        "STREAMDRIFT_KAFKA__SASL_MECHANISM": "PLAIN",
        "STREAMDRIFT_KAFKA__SASL_USERNAME": "admin",
        "STREAMDRIFT_KAFKA__SSL_CAFILE": str(certificates.path),
        "STREAMDRIFT_KAFKA__SSL_CERTFILE": str(own.path),
        "STREAMDRIFT_KAFKA__SSL_KEYFILE": str(own.key),
        "STREAMDRIFT_ESCALATE__WEBHOOK__URL": f"http://127.0.0.1:1/hooks/{TOKEN}?key={TOKEN}",
        **{f"STREAMDRIFT_ESCALATE__{name}": value for name, value in BESIDE.items()},
        "STREAMDRIFT_ESCALATE__LEDGER": str(folder / "ledger.sqlite3"),
        "STREAMDRIFT_TELEMETRY__PORT": "0",
        "STREAMDRIFT_TELEMETRY__HOST": "127.0.0.1",
        "STREAMDRIFT_TELEMETRY__LOG_LEVEL": "debug",
    }


def said(*words: str, settings: Mapping[str, str], program: list[str] | None = None) -> Done:
    done = subprocess.run(
        [*(program or COMMAND), *words],
        env=environment(**settings),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr)


def clean(text: str) -> None:
    found = PIECE.search(text)
    assert found is None, text[max(found.start() - 300, 0) : found.end() + 100]


def test_these_are_the_secrets_that_the_page_names() -> None:
    page = (Path(__file__).resolve().parents[1] / "docs" / "security.md").read_text(encoding="utf-8")
    (sentence,) = re.findall(r"There are twelve: ([^.]*(?:\.[a-z_][^.]*)*)\. Give", page)
    assert re.findall(r"`([^`]+)`", sentence) == [".".join(place) for place in SECRETS]


Here = Callable[..., Done]


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Here:
    """Runs a command in this process, which saves the start of another."""
    for name in [name for name in os.environ if name.startswith("STREAMDRIFT_")]:
        monkeypatch.delenv(name)
    unhooked(monkeypatch)

    def run(*words: str, settings: Mapping[str, str]) -> Done:
        with monkeypatch.context() as patch:
            for name, value in settings.items():
                patch.setenv(name, value)
            code = cli.run(words)
        return Done(code, *capsys.readouterr())

    return run


def unhooked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is masked yet, and after the test nothing is any more."""
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    monkeypatch.setattr(threading, "excepthook", threading.__excepthook__)
    monkeypatch.setattr(last_words, "_known", [])


@pytest.mark.parametrize("form", ["value", "file"])
def test_config_shows_none(here: Here, tmp_path: Path, form: str) -> None:
    settings = planted(tmp_path, form)
    for words in (["config", "show"], ["config", "show", "--json"], ["config", "check"]):
        done = here(*words, settings=settings)
        assert done.code == 0, done.said
        clean(done.out + done.said)
        assert done.out.count("**********") == (0 if "check" in words else len(SECRETS) + 1)


MISTAKES: dict[str, dict[str, str]] = {
    "under another name": {"STREAMDRIFT_KAFKA__SASL_PASSWD": TOKEN, "STREAMDRIFT_KAFKA__SASL_PASSWORD": "${" + TOKEN},
    "as its own file": {"STREAMDRIFT_KAFKA__SASL_PASSWORD_FILE": TOKEN},
    "as a section": {"STREAMDRIFT_KAFKA": f"password={TOKEN}"},
    "in the address": {"STREAMDRIFT_KAFKA__BOOTSTRAP_SERVERS": f"admin:{TOKEN}@localhost:9092"},
    "in an address with a scheme": {
        "STREAMDRIFT_KAFKA__BOOTSTRAP_SERVERS": f"SASL_SSL://admin:a/{TOKEN}@localhost:9092"
    },
    "in a URL": {"STREAMDRIFT_ESCALATE__WEBHOOK__URL": f"https://me:{TOKEN}@example.com/hook"},
    "in a URL of another scheme": {"STREAMDRIFT_ESCALATE__WEBHOOK__URL": f"ftp://example.com/{TOKEN}?k={TOKEN}"},
    "without its URL": {"STREAMDRIFT_ESCALATE__WEBHOOK__SECRET": TOKEN},
    "no base64": {
        "STREAMDRIFT_ESCALATE__WEBHOOK__SECRET": f"whsec_!{TOKEN}",
        "STREAMDRIFT_ESCALATE__WEBHOOK__URL": "https://example.com/hook",
    },
    "without a login": {"STREAMDRIFT_KAFKA__SASL_PASSWORD": TOKEN, "STREAMDRIFT_KAFKA__SSL_PASSWORD": TOKEN},
    "in a section as JSON": {"STREAMDRIFT_ESCALATE__WEBHOOK": json.dumps({"secret": {"is": TOKEN}, "url": [TOKEN]})},
}


def test_config_check_repeats_none(here: Here, tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text(f'[kafka]\nsasl_password = "{TOKEN}\n')
    in_a_file = {"in a file that is no TOML": {"STREAMDRIFT_CONFIG": str(tmp_path / "bad.toml")}}
    for mistake, settings in {**MISTAKES, **in_a_file}.items():
        done = here("config", "check", settings=settings)
        assert done.code == 2, mistake
        assert done.said.startswith("streamdrift: ")
        clean(done.out + done.said)


@pytest.mark.broker
def test_a_broker_that_fails_makes_nobody_tell(kafka_broker: Broker, tmp_path: Path) -> None:
    by_value, by_file = planted(tmp_path / "1", "value"), planted(tmp_path / "2", "file")
    asking = {
        "STREAMDRIFT_KAFKA__BOOTSTRAP_SERVERS": kafka_broker.sasl,
        "STREAMDRIFT_KAFKA__SECURITY_PROTOCOL": "SASL_PLAINTEXT",
    }
    without_tls = {name: value for name, value in by_file.items() if "__SSL_" not in name}
    for command, settings, expected in (
        ("detect", by_value, "nobody listens"),
        ("escalate", by_value | {"STREAMDRIFT_KAFKA__BOOTSTRAP_SERVERS": kafka_broker.tls}, "does not vouch"),
        ("detect", without_tls | asking, "user or password refused"),
    ):
        done = said(command, settings=settings)
        assert done.code == 3, done.said
        assert expected in done.said
        clean(done.out + done.said)


OWN = {
    path: CANARIES["escalate", receiver, name]
    for path, receiver, name in (
        ("/chat.postMessage", "slack", "token"),
        ("/Canary", "slack_webhook", "url"),
        ("/api/v2/alerts", "alertmanager", "password"),
        ("/rest/api/3", "jira", "token"),
    )
}
"""By the path of its requests, what a receiver's other side knows."""


@contextmanager
def echo(status: int, secret: str) -> Iterator[int]:
    """A receiver that refuses everything, and repeats what it was told and knows; one secret lies where we cut."""

    class Echo(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            own = next((canary for path, canary in OWN.items() if path in self.path), secret)
            told = f"{self.path} {body[:100]!r} {own} ".ljust(DETAIL_BYTES_MAX - 8).encode() + own.encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(told)))
            self.end_headers()
            self.wfile.write(told)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - named by the base class
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Echo) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@pytest.mark.broker
def test_receivers_that_refuse_make_nobody_tell(
    kafka_broker: Broker, kafka_settings: KafkaSettings, topic_prefix: str, tmp_path: Path
) -> None:
    topics = TopicSettings(**{name: topic_prefix + name for name in TopicSettings.model_fields})
    create_topics(Settings(kafka=kafka_settings, topics=topics), RealClock())
    (tmp_path / "events").write_bytes(b"".join(line + b"\n" for line in drifting()))
    assert streamdrift("replay", tmp_path / "events", "--alerts", tmp_path / "alerts").code == 0
    publish(kafka_settings, topics.alerts, [*(tmp_path / "alerts").read_bytes().splitlines(), b"nonsense"])
    log = tmp_path / "escalate.log"
    with echo(503, CANARIES[WEBHOOK]) as passing, echo(400, CANARIES[ROUTING_KEY]) as refusing:
        settings = planted(tmp_path / "own", "value")
        settings = {name: value for name, value in settings.items() if not re.search("KAFKA__S(SL|ASL)_", name)}
        settings |= {"STREAMDRIFT_KAFKA__SECURITY_PROTOCOL": "PLAINTEXT"}
        settings |= {
            f"STREAMDRIFT_ESCALATE__{name}": value.replace(":1", f":{refusing}")
            for name, value in BESIDE.items()
            if name.endswith("__URL")
        }
        hook = CANARIES["escalate", "slack_webhook", "url"].replace(":1/", f":{refusing}/")
        settings |= {"STREAMDRIFT_ESCALATE__SLACK_WEBHOOK__URL": hook}
        settings |= {f"STREAMDRIFT_TOPICS__{name.upper()}": value for name, value in topics.model_dump().items()}
        settings |= {
            "STREAMDRIFT_KAFKA__BOOTSTRAP_SERVERS": kafka_broker.plaintext,
            "STREAMDRIFT_KAFKA__GROUP": topic_prefix,
            "STREAMDRIFT_ESCALATE__EVENT_AGE_MAX_S": "1e12",
            "STREAMDRIFT_ESCALATE__PAGERDUTY__URL": f"http://127.0.0.1:{refusing}/{TOKEN}",
            "STREAMDRIFT_ESCALATE__WEBHOOK__URL": f"http://127.0.0.1:{passing}/hooks/{TOKEN}?key={TOKEN}",
        }
        with service("escalate", environment(**settings), log) as process:
            until(lambda: metric(log, "deliveries_total", outcome="permanent") > 0, "a refusal", log)
            until(lambda: metric(log, "deliveries_total", outcome="retry") > 0, "a failure", log)
            for name in ("slack", "slack_webhook", "alertmanager", "jira"):
                until(lambda name=name: metric(log, "deliveries_total", receiver=name) > 0, name, log)  # type: ignore[misc]
            port = json.loads(next(line for line in log.read_text().splitlines() if '"starting"' in line))["port"]
            for path in ("metrics", "livez", "readyz"):
                clean(urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=10).read().decode())
            assert stopped(process) == 0
    clean(log.read_text())
    assert "HTTP 400" in log.read_text()
    for file in (tmp_path / "own").glob("ledger*"):
        clean(file.read_bytes().decode("latin-1"))


BUG = """
import sys
from streamdrift import app, cli, detect_service, transports
from streamdrift.transports import kafka

def bug(settings, *_, **__):
    kafka_settings = getattr(settings, "kafka", settings)
    secret = kafka_settings.sasl_password.get_secret_value()
    try:
        raise KeyError(secret)
    except KeyError as e:
        raise TypeError(f"no use for {secret!r}", secret.encode()) from e

kafka.create_topics = kafka.unreadable = kafka.require = bug
sys.exit(cli.run(sys.argv[1:]))
"""


@pytest.mark.parametrize("words", [["topics", "create"], ["detect"]], ids=" ".join)
def test_a_bug_tells_its_place_and_no_secret(tmp_path: Path, words: list[str]) -> None:
    done = said(*words, settings=planted(tmp_path, "value"), program=[sys.executable, "-c", BUG])
    assert done.code == 1
    assert "TypeError" in done.said
    assert "Traceback" in done.said or '"exception"' in done.said
    assert done.said.count("**********") >= 2
    clean(done.out + done.said)


def test_a_bug_in_a_thread_tells_none(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    unhooked(monkeypatch)
    last_words.leave_out([TOKEN])
    thread = threading.Thread(target=lambda: dict[str, str]()[TOKEN])
    thread.start()
    thread.join()
    told = capsys.readouterr().err
    assert "KeyError: '**********'" in told
    clean(told)
