"""Recovery is waited for as long as the alerts need to show it, however slow their traffic."""

from __future__ import annotations

from dataclasses import replace

import pytest

from streamdrift.alerts import Alert, Severity
from streamdrift.escalate.ledger import Ledger
from streamdrift.escalate.mitigation.course import Course
from streamdrift.escalate.mitigation.proof import LEAST_EVENTS, LONGEST_EVENTS, MARGIN, proof_s
from streamdrift.escalate.policy import Incident, apply
from streamdrift.settings import Settings
from streamdrift.settings.mitigation import EXPIRY_MAX_S
from tests.escalate.conftest import MINUTE, ONSET, make_alert


def incident(*alerts: Alert) -> Incident:
    decision = apply(None, alerts[0], Settings().escalate)
    assert decision.incident is not None
    return replace(decision.incident, alerts=alerts)


def told(events: int, minutes: float, series: str = "one", severity: Severity = "warning") -> Alert:
    """Told so many minutes after the onset, with so many events since."""
    at = ONSET + round(minutes * MINUTE)
    made = make_alert()
    return replace(made, series_id=series, severity=severity, onset_at=ONSET, detected_at=at, events_since_onset=events)


@pytest.mark.parametrize(
    ("events", "minutes", "needed"),
    [(200, 10, 800), (20, 10, LEAST_EVENTS), (10_000, 10, LONGEST_EVENTS)],
)
def test_the_window_that_must_be_calm_at_the_rate_of_the_series(events: int, minutes: float, needed: int) -> None:
    assert proof_s(incident(told(events, minutes))) == pytest.approx(MARGIN * needed * minutes * 60 / events)


def test_the_slowest_that_pages_decides() -> None:
    quick, slow, slight = told(200, 10), told(200, 60, "two"), told(200, 600, "three", "info")
    assert proof_s(incident(quick, slow, slight)) == proof_s(incident(slow))
    assert proof_s(incident(slight)) > proof_s(incident(slow))


def test_the_settings_are_the_least_and_a_week_the_most() -> None:
    settings = Settings.model_validate({"escalate": {"mitigation": {"verify_s": 7_200}}}).escalate
    course = Course(Ledger(":memory:"), settings, 0.0)
    assert course.patience_s(None) == course.patience_s(incident(told(2_000, 1))) == 7_200
    assert course.patience_s(incident(told(200, 60))) == pytest.approx(MARGIN * 4 * 3_600)
    assert course.patience_s(incident(told(20, 100_000))) == EXPIRY_MAX_S
