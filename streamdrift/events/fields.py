"""Readers of the fields that several event types share: each returns a checked value or raises ``Rejected``."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from streamdrift.errors import Rejected

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)
MS_MAX = 253_402_300_799_999  # 9999-12-31T23:59:59.999Z


def time_ms(value: Any, name: str) -> int:
    """RFC 3339 text, or a number of milliseconds since the epoch, as whole milliseconds.

    >>> time_ms("2013-04-01T08:15:00Z", "occurred_at")
    1364804100000
    >>> time_ms(1364804100000, "occurred_at")
    1364804100000
    """
    if type(value) is str:
        try:
            moment = datetime.fromisoformat(value)
            ms = (moment - EPOCH) // MILLISECOND
        except (ValueError, OverflowError):
            raise Rejected("bad_time", f"{name} is not RFC 3339: {value[:40]!r}") from None
        except TypeError:  # no offset: which hour is meant is anybody's guess
            raise Rejected("bad_time", f"{name} has no UTC offset; append 'Z' or '+00:00': {value[:40]!r}") from None
    elif type(value) in {int, float} and value == value and abs(value) <= MS_MAX:  # noqa: PLR0124 - NaN is not itself
        ms = int(value)
    else:
        raise Rejected("bad_time", f"{name} must be RFC 3339 text or epoch milliseconds, not {shown(value)}")
    if not 0 <= ms <= MS_MAX:
        raise Rejected("bad_time", f"{name} lies outside of the years 1970 to 9999: {shown(value)}")
    return ms


def shown(value: Any) -> str:
    """A value as a message shows it: its JSON type, and its beginning."""
    kinds = {dict: "an object", list: "a list", str: "text", bool: "a boolean", type(None): "null"}
    kind = kinds.get(type(value), "a number")
    return kind if isinstance(value, (dict, list)) or value is None else f"{kind} ({str(value)[:40]!r})"


def mapping(event: Mapping[str, Any], name: str) -> dict[str, Any]:
    """An object that may be absent or null: then it is empty."""
    value = event.get(name)
    if value is None:
        return {}
    if type(value) is not dict:
        raise Rejected("wrong_type", f"{name} must be an object, not {shown(value)}")
    return value


def model(event: Mapping[str, Any], text_max: int) -> tuple[str, str | None]:
    """Name and version; ``model`` may be an object or the plain name."""
    value = event.get("model")
    name, version = (value.get("name"), value.get("version")) if type(value) is dict else (value, None)
    if type(name) is not str or not name:
        raise Rejected("missing_model", "model.name is required: the name of the model, as text")
    if version is not None and type(version) is not str:
        version = str(version)
    return name[:text_max], version if version is None else version[:text_max]


def segments(event: Mapping[str, Any], text_max: int, dimensions_max: int) -> dict[str, str]:
    """Dimension to value, as text; a null is left out."""
    value = mapping(event, "segments")
    if len(value) > dimensions_max:
        raise Rejected("too_many_segments", f"{len(value)} dimensions; segments_per_event_max is {dimensions_max}")
    out = {}
    for dimension, v in value.items():
        if type(v) is str:
            out[dimension[:text_max]] = v[:text_max]
        elif type(v) in {dict, list}:
            raise Rejected("wrong_type", f"segments.{dimension[:40]} must be text, not {shown(v)}")
        elif v is not None:
            out[dimension[:text_max]] = str(v).lower() if type(v) is bool else str(v)
    return out


def text(event: Mapping[str, Any], name: str, text_max: int) -> str | None:
    """Text or a number as text; None where it is absent."""
    value = event.get(name)
    if value is None:
        return None
    if type(value) is str:
        return value[:text_max]
    if type(value) in {int, float}:
        return str(value)
    raise Rejected("wrong_type", f"{name} must be text, not {shown(value)}")
