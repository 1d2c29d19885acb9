"""Figures and findings in people's words."""

from __future__ import annotations

import math
from datetime import UTC, datetime

from streamdrift.alerts import Alert, segment_name

MINUS = "\u2212"
DASH = "\u2013"

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
    "performance_drop": "{feature} got worse",
    "embedding_shift": "{feature} moved",
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


def where(segment: dict[str, str]) -> str:
    """A segment's name, or ``all traffic``."""
    return segment_name(segment) or "all traffic"


def effect(alert: Alert) -> str:
    """How much, in the series' own units: ``mean 212 → 159 (−0.77 sd)``."""
    then, now = alert.reference, alert.current
    if alert.role == "traffic":
        return _traffic(alert)
    for key, name in (("null_rate", "null"), ("invalid_rate", "invalid"), ("unseen_rate", "in new categories")):
        if alert.effect_unit == "share" and alert.kind == "anomaly" and key in now:
            return f"{percent(then.get(key))} → {percent(now.get(key))} {name}"
    if alert.effect_unit == "sd" and now.get("mean") is not None:
        return f"mean {number(then.get('mean'))} → {number(now['mean'])} ({signed(alert.effect_size)} sd)"
    if alert.effect_unit == "ratio" and now.get("sd") is not None:
        return f"sd {number(then.get('sd'))} → {number(now['sd'])}"
    return _bare(alert)


def _traffic(alert: Alert) -> str:
    then, now = alert.reference, alert.current
    if "gap_s" in now:
        return f"{duration(now['gap_s'])} without an event; at most {duration(then.get('longest_gap_s'))} before"
    if "share" in now:
        return f"{percent(then.get('share'))} → {percent(now['share'])} of all events"
    if "rate" in now:
        return f"{number(then.get('rate'))} → {number(now['rate'])} events per second"
    return _bare(alert)


def _bare(alert: Alert) -> str:
    match alert.effect_unit:
        case "share":
            return f"{percent(abs(alert.effect_size))} of events differ"
        case "ks":
            return f"KS distance {number(alert.effect_size)}"
        case "ratio":
            return f"× {number(alert.effect_size)}"
        case unit:
            return f"{signed(alert.effect_size)} {unit}"


def number(value: object) -> str:
    """Three significant digits, thousands set off; a dash where there is none.

    >>> number(1234.5), number(0.0123), number(None), number(-3)
    ('1,234', '0.0123', '–', '−3')
    """
    if not isinstance(value, int | float) or not math.isfinite(value):
        return DASH
    size = abs(value)
    if size >= 1e9 or 0 < size < 1e-4:
        written = f"{size:.2e}"
    elif size >= 1000 or float(value).is_integer():
        written = f"{size:,.0f}"
    else:
        written = f"{size:.3g}"
    return (MINUS if value < 0 else "") + written


def signed(value: float) -> str:
    """A number with its sign always there."""
    return ("+" if value > 0 else "") + number(value)


def percent(value: object) -> str:
    """A share as a percentage: three digits, fewer where they would be noise."""
    if not isinstance(value, int | float) or not math.isfinite(value):
        return DASH
    sign, hundredths = (MINUS if value < 0 else ""), abs(value) * 100
    if hundredths == 0 or hundredths >= 99.95:
        return f"{sign}{hundredths:.0f}\u00a0%"
    digits = f"{hundredths:.1f}" if hundredths >= 0.1 else f"{hundredths:.2g}"
    return f"{sign}{digits}\u00a0%"


def duration(seconds: object) -> str:
    """The two largest units of a time: 3 d 12 h, 1 min 30 s, 0.5 s."""
    if not isinstance(seconds, int | float) or not math.isfinite(seconds):
        return DASH
    if seconds < 10:
        return f"{seconds:.2g}\u00a0s"
    rest, parts = round(seconds), []
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")):
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count}\u00a0{unit}")
        elif parts:
            break  # "2 d 0 h 5 min" tells no more than "2 d"
    return " ".join(parts[:2])


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
