"""Metrics, health and logs as an operator meets them."""

import io
import json
import logging
import re
import select
import socket
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
import structlog
from prometheus_client.parser import text_string_to_metric_families

from streamdrift.errors import SettingsProblem
from streamdrift.settings import TelemetrySettings, load, secret_values
from streamdrift.telemetry import Health, Metrics, Server, configure_logging, get_logger, serve
from streamdrift.telemetry.health import REQUESTS_MAX

CANARY = "canary/1f6d+ä"


class SteppedClock:
    def __init__(self) -> None:
        self.at = 0.0

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.at

    def sleep(self, seconds: float) -> None:
        self.at += seconds


@pytest.fixture
def clock() -> SteppedClock:
    return SteppedClock()


@pytest.fixture
def health(clock: SteppedClock) -> Health:
    return Health(clock)


@pytest.fixture
def server(health: Health) -> Iterator[Server]:
    running = serve("127.0.0.1", 0, Metrics(), health)
    yield running
    running.stop()


def get(server: Server, path: str, method: str = "GET") -> tuple[int, str]:
    with closing(HTTPConnection("127.0.0.1", server.port, timeout=5)) as connection:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


# Metrics


def test_metric_names_follow_the_conventions() -> None:
    metrics = Metrics()
    metrics.info.info({"version": "1", "engine": "reference", "config_hash": "abc"})
    ours = [family for family in metrics.registry.collect() if family.name.startswith("streamdrift_")]
    assert len(ours) > 20
    for family in ours:
        assert re.fullmatch(r"streamdrift_[a-z_]+", family.name)
        assert family.documentation.endswith(".")
        assert not family.name.endswith("_created")
    assert {"streamdrift_events", "streamdrift_lag_records", "streamdrift_build"} <= {family.name for family in ours}


def test_two_instances_do_not_meet() -> None:
    one, other = Metrics(), Metrics()
    one.replayed.inc()
    assert other.registry.get_sample_value("streamdrift_replayed_total") == 0


# Health


def test_a_loop_that_stops_coming_round_is_named(health: Health, clock: SteppedClock) -> None:
    assert health.livez() == (200, "ok")
    health.beat("assemble")
    health.beat("detect")
    clock.sleep(60)
    assert health.livez() == (200, "ok")
    health.beat("detect")
    clock.sleep(15)
    assert health.stalled() == {"assemble": 75.0}
    assert health.livez() == (503, "assemble has not come round for 75 s (deadline 60 s)")
    health.finished("assemble")
    assert health.livez() == (200, "ok")


def test_ready_is_said_not_guessed(health: Health, clock: SteppedClock) -> None:
    assert health.readyz() == (503, "not ready: starting")
    health.set_ready(True)
    health.beat("detect")
    assert health.readyz() == (200, "ok")
    health.set_ready(False)
    assert health.readyz() == (503, "not ready: shutting down")
    assert health.livez() == (200, "ok")
    health.set_ready(False, "waiting for the broker")
    assert health.readyz() == (503, "not ready: waiting for the broker")
    health.set_ready(True)
    clock.sleep(61)
    assert health.readyz()[0] == 503


# Server


def test_metrics_are_served_and_parse(server: Server) -> None:
    server.metrics.rejected.labels(reason='odd "reason"\n').inc(3)
    status, text = get(server, "/metrics?x=1")
    samples = {(s.name, *s.labels.values()): s.value for f in text_string_to_metric_families(text) for s in f.samples}
    assert status == 200
    assert samples["streamdrift_rejected_total", 'odd "reason"\n'] == 3
    assert "process_resident_memory_bytes" in text


def test_probes_follow_health(server: Server, health: Health, clock: SteppedClock) -> None:
    health.beat("detect")
    assert get(server, "/livez") == (200, "ok\n")
    assert get(server, "/readyz") == (503, "not ready: starting\n")
    health.set_ready(True)
    assert get(server, "/readyz") == (200, "ok\n")
    assert get(server, "/readyz", "HEAD") == (200, "")
    clock.sleep(61)
    assert get(server, "/livez") == (503, "detect has not come round for 61 s (deadline 60 s)\n")


def test_other_paths_and_methods(server: Server) -> None:
    assert get(server, "/") == (404, "here are /metrics, /livez and /readyz\n")
    assert get(server, "/metrics/../../etc/passwd")[0] == 404
    assert get(server, "/metrics", "POST")[0] == 501


def test_nonsense_and_broken_connections_leave_it_standing(server: Server, capfd: pytest.CaptureFixture[str]) -> None:
    for sent in (b"\x16\x03\x01\x00", b"GET /" + b"a" * 70_000 + b"\r\n\r\n", b"GET /metrics HTTP/1.0\r\n\r\n", b""):
        with closing(socket.create_connection(("127.0.0.1", server.port))) as connection:
            connection.sendall(sent)
    assert get(server, "/livez")[0] == 200
    assert capfd.readouterr() == ("", "")


def test_connections_have_a_bound(server: Server) -> None:
    held = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(REQUESTS_MAX + 5)]
    deadline = time.monotonic() + 5
    while len(closed := select.select(held, [], [], 0.1)[0]) < 5 and time.monotonic() < deadline:
        pass
    assert [connection.recv(1) for connection in closed] == [b""] * 5
    for connection in held:
        connection.close()


def test_stop_lets_go_of_the_port_and_a_second_one_does_nothing(health: Health) -> None:
    first = serve("127.0.0.1", 0, Metrics(), health)
    first.stop()
    first.stop()
    serve("127.0.0.1", first.port, Metrics(), health).stop()


def test_ipv6(health: Health) -> None:
    try:
        with closing(socket.socket(socket.AF_INET6)) as probe:
            probe.bind(("::1", 0))
    except OSError:
        pytest.skip("no IPv6 here")
    serve("::1", 0, Metrics(), health).stop()


def test_an_address_that_can_not_be_had_is_a_sentence(server: Server, health: Health) -> None:
    with pytest.raises(SettingsProblem) as caught:
        serve("127.0.0.1", server.port, Metrics(), health)
    assert caught.value.exit_code == 2
    assert str(caught.value) == (
        f"can't listen on 127.0.0.1, port {server.port}: another process has it; set STREAMDRIFT_TELEMETRY__PORT or "
        "STREAMDRIFT_TELEMETRY__HOST to one that is free (port 0 takes any)"
    )
    with pytest.raises(SettingsProblem, match=r"can't listen on no\.such\.host\.invalid"):
        serve("no.such.host.invalid", 0, Metrics(), health)
    with pytest.raises(SettingsProblem, match=r"can't listen on 203\.0\.113\.1, port 0"):
        serve("203.0.113.1", 0, Metrics(), health)


# Logs


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    root, ours = logging.getLogger(), logging.getLogger("streamdrift")
    handlers, level, our_level = root.handlers[:], root.level, ours.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    ours.setLevel(our_level)
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()


def written(say: Callable[[], object], stream: io.StringIO | None = None, **settings: Any) -> str:
    stream = io.StringIO() if stream is None else stream
    logging.getLogger().handlers[:] = []  # pytest's own would format what we log, and choke on it, before we do
    configure_logging(TelemetrySettings(**settings), stream, secrets=[CANARY])
    say()
    return stream.getvalue()


def logged(say: Callable[[], object], **settings: Any) -> dict[str, Any]:
    (line,) = written(say, **settings).splitlines()
    found: dict[str, Any] = json.loads(line)
    return found


def fail(message: str = "it broke") -> None:
    try:
        raise ValueError(message)  # noqa: TRY301 - the traceback is what is tested
    except ValueError:
        get_logger("detect").exception("batch failed", stage="detect")


def test_a_line_is_one_json_object() -> None:
    line = logged(lambda: get_logger("detect").info("alert published", model="shop", share=0.25, seen=3, late=False))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", line.pop("timestamp"))
    assert line == {
        "level": "info",
        "logger": "streamdrift.detect",
        "event": "alert published",
        "model": "shop",
        "share": 0.25,
        "seen": 3,
        "late": False,
    }


def test_auto_is_console_on_a_terminal_only() -> None:
    assert written(lambda: get_logger("x").warning("hello"), Terminal()).startswith("\x1b[")
    assert written(lambda: get_logger("x").warning("hello")).startswith("{")
    assert "hello" in written(lambda: get_logger("x").warning("hello"), log_format="console").split()


def test_levels() -> None:
    def say() -> None:
        for level in ("debug", "info", "warning", "error"):
            getattr(get_logger("x"), level)(level)

    for at, count in (("debug", 4), ("info", 3), ("warning", 2), ("error", 1)):
        assert len(written(say, log_level=at).splitlines()) == count


def test_libraries_speak_through_the_same_chain_from_warning_up() -> None:
    def say() -> None:
        logging.getLogger("urllib3.connectionpool").info("chatter")
        logging.getLogger("urllib3.connectionpool").warning("broker %s gone, password %s", "b-1", CANARY)

    line = logged(say)
    assert (line["logger"], line["level"]) == ("urllib3.connectionpool", "warning")
    assert line["event"] == "broker b-1 gone, password **********"


def test_python_warnings_are_log_lines() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        line = logged(lambda: warnings.showwarning("old thing", DeprecationWarning, "a.py", 3))
    assert line["logger"] == "py.warnings"
    assert "old thing" in line["event"]


def test_an_exception_is_one_structured_field() -> None:
    line = logged(fail)
    (error,) = line["exception"]
    assert (error["exc_type"], error["exc_value"]) == ("ValueError", "it broke")
    assert error["frames"][-1]["name"] == "fail"
    assert "locals" not in error["frames"][-1] or error["frames"][-1]["locals"] is None


def test_an_exception_of_a_library_too() -> None:
    def say() -> None:
        try:
            raise OSError("gone")  # noqa: TRY301 - as above
        except OSError:
            logging.getLogger("urllib3").exception("retrying")

    assert logged(say)["exception"][0]["exc_type"] == "OSError"


FORGED = 'x\n{"event":"forged"}\r\x1b[2J\u2028\x85y'


def test_no_value_can_forge_a_line() -> None:
    def say() -> None:
        get_logger("x").info(FORGED, **{FORGED: FORGED, "deep": {FORGED: [FORGED]}})

    assert logged(say)["event"] == FORGED
    (line,) = written(say, log_format="console").rstrip("\n").splitlines()
    assert line.isprintable()


def test_no_exception_can_forge_a_line() -> None:
    assert logged(lambda: fail(FORGED))["exception"][0]["exc_value"] == FORGED
    head, *rest = written(lambda: fail(FORGED), log_format="console").rstrip("\n").split("\n")
    assert "batch failed" in head
    assert all(line.startswith("    ") and line.isprintable() for line in rest)


def test_stamps_can_not_be_overruled() -> None:
    line = logged(lambda: get_logger("x").info("e", level="critical", timestamp="then", logger="root"))
    assert (line["level"], line["logger"]) == ("info", "streamdrift.x")
    assert line["timestamp"].endswith("Z")


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_secret_is_nowhere_in_any_line(form: str, tmp_path: Path) -> None:
    (tmp_path / "key").write_text(CANARY + "\n")
    name = "STREAMDRIFT_ESCALATE__PAGERDUTY__ROUTING_KEY_FILE"
    loaded = load({name: str(tmp_path / "key"), "STREAMDRIFT_TELEMETRY__LOG_FORMAT": form}, root=tmp_path)
    stream = io.StringIO()
    configure_logging(loaded.settings.telemetry, stream, secret_values(loaded.settings))
    log = get_logger("escalate")
    said = f"sent with {CANARY}"
    log.info(said, key=CANARY, **{CANARY: 1})
    log.info("body", body=f'{{"k":"{CANARY}"}}'.encode(), nested={"a": [{"b": (CANARY, {CANARY})}]})
    log.info("url", url="https://x/?k=canary%2F1f6d%2B%C3%A4", error=ValueError(CANARY), settings=loaded.settings)
    log.info("cut", text="x" * 4_090 + CANARY)
    fail(f"refused: {CANARY}")
    logging.getLogger("kafka").error("auth %r failed", CANARY)
    text = stream.getvalue()
    assert text.count("**********") >= 10
    assert "1f6d" not in text


def test_odd_values_cost_no_line() -> None:
    class Hostile:
        def __repr__(self) -> str:
            raise RuntimeError

    circle: list[Any] = []
    circle.append(circle)
    line = logged(
        lambda: get_logger("x").info(
            "e", nan=float("nan"), huge=10**5_000, hostile=Hostile(), circle=circle, lone="\udcff", long="x" * 10**6
        )
    )
    assert line["nan"] == "nan"
    assert line["hostile"] == "<Hostile: RuntimeError in its repr>"
    assert line["huge"].startswith("<int: ValueError")
    assert len(line["long"]) == 4_097


def test_a_console_that_knows_only_ascii_and_a_pipe_that_is_gone() -> None:
    narrow = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    configure_logging(TelemetrySettings(log_format="console"), narrow)
    get_logger("x").info("größer")
    narrow.flush()
    assert b"gr\\xf6\\xdfer" in narrow.buffer.getvalue()
    narrow.close()
    get_logger("x").info("nobody reads this")


def test_a_full_disk_costs_log_lines_and_nothing_else() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    code = (
        "import sys; from streamdrift.telemetry import *; from streamdrift.settings import TelemetrySettings\n"
        "configure_logging(TelemetrySettings(), open('/dev/full', 'w', buffering=1)); get_logger('x').warning('hello')\n"
        "import os; os.write(1, b'still here'); os._exit(0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert (done.stdout, done.stderr) == (b"still here", b"")


def test_lines_of_threads_do_not_mix() -> None:
    def say() -> None:
        threads = [
            threading.Thread(target=lambda: [get_logger("x").info("e", n="y" * 2_000) for _ in range(50)])
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert all(json.loads(line)["n"] == "y" * 2_000 for line in written(say).splitlines())
