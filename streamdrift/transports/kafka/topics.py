"""The topics that streamdrift needs, and how they must be made."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from kafka import errors

from streamdrift.errors import BrokerProblem, OutOfReach
from streamdrift.ports import Clock
from streamdrift.settings import KafkaSettings, Settings
from streamdrift.transports.kafka.client import MESSAGE_BYTES_MAX
from streamdrift.transports.kafka.explain import explain
from streamdrift.transports.kafka.reach import open_admin
from streamdrift.transports.kafka.rights import CREATE, DESCRIBE, Right, Seen, denied, examine, look_up

DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class Wanted:
    """One topic as ``topics create`` makes it."""

    name: str
    partitions: int
    configs: dict[str, str]


@dataclass(frozen=True, slots=True)
class Found:
    """What became of one wanted topic."""

    name: str
    created: bool
    partitions: int
    wanted: int
    state: bool = False

    def __str__(self) -> str:
        if self.created:
            return f"{self.name}: created, {_counted(self.partitions)}"
        if self.partitions == self.wanted:
            return f"{self.name}: exists, {_counted(self.partitions)}"
        if self.state:
            return (
                f"{self.name}: exists with {_counted(self.partitions)}, and a topic whose state it keeps has {self.wanted}; "
                "give it as many (kafka-topics.sh --alter), which moves no state"
            )
        return (
            f"{self.name}: exists with {_counted(self.partitions)}, not {self.wanted} as "
            "STREAMDRIFT_KAFKA__PARTITIONS says; left as it is, for more partitions would move keys to others"
        )


def _counted(partitions: int) -> str:
    return f"{partitions} partition{'' if partitions == 1 else 's'}"


def wanted(settings: Settings) -> list[Wanted]:
    """Return every topic with its partitions, retention and compaction.

    Changes are few and have to keep their order across models: one partition. Events and blocks are kept for a week,
    for from them state is rebuilt after a restart. The state topic is compacted; its segments are small, for the one
    that is written to is never compacted. It gets as many partitions as the inputs have that are there already.
    """
    topics, n = settings.topics, settings.kafka.partitions
    large = {"max.message.bytes": str(MESSAGE_BYTES_MAX)}
    return [
        Wanted(topics.events, n, _kept(7)),
        Wanted(topics.labels, n, _kept(7)),
        Wanted(topics.changes, 1, _kept(90)),
        Wanted(topics.alerts, n, _kept(30)),
        Wanted(topics.rejected, n, _kept(14) | large),
        Wanted(topics.measures, n, _kept(30)),
        Wanted(topics.blocks, n, _kept(7) | large),
        Wanted(
            topics.state,
            n,
            {
                "cleanup.policy": "compact",
                "segment.bytes": str(16 * 1024 * 1024),
                "segment.ms": "600000",
                "min.cleanable.dirty.ratio": "0.1",
                "max.compaction.lag.ms": "3600000",
            },
        ),
    ]


def _kept(days: int) -> dict[str, str]:
    return {"cleanup.policy": "delete", "retention.ms": str(days * DAY_MS)}


def create_topics(settings: Settings, clock: Clock) -> list[str]:
    """Create the topics that are missing; return a line on each: created or there, and with how many partitions.

    Raises
    ------
    BrokerProblem
        The broker can't be reached, or refuses.
    """
    admin, topics = open_admin(settings.kafka, clock), wanted(settings)
    try:
        seen = {topic.name: look_up(admin, topic.name, settings.kafka) for topic in topics}
        if hidden := [Right(DESCRIBE, "topic", name) for name, found in seen.items() if found.allowed == ()]:
            raise denied(settings.kafka, hidden)
        *others, state = topics
        found = _all([_create(admin, topic, seen[topic.name], settings.kafka) for topic in others], settings.kafka)
        inputs = {settings.topics.events, settings.topics.labels, settings.topics.blocks}
        most = max(topic.partitions for topic in found if topic.name in inputs)
        made = _create(admin, replace(state, partitions=most), seen[state.name], settings.kafka)
        (kept,) = _all([made], settings.kafka)
    except errors.KafkaError as e:
        raise explain(e, settings.kafka, "creating topics") from None
    finally:
        admin.close()
    enough = kept.partitions >= most
    return [str(topic) for topic in (*found, replace(kept, wanted=kept.partitions if enough else most, state=True))]


def _all(made: list[Found | Right], settings: KafkaSettings) -> list[Found]:
    """Every topic; where the right to create some is missing, the sentence that names them."""
    if refused := [right for right in made if isinstance(right, Right)]:
        raise denied(settings, refused)
    return [topic for topic in made if isinstance(topic, Found)]


def _create(admin: Any, topic: Wanted, seen: Seen, settings: KafkaSettings) -> Found | Right:
    """Create a topic that is missing; return what became of it, or the right that this would have taken."""
    if seen.partitions is not None:
        return Found(topic.name, created=False, partitions=seen.partitions, wanted=topic.partitions)
    spec = {
        "num_partitions": topic.partitions,
        "replication_factor": settings.replication_factor,
        "configs": topic.configs,
    }
    answer = admin.create_topics({topic.name: spec}, raise_errors=False)
    (result,) = answer.topics if hasattr(answer, "topics") else answer["topics"]
    code, message = (
        (result["error_code"], result["error_message"])
        if isinstance(result, dict)
        else (result.error_code, result.error_message)
    )
    error = errors.for_code(code)
    if error is errors.TopicAlreadyExistsError:  # somebody else was faster
        found = look_up(admin, topic.name, settings).partitions
        return Found(topic.name, created=False, partitions=found or topic.partitions, wanted=topic.partitions)
    if error in {errors.TopicAuthorizationFailedError, errors.ClusterAuthorizationFailedError}:
        return Right(CREATE, "topic", topic.name)
    if error is not errors.NoError:
        raise explain(error(message or error.__name__), settings, f"creating topic {topic.name!r}")
    return Found(topic.name, created=True, partitions=topic.partitions, wanted=topic.partitions)


def unreadable(settings: KafkaSettings, clock: Clock, topic: str, *, written: bool = False) -> str | None:
    """Return why a topic that need not be there can't be used; None where it can.

    Parameters
    ----------
    written
        Whether it is written to as well as read.

    Raises
    ------
    BrokerProblem
        The broker can't be reached, or refuses us altogether.
    """
    admin = open_admin(settings, clock)
    try:
        examine(admin, settings, [topic], [topic] if written else [])
    except OutOfReach:
        raise
    except BrokerProblem as e:
        return str(e)
    finally:
        admin.close()
    return None
