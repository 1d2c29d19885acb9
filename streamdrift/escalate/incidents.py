"""The incidents table: each open incident as the policy left it."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from streamdrift.alerts import Alert
from streamdrift.escalate.database import Database
from streamdrift.escalate.incident import Incident, Reach

_COLUMNS = "incident_id, model, status, severity, opened_at, updated_at, onset_at, paged, pages"


class Incidents:
    """Reads and writes incidents; only what changed is written."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def opened(self, model: str) -> list[Incident]:
        """Return the open incidents of one model."""
        rows = self._database.execute(f"SELECT {_COLUMNS} FROM incidents WHERE model = ? AND status = 'open'", [model])  # noqa: S608 - a constant
        return [self._incident(row) for row in rows]

    def get(self, incident_id: str) -> Incident | None:
        """Return one incident, open or resolved."""
        rows = self._database.execute(f"SELECT {_COLUMNS} FROM incidents WHERE incident_id = ?", [incident_id])  # noqa: S608 - a constant
        return self._incident(rows[0]) if rows else None

    def beginning_with(self, text: str) -> list[str]:
        """Return the ids that begin with a text; two at most."""
        rows = self._database.execute(
            "SELECT incident_id FROM incidents WHERE substr(incident_id, 1, ?) = ? LIMIT 2", [len(text), text]
        )
        return [str(incident_id) for (incident_id,) in rows]

    def latest_open(self) -> str | None:
        """Return the id of the open incident that was told of last; None where none is open."""
        rows = self._database.execute(
            "SELECT incident_id FROM incidents WHERE status = 'open' ORDER BY updated_at DESC, incident_id LIMIT 1"
        )
        return str(rows[0][0]) if rows else None

    def all(self) -> list[Incident]:
        """Return every incident that is kept, in the order in which they opened."""
        rows = self._database.execute(f"SELECT {_COLUMNS} FROM incidents ORDER BY opened_at, incident_id")  # noqa: S608 - a constant
        return [self._incident(row) for row in rows]

    def _incident(self, row: tuple[Any, ...]) -> Incident:
        signals = self._database.execute(
            "SELECT series_id, reason, state, alert FROM signals WHERE incident_id = ? ORDER BY rowid", [row[0]]
        )
        incident_id, model, status, severity, opened_at, updated_at, onset_at, paged, pages = row
        return Incident(
            incident_id,
            model,
            status,
            severity,
            opened_at,
            updated_at,
            onset_at,
            alerts=tuple(Alert.from_cloudevent(alert) for _, _, state, alert in signals if state != "beyond"),
            resolved=frozenset((series_id, reason) for series_id, reason, state, _ in signals if state == "resolved"),
            beyond=frozenset(series_id for series_id, _, state, _ in signals if state == "beyond"),
            paged=None if paged is None else Reach(**json.loads(paged)),
            pages=pages,
        )

    def save(self, incident: Incident, before: Incident | None, now: float) -> None:
        """Write an incident over what it was before (None: it is new)."""
        paged = None if incident.paged is None else json.dumps(asdict(incident.paged))
        self._database.execute(
            f"INSERT INTO incidents ({_COLUMNS}, recorded_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) "  # noqa: S608 - a constant
            "ON CONFLICT (incident_id) DO UPDATE SET status = excluded.status, severity = excluded.severity, "
            "updated_at = excluded.updated_at, onset_at = excluded.onset_at, paged = excluded.paged, "
            "pages = excluded.pages, recorded_at = excluded.recorded_at",
            [
                incident.incident_id,
                incident.model,
                incident.status,
                incident.severity,
                incident.opened_at,
                incident.updated_at,
                incident.onset_at,
                paged,
                incident.pages,
                now,
            ],
        )
        old, new = _signals(before), _signals(incident)
        for series_id, reason in old.keys() - new.keys():
            self._database.execute(
                "DELETE FROM signals WHERE incident_id = ? AND series_id = ? AND reason = ?",
                [incident.incident_id, series_id, reason],
            )
        for key, (state, alert) in new.items():
            if old.get(key) != (state, alert):
                self._put(incident.incident_id, key, state, alert, old.get(key, ("", None))[1])

    def _put(
        self, incident_id: str, key: tuple[str, str], state: str, alert: Alert | None, before: Alert | None
    ) -> None:
        """Write one signal; a new alert goes to the end of its incident, an update stays in place, as in memory."""
        body = None if alert is None else alert.to_cloudevent()
        if alert is not None and before is not None and alert.opening_id == before.opening_id:
            self._database.execute(
                "UPDATE signals SET state = ?, alert = ? WHERE incident_id = ? AND series_id = ? AND reason = ?",
                [state, body, incident_id, *key],
            )
        else:
            self._database.execute(
                "INSERT OR REPLACE INTO signals (incident_id, series_id, reason, state, alert) VALUES (?, ?, ?, ?, ?)",
                [incident_id, *key, state, body],
            )


def _signals(incident: Incident | None) -> dict[tuple[str, str], tuple[str, Alert | None]]:
    """State and alert by series and reason; a series beyond the alerts kept has no reason."""
    if incident is None:
        return {}
    found: dict[tuple[str, str], tuple[str, Alert | None]] = {
        (alert.series_id, alert.reason): ("resolved" if incident.is_over(alert) else "firing", alert)
        for alert in incident.alerts
    }
    found.update({(series_id, ""): ("beyond", None) for series_id in incident.beyond})
    return found
