"""How grave an alert is for those who are called: by its effect, its share of the traffic, and the tier of its model.

Detection grades an alert by its effect alone. What that means to somebody at night depends on how many of the model's events it
displaced (``effects.displaced`` × share of the traffic), and on what hangs on the model (``escalate.tiers``):

1  others fail with it: a warning is critical as soon as it displaces ``CRITICAL_FROM`` of the events.
2  what detection says; also for models that no pattern names.
3  it can wait till morning: what is critical is a warning where it displaces less than ``CRITICAL_BELOW``.

An alert of severity info stays one in each. An incident has the highest severity of its alerts.
"""

from __future__ import annotations

from fnmatch import fnmatchcase

from streamdrift.alerts import Alert, Severity
from streamdrift.escalate.effects import displaced
from streamdrift.settings import EscalateSettings

CRITICAL_FROM = 0.05
"""Share of a tier-1 model's events that make a warning critical."""
CRITICAL_BELOW = 0.25
"""Share of a tier-3 model's events that leave what is critical so."""
UNNAMED = 2


def graded(alert: Alert, settings: EscalateSettings) -> Severity:
    """Return the severity of an alert for its model's tier.

    >>> from types import SimpleNamespace as Some
    >>> alert = Some(model_name="fraud-eu", severity="warning", segment={}, effect_unit="share", effect_size=0.1, role="feature")
    >>> [graded(alert, EscalateSettings(tiers=tiers)) for tiers in ((), ("fraud-*=1",), ("fraud-*=3",))]
    ['warning', 'critical', 'warning']
    """
    match tier(alert.model_name, settings), alert.severity:
        case 1, "warning":
            return "critical" if impact(alert) >= CRITICAL_FROM else "warning"
        case 3, "critical":
            return "warning" if impact(alert) < CRITICAL_BELOW else "critical"
    return alert.severity


def impact(alert: Alert) -> float:
    """Share of the model's events that an alert says are not where they were, 0 to 1."""
    share = min(1.0, max(0.0, alert.traffic_share)) if alert.segment else 1.0
    return share * displaced(alert)


def tier(model: str, settings: EscalateSettings) -> int:
    """Return the tier of a model: that of the first pattern that it matches.

    >>> rules = EscalateSettings(tiers=("fraud-test=3", "fraud-*=1"))
    >>> [tier(model, rules) for model in ("fraud-test", "fraud-eu", "shop")]
    [3, 1, 2]
    """
    for rule in settings.tiers:
        pattern, _, number = rule.rpartition("=")
        if fnmatchcase(model, pattern):
            return int(number)
    return UNNAMED
