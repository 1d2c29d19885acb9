"""Messages of the alerts topic, held to what the policy relies on: other producers may write to it, too."""

from __future__ import annotations

import math
from typing import Any

from streamdrift.alerts import Alert
from streamdrift.errors import Rejected

ALERT_BYTES_MAX = 262_144
NAME_LENGTH_MAX = 2_048
TIMES_MS = range(-62_000_000_000_000, 253_402_300_800_000)
"""Where RFC 3339 has years, but for the first few."""
_TEXTS = (
    "series_id",
    "status",
    "kind",
    "reason",
    "severity",
    "feature",
    "role",
    "detector",
    "effect_unit",
    "config_hash",
)
_NUMBERS = ("statistic", "threshold", "effect_size", "traffic_share")
_TABLES = ("model", "segment", "reference", "current", "position")


def read(value: bytes | None) -> Alert:
    """Read one alert.

    Raises
    ------
    Rejected
        ``empty``, ``too_large``, ``not_json``, ``not_an_alert``.
    """
    if not value:
        raise Rejected("empty", "the message has no value")
    if len(value) > ALERT_BYTES_MAX:
        raise Rejected("too_large", f"{len(value)} bytes; an alert has at most {ALERT_BYTES_MAX}")
    try:
        alert = Alert.from_cloudevent(value)
    except (OverflowError, RecursionError) as e:
        raise Rejected("not_an_alert", f"a value is out of range: {e}") from e
    for wrong in _wrong(alert):
        raise Rejected("not_an_alert", f"{wrong} is missing, or of a wrong type or size")
    return alert


def _wrong(alert: Alert) -> list[str]:
    """Names of the fields that are not what they should be."""
    found = [name for name in _TEXTS if not _is_name(getattr(alert, name))]
    found += [name for name in _NUMBERS if not _is_number(getattr(alert, name))]
    found += [name for name in _TABLES if not isinstance(getattr(alert, name), dict)]
    found += [] if isinstance(alert.model, dict) and _is_name(alert.model.get("name")) else ["model.name"]
    found += [] if _is_segment(alert.segment) else ["segment"]
    found += [] if alert.status in {"firing", "resolved"} else ["status"]
    found += [
        name
        for name in ("resolves", "updates")
        if getattr(alert, name) is not None and not _is_name(getattr(alert, name))
    ]
    found += [] if alert.onset_range is None or _is_range(*alert.onset_range) else ["onset_range"]
    found += [name for name in ("detected_at", "onset_at") if getattr(alert, name) not in TIMES_MS]
    return found + [name for name in ("events_seen", "events_since_onset") if type(getattr(alert, name)) is not int]


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= NAME_LENGTH_MAX


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_range(earliest: int, latest: int) -> bool:
    return earliest in TIMES_MS and latest in TIMES_MS and earliest <= latest


def _is_segment(value: Any) -> bool:
    return isinstance(value, dict) and all(_is_name(k) and isinstance(v, str) for k, v in value.items())
