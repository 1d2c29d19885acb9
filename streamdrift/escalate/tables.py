"""The ledger's tables, as the present version has them on either database; ``migrations`` brings an older file here.

Times of events are whole milliseconds since the epoch, those of our own clock seconds. What an operator may lose sight of
(incidents, alerts, deliveries) is pruned by ``Ledger.prune``; only what belongs to one incident and nothing else goes with
its row.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    DOUBLE_PRECISION,
    REAL,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Dialect,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
)

NUL, STAND_IN = "\x00", "\ufdd0"
"""What PostgreSQL takes in no text, and a code point that Unicode gives to nobody."""


class Words(TypeDecorator[str]):
    """Text from traffic, whatever is in it.

    PostgreSQL refuses NUL in text, and one such label must not end the worker. There it is written as the stand-in and ``0``,
    and the stand-in itself as it and ``1``; so what is read is what was written. SQLite takes everything as it is.
    """

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """Return the text as the database takes it."""
        if value is None or dialect.name == "sqlite":
            return value
        return value.replace(STAND_IN, f"{STAND_IN}1").replace(NUL, f"{STAND_IN}0")

    def process_result_value(self, value: Any, dialect: Dialect) -> str | None:
        """Return the text as it was."""
        if value is None or dialect.name == "sqlite":
            return None if value is None else str(value)
        return str(value).replace(f"{STAND_IN}0", NUL).replace(f"{STAND_IN}1", STAND_IN)


WHOLE = BigInteger().with_variant(Integer, "sqlite")
"""SQLite counts rows by INTEGER alone, which has 64 bits there."""
SECONDS: Double[float] = Double().with_variant(REAL, "sqlite")
FLAG = Boolean().with_variant(Integer, "sqlite")

METADATA = MetaData()

schema = Table("schema", METADATA, Column("version", Integer, nullable=False))

incidents = Table(
    "incidents",
    METADATA,
    Column("incident_id", Text, primary_key=True),
    Column("model", Words, nullable=False),
    Column("status", Text, nullable=False),
    Column("severity", Text, nullable=False),
    Column("opened_at", WHOLE, nullable=False),
    Column("updated_at", WHOLE, nullable=False),
    Column("onset_at", WHOLE, nullable=False),
    Column("paged", Words),
    Column("pages", Integer, nullable=False),
    Column("recorded_at", SECONDS, nullable=False),
    Column("reopened", Integer, nullable=False, server_default="0"),
    Column("resolved_at", WHOLE),
)
Index(
    "incidents_open",
    incidents.c.model,
    sqlite_where=incidents.c.status != "resolved",
    postgresql_where=incidents.c.status != "resolved",
)
Index(
    "incidents_ended",
    incidents.c.model,
    incidents.c.resolved_at,
    sqlite_where=incidents.c.status == "resolved",
    postgresql_where=incidents.c.status == "resolved",
)

signals = Table(
    "signals",
    METADATA,
    Column("sequence", WHOLE, primary_key=True, autoincrement=True),
    Column("incident_id", Text, ForeignKey("incidents.incident_id", ondelete="CASCADE"), nullable=False),
    Column("series_id", Words, nullable=False),
    Column("reason", Words, nullable=False),
    Column("state", Text, nullable=False),
    Column("alert", LargeBinary),
    CheckConstraint("state IN ('firing', 'resolved', 'beyond')"),
    UniqueConstraint("incident_id", "series_id", "reason"),
    sqlite_autoincrement=True,
)

alerts = Table(
    "alerts",
    METADATA,
    Column("alert_id", Words, primary_key=True),
    Column("series_id", Words, nullable=False),
    Column("status", Text, nullable=False),
    Column("detected_at", WHOLE, nullable=False),
    Column("incident_id", Text),
    Column("action", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("recorded_at", SECONDS, nullable=False),
    Column("opening", Words),
)
Index(
    "alerts_ended",
    alerts.c.opening,
    sqlite_where=alerts.c.status == "resolved",
    postgresql_where=alerts.c.status == "resolved",
)

outbox = Table(
    "outbox",
    METADATA,
    Column("sequence", WHOLE, primary_key=True, autoincrement=True),
    Column("delivery_id", Text, nullable=False, unique=True),
    Column("incident_id", Text, nullable=False),
    Column("receiver", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("dedup_key", Text, nullable=False),
    Column("payload", LargeBinary, nullable=False),
    Column("state", Text, nullable=False),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("uncertain", FLAG, nullable=False, default=False),
    Column("created_at", SECONDS, nullable=False),
    Column("next_attempt_at", SECONDS, nullable=False),
    Column("outcome", Words, nullable=False, server_default=""),
    Column("reported", Integer, nullable=False, server_default="0"),
    CheckConstraint("action IN ('trigger', 'acknowledge', 'resolve', 'mitigate', 'revert')"),
    CheckConstraint("state IN ('pending', 'done', 'dead')"),
    sqlite_autoincrement=True,
)
Index(
    "outbox_pending",
    outbox.c.receiver,
    outbox.c.dedup_key,
    outbox.c.sequence,
    sqlite_where=outbox.c.state == "pending",
    postgresql_where=outbox.c.state == "pending",
)
Index("outbox_incident", outbox.c.incident_id, outbox.c.receiver)
Index("outbox_lately", outbox.c.receiver, outbox.c.created_at)

offsets = Table(
    "offsets",
    METADATA,
    Column("topic", Text, primary_key=True),
    Column("partition", Integer, primary_key=True, autoincrement=False),
    Column("next_offset", WHOLE, nullable=False),
)

acknowledgements = Table(
    "acknowledgements",
    METADATA,
    Column("incident_id", Text, ForeignKey("incidents.incident_id", ondelete="CASCADE"), primary_key=True),
    Column("at", SECONDS, nullable=False),
    Column("rebaseline", LargeBinary),
    Column("published", FLAG, nullable=False, default=False),
)

# Neither of these two may refuse a row because its incident is not there: what is only told must not stop what pages.

timeline = Table(
    "timeline",
    METADATA,
    Column("incident_id", Text, primary_key=True),
    Column("seq", Integer, primary_key=True, autoincrement=False),
    Column("at", WHOLE, nullable=False),
    Column("kind", Text, nullable=False),
    Column("text", Words, nullable=False),
    Column("detail", Words, nullable=False),
)

changes = Table(
    "changes",
    METADATA,
    Column("change_id", Words, primary_key=True),
    Column("at", BigInteger, nullable=False),
    Column("body", Words, nullable=False),
)
Index("changes_at", changes.c.at)

references = Table(
    "receiver_references",  # REFERENCES is a word of SQL's own
    METADATA,
    Column("receiver", Text, primary_key=True),
    Column("incident_id", Text, primary_key=True),
    Column("reference", Words, nullable=False),
)

# Routing: what is not told, not told yet, or told together. Types have one name in both databases, as steps are written for both.

silences = Table(
    "silences",
    METADATA,
    Column("silence_id", Text, primary_key=True),
    Column("match", Words, nullable=False),
    Column("starts_at", DOUBLE_PRECISION, nullable=False),
    Column("ends_at", DOUBLE_PRECISION, nullable=False),
    Column("up_to", DOUBLE_PRECISION),
    Column("comment", Words, nullable=False),
    Column("author", Words, nullable=False),
    Column("ended_at", DOUBLE_PRECISION),
)

withheld = Table(
    "withheld",
    METADATA,
    Column("incident_id", Text, ForeignKey("incidents.incident_id", ondelete="CASCADE"), primary_key=True),
    Column("at", BigInteger, nullable=False),
    Column("why", Words, nullable=False),
    Column("checked_at", DOUBLE_PRECISION, nullable=False),
)

escalations = Table(
    "escalations",
    METADATA,
    Column("incident_id", Text, ForeignKey("incidents.incident_id", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("after_s", DOUBLE_PRECISION, nullable=False),
    Column("due_at", DOUBLE_PRECISION, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("receivers", Words, nullable=False),
    Column("on_call", Words, nullable=False),
)
Index("escalations_due", escalations.c.due_at)

gathered = Table(
    "gathered",
    METADATA,
    Column("receiver", Text, primary_key=True),
    Column("incident_id", Text, ForeignKey("incidents.incident_id", ondelete="CASCADE"), primary_key=True),
    Column("summary_id", Text, primary_key=True),
    Column("dedup_key", Text, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("since", DOUBLE_PRECISION, nullable=False),
    Column("preface", Words, nullable=False),
    Column("on_call", Words, nullable=False),
)

# Mitigation: what the serving side was offered to do, is to do, or did. ``due_at`` is when its state lasts no longer.

mitigations = Table(
    "mitigations",
    METADATA,
    Column("mitigation_id", Text, primary_key=True),
    Column("incident_id", Text, ForeignKey("incidents.incident_id", ondelete="CASCADE"), nullable=False),
    Column("number", Integer, nullable=False),
    Column("model", Words, nullable=False),
    Column("action", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("sent_at", DOUBLE_PRECISION),
    Column("due_at", DOUBLE_PRECISION),
    Column("body", Words, nullable=False),
)
Index("mitigations_of", mitigations.c.incident_id, mitigations.c.number)
Index("mitigations_due", mitigations.c.due_at)
Index("mitigations_model", mitigations.c.model)
# What is learnt of incidents outlasts them: none of these hangs on an incident's row. Keys are digests, for an index of PostgreSQL
# takes no text of 2,000 characters.

past = Table(
    "past",
    METADATA,
    Column("incident_id", Text, primary_key=True),
    Column("model_key", Text, nullable=False),
    Column("feature_key", Text, nullable=False),
    Column("model", Words, nullable=False),
    Column("severity", Text, nullable=False),
    Column("onset_at", BigInteger, nullable=False),
    Column("resolved_at", BigInteger, nullable=False),
    Column("headline", Words, nullable=False),
    Column("marks", Words, nullable=False),
    Column("ending", Words, nullable=False),
    Column("words", Words, nullable=False),
)
Index("past_model", past.c.model_key, past.c.resolved_at)
Index("past_feature", past.c.feature_key, past.c.resolved_at)

causes = Table(
    "causes",
    METADATA,
    Column("incident_id", Text, primary_key=True),
    Column("at", BigInteger, nullable=False),
    Column("change_id", Words),
    Column("kind", Words),
    Column("body", Words, nullable=False),
    Column("seq", Integer),
)

actions = Table(
    "actions",
    METADATA,
    Column("action_id", Text, primary_key=True),
    Column("incident_id", Text, nullable=False),
    Column("number", Integer, nullable=False),
    Column("kind", Text, nullable=False),
    Column("title", Words, nullable=False),
    Column("body", Words, nullable=False),
    Column("rule", Words, nullable=False),
    Column("cites", Words, nullable=False),
    Column("state", Text, nullable=False),
    Column("reason", Words, nullable=False),
    Column("changed_at", DOUBLE_PRECISION, nullable=False),
    Column("ticket", Words),
    Column("ticket_status", Words),
    Column("look_at", DOUBLE_PRECISION, nullable=False),
)
Index("actions_incident", actions.c.incident_id)
Index("actions_look", actions.c.state, actions.c.look_at)

# Objectives: what was counted is kept by a digest of what it is of; it goes when no window needs it any more.

slo_counts = Table(
    "slo_counts",
    METADATA,
    Column("indicator", Text, primary_key=True),
    Column("width", Integer, primary_key=True, autoincrement=False),
    Column("at", BigInteger, primary_key=True, autoincrement=False),
    Column("good", BigInteger, nullable=False),
    Column("total", BigInteger, nullable=False),
)

slo_slices = Table(
    "slo_slices",
    METADATA,
    Column("slice_id", Text, primary_key=True),
    Column("at", DOUBLE_PRECISION, nullable=False),
)

slo_standings = Table(
    "slo_standings",
    METADATA,
    Column("objective", Text, primary_key=True),
    Column("model", Words, nullable=False),
    Column("state", Words, nullable=False),
)
