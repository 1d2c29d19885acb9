"""The settings in force, for ``config show``: what, how much, and who said so."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from streamdrift.settings.fields import value_at
from streamdrift.settings.identity import config_hash
from streamdrift.settings.load import Loaded
from streamdrift.settings.problems import shown, told

HEAD = ("setting", "value", "origin")


def show(loaded: Loaded, facts: Mapping[str, str] | None = None) -> str:
    """Return a table in aligned plain text: every setting, its value (secrets masked) and where it came from.

    Parameters
    ----------
    facts
        What else the caller knows about the process, such as its engine; stands below the table.
    """
    rows = [HEAD, *((name, shown(value), origin) for name, value, origin in _rows(loaded))]
    name_width, value_width = (max(len(row[column]) for row in rows) for column in (0, 1))
    lines = [f"{name:<{name_width}}  {value:<{value_width}}  {origin}".rstrip() for name, value, origin in rows]
    below = {"config hash": config_hash(loaded.settings), **(facts or {})}
    lines += ["", *(f"{name}: {value}" for name, value in below.items())]
    return "\n".join(lines) + "\n"


def show_json(loaded: Loaded, facts: Mapping[str, str] | None = None) -> str:
    """Return the same as one JSON object: ``settings`` by dotted name (``value``, ``origin``), ``config_hash``, facts."""
    settings = {name: {"value": _plain(value), "origin": origin} for name, value, origin in _rows(loaded)}
    document = {"settings": settings, "config_hash": config_hash(loaded.settings), **(facts or {})}
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _rows(loaded: Loaded) -> Iterator[tuple[str, Any, str]]:
    for name, origin in loaded.origins.items():
        place = tuple(name.split("."))
        value = value_at(loaded.settings, place)
        yield name, told(place, value), origin


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else value
