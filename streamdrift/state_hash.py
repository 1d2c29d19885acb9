"""``streamdrift state hash``: what the topic of state has of each group of series, in short.

The state is read as ``detect`` reads it at start, by no consumer group, and nothing is written. It can be compared with that of another
deployment of the same input and settings, or with that of before. The state of a worker that runs is as old as
``kafka.state_flush_s``; after an orderly stop it is complete.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import partial

from streamdrift.checkpoints.hashed import Hashed, Part, digest, of_groups, of_rows
from streamdrift.checkpoints.rows import EVENTS
from streamdrift.detect.bank import Bank
from streamdrift.errors import InputProblem
from streamdrift.ports import Clock, Partition
from streamdrift.settings import Settings
from streamdrift.transports import kafka

HEAD = ("stage", "partition", "what", "model", "segment", "series", "hash")


@dataclass(frozen=True, slots=True)
class State:
    """All that is put away: stage, partition of its input, and what there is of it."""

    topic: str
    group: str
    parts: list[tuple[str, Partition, Part]]

    def __post_init__(self) -> None:
        if not any(part.hashed for _, _, part in self.parts):
            raise InputProblem(
                f"topic {self.topic!r} has no state of group {self.group!r}: `streamdrift detect` puts it away some "
                "kafka.state_flush_s after its first events, with kafka.delivery = exactly-once; or correct "
                "STREAMDRIFT_KAFKA__GROUP"
            )

    @property
    def hash(self) -> str:
        """32 hex digits of all groups' hashes, wherever they lie."""
        return digest(
            sorted([stage, one.what, one.stream, one.model, one.segment, one.hash] for stage, one in self.all())
        )

    def problem(self) -> str | None:
        """A sentence where something has no hash."""
        wrong = [one for _, one in self.all() if one.problem is not None]
        if not wrong:
            return None
        first = wrong[0]
        named = f"of model {first.model!r}, segment {first.segment or 'all'!r}" if first.model else "of a partition"
        return (
            f"{len(wrong)} of {len(list(self.all()))} have no hash; the first is {named}: {first.problem}. `streamdrift detect` "
            "rebuilds it from the log when it starts, as far as that reaches back"
        )

    def all(self) -> Iterator[tuple[str, Hashed]]:
        """Yield all that has a hash, or should have one, with its stage."""
        return ((stage, one) for stage, _, part in self.parts for one in part.hashed)


def read(settings: Settings, config_hash: str, clock: Clock) -> State:
    """Return what the topic of state has for this consumer group.

    Raises
    ------
    BrokerProblem
        The broker can't be reached or refuses; or there are no such topics.
    InputProblem
        There is no state.
    Fatal
        A newer release wrote it.
    """
    topics, prefix = settings.topics, settings.kafka.group
    stages = {"detect": topics.events} if settings.exchange == "direct" else {
        "assemble": topics.events, "detect": topics.blocks
    }  # fmt: skip
    counts = kafka.require(settings.kafka, clock, reads=[topics.state, *stages.values()])
    parts = []
    for stage, topic in stages.items():
        shorten = partial(of_rows, prefix=EVENTS) if stage == "assemble" else partial(_groups, settings, config_hash)
        keyed = stage == "detect"
        with closing(
            kafka.Changelog(settings.kafka, topics.state, f"{prefix}-{stage}", clock, keyed=keyed)
        ) as changelog:
            for index in range(counts[topic]):
                place = Partition(topic, index)
                parts.append((stage, place, shorten(changelog.read(place))))
    return State(topics.state, prefix, parts)


def _groups(settings: Settings, config_hash: str, found: dict[bytes, bytes]) -> Part:
    return of_groups(found, Bank(settings, config_hash))


def as_json(state: State) -> str:
    """Return all of it as one JSON object; ``parts`` has the hash of every series."""
    parts = [
        {"stage": stage, "topic": place.name, "partition": place.index, **asdict(part)}
        for stage, place, part in state.parts
    ]
    document = {"topic": state.topic, "group": state.group, "hash": state.hash, "parts": parts}
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def as_text(state: State) -> str:
    """Return a table of aligned plain text, a group per line, and the hash of all below it.

    Neither topics nor the consumer group are in it, so that ``diff`` compares two deployments.
    """
    rows = [HEAD, *_rows(state)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEAD))]
    lines = ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    hashed = [one for _, one in state.all() if one.what == "series"]
    series = sum(len(one.series) for one in hashed)
    lines += ["", f"{series:,} series in {len(hashed):,} groups"]
    return "\n".join([*lines, f"all: {state.hash}"]) + "\n"


def _rows(state: State) -> Iterator[tuple[str, ...]]:
    for stage, place, part in state.parts:
        for one in part.hashed:
            series = str(len(one.series)) if one.series else ""
            told = one.hash or f"none: {one.problem}"
            yield (
                stage, str(place.index), _what(one), _shown(one.model), _shown(one.segment), series, told,
            )  # fmt: skip


def _what(one: Hashed) -> str:
    return f"{one.what} of {one.stream}" if one.stream not in {"", "events"} else one.what


def _shown(text: str) -> str:
    """Names come from traffic: what would move the cursor, or break the line, is escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "replace").decode() for c in text)
