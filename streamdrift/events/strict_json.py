"""Bytes to JSON values, with a named reason for whatever is not JSON.

orjson decides what JSON is (RFC 8259: no NaN, no byte order mark, valid UTF-8, bounded depth). One thing is added: a
number beyond the range of a double, such as ``1e999``, is legal JSON that orjson refuses; the contract makes it an
*invalid value of its feature*, not a broken event, so such a text is read again by the standard library, which gives infinity.
Of a key that stands twice in one object the last value counts.
"""

from __future__ import annotations

import json
from typing import Any, NoReturn

import orjson

from streamdrift.errors import Rejected

INFINITE = "number is infinity"
DEPTH_MAX = 200  # the standard library recurses; deeper texts with such numbers are refused
INT_DIGITS_MAX = 308  # longer integers are beyond a double


def loads(value: bytes | None, bytes_max: int) -> Any:
    """Return the JSON value in ``value``.

    Raises
    ------
    Rejected
        ``empty``, ``too_large`` or ``not_json``.
    """
    if not value or value.isspace():
        raise Rejected("empty", "the message has no content")
    if len(value) > bytes_max:
        raise Rejected("too_large", f"more than max_event_bytes={bytes_max} bytes")
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError as e:
        if INFINITE in str(e):
            return _loads_with_infinity(value)
        raise Rejected("not_json", str(e)) from None


def _loads_with_infinity(value: bytes) -> Any:
    text = value.decode("utf-8")  # orjson checked the encoding before it looked at a number
    if _depth(text) > DEPTH_MAX:
        raise Rejected("not_json", f"deeper than {DEPTH_MAX} levels, with a number beyond the range of a double")
    try:
        parsed = json.loads(text, parse_constant=_refuse, parse_int=_to_int)
        orjson.dumps(parsed)  # lone surrogates: orjson refuses them, the standard library does not
    except (ValueError, RecursionError, TypeError) as e:
        raise Rejected("not_json", str(e)) from None
    return parsed


def _depth(text: str) -> int:
    """Upper bound of the nesting: brackets in strings count too, which errs on the safe side."""
    depth = deepest = 0
    for c in text:
        if c in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif c in "]}":
            depth -= 1
    return deepest


def _to_int(digits: str) -> int | float:
    if len(digits) > INT_DIGITS_MAX:
        return float("-inf") if digits.startswith("-") else float("inf")
    return int(digits) if len(digits) < 19 else float(digits)


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
