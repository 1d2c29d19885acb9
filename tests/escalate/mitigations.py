"""What the tests of mitigation share: settings, deployments, and a serving side that keeps what it does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import orjson
from pydantic import SecretStr

from streamdrift.escalate.mitigation.message import encode
from streamdrift.escalate.mitigation.states import Mitigation
from streamdrift.escalate.receivers import Ambiguous, Delivered, Outcome, Page, Permanent, RetryAt
from streamdrift.events.change import Change
from streamdrift.settings import EscalateSettings, MitigationSettings, RetrySettings, Settings
from tests.escalate.conftest import ONSET, House

DAY = 86_400_000
URL = "https://serving.example/hook"


def settings_of(ledger: object = "streamdrift-ledger.sqlite3", **other: Any) -> Settings:
    """Mitigation on; ``other`` are settings of it."""
    mitigation = MitigationSettings(url=URL, secret=SecretStr("a-signing-key"), **other)
    retry = RetrySettings(initial_s=1, max_s=4)
    return Settings(escalate=EscalateSettings(ledger=str(ledger), retry=retry, mitigation=mitigation))


def deployment(version: str, at: int, reads: tuple[str, ...] | None = None, model: str = "flight-delay") -> Change:
    return Change(
        f"deploy-{version}", at, "deployment", f"{version} is out", (model,), (), {}, None, None, version, reads
    )


OLD, NEW = deployment("6", ONSET - 9 * DAY, ("seats", "distance")), deployment("7", ONSET - DAY)
"""The alerts of ``make_alert`` are of version 7, and about dep_delay."""


@dataclass
class ServingSide:
    """Does what it is asked, once for each idempotency key; answers by script.

    ``lost`` never arrives, ``silent`` arrives and is not answered.
    """

    script: list[str] = field(default_factory=list)
    name: str = "mitigation"
    bodies: list[dict[str, Any]] = field(default_factory=list)
    asked: Counter[str] = field(default_factory=Counter)
    seen: set[str] = field(default_factory=set)
    in_force: set[str] = field(default_factory=set)
    after: Callable[[], None] = lambda: None

    def send(self, page: Page, now: float) -> Outcome:
        del now
        what = self.script.pop(0) if self.script else "delivered"
        if what == "lost":
            return Ambiguous("no answer")
        if what == "refused":
            return Permanent("HTTP 409: no such version")
        if what == "retry":
            return RetryAt(None, "HTTP 429")
        body = orjson.loads(encode(page))
        self.bodies.append(body)
        self._do(body["data"])
        self.after()
        return Ambiguous("no answer") if what == "silent" else Delivered("HTTP 200")

    def _do(self, data: dict[str, Any]) -> None:
        key = data["idempotency_key"]
        self.asked[key] += 1
        if key in self.seen:
            return
        self.seen.add(key)
        if data["operation"] == "revert":
            self.in_force.discard(data["mitigation_id"])
        elif not data["dry_run"]:
            self.in_force.add(data["mitigation_id"])

    @property
    def operations(self) -> list[str]:
        return [body["data"]["operation"] for body in self.bodies]


def states(house: House) -> list[tuple[str, str]]:
    """Action and state of each, in order."""
    return [(one.action, one.state) for one in of(house)]


def of(house: House) -> list[Mitigation]:
    (incident,) = house.ledger.incidents.all()
    return house.ledger.mitigations.of(incident.incident_id)


def kinds(house: House) -> list[str]:
    (incident,) = house.ledger.incidents.all()
    return [entry.kind for entry in house.ledger.timeline.entries(incident.incident_id)]


def status(house: House) -> str:
    (incident,) = house.ledger.incidents.all()
    return incident.status
