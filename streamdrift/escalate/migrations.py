"""From one version of the ledger to the next, each numbered step as it was when it was new.

A step is SQL and nothing else: ``tables`` says what there is today, and would change what an old step did. PostgreSQL came
with version 4, so earlier steps are SQLite's alone. To change a table: raise ``VERSION``, change ``tables``, and add the
step from the version before; ``tests/escalate/test_migrations.py`` holds what comes out of it against a new ledger.
"""

from __future__ import annotations

VERSION = 10

STEPS: dict[int, tuple[str, ...]] = {
    1: (
        "ALTER TABLE alerts ADD COLUMN opening TEXT",
        "CREATE INDEX alerts_ended ON alerts (opening) WHERE status = 'resolved'",
    ),
    2: (
        """
        CREATE TABLE acknowledgements (
          incident_id TEXT PRIMARY KEY REFERENCES incidents ON DELETE CASCADE, at REAL NOT NULL,
          rebaseline BLOB, published INTEGER NOT NULL DEFAULT 0
        )
        """,
    ),
    3: (
        "ALTER TABLE incidents ADD COLUMN reopened INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE incidents ADD COLUMN resolved_at INTEGER",
        "UPDATE incidents SET resolved_at = updated_at WHERE status = 'resolved'",
        "DROP INDEX incidents_open",
        "CREATE INDEX incidents_open ON incidents (model) WHERE status != 'resolved'",
        """
        CREATE TABLE signals_in_order (
          sequence INTEGER PRIMARY KEY AUTOINCREMENT,
          incident_id TEXT NOT NULL REFERENCES incidents ON DELETE CASCADE,
          series_id TEXT NOT NULL, reason TEXT NOT NULL,
          state TEXT NOT NULL CHECK (state IN ('firing', 'resolved', 'beyond')), alert BLOB,
          UNIQUE (incident_id, series_id, reason)
        )
        """,
        """
        INSERT INTO signals_in_order (incident_id, series_id, reason, state, alert)
        SELECT incident_id, series_id, reason, state, alert FROM signals ORDER BY rowid
        """,
        "DROP TABLE signals",
        "ALTER TABLE signals_in_order RENAME TO signals",
        """
        CREATE TABLE timeline (
          incident_id TEXT NOT NULL, seq INTEGER NOT NULL, at INTEGER NOT NULL, kind TEXT NOT NULL,
          text TEXT NOT NULL, detail TEXT NOT NULL, PRIMARY KEY (incident_id, seq)
        )
        """,
        """
        CREATE TABLE receiver_references (
          receiver TEXT NOT NULL, incident_id TEXT NOT NULL, reference TEXT NOT NULL, PRIMARY KEY (receiver, incident_id)
        )
        """,
    ),
    4: (
        "CREATE INDEX incidents_ended ON incidents (model, resolved_at) WHERE status = 'resolved'",
        """
        UPDATE incidents SET status = 'acknowledged' WHERE status = 'open'
        AND incident_id IN (SELECT incident_id FROM acknowledgements)
        """,
        "ALTER TABLE outbox ADD COLUMN reported INTEGER NOT NULL DEFAULT 0",
        "UPDATE outbox SET reported = 1",
    ),
    5: (
        "CREATE TABLE changes (change_id TEXT NOT NULL, at BIGINT NOT NULL, body TEXT NOT NULL, PRIMARY KEY (change_id))",
        "CREATE INDEX changes_at ON changes (at)",
    ),
    6: (
        "CREATE INDEX outbox_lately ON outbox (receiver, created_at)",
        """
        CREATE TABLE silences (
          silence_id TEXT NOT NULL PRIMARY KEY, match TEXT NOT NULL, starts_at DOUBLE PRECISION NOT NULL,
          ends_at DOUBLE PRECISION NOT NULL, up_to DOUBLE PRECISION, comment TEXT NOT NULL, author TEXT NOT NULL,
          ended_at DOUBLE PRECISION
        )
        """,
        """
        CREATE TABLE withheld (
          incident_id TEXT NOT NULL PRIMARY KEY REFERENCES incidents (incident_id) ON DELETE CASCADE,
          at BIGINT NOT NULL, why TEXT NOT NULL, checked_at DOUBLE PRECISION NOT NULL
        )
        """,
        """
        CREATE TABLE escalations (
          incident_id TEXT NOT NULL REFERENCES incidents (incident_id) ON DELETE CASCADE, number INTEGER NOT NULL,
          after_s DOUBLE PRECISION NOT NULL, due_at DOUBLE PRECISION NOT NULL, at BIGINT NOT NULL,
          receivers TEXT NOT NULL, on_call TEXT NOT NULL, PRIMARY KEY (incident_id, number)
        )
        """,
        "CREATE INDEX escalations_due ON escalations (due_at)",
        """
        CREATE TABLE gathered (
          receiver TEXT NOT NULL, incident_id TEXT NOT NULL REFERENCES incidents (incident_id) ON DELETE CASCADE,
          summary_id TEXT NOT NULL, dedup_key TEXT NOT NULL, at BIGINT NOT NULL, since DOUBLE PRECISION NOT NULL,
          preface TEXT NOT NULL, on_call TEXT NOT NULL, PRIMARY KEY (receiver, incident_id, summary_id)
        )
        """,
    ),
    7: (
        """
        CREATE TABLE mitigations (
          mitigation_id TEXT NOT NULL PRIMARY KEY,
          incident_id TEXT NOT NULL REFERENCES incidents (incident_id) ON DELETE CASCADE,
          number INTEGER NOT NULL, model TEXT NOT NULL, action TEXT NOT NULL, state TEXT NOT NULL,
          sent_at DOUBLE PRECISION, due_at DOUBLE PRECISION, body TEXT NOT NULL
        )
        """,
        "CREATE INDEX mitigations_of ON mitigations (incident_id, number)",
        "CREATE INDEX mitigations_due ON mitigations (due_at)",
        "CREATE INDEX mitigations_model ON mitigations (model)",
    ),
    8: (
        """
        CREATE TABLE past (
          incident_id TEXT NOT NULL PRIMARY KEY, model_key TEXT NOT NULL, feature_key TEXT NOT NULL, model TEXT NOT NULL,
          severity TEXT NOT NULL, onset_at BIGINT NOT NULL, resolved_at BIGINT NOT NULL, headline TEXT NOT NULL,
          marks TEXT NOT NULL, ending TEXT NOT NULL, words TEXT NOT NULL
        )
        """,
        "CREATE INDEX past_model ON past (model_key, resolved_at)",
        "CREATE INDEX past_feature ON past (feature_key, resolved_at)",
        """
        CREATE TABLE causes (
          incident_id TEXT NOT NULL PRIMARY KEY, at BIGINT NOT NULL, change_id TEXT, kind TEXT, body TEXT NOT NULL,
          seq INTEGER
        )
        """,
        """
        CREATE TABLE actions (
          action_id TEXT NOT NULL PRIMARY KEY, incident_id TEXT NOT NULL, number INTEGER NOT NULL, kind TEXT NOT NULL,
          title TEXT NOT NULL, body TEXT NOT NULL, rule TEXT NOT NULL, cites TEXT NOT NULL, state TEXT NOT NULL,
          reason TEXT NOT NULL, changed_at DOUBLE PRECISION NOT NULL, ticket TEXT, ticket_status TEXT,
          look_at DOUBLE PRECISION NOT NULL
        )
        """,
        "CREATE INDEX actions_incident ON actions (incident_id)",
        "CREATE INDEX actions_look ON actions (state, look_at)",
    ),
    9: (
        """
        CREATE TABLE slo_counts (
          indicator TEXT NOT NULL, width INTEGER NOT NULL, at BIGINT NOT NULL, good BIGINT NOT NULL,
          total BIGINT NOT NULL, PRIMARY KEY (indicator, width, at)
        )
        """,
        "CREATE TABLE slo_slices (slice_id TEXT NOT NULL, at DOUBLE PRECISION NOT NULL, PRIMARY KEY (slice_id))",
        """
        CREATE TABLE slo_standings (
          objective TEXT NOT NULL, model TEXT NOT NULL, state TEXT NOT NULL, PRIMARY KEY (objective)
        )
        """,
    ),
}
"""What makes the next version of each."""

OF_ONE: dict[tuple[int, str], tuple[str, ...]] = {
    (7, "sqlite"): (  # which can't change a CHECK
        """
        CREATE TABLE outbox_with_actions (
          sequence INTEGER PRIMARY KEY AUTOINCREMENT, delivery_id TEXT NOT NULL UNIQUE,
          incident_id TEXT NOT NULL, receiver TEXT NOT NULL, action TEXT NOT NULL,
          dedup_key TEXT NOT NULL, payload BLOB NOT NULL, state TEXT NOT NULL, attempts INTEGER NOT NULL DEFAULT 0,
          uncertain INTEGER NOT NULL DEFAULT 0, created_at REAL NOT NULL, next_attempt_at REAL NOT NULL,
          outcome TEXT NOT NULL DEFAULT '', reported INTEGER NOT NULL DEFAULT 0,
          CHECK (action IN ('trigger', 'acknowledge', 'resolve', 'mitigate', 'revert')),
          CHECK (state IN ('pending', 'done', 'dead'))
        )
        """,
        """
        INSERT INTO outbox_with_actions
        SELECT sequence, delivery_id, incident_id, receiver, action, dedup_key, payload, state, attempts, uncertain,
        created_at, next_attempt_at, outcome, reported FROM outbox ORDER BY sequence
        """,
        "DROP TABLE outbox",
        "ALTER TABLE outbox_with_actions RENAME TO outbox",
        "CREATE INDEX outbox_pending ON outbox (receiver, dedup_key, sequence) WHERE state = 'pending'",
        "CREATE INDEX outbox_incident ON outbox (incident_id, receiver)",
        "CREATE INDEX outbox_lately ON outbox (receiver, created_at)",
    ),
    (7, "postgresql"): (
        "ALTER TABLE outbox DROP CONSTRAINT outbox_action_check",
        "ALTER TABLE outbox ADD CHECK (action IN ('trigger', 'acknowledge', 'resolve', 'mitigate', 'revert'))",
    ),
}
"""What a step does in one of the databases alone, after all else."""


def statements(step: int, dialect: str) -> tuple[str, ...]:
    """Return the SQL of one step for a database."""
    return STEPS[step] + OF_ONE.get((step, dialect), ())
