"""Figures, times and names as every output tells them: short, in plain characters, on one line."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

from streamdrift.alerts import Alert

MINUS = "\u2212"
UNKNOWN = "?"
"""Stands where a figure is missing: a dash beside figures would be read as a minus."""
WIDE_MS = 600_000
"""From this width on the range of an onset is told."""
DIFFERS, DIFFERS_MIN = 1.5, 0.25
"""By this factor, and so much, must a robust effect differ from the plain one to be told as well."""
_SHARES = (("null_rate", "null"), ("invalid_rate", "invalid"), ("unseen_rate", "in new categories"))


def effect(alert: Alert) -> str:
    """Then and now in the series' own units: ``0 % → 10.2 % null``, ``mean 151 → 113 (−0.46 sd)``."""
    then, now = alert.reference, alert.current
    if alert.reason == "segment_overflow":
        of = " series of all models" if then.get("limit") == "series_max" else ""
        return f"{number(then.get('n'))}{of} are watched, more came"
    if alert.role in {"traffic", "slo"}:
        return _traffic(alert) if alert.role == "traffic" else _burn(now)
    if alert.kind == "anomaly" and alert.effect_unit == "share":
        for key, name in _SHARES:
            if _is_number(now.get(key)):
                return f"{percent(then.get(key))} → {percent(now[key])} {name}"
    if alert.effect_unit == "sd" and _is_number(now.get("mean")):
        bulk = _differing(alert)
        told = "" if bulk is None else f", robust {signed(bulk)} sd"
        return f"mean {number(then.get('mean'))} → {number(now['mean'])} ({signed(alert.effect_size)} sd{told})"
    if alert.effect_unit == "ratio" and _is_number(now.get("sd")):
        bulk = _differing(alert)
        told = "" if bulk is None else f" (robust × {number(bulk)})"
        return f"sd {number(then.get('sd'))} → {number(now['sd'])}{told}"
    return _bare(alert)


def _differing(alert: Alert) -> float | None:
    """The robust effect where it is of another size than the plain one; else None."""
    bulk, plain = alert.effect_robust, alert.effect_size
    if bulk is None or not _is_number(bulk) or abs(bulk - plain) < DIFFERS_MIN:
        return None
    small, large = sorted((abs(bulk), abs(plain)))
    return bulk if large >= DIFFERS * small or bulk * plain < 0 else None


def _traffic(alert: Alert) -> str:
    then, now = alert.reference, alert.current
    if _is_number(now.get("silent_s")):
        return f"{duration(now['silent_s'])} without a commit, though records came"
    if _is_number(now.get("gap_s")):
        return f"{duration(now['gap_s'])} without an event, at most {duration(then.get('longest_gap_s'))} before"
    if _is_number(now.get("share")):
        return f"{percent(then.get('share'))} → {percent(now['share'])} of traffic"
    if _is_number(now.get("duplicate_rate")):
        return f"{percent(then.get('duplicate_rate'))} → {percent(now['duplicate_rate'])} duplicates"
    if _is_number(now.get("rate")):
        return f"{number(then.get('rate'))} → {number(now['rate'])} events/s"
    return _bare(alert)


def _burn(now: dict[str, Any]) -> str:
    """``2.1 % bad in 1 h, 21 × the budget's rate; 62 % of the budget left, gone in 9 h``."""
    rate, left = number(now.get("burn_rate")), now.get("budget_left", 0)
    told = f"{percent(now.get('bad_share'))} bad in {duration(now.get('window_s'))}, {rate} × the budget's rate"
    if not _is_number(left) or left <= 0:
        return f"{told}; the budget is spent"
    gone = f", gone in {duration(now['spent_in_s'])}" if _is_number(now.get("spent_in_s")) else ""
    return f"{told}; {percent(left)} of the budget left{gone}"


def _bare(alert: Alert) -> str:
    match alert.effect_unit:
        case "share":
            return f"{percent(abs(alert.effect_size))} of events differ"
        case "ks":
            return f"KS distance {number(alert.effect_size)}"
        case "ratio":
            return f"× {number(alert.effect_size)}"
        case unit:
            return f"{signed(alert.effect_size)} {named(unit, 12)}"


def number(value: Any) -> str:
    """Three significant digits; ``?`` where there is none.

    >>> number(151.2), number(1234.5), number(0.0123), number(-3), number(None)
    ('151', '1,234', '0.0123', '−3', '?')
    """
    if not _is_number(value):
        return UNKNOWN
    size = abs(value)
    if size >= 1e9 or 0 < size < 1e-4:
        written = f"{size:.2e}"
    elif size >= 1000 or float(value).is_integer():
        written = f"{size:,.0f}"
    else:
        written = f"{size:.3g}"
    return (MINUS if value < 0 else "") + written


def signed(value: float) -> str:
    """A number with its sign always there.

    >>> signed(0.46), signed(-0.46)
    ('+0.46', '−0.46')
    """
    return ("+" if value > 0 else "") + number(value)


def percent(value: Any) -> str:
    """A share as a percentage, to a tenth below 20 %.

    >>> percent(0.001), percent(0.102), percent(0.364), percent(0.0), percent(0.00012), percent(-0.2)
    ('0.1 %', '10.2 %', '36 %', '0 %', '0.012 %', '−20 %')
    """
    if not _is_number(value):
        return UNKNOWN
    sign, hundredths = (MINUS if value < 0 else ""), 100 * abs(value)
    if hundredths == 0 or hundredths >= 19.95:
        return f"{sign}{hundredths:,.0f} %"
    return f"{sign}{hundredths:.1f} %" if hundredths >= 0.1 else f"{sign}{hundredths:.2g} %"


def duration(seconds: Any) -> str:
    """The two largest units of a time.

    >>> duration(304_200), duration(90), duration(0.5), duration(math.inf)
    ('3 d 12 h', '1 min 30 s', '0.5 s', '?')
    """
    if not _is_number(seconds):
        return UNKNOWN
    if seconds < 10:
        return f"{seconds:.2g} s"
    rest, parts = round(seconds), []
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")):
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count:,} {unit}")
        elif parts:
            break  # "2 d 0 h 5 min" tells no more than "2 d"
    return " ".join(parts[:2])


def moment(ms: int) -> str:
    """A time in UTC to the minute; times that no calendar has are held at its ends.

    >>> moment(1_366_186_500_000)
    '2013-04-17 08:15'
    """
    held = min(max(ms, -62_135_596_800_000), 253_402_300_799_000)
    return datetime.fromtimestamp(held / 1000, UTC).strftime("%Y-%m-%d %H:%M")


def onset(alert: Alert) -> str:
    """Since when, in UTC, and between which times it may have been where these are far apart.

    >>> from types import SimpleNamespace as Some
    >>> onset(Some(onset_at=1_366_186_500_000, onset_range=(1_366_185_000_000, 1_366_186_800_000)))
    '2013-04-17 08:15 UTC, between 07:50 and 08:20'
    >>> onset(Some(onset_at=1_366_186_500_000, onset_range=None))
    '2013-04-17 08:15 UTC'
    """
    between = onset_range(alert)
    return f"{moment(alert.onset_at)} UTC" + (f", {between}" if between else "")


def onset_range(alert: Alert) -> str:
    """Between which times the change point lies; empty where it isn't known, or certain to some minutes."""
    if alert.onset_range is None or alert.onset_range[1] - alert.onset_range[0] < WIDE_MS:
        return ""
    day = moment(alert.onset_at)[:11]
    earliest, latest = (moment(ms).removeprefix(day) for ms in alert.onset_range)
    return f"between {earliest} and {latest}"


def named(text: str, length_max: int) -> str:
    r"""A name from the events, fit for one line: control characters are escaped, long ones cut.

    >>> named("dep_delay", 40), named("a\nb", 40), named("abcdef", 4)
    ('dep_delay', 'a\\nb', 'abc…')
    """
    plain = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return plain if len(plain) <= length_max else plain[: length_max - 1] + "…"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
