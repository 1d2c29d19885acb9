"""Events that were put aside, as measures of the models that they name.

They count in the minute in which they were written to their topic: what time they have is often what is wrong with them. What names no
model, as it is no JSON at all, is nobody's, and counted in the dead letters alone.
"""

from __future__ import annotations

from collections.abc import Iterable

from streamdrift.blocks.assemble import DeadLetter
from streamdrift.errors import Rejected
from streamdrift.events import fields, strict_json
from streamdrift.events.formats import cloudevents
from streamdrift.ports import Partition, Record
from streamdrift.settings import Settings
from streamdrift.slo.counts import MINUTE_MS
from streamdrift.slo.measures import MINUTES_MAX, Minute, Place, Slice

MODELS_MAX = 100
"""Models that are told of one batch; names in what was put aside are anybody's."""


def measured(letters: Iterable[DeadLetter], settings: Settings) -> list[Slice]:
    """Return one slice per model and partition of a batch's dead letters; of those that were sent before none."""
    found: dict[tuple[str, Partition], list[Record]] = {}
    for letter in letters if settings.slo.publish else ():
        record = letter.record
        if record.replayed or record.partition.name == settings.topics.labels:
            continue
        model = _model(record, settings)
        if model is not None and ((model, record.partition) in found or len(found) < MODELS_MAX):
            found.setdefault((model, record.partition), []).append(record)
    return [_slice(model, records) for (model, _), records in found.items()]


def _model(record: Record, settings: Settings) -> str | None:
    """The model that an event names, whatever else is wrong with it."""
    try:
        event = cloudevents.unwrap(strict_json.loads(record.value, settings.max_event_bytes), record.headers)
        name, _ = fields.model(event, settings.text_length_max)
    except Rejected:
        return None
    return name


def _slice(model: str, records: list[Record]) -> Slice:
    minutes: dict[int, Minute] = {}
    for record in records:
        at = max(0, record.timestamp_ms - record.timestamp_ms % MINUTE_MS)
        minutes.setdefault(at, Minute(at)).add("rejected", 1)
    return Slice(model, "rejected", _place(records[0]), _place(records[-1]), tuple(minutes.values())[:MINUTES_MAX])


def _place(record: Record) -> Place:
    return record.partition.name, record.partition.index, record.offset
