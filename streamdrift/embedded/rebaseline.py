"""`streamdrift rebaseline`: writes the change event by which references are learned anew."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson

from streamdrift.alerts import digest, rfc3339
from streamdrift.embedded.outputs import STDIO
from streamdrift.errors import BrokerProblem, InputProblem, Rejected, Retriable, SettingsProblem
from streamdrift.events import fields
from streamdrift.events.change import REBASELINE
from streamdrift.settings import Settings


@dataclass(frozen=True, slots=True)
class Rebaseline:
    """What is asked for, as it was typed."""

    model: str
    feature: str | None = None
    segment: str | None = None
    at: str | None = None
    changes: str | None = None


def rebaseline(options: Rebaseline, settings: Settings, now_ms: int, publish: Callable[[bytes, bytes], str]) -> str:
    """Write the order where it belongs; return a line that says what was done.

    Parameters
    ----------
    publish
        Puts value and key on the changes topic, and says where that is.

    Raises
    ------
    SettingsProblem
        An argument is wrong.
    InputProblem
        The file can't be written.
    BrokerProblem
        The broker can't be reached, or refuses.
    """
    event = order(options, now_ms, settings.text_length_max)
    done = write(orjson.dumps(event), options.model, options.changes, publish)
    if options.changes == STDIO:
        return done
    return f"{event['change_id']}: {event['summary']} from {event['occurred_at']} on; {done}"


def write(value: bytes, model: str, changes: str | None, publish: Callable[[bytes, bytes], str]) -> str:
    """Write an order to the topic, or to a file; return where it went, or for standard output the order itself."""
    if changes == STDIO:
        return value.decode()
    if changes is not None:
        _append(changes, value)
        return f"appended to {changes}"
    try:
        return publish(value, model.encode("utf-8", "replace"))
    except Retriable as e:
        raise BrokerProblem(f"the order may not have been written: {e}; give it again, twice is as once") from None


def order(options: Rebaseline, now_ms: int, text_max: int) -> dict[str, object]:
    """Return the change event; the same order has the same ``change_id``."""
    if not options.model.strip():
        raise SettingsProblem("--model is empty; name the model")
    segments = {} if options.segment is None else segment(options.segment)
    at = rfc3339(now_ms if options.at is None else moment(options.at))
    feature = None if options.feature is None else options.feature[:text_max]
    change_id = f"rebaseline-{digest(options.model, feature or '', options.segment or '', at)[:12]}"
    return change(change_id, at, options.model, [feature] if feature else [], segments)


def change(
    change_id: str, at: str, model: str, features: Sequence[str], segments: Mapping[str, str]
) -> dict[str, object]:
    """Return the change event by which references are learned anew; without features, those of all."""
    named = ", ".join(features[:3]) + (f" and {len(features) - 3} more" if len(features) > 3 else "")
    where = "".join(f" in {dimension}={value}" for dimension, value in segments.items())
    return {
        "change_id": change_id,
        "occurred_at": at,
        "kind": REBASELINE,
        "summary": f"new reference for {named or 'every feature'} of {model}{where}",
        "scope": {"models": [model], "features": features, "segments": segments},
    }


def segment(given: str) -> dict[str, str]:
    """Return the segment that ``--segment`` names."""
    dimension, equals, value = given.partition("=")
    if not (dimension and equals and value):
        raise SettingsProblem(f"--segment {given} is not DIM=VALUE, as in origin=EWR")
    return {dimension: value}


def moment(given: str) -> int:
    """Return the event time that ``--at`` names, in milliseconds since the epoch."""
    try:
        return fields.time_ms(int(given) if given.isdecimal() else given, "--at")
    except (Rejected, ValueError) as e:
        why = e.detail if isinstance(e, Rejected) else str(e)
        raise SettingsProblem(f"--at {given}: {why}") from None


def _append(path: str, line: bytes) -> None:
    """Add a line to a file, behind a last one that was not ended."""
    try:
        with Path(path).open("a+b") as file:
            if file.tell():
                file.seek(-1, 2)
                line = line if file.read(1) == b"\n" else b"\n" + line
            file.write(line + b"\n")
    except (OSError, ValueError) as e:
        why = str(getattr(e, "strerror", None) or e).lower()
        raise InputProblem(f"{path} can't be written: {why}; name another file") from None
