"""The source report: how fresh and how full an upstream source was when somebody looked.

A message of the changes topic, of kind ``source-report``, with what was seen under ``report``: readers that don't know the kind
take it for a change of a kind that they don't know. Wire contract: ``docs/schemas/change-event.schema.json``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from streamdrift.errors import Rejected
from streamdrift.events import fields, strict_json
from streamdrift.events.formats import cloudevents
from streamdrift.events.inference import Limits
from streamdrift.ports import Record

COLUMNS_MAX = 200
"""Columns of one report."""
ROWS_MAX = 2**53


@dataclass(frozen=True, slots=True)
class SourceReport:
    """What a source had.

    Attributes
    ----------
    source
        Its name, as in ``sources`` of the settings.
    time
        When somebody looked, milliseconds since the epoch.
    newest_at
        When its newest row was written, milliseconds since the epoch; None where that isn't known.
    rows
        None where that isn't known.
    null_shares
        By column, 0 to 1.
    """

    source: str
    time: int
    newest_at: int | None
    rows: int | None
    null_shares: dict[str, float]


def decode(record: Record, limits: Limits) -> SourceReport:
    """Read a record whose kind is ``source-report``.

    Raises
    ------
    Rejected
        As ``change.decode``.
    """
    event = cloudevents.unwrap(strict_json.loads(record.value, limits.max_event_bytes), record.headers)
    moment = event.get("occurred_at")
    at = record.timestamp_ms if moment is None else fields.time_ms(moment, "occurred_at")
    return read(fields.mapping(event, "report"), at, limits.text_length_max)


def read(report: Mapping[str, Any], at: int, text_max: int) -> SourceReport:
    """Read what was seen.

    Parameters
    ----------
    at
        When that was, unless the report says so.

    Raises
    ------
    Rejected
        A field is missing, or can't be read.
    """
    source = fields.text(report, "source", text_max)
    if not source:
        raise Rejected("missing_field", "a source report needs `source`, the name of what was looked at, as text")
    observed, newest = report.get("observed_at"), report.get("newest_at")
    return SourceReport(
        source,
        at if observed is None else fields.time_ms(observed, "observed_at"),
        None if newest is None else fields.time_ms(newest, "newest_at"),
        _rows(report.get("rows")),
        _shares(fields.mapping(report, "null_shares"), text_max),
    )


def _rows(value: Any) -> int | None:
    if value is None:
        return None
    if type(value) is not int or not 0 <= value <= ROWS_MAX:
        raise Rejected("wrong_type", f"rows must be a whole number from 0 on, not {fields.shown(value)}")
    return value


def _shares(given: Mapping[str, Any], text_max: int) -> dict[str, float]:
    if len(given) > COLUMNS_MAX:
        raise Rejected("too_many_columns", f"{len(given)} columns; a source report has at most {COLUMNS_MAX}")
    shares: dict[str, float] = {}
    for column, value in given.items():
        if type(value) not in {int, float} or not math.isfinite(value) or not 0 <= value <= 1:
            what = fields.shown(value)
            raise Rejected("wrong_type", f"null_shares.{column[:40]} must be a share from 0 to 1, not {what}")
        shares[column[:text_max]] = float(value)
    return shares
