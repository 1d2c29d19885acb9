import socket
from collections.abc import Iterator

import orjson
import pytest
import urllib3

from streamdrift.demo.receiver import BODY_BYTES_MAX, DELIVERIES_MAX, Receiver, key, sign

NOW = 1_700_000_000.0
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


class StandingClock:
    def now(self) -> float:
        return NOW

    def monotonic(self) -> float:
        return NOW

    def sleep(self, seconds: float) -> None:
        del seconds


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver(SECRET, StandingClock()) as listening:
        yield listening


def headers(body: bytes, message_id: str = "msg_1", at: float = NOW, secret: str = SECRET) -> dict[str, str]:
    timestamp = str(int(at))
    return {
        "webhook-id": message_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": "v1,bm90IHRoaXMgb25l " + sign(key(secret), message_id, timestamp, body),
    }


def post(receiver: Receiver, body: bytes, headers_: dict[str, str]) -> int:
    with urllib3.PoolManager(retries=False) as pool:
        return pool.request("POST", receiver.url, body=body, headers=headers_, timeout=5).status


def test_the_signature_is_the_one_of_the_standard() -> None:
    # the example of the Standard Webhooks specification
    body = b'{"test": 2432232314}'
    signature = sign(key(SECRET), "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", body)
    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_keeps_what_is_signed_rightly(receiver: Receiver) -> None:
    body = orjson.dumps({"incident": "inc-1"})
    assert post(receiver, body, headers(body)) == 202
    (message,) = receiver.received
    assert (message.message_id, message.body) == ("msg_1", {"incident": "inc-1"})
    assert receiver.refused == 0


def test_refuses_what_is_not(receiver: Receiver) -> None:
    body = b"{}"
    other = "another secret"
    for bad in (
        {},
        {**headers(body), "webhook-timestamp": "soon"},
        headers(body, at=NOW - 301),
        headers(body, at=NOW + 301),
        headers(b"{ }"),
        headers(body, secret=other),
        {**headers(body), "webhook-id": "msg_2"},
    ):
        assert post(receiver, body, bad) == 401
    assert receiver.refused == 7
    assert receiver.received == ()


@pytest.mark.parametrize("body", [b"", b"not json", b"[]", b"1", b"\xff", b"[" * 100_000])
def test_refuses_what_is_no_object(receiver: Receiver, body: bytes) -> None:
    assert post(receiver, body, headers(body)) == 400
    assert receiver.refused == 1


def test_a_huge_body_is_refused_unread(receiver: Receiver) -> None:
    with socket.create_connection(("127.0.0.1", int(receiver.url.rsplit(":", 1)[1].strip("/"))), timeout=5) as s:
        s.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (BODY_BYTES_MAX + 1))
        assert s.recv(100).startswith(b"HTTP/1.1 413")


def test_a_sender_that_hangs_up_leaves_no_trace(receiver: Receiver, capfd: pytest.CaptureFixture[str]) -> None:
    with socket.create_connection(("127.0.0.1", int(receiver.url.rsplit(":", 1)[1].strip("/")))) as s:
        s.sendall(b"POST / HTTP/1.1\r\nContent-Length: 10\r\n\r\n{")
    body = b"{}"
    assert post(receiver, body, headers(body)) == 202
    assert capfd.readouterr() == ("", "")


def test_keeps_a_bounded_number(receiver: Receiver) -> None:
    for i in range(DELIVERIES_MAX + 5):
        body = b'{"n":%d}' % i
        receiver.take(headers(body), body)
    assert len(receiver.received) == DELIVERIES_MAX
    assert receiver.received[-1].body == {"n": DELIVERIES_MAX + 4}


def test_closing_twice_does_nothing() -> None:
    receiver = Receiver("plain text", StandingClock())
    receiver.close()
    receiver.close()
