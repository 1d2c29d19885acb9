"""What one receiver was not told is told through another."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from streamdrift.errors import SettingsProblem
from streamdrift.escalate.receivers import Permanent, RetryAt, build_receivers
from streamdrift.settings import Settings
from streamdrift.telemetry import Metrics
from tests.escalate.conftest import House, KeepingReceiver, make_alert

WITH = Settings.model_validate({"escalate": {"fallback": "second"}})


def second() -> KeepingReceiver:
    return KeepingReceiver("second")


def test_a_dead_page_is_reported_once_and_the_report_ends_with_the_incident(
    receiver: KeepingReceiver, house: Callable[..., House]
) -> None:
    here = house(receiver, other := second(), settings=WITH)
    receiver.script.append(Permanent("HTTP 401: wrong\nkey"))
    alert = make_alert()
    here.step(alert)
    for _ in range(3):
        here.crash()
        here.step()
    (incident,) = here.ledger.incidents.all()
    key = incident.incident_id
    assert other.told == [("trigger", key), ("trigger", f"{key}/keeping")]
    assert other.pages[1].headline.startswith(
        "not delivered to keeping (HTTP 401: wrong\\nkey): flight-delay: null_rate"
    )
    assert other.pages[1].alerts == other.pages[0].alerts
    here.step(make_alert(closes=alert, at=1))
    assert other.told[2:] == [("resolve", key), ("resolve", f"{key}/keeping")]


def test_a_report_that_a_crash_undid_is_made_by_the_next(
    receiver: KeepingReceiver, house: Callable[..., House], monkeypatch: pytest.MonkeyPatch
) -> None:
    here = house(receiver, other := second(), settings=WITH)
    receiver.script.append(Permanent("no"))

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(here.ledger.outbox, "report", killed)
        with pytest.raises(KeyboardInterrupt):
            here.step(make_alert())
    here.crash()
    here.step()
    here.step()
    assert [key.partition("/")[2] for _, key in other.told] == ["", "keeping"]


def test_whatever_made_it_dead(house: Callable[..., House], receiver: KeepingReceiver) -> None:
    here = house(receiver, other := second(), settings=WITH, outbox_max=1)
    here.step(make_alert(), make_alert(model="fraud"))  # the second finds no room, at either
    here.step()
    assert [page.headline.partition(": ")[0] for page in other.pages] == [
        "flight-delay",
        "not delivered to keeping (1 deliveries were waiting for keeping)",
    ]
    receiver.script.append(RetryAt())
    here.step(make_alert(model="shop"))
    here.receivers = (other,)
    here.crash()
    here.step()
    here.step()
    assert other.pages[-1].headline.startswith("not delivered to keeping (its receiver is no longer set up): shop: ")


def test_nobody_is_told_of_what_needs_nobody(house: Callable[..., House], receiver: KeepingReceiver) -> None:
    here = house(receiver, other := second(), settings=WITH)
    other.script.append(Permanent("its own"))
    here.step(alert := make_alert())
    here.step()
    assert len(other.pages) == 1, "its own failure is not told to itself"
    receiver.script.append(Permanent("an end"))
    here.step(make_alert(closes=alert, at=1))
    here.step()
    assert [page.action for page in other.pages] == ["trigger"], "nor is an end that was not told"


def test_without_it_what_is_dead_waits_for_a_command(house: Callable[..., House], receiver: KeepingReceiver) -> None:
    here = house(receiver, other := second())
    receiver.script.append(Permanent("no"))
    here.step(make_alert())
    here.step()
    assert len(other.pages) == 1
    assert len(here.ledger.outbox.dead()) == 1


def test_it_must_be_set_up(tmp_path: Path) -> None:
    tree = {"markdown": {"folder": str(tmp_path)}, "fallback": "email"}
    with pytest.raises(SettingsProblem, match=r"names email, which is not set up \(markdown is\)"):
        build_receivers(Settings.model_validate({"escalate": tree}), Metrics())
    built = build_receivers(Settings.model_validate({"escalate": tree | {"fallback": "markdown"}}), Metrics())
    assert [receiver.name for receiver in built] == ["markdown"]
