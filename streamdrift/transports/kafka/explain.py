"""kafka-python's exceptions as one sentence, sorted by what the caller should do."""

from __future__ import annotations

import re

from kafka import errors

from streamdrift.errors import BrokerProblem, Retriable, StreamdriftError
from streamdrift.settings import KafkaSettings

REJOIN = (
    errors.CommitFailedError,
    errors.RebalanceInProgressError,
    errors.IllegalGenerationError,
    errors.UnknownMemberIdError,
)
"""The group moved on without us: partitions are dealt out anew, and what was not committed comes again."""

RESET = "does not match group protocol_name None"
"""kafka-python's own InconsistentGroupProtocol: it lost its membership while it waited for the answer to its joining."""

NAME = "STREAMDRIFT_KAFKA__"
_NAME = re.compile(r"[A-Za-z0-9._-]{1,249}")


def translate(error: Exception, settings: KafkaSettings, doing: str) -> StreamdriftError:
    """Return what to raise for an error of the client.

    Parameters
    ----------
    doing
        What was going on, with the names it needs: ``reading topic 'inference-events'``.
    """
    if isinstance(error, REJOIN) or (isinstance(error, errors.InconsistentGroupProtocolError) and RESET in str(error)):
        return Retriable(f"{doing}: the consumer group dealt its partitions out anew; they are read again")
    if passes(error):
        return Retriable(f"{doing} at {settings.bootstrap_servers}: {plain(error)}")
    return explain(error, settings, doing)


def passes(error: Exception) -> bool:
    """Tell whether it may go by itself."""
    if isinstance(error, errors.UnknownTopicOrPartitionError):
        return False
    return isinstance(error, errors.RetriableError) or bool(getattr(error, "retriable", False))


def explain(error: Exception, settings: KafkaSettings, doing: str = "talking to Kafka") -> BrokerProblem:
    """Return the one sentence for an operator: what failed, where, and what to do."""
    return BrokerProblem(f"{doing} at {settings.bootstrap_servers} ({settings.security_protocol}): {_why(error)}")


def _why(error: Exception) -> str:
    for kind, sentence in _SENTENCES:
        if isinstance(error, kind):
            return sentence + _named(error)
    return f"the broker answered {plain(error)}"


def _named(error: Exception) -> str:
    """The topics or the group that a refusal is about, which kafka-python puts into its error."""
    found = error.args[0] if isinstance(error, errors.AuthorizationError) and error.args else ()
    names = sorted({found} if isinstance(found, str) else map(str, found))
    return f" ({', '.join(map(repr, names))})" if names and all(map(_NAME.fullmatch, names)) else ""


def rooted(error: Exception) -> Exception:
    """The error inside: the producer puts what the broker refused into the text of a bare ``KafkaError``."""
    if type(error) is not errors.KafkaError:
        return error
    for kind, _ in _SENTENCES:
        if kind.__name__ in str(error):
            return kind()
    return error


def plain(error: Exception) -> str:
    """An exception's name and text on one line, short enough for a log."""
    name = type(error).__name__.removesuffix("Error")
    text = str(error.args[0]) if error.args else ""
    return f"{name}: {' '.join(text.split())[:300]}" if text else name


TAKEN_OVER = f"another process began with the same name, and took over; give each process its own {NAME}INSTANCE"

_SENTENCES: tuple[tuple[type[Exception], str], ...] = (
    (errors.FencedInstanceIdError, TAKEN_OVER),
    (
        errors.UnknownTopicOrPartitionError,
        "the topic does not exist; run `streamdrift topics create`, or correct its name",
    ),
    (
        errors.TopicAuthorizationFailedError,
        "the user has no right to this topic; allow READ where streamdrift reads it, WRITE where it writes it",
    ),
    (
        errors.GroupAuthorizationFailedError,
        f"the user has no right to this consumer group; allow it READ on it, or change {NAME}GROUP",
    ),
    (
        errors.InconsistentGroupProtocolError,
        f"the group has members that share partitions out in another way, so another program uses its name; change {NAME}GROUP",
    ),
    (
        errors.TransactionalIdAuthorizationFailedError,
        f"the user has no right to this transactional id; allow it WRITE and DESCRIBE, or set {NAME}DELIVERY to at-least-once",
    ),
    (
        errors.ClusterAuthorizationFailedError,
        "the user has no right to write to any topic; allow it WRITE on those that streamdrift writes",
    ),
    (
        errors.SaslAuthenticationFailedError,
        f"user or password refused; correct {NAME}SASL_USERNAME and {NAME}SASL_PASSWORD",
    ),
    (
        errors.MessageSizeTooLargeError,
        "a message is larger than the topic or the client takes; raise max.message.bytes of the topic",
    ),
    (
        errors.RecordListTooLargeError,
        "a batch is larger than the topic takes; raise max.message.bytes of the topic",
    ),
    (
        errors.InvalidReplicationFactorError,
        f"there are fewer brokers than copies asked for; lower {NAME}REPLICATION_FACTOR",
    ),
    (
        errors.CorruptRecordError,
        "a record is damaged (wrong checksum); check the broker's disk, or move the consumer group past it",
    ),
    (errors.PolicyViolationError, "a policy of the cluster forbids it; ask who runs it"),
    (errors.UnsupportedVersionError, "the broker is too old; streamdrift needs Kafka 2.1 or later"),
)
