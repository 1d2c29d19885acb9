"""What the readers of payloads make of them, and what is checked before it is published.

Only what ``events.change`` reads is written, cut to its limits: nothing of a payload gets to the topic as it came.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from streamdrift.alerts import digest, rfc3339
from streamdrift.errors import Rejected
from streamdrift.events import change, source_report
from streamdrift.events.change import REBASELINE, SOURCE_REPORT, Change
from streamdrift.events.inference import Limits
from streamdrift.events.source_report import SourceReport
from streamdrift.ports import Partition, Record

NAMES_MAX = 500
"""Models, and features, in the scope of one change."""
ID_LENGTH_MAX = 128
"""A longer id is replaced by its hash: cut, two of them could be one."""
SAME_S = 600
"""A payload that says neither its id nor its time is one change when it comes again within about so long."""
HERE = Partition("http")


@dataclass(frozen=True, slots=True)
class Scope:
    """What a sender's URL says of all that it sends: ``?model=fraud&feature=mcc&kind=deployment``."""

    models: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    kind: str | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """One message of the changes topic."""

    change_id: str
    value: bytes
    key: bytes | None


@dataclass(frozen=True, slots=True)
class Sent:
    """What a request came to.

    Attributes
    ----------
    messages
        To be published.
    schemas
        Columns of datasets, to be kept once that is done.
    """

    messages: tuple[Message, ...]
    schemas: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


def event(
    change_id: str,
    at: Any,
    kind: str,
    summary: str,
    *,
    models: Sequence[str] = (),
    features: Sequence[str] = (),
    segments: Mapping[str, Any] | None = None,
    link: str | None = None,
    author: str | None = None,
) -> dict[str, Any]:
    """Return a change as the topic has it; ``at`` is RFC 3339 or milliseconds, None for now."""
    return {
        "change_id": change_id,
        "occurred_at": at,
        "kind": kind,
        "summary": summary,
        "scope": {"models": list(models), "features": list(features), "segments": dict(segments or {})},
        "link": link,
        "author": author,
    }


def identity(kind: str, *parts: str) -> str:
    """Return an id that is the same whenever these parts are: ``openlineage-1f0c…``."""
    return f"{kind}-{digest(*parts)[:24]}"


def undated(payload: Any, now: float) -> tuple[str, str]:
    """Return the parts of an id for a payload that says neither its own nor its time."""
    return orjson.dumps(payload, option=orjson.OPT_SORT_KEYS).decode(), str(int(now // SAME_S))


def made(draft: Mapping[str, Any], limits: Limits, now: float) -> Message:
    """Return the message for a draft, read as its readers will.

    Raises
    ------
    Rejected
        They could not, or it is an order to us: those are given by who may write to the topic.
    """
    read = change.decode(_record(draft, now), limits)
    if read.kind in {REBASELINE, SOURCE_REPORT}:
        raise Rejected("not_here", f"a change of kind {read.kind} isn't taken here; docs/changes.md says where it is")
    if len(read.models) > NAMES_MAX or len(read.features) > NAMES_MAX:
        raise Rejected("too_many_names", f"a scope names at most {NAMES_MAX} models and {NAMES_MAX} features")
    given = str(draft["change_id"])
    change_id = given if len(given) <= min(ID_LENGTH_MAX, limits.text_length_max) else identity("id", given)
    return _message(read, change_id)


def _record(draft: Mapping[str, Any], now: float) -> Record:
    return Record(orjson.dumps(draft), HERE, 0, round(now * 1000))


def _message(read: Change, change_id: str) -> Message:
    written = event(
        change_id,
        rfc3339(read.time),
        read.kind,
        read.summary,
        models=read.models,
        features=read.features,
        segments=read.segments,
        link=read.link,
        author=read.author,
    )
    return Message(change_id, orjson.dumps(written), read.models[0].encode() if read.models else None)


def reported(report: SourceReport) -> Message:
    """Return the message for what somebody saw of a source."""
    change_id = identity("report", report.source, str(report.time))
    written = event(change_id, rfc3339(report.time), SOURCE_REPORT, f"report on source {report.source}") | {
        "report": {
            "source": report.source,
            "newest_at": None if report.newest_at is None else rfc3339(report.newest_at),
            "rows": report.rows,
            "null_shares": report.null_shares,
        }
    }
    return Message(change_id, orjson.dumps(written), report.source.encode())


def looked(given: Mapping[str, Any], limits: Limits, now: float) -> Message:
    """Return the message for a report as it was sent to us.

    Raises
    ------
    Rejected
        It can't be read.
    """
    return reported(source_report.read(given, round(now * 1000), limits.text_length_max))
