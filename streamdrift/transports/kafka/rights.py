"""Whether the topics are there and the user may do with them what is to come, asked before the first record.

Kafka tells with a topic or group what the asking user may do with it (KIP-430, from 2.3 on). Without asking, a right that is
missing shows where it is first used: that to the alerts topic with the first alert, days later, after all that led to it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from kafka import errors

from streamdrift.errors import BrokerProblem, OutOfReach
from streamdrift.ports import Clock
from streamdrift.settings import KafkaSettings
from streamdrift.transports.kafka.client import captured
from streamdrift.transports.kafka.explain import explain, passes
from streamdrift.transports.kafka.reach import open_admin
from streamdrift.transports.kafka.tls import principal

READ, WRITE, CREATE, DESCRIBE = "READ", "WRITE", "CREATE", "DESCRIBE"


@dataclass(frozen=True, slots=True)
class Right:
    """What an access control list of Kafka allows: an operation on a ``topic`` or ``group`` of this name."""

    operation: str
    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.operation} on {self.kind} {self.name!r}"


@dataclass(frozen=True, slots=True)
class Seen:
    """What the broker says of a topic.

    Attributes
    ----------
    partitions
        None where there is no such topic.
    allowed
        Operations; None where the broker doesn't tell.
    """

    partitions: int | None
    allowed: Collection[str] | None = None


def denied(settings: KafkaSettings, rights: Iterable[Right]) -> BrokerProblem:
    """Return the one sentence: who lacks which rights, and where they are to be had."""
    return BrokerProblem(
        f"Kafka at {settings.bootstrap_servers} ({settings.security_protocol}): {user(settings)} lacks "
        f"{', '.join(map(str, rights))}; allow it (docs/security.md has the commands), or correct the name"
    )


def user(settings: KafkaSettings) -> str:
    """Name the user as the broker's access control lists would, as far as that is known here.

    >>> user(KafkaSettings())
    'the user without login (User:ANONYMOUS)'
    """
    if settings.sasl_username is not None:
        return f"user {settings.sasl_username!r}"
    if settings.ssl_certfile is not None:
        name = principal(settings.ssl_certfile)
        return f"the user of certificate {settings.ssl_certfile}" if name is None else f"user {name!r}"
    return "the user without login (User:ANONYMOUS)"


def require(
    settings: KafkaSettings,
    clock: Clock,
    *,
    reads: Collection[str] = (),
    writes: Collection[str] = (),
    groups: Collection[str] = (),
) -> dict[str, int]:
    """Return the number of partitions of each of these topics, all of which are there and allowed.

    Parameters
    ----------
    reads, writes
        Topics.
    groups
        Consumer groups to join.

    Raises
    ------
    BrokerProblem
        The broker can't be reached or refuses; a topic is missing, or a right: all missing rights are named.
    """
    admin = open_admin(settings, clock)
    try:
        return examine(admin, settings, reads, writes, groups)
    finally:
        admin.close()


class Writable:
    """The topics that were found to be there for us to write to; each is asked about once."""

    def __init__(self, settings: KafkaSettings, clock: Clock) -> None:
        self._settings, self._clock = settings, clock
        self._known: set[str] = set()

    def require(self, topic: str) -> None:
        """As ``require``, for what is about to be written to."""
        if topic not in self._known:
            require(self._settings, self._clock, writes=[topic])
            self._known.add(topic)


def examine(
    admin: Any,
    settings: KafkaSettings,
    reads: Collection[str],
    writes: Collection[str] = (),
    groups: Collection[str] = (),
) -> dict[str, int]:
    """Do what ``require`` does, by an admin client that is connected.

    Raises
    ------
    BrokerProblem
        As there.
    """
    found = {name: look_up(admin, name, settings) for name in dict.fromkeys((*reads, *writes))}
    wanted = [Right(READ, "topic", name) for name in reads] + [Right(WRITE, "topic", name) for name in writes]
    lacking = [right for right in wanted if _lacks(found[right.name], right.operation)]
    lacking += [Right(READ, "group", group) for group in groups if not _may_join(admin, group)]
    if lacking:
        raise denied(settings, lacking)
    if missing := [name for name, seen in found.items() if seen.partitions is None]:
        named = ("topics " if len(missing) > 1 else "topic ") + ", ".join(map(repr, missing))
        raise BrokerProblem(
            f"Kafka at {settings.bootstrap_servers} has no {named}; run `streamdrift topics create`, or correct the name "
            "(STREAMDRIFT_TOPICS__…)"
        )
    return {name: seen.partitions for name, seen in found.items() if seen.partitions is not None}


def look_up(admin: Any, topic: str, settings: KafkaSettings) -> Seen:
    """Return what there is of a topic; a user who may not even see it is allowed nothing.

    Raises
    ------
    BrokerProblem
        The broker refuses to say; ``OutOfReach`` where it went away meanwhile, which says nothing of the topic.
    """
    try:
        (found,) = admin.describe_topics([topic])
    except errors.KafkaError as e:
        raise _unsaid(e, settings, topic) from None
    error = errors.for_code(found["error_code"])
    if error is errors.UnknownTopicOrPartitionError:
        return Seen(None)
    if error is errors.TopicAuthorizationFailedError:
        return Seen(None, ())
    if error not in {errors.NoError, errors.LeaderNotAvailableError}:
        raise _unsaid(error(), settings, topic)
    allowed = found.get("authorized_operations")
    # whoever sees a topic may at least describe it: an answer without that is no answer
    return Seen(len(found["partitions"]), allowed if allowed and DESCRIBE in allowed else None)


def _unsaid(error: Exception, settings: KafkaSettings, topic: str) -> BrokerProblem:
    problem = explain(error, settings, f"looking up topic {topic!r}")
    return OutOfReach(str(problem)) if passes(error) else problem


def _lacks(seen: Seen, operation: str) -> bool:
    return seen.allowed is not None and operation not in seen.allowed


def _may_join(admin: Any, group: str) -> bool:
    """Tell whether a group may be joined, as far as the broker says so: of one that nobody has joined it may not."""
    with captured(), suppress(errors.KafkaError):
        try:
            found = admin.describe_groups([group])[group]
        except errors.GroupAuthorizationFailedError:
            return False
        allowed = found.get("authorized_operations")
        return "GroupAuthorizationFailed" not in (found["error"] or "") and (
            not allowed or DESCRIBE not in allowed or READ in allowed
        )
    return True
