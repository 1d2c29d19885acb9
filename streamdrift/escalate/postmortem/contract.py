"""The proposed checks as a data contract: YAML of the Open Data Contract Standard 3.1, to be agreed with whoever makes the data.

Every name in it is written as a JSON text, which YAML reads as one, so that no name makes structure of its own.
https://bitol-io.github.io/open-data-contract-standard/latest/data-quality
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import orjson

from streamdrift.escalate.explanation import place
from streamdrift.escalate.postmortem.action import Action
from streamdrift.escalate.words import named

NAME_MAX, TEXT_MAX = 100, 500
OF_VALUES = ("null_share", "invalid_share", "allowed_values", "value_share", "range", "unit", "repeats")
"""Checks of one property; the others are of the whole, or of a release."""


def contract(model: str, actions: Sequence[Action]) -> str:
    """Return the contract; empty where none of the actions has a place in one."""
    values = [action for action in actions if action.kind in OF_VALUES and action.state != "dropped"]
    fresh = [action for action in actions if action.kind == "freshness" and action.state != "dropped"]
    if not values and not fresh:
        return ""
    lines = [f"schema: # proposed by an incident of {_text(model)}; ODCS 3.1"] if values else []
    lines += [f"  - name: {_text(model)}", "    properties:"] if values else []
    for feature in dict.fromkeys(str(action.rule.get("feature")) for action in values):
        lines += [f"      - name: {_text(feature)}", "        quality:"]
        for action in values:
            if action.rule.get("feature") == feature:
                lines += _item(_quality(action), 10)
    lines += ["slaProperties:"] if fresh else []
    for action in fresh:
        lines += _item(_latency(model, action), 2)
    return "\n".join(lines)


def _quality(action: Action) -> Iterator[tuple[str, Any]]:
    rule, where = action.rule, place(action.rule.get("segment") or {})
    if action.kind == "null_share":
        yield from (("metric", "nullValues"), ("unit", "percent"), ("mustBeLessOrEqualTo", _percent(rule["max"])))
    elif action.kind == "invalid_share":
        yield from (("metric", "invalidValues"), ("unit", "percent"), ("mustBeLessOrEqualTo", _percent(rule["max"])))
    elif action.kind == "allowed_values" and rule.get("complete"):
        allowed = [_plain(value) for value in rule["allowed"]]
        yield from (("metric", "invalidValues"), ("arguments", {"validValues": allowed}), ("mustBe", 0))
    else:
        yield "type", "text"
    yield "description", f"{named(action.text, TEXT_MAX)} [{action.action_id}]"
    if rule.get("segment"):
        yield "tags", [_plain(where)]


def _latency(model: str, action: Action) -> Iterator[tuple[str, Any]]:
    yield from (("property", "frequency"), ("value", action.rule.get("max_gap_s")), ("unit", "s"))
    yield "element", _plain(model)
    yield "description", f"{named(action.text, TEXT_MAX)} [{action.action_id}]"


def _item(fields: Iterable[tuple[str, Any]], indent: int) -> list[str]:
    told = [f"{name}: {orjson.dumps(value).decode()}" for name, value in fields]
    return [" " * indent + ("- " if i == 0 else "  ") + line for i, line in enumerate(told)]


def _percent(share: float) -> float:
    return float(f"{100 * share:.6g}")


def _plain(text: Any) -> str:
    return named(str(text), NAME_MAX)


def _text(text: Any) -> str:
    return orjson.dumps(_plain(text)).decode()
