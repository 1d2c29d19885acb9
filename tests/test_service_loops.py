"""How a service gets on when what its loops stand on goes away."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from streamdrift import app
from streamdrift.errors import BrokerProblem, OutOfReach, Retriable, Standby


class Loop:
    """A worker whose steps and builds follow a script."""

    def __init__(self, service: app.Service, script: list[Exception | None]) -> None:
        self.service, self.script, self.built = service, script, 0

    def build(self) -> Loop:
        self.built += 1
        self._next()
        return self

    def step(self, timeout_s: float) -> int:
        del timeout_s
        self._next()
        return 0

    def _next(self) -> None:
        if not self.script:
            self.service.clock.stop.set()
            return
        fault = self.script.pop(0)
        if fault is not None:
            raise fault

    def commit(self) -> None: ...

    def close(self) -> None: ...


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> app.Service:
    monkeypatch.setenv("STREAMDRIFT_TELEMETRY__PORT", "0")
    monkeypatch.setenv("STREAMDRIFT_TELEMETRY__HOST", "127.0.0.1")
    monkeypatch.setattr(app, "BACKOFF_S", (0.01, 0.04))
    monkeypatch.setattr(app.Service, "_signals", lambda _: None)
    return app.Service("test")


def run(service: app.Service, *script: Exception | None) -> Loop:
    loop = Loop(service, list(script))
    service.add("stage", loop.build)
    service.run()
    return loop


def test_a_broker_that_goes_away_later_is_waited_for(service: app.Service) -> None:
    gone = OutOfReach("nobody listens")
    loop = run(service, None, None, Retriable("no answer"), gone, gone, None, None)
    assert loop.built == 4
    assert not loop.script


def test_a_broker_that_was_never_there_ends_the_service(service: app.Service) -> None:
    with pytest.raises(BrokerProblem, match="nobody listens"):
        run(service, OutOfReach("nobody listens"), None)


def test_a_refusal_ends_it_at_any_time(service: app.Service) -> None:
    with pytest.raises(BrokerProblem, match="no right"):
        run(service, None, None, BrokerProblem("no right"), None)


def test_one_that_stands_by_is_ready_and_has_its_turn(service: app.Service, monkeypatch: pytest.MonkeyPatch) -> None:
    waits, ready = Standby("another has it", 0.01), list[tuple[int, str]]()
    sleep = app.SystemClock.sleep

    def watched(self: app.SystemClock, seconds: float) -> None:
        ready.append(service.health.readyz())
        sleep(self, seconds)

    monkeypatch.setattr(app.SystemClock, "sleep", watched)
    with capture_logs() as logs:
        loop = run(service, waits, waits, waits, None, None)
    assert (loop.built, loop.script) == (4, [])
    assert [status for status, _ in ready] == [200] * 3, "a rolling update waits for it to be ready"
    assert [line["event"] for line in logs].count("standing by") == 1
    assert not [line for line in logs if line["log_level"] != "info"], "nothing is wrong"
