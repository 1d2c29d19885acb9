"""Findings in people's words; figures are told as on a page, with their units kept on one line."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

from streamdrift.alerts import Alert, segment_name
from streamdrift.escalate import triage, words
from streamdrift.escalate.incident import Incident

_UNIT = re.compile(r"(?<=\d) (?=(?:%|sd|d|h|min|s)(?!\w))")

_FINDINGS = {
    "null_rate": "{feature} is null more often",
    "missing_feature": "{feature} no longer comes",
    "invalid_value": "{feature} has invalid values",
    "type_change": "{feature} changed its type",
    "new_category": "{feature} has new categories",
    "mean_shift": "{feature} is {direction}",
    "variance_shift": "{feature} scatters {spread}",
    "distribution_shift": "{feature} is distributed differently",
    "category_shift": "{feature} has another mix",
    "volume_drop": "fewer events",
    "volume_surge": "more events",
    "silence": "no events",
    "duplicate_events": "events come twice",
    "performance_drop": "{feature} got worse",
    "embedding_shift": "{feature} moved",
    "segment_overflow": "more segments than are told apart",
}


def finding(alert: Alert) -> str:
    """What happened to the series, without where: ``dep_delay is missing``."""
    form = _FINDINGS.get(alert.reason, "{feature}: " + alert.reason.replace("_", " ").replace("{", "").replace("}", ""))
    return form.format(
        feature=alert.feature,
        direction="higher" if alert.effect_size > 0 else "lower",
        spread="more" if alert.effect_size > 1 else "less",
    )


def title(alert: Alert) -> str:
    """What and where, in one line."""
    return f"{finding(alert)} in {where(alert.segment)}"


def headed(incident: Incident) -> str:
    """What and where of an incident, in one line."""
    radius = triage.blast_radius(incident)
    return f"{finding(radius.lead)} in {triage.where(radius)}"


def where(segment: dict[str, str]) -> str:
    """A segment's name, or ``all traffic``."""
    return segment_name(segment) or "all traffic"


def effect(alert: Alert) -> str:
    """How much, in the series' own units: ``mean 212 → 159 (−0.77 sd)``."""
    return unbroken(words.effect(alert))


def percent(value: Any) -> str:
    """A share as a percentage."""
    return unbroken(words.percent(value))


def duration(seconds: Any) -> str:
    """The two largest units of a time: 3 d 12 h, 1 min 30 s, 0.5 s."""
    return unbroken(words.duration(seconds))


def unbroken(told: str) -> str:
    r"""Keep each figure on one line with its unit.

    >>> unbroken("1 min 30 s without an event, 0 % → 10.2 % null")
    '1\xa0min 30\xa0s without an event, 0\xa0% → 10.2\xa0% null'
    """
    return _UNIT.sub("\u00a0", told)


def moment(ms: int, *, year: bool = True) -> str:
    """A time in UTC, to the minute.

    >>> moment(1_366_186_500_000)
    '17 Apr 2013, 08:15'
    """
    t = _utc(ms)
    return f"{t.day} {t:%b}{f' {t.year}' if year else ''}, {t:%H:%M}"


def day(ms: int, *, year: bool = True) -> str:
    """A date in UTC."""
    t = _utc(ms)
    return f"{t.day} {t:%b}{f' {t.year}' if year else ''}"


def _utc(ms: int) -> datetime:
    """Times that no calendar has are held at its ends."""
    return datetime.fromtimestamp(min(max(ms, -62_135_596_800_000), 253_402_300_799_000) / 1000, UTC)
