"""Severity by effect, share of traffic and tier."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pydantic import ValidationError

from streamdrift.escalate.severity import graded, impact
from streamdrift.settings import EscalateSettings, Settings
from tests.escalate.conftest import House, KeepingReceiver, make_alert


def tiers(*rules: str, **other: Any) -> Settings:
    return Settings.model_validate({"escalate": {"tiers": rules, **other}})


@pytest.mark.parametrize(
    ("tier", "severity", "size", "share", "expected"),
    [
        (1, "warning", 0.05, 1.0, "critical"),
        (1, "warning", 0.049, 1.0, "warning"),
        (1, "warning", 0.5, 0.1, "critical"),  # half of a tenth
        (1, "warning", 0.5, 0.09, "warning"),
        (1, "critical", 0.001, 0.001, "critical"),
        (2, "warning", 1.0, 1.0, "warning"),
        (2, "critical", 0.001, 1.0, "critical"),
        (3, "critical", 0.25, 1.0, "critical"),
        (3, "critical", 0.24, 1.0, "warning"),
        (3, "critical", 1.0, 0.24, "warning"),
        (3, "warning", 1.0, 1.0, "warning"),
        *((tier, "info", 1.0, 1.0, "info") for tier in (1, 2, 3)),
    ],
)
def test_the_rule(tier: int, severity: str, size: float, share: float, expected: str) -> None:
    alert = make_alert(segment="origin=EWR", severity=severity, effect_size=size, traffic_share=share)
    assert impact(alert) == pytest.approx(size * share)
    assert graded(alert, EscalateSettings(tiers=(f"flight-*={tier}",))) == expected


def test_what_was_below_the_severity_of_pages_pages_by_its_tier(
    receiver: KeepingReceiver, house: Callable[..., House]
) -> None:
    here = house(receiver, settings=tiers("flight-delay=1", "*=3", severity_min="critical"))
    here.step(make_alert(effect_size=0.5), make_alert(severity="critical", model="other"))
    assert [(page.incident["model"], page.incident["severity"]) for page in receiver.pages] == [
        ("flight-delay", "critical")
    ]
    severities = {i.model: i.severity for i in here.ledger.incidents.all()}
    assert severities == {"flight-delay": "critical", "other": "warning"}
    crossing = make_alert(severity="critical", model="other", events_seen=13_000, at=1, effect_size=0.9)
    here.step(crossing)
    assert [page.incident["model"] for page in receiver.pages] == ["flight-delay", "other"]


def test_growth_past_the_mark_of_a_tier_pages_again(receiver: KeepingReceiver, house: Callable[..., House]) -> None:
    here, alert = house(receiver, settings=tiers("*=1")), make_alert(effect_size=0.1)
    here.step(alert)
    here.step(make_alert(at=1, effect_size=0.19, events_seen=13_000, updates=alert.alert_id))
    assert [page.incident["severity"] for page in receiver.pages] == ["warning", "critical"]
    assert here.count("incidents_total", action="grow", reason="severity") == 1


@pytest.mark.parametrize("rule", ["fraud", "fraud=4", "=1", "fraud=", "fraud=one", " =2"])
def test_a_rule_that_is_none_is_refused(rule: str) -> None:
    with pytest.raises(ValidationError, match=r"is no pattern=tier, as in fraud-\*=1"):
        EscalateSettings(tiers=(rule,))
