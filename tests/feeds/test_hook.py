"""The hook as it is served: who may, what comes of it, and that a 202 means that it is with the broker."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs

from streamdrift.errors import Retriable, SettingsProblem
from streamdrift.events.inference import Limits
from streamdrift.feeds.inbox import Inbox
from streamdrift.feeds.server import listen
from streamdrift.settings import ChangesSettings, Settings
from tests.feeds.hooks import AUTHORIZED, KEY, TOKEN, TOPIC, Served, payload, read, served, signature


@pytest.fixture(scope="module")
def shared() -> Iterator[Served]:
    with served(requests_per_minute_max=100_000) as here:
        yield here


def test_each_sender_is_heard_and_what_it_said_is_on_the_topic(shared: Served) -> None:
    body = json.dumps(payload("mlflow_alias_created")).encode()
    before = len(shared.said())
    answers = [
        shared.post("/v1/changes", payload("change")),
        shared.post("/v1/sources", payload("source")),
        shared.post("/api/v1/lineage?model=shop", payload("openlineage_fail")),
        shared.post("/v2/change/enqueue", payload("pagerduty_change"), {}),
        shared.post("/v1/mlflow", body, signature(body, int(time.time()))),
    ]
    assert [answer.status for answer in answers] == [202] * 5
    said = shared.said()[before:]
    assert [made["change_id"] for made in said] == [answer.body["change_ids"][0] for answer in answers]
    assert answers[3].body["status"] == "success"
    assert said[2]["scope"]["models"] == ["shop"]
    assert shared.broker.records(TOPIC)[before].key == b"flight-delay"
    assert shared.counted("change_requests_total", endpoint="/v1/mlflow", outcome="taken") >= 1
    assert KEY not in json.dumps(said)


def test_what_changes_nothing_is_taken_all_the_same(shared: Served) -> None:
    started = {"eventType": "START", "eventTime": "2025-11-03T02:00:00Z", "run": {"runId": "r"}, "job": {"name": "j"}}
    answer = shared.post("/api/v1/lineage", started)
    assert (answer.status, answer.body["change_ids"]) == (202, [])


SIGNED = signature(b"{}", int(time.time()))


@pytest.mark.parametrize(
    ("path", "body", "headers"),
    [
        ("/v1/changes", {}, {}),
        ("/v1/changes", {}, {"Authorization": "Bearer wrong"}),
        ("/v1/changes", {}, {"Authorization": f"Basic {TOKEN}"}),
        ("/v1/changes", {}, {"Authorization": f"Bearer {TOKEN}x"}),
        ("/v1/changes", {}, {"Authorization": "Bearer \xe4\xf6"}),
        ("/api/v1/lineage", {}, {}),
        ("/v1/sources", {}, {"X-Token": TOKEN}),
        ("/v2/change/enqueue", {"routing_key": "wrong"}, AUTHORIZED),
        ("/v2/change/enqueue", {"routing_key": [KEY]}, {}),
        ("/v1/mlflow", b"{}", AUTHORIZED),
        ("/v1/mlflow", b"{} ", SIGNED),
        ("/v1/mlflow", b"{}", SIGNED | {"X-MLflow-Delivery-Id": "d-2"}),
        ("/v1/mlflow", b"{}", signature(b"{}", int(time.time()) - 3_600)),
        ("/v1/mlflow", b"{}", signature(b"{}", int(time.time()) + 3_600)),
        ("/v1/mlflow", b"{}", signature(b"{}", int(time.time()), secret="another-secret-of-mlflow")),
    ],
)
def test_who_has_not_the_secret_is_turned_away(shared: Served, path: str, body: Any, headers: dict[str, str]) -> None:
    before = len(shared.said())
    answer = shared.post(path, body, headers)
    assert answer.status == 401
    assert answer.body["error"]["reason"] == "unauthorized"
    assert TOKEN not in str(answer.body)
    assert len(shared.said()) == before


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        (b"", 400, "empty"),
        (b"{", 400, "not_json"),
        (b"[]", 400, "not_an_object"),
        (b"\xff\xfe", 400, "not_json"),
        (b'{"a":' * 300 + b"1" + b"}" * 300, 400, "too_deep"),
        (b"[" * 100_000, 400, "not_json"),
        (b"{}", 422, "missing_field"),
        ({"kind": "schema", "summary": ["x"]}, 422, "wrong_type"),
        ({"kind": "schema", "summary": "s", "occurred_at": "soon"}, 422, "bad_time"),
        ({"kind": "rebaseline", "summary": "s", "scope": {"models": ["fraud"]}}, 422, "not_here"),
        ({"kind": "schema", "summary": "s", "scope": {"models": [str(n) for n in range(501)]}}, 422, "too_many_names"),
    ],
)
def test_what_can_not_be_read_is_said_with_its_reason(shared: Served, body: Any, status: int, reason: str) -> None:
    answer = shared.post("/v1/changes", body)
    assert (answer.status, answer.body["error"]["reason"]) == (status, reason)
    assert answer.body["error"]["detail"]


def request(line: str, *headers: str, body: bytes = b"") -> bytes:
    return "\r\n".join([line, "Host: hook", f"Authorization: Bearer {TOKEN}", *headers]).encode() + b"\r\n\r\n" + body


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (request("GET /v1/changes HTTP/1.1"), 405),
        (request("DELETE /v1/changes HTTP/1.1"), 405),
        (request("BREW /v1/changes HTTP/1.1"), 501),
        (request("POST /metrics HTTP/1.1", "Content-Length: 2", body=b"{}"), 404),
        (request("POST //[ HTTP/1.1", "Content-Length: 2", body=b"{}"), 404),
        (request("POST http://[::1 HTTP/1.1", "Content-Length: 2", body=b"{}"), 404),
        (request("POST /v1/changes HTTP/1.1"), 411),
        (request("POST /v1/changes HTTP/1.1", "Content-Length: -1"), 411),
        (request("POST /v1/changes HTTP/1.1", "Content-Length: 2", "Content-Length: 3", body=b"{}"), 411),
        (request("POST /v1/changes HTTP/1.1", "Content-Length: 9999999999999999"), 411),
        (request("POST /v1/changes HTTP/1.1", "Transfer-Encoding: chunked", body=b"2\r\n{}\r\n0\r\n\r\n"), 411),
        (request("POST /v1/changes HTTP/1.1", "Content-Length: 2", "Transfer-Encoding: chunked", body=b"{}"), 411),
        (request("POST /v1/changes HTTP/1.1", "Content-Length: 262145", body=b"{" * 262_145), 413),
        (request("POST /v1/changes HTTP/1.1", "Content-Length: 2", "Content-Encoding: gzip", body=b"{}"), 415),
        (request(f"POST /v1/changes?model={'x' * 70_000} HTTP/1.1", "Content-Length: 2", body=b"{}"), 414),
        (request("POST /v1/changes HTTP/1.1", *(f"X-{n}: y" for n in range(150)), "Content-Length: 2"), 431),
        (request("POST /v1/changes HTTP/3.0"), 505),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
        (b"<script>alert(1)</script> /v1/changes\r\n\r\n", 400),
    ],
)
def test_what_is_no_request_of_ours_is_refused_in_our_own_words(shared: Served, raw: bytes, status: int) -> None:
    answer = shared.raw(raw)
    assert answer.status == status
    assert answer.headers["Content-Type"] == "application/json"
    assert "script" not in json.dumps(answer.body)


def test_a_body_that_is_cut_off_is_no_change(shared: Served) -> None:
    before = len(shared.said())
    with socket.create_connection(("127.0.0.1", shared.port), 5) as connection:
        connection.sendall(request("POST /v1/changes HTTP/1.1", "Content-Length: 500", body=b'{"kind": "schema"}'))
        connection.shutdown(socket.SHUT_WR)
        assert read(connection).status == 400
    assert len(shared.said()) == before


def test_a_client_that_asks_first_is_told_to_go_on_only_with_the_secret(shared: Served) -> None:
    body = json.dumps(payload("change")).encode()
    expecting = ("Expect: 100-continue", f"Content-Length: {len(body)}")
    with socket.create_connection(("127.0.0.1", shared.port), 5) as connection:
        connection.sendall(request("POST /v1/changes HTTP/1.1", *expecting))
        assert connection.recv(100).startswith(b"HTTP/1.1 100")
        connection.sendall(body)
        assert read(connection).status == 202
    wrong = request("POST /v1/changes HTTP/1.1", *expecting).replace(TOKEN.encode(), b"wrong")
    assert shared.raw(wrong).status == 401


def test_a_slow_sender_holds_a_thread_for_a_bounded_time() -> None:
    with served(request_timeout_s=0.4, connections_max=2) as here:
        slow = [socket.create_connection(("127.0.0.1", here.port), 5) for _ in range(2)]
        until = time.monotonic() + 5
        head = request("POST /v1/changes HTTP/1.1", "Content-Length: 100000")
        slow[0].sendall(head)
        while here.counted("change_requests_total", endpoint="other", outcome="timeout") < 2:
            assert time.monotonic() < until
            for connection in slow:
                try:
                    connection.sendall(b"x")  # a byte now and then: no single read takes long
                except OSError:
                    continue
            time.sleep(0.05)
        for connection in slow:
            connection.close()
        while here.post("/v1/changes", payload("change")).status != 202:
            assert time.monotonic() < until


def test_more_connections_than_there_are_threads_for_are_told_to_come_again() -> None:
    with served(connections_max=2) as here:
        held = [socket.create_connection(("127.0.0.1", here.port), 5) for _ in range(2)]
        time.sleep(0.2)
        with socket.create_connection(("127.0.0.1", here.port), 5) as third:
            assert read(third).status == 503
        assert here.counted("limit_hits_total", limit="changes.connections_max") == 1
        for connection in held:
            connection.close()


def test_more_requests_than_a_minute_may_have_are_told_when_to_come_again() -> None:
    with served(requests_per_minute_max=10) as here:
        assert here.post("/v1/changes", payload("change")).status == 202
        answer = here.post("/v1/changes", payload("change"))
        assert answer.status == 429
        assert 1 <= int(answer.headers["Retry-After"]) <= 6
        for _ in range(3):  # who has not the secret takes nothing from those that have
            assert here.post("/v2/change/enqueue", {"routing_key": "wrong"}, {}).status == 401


def test_while_the_broker_is_away_nothing_is_taken_and_the_same_again_is_one_change() -> None:
    with served() as here:
        here.broker.fail_next_flush(Retriable("no answer in time"))
        answer = here.post("/v1/changes", payload("change"))
        assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
        assert "twice is as once" in answer.body["error"]["detail"]
        assert here.said() == []
        here.away.set()
        until = time.monotonic() + 5
        while here.inbox._shut is None:
            assert time.monotonic() < until
        assert here.post("/v1/changes", payload("change")).status == 503
        here.away.clear()
        ids = set()
        while len(here.said()) < 2:
            assert time.monotonic() < until
            answer = here.post("/v1/changes", payload("change"))
            ids |= set(answer.body["change_ids"]) if answer.status == 202 else set()
        assert ids == {"deploy-41"}
        assert {made["change_id"] for made in here.said()} == ids


def test_requests_that_wait_have_a_bound() -> None:
    inbox = Inbox(waiting_max=1)
    inbox.open()
    failed: list[str] = []

    def submit(timeout_s: float) -> None:
        try:
            inbox.submit((), timeout_s)
        except Retriable as e:
            failed.append(str(e))

    waiting = threading.Thread(target=submit, args=(5.0,))
    waiting.start()
    while not inbox._waiting:
        time.sleep(0.001)
    submit(0.0)
    assert failed == ["1 requests wait for the broker already"]
    inbox.shut("the broker is away")
    waiting.join()
    assert failed[1:] == ["the broker is away"]


def test_columns_are_remembered_once_they_are_published() -> None:
    with served(job_runs="failed") as here:
        given = payload("openlineage_complete")
        given["outputs"][0]["facets"].pop("lifecycleStateChange")
        given["inputs"] = []
        assert here.post("/api/v1/lineage", given).body["change_ids"] == []
        given["outputs"][0]["facets"]["schema"]["fields"].append({"name": "age", "type": "int64"})
        here.broker.fail_next_flush(Retriable("no answer in time"))
        assert here.post("/api/v1/lineage", given).status == 503
        until = time.monotonic() + 5
        while (answer := here.post("/api/v1/lineage", given)).status != 202:
            assert time.monotonic() < until
        assert len(answer.body["change_ids"]) == 1
        assert here.said()[-1]["summary"].endswith("changed: + age")


def test_an_endpoint_without_a_secret_is_off_and_none_at_all_is_no_service() -> None:
    with served(token=None) as here:
        assert here.post("/v1/changes", payload("change")).status == 404
        assert here.post("/v2/change/enqueue", payload("pagerduty_change"), {}).status == 202
    nothing: Any = None
    with pytest.raises(SettingsProblem, match="no endpoint"):
        listen(ChangesSettings(), nothing, nothing, nothing, nothing)
    with served() as here, pytest.raises(SettingsProblem, match="another process has it"):
        listen(here.settings.changes.model_copy(update={"port": here.port}), nothing, nothing, nothing, nothing)


def test_the_log_has_a_line_for_what_was_refused_and_nothing_of_what_was_sent() -> None:
    with served(requests_per_minute_max=100_000) as here, capture_logs() as lines:
        for n in range(20):
            here.post(f"/v1/nowhere-{n}\x1b[31m", b"hostile")
            here.post("/v1/changes", b'{"kind": "hostile"}')
            here.post("/v1/changes", {}, {"Authorization": "Bearer hostile"})
    assert sorted(line["outcome"] for line in lines) == ["missing_field", "no_such_endpoint", "unauthorized"]
    assert "hostile" not in str(lines)
    assert "nowhere" not in str(lines)
    assert here.counted("change_requests_total", endpoint="other", outcome="no_such_endpoint") == 20


def test_a_change_is_never_larger_than_what_its_readers_take() -> None:
    with served(body_bytes_max=900_000, requests_per_minute_max=100_000) as here:
        names = ["é" * 1_000 for _ in range(100)]
        body = {"kind": "schema", "summary": "s" * 9_000, "link": "l" * 9_000, "scope": {"models": names}}
        assert here.post("/v1/changes", body).status == 202
        (record,) = here.broker.records(TOPIC)
        assert len(record.value or b"") < 200_000
        assert len(here.said()[0]["summary"]) == Limits.of(Settings()).text_length_max


def test_a_secret_that_could_be_guessed_is_no_setting() -> None:
    with pytest.raises(ValueError, match="shorter than 16"):
        ChangesSettings(token=SecretStr("short"))
