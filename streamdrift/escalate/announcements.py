"""What is still to be said of incidents on their topic: a row for each change, written with it, gone once it is published.

Each change of an incident has the next revision of it, in the transaction that made the change; changes of one transaction are one
revision. What a revision says is fixed when it is written, so that one that is published twice says the same twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import func, literal, null, select

from streamdrift.alerts import rfc3339
from streamdrift.escalate import page
from streamdrift.escalate.database import Database
from streamdrift.escalate.incident import Incident
from streamdrift.escalate.tables import announcements, incidents, revisions, timeline
from streamdrift.escalate.triage import headline

TYPE = "io.streamdrift.incident-state.v1"
SCHEMA = "https://streamdrift.io/schemas/incident-state.v1.json"
PENDING_MAX = 2_000
"""Rows that may wait; over it those go that a later one of their incident stands for, then the oldest."""
ENTRIES_MAX, TEXT_MAX, NAMES_MAX = 20, 500, 200

_A, _R = announcements.c, revisions.c
_LIVES = select(incidents.c.incident_id).where(incidents.c.incident_id == _R.incident_id).exists()


@dataclass(frozen=True, slots=True)
class Announcement:
    """One revision of one incident; without a body it is gone."""

    incident_id: str
    revision: int
    body: bytes | None


class Announcements:
    """Rows, by incident and revision.

    Attributes
    ----------
    dropped
        How many had to go since somebody asked.
    """

    def __init__(self, database: Database, pending_max: int = PENDING_MAX) -> None:
        self._database, self._max = database, pending_max
        self.dropped = 0

    def changed(self, incident: Incident, before: Incident | None, now: float) -> None:
        """Note a change, within the transaction that makes it."""
        revision, told = self._revision(incident.incident_id)
        entries = self._entries(incident.incident_id, told)
        body = compose(incident, what(before, incident), revision + 1, entries, now)
        last = int(entries[-1][0]) if entries else told
        put = self._database.insert(revisions).values(
            incident_id=incident.incident_id, revision=revision + 1, told=last, gone=0
        )
        self._database.execute(
            put.on_conflict_do_update(
                index_elements=["incident_id"], set_={"revision": revision + 1, "told": last, "gone": 0}
            )
        )
        self._database.execute(
            announcements.insert().values(
                incident_id=incident.incident_id, revision=revision + 1, at=now, body=body.decode()
            )
        )
        self._bound()

    def _revision(self, incident_id: str) -> tuple[int, int]:
        """The last revision, and the last entry of the timeline that it told."""
        rows = self._database.execute(select(_R.revision, _R.told).where(_R.incident_id == incident_id))
        return (int(rows[0][0]), int(rows[0][1])) if rows else (0, 0)

    def _entries(self, incident_id: str, told: int) -> list[tuple[Any, ...]]:
        """What the timeline says since then; of many the latest."""
        c = timeline.c
        mine = (c.incident_id == incident_id, c.seq > told)
        found = self._database.execute(
            select(c.seq, c.at, c.kind, c.text).where(*mine).order_by(c.seq.desc()).limit(ENTRIES_MAX)
        )
        return found[::-1]

    def _bound(self) -> None:
        if self.count() <= self._max:
            return
        later = announcements.alias("later")
        stood_for = (
            select(later.c.revision)
            .where(later.c.incident_id == _A.incident_id, later.c.revision > _A.revision)
            .exists()
        )
        gone = self._database.execute(announcements.delete().where(stood_for).returning(_A.revision))
        self.dropped += len(gone)
        over = self.count() - self._max
        for incident_id, revision in self._oldest(over):
            self._database.execute(announcements.delete().where(_A.incident_id == incident_id, _A.revision == revision))
            self.dropped += 1

    def _oldest(self, number: int) -> list[tuple[Any, ...]]:
        if number <= 0:
            return []
        order = (_A.at, _A.incident_id)
        return self._database.execute(select(_A.incident_id, _A.revision).order_by(*order).limit(number))

    def pending(self, limit: int) -> list[Announcement]:
        """Return what is to be published, revisions of an incident in their order."""
        rows = self._database.execute(
            select(_A.incident_id, _A.revision, _A.body).order_by(_A.incident_id, _A.revision).limit(limit)
        )
        return [
            Announcement(incident_id, revision, None if body is None else str(body).encode())
            for incident_id, revision, body in rows
        ]

    def published(self, told: list[Announcement]) -> None:
        """Forget what is with the broker; of an incident that is gone its revision too."""
        for one in told:
            mine = (_A.incident_id == one.incident_id, _A.revision == one.revision)
            self._database.execute(announcements.delete().where(*mine))
            if one.body is None:
                gone = (_R.incident_id == one.incident_id, _R.revision == one.revision, _R.gone == 1)
                self._database.execute(revisions.delete().where(*gone))

    def bury(self, now: float) -> None:
        """Note that incidents which are in the ledger no more are gone, within the transaction that removed them."""
        gone = (_R.gone == 0, ~_LIVES)
        rows = select(_R.incident_id, _R.revision + 1, literal(now), null()).where(*gone)
        into = ["incident_id", "revision", "at", "body"]
        self._database.execute(announcements.insert().from_select(into, rows))
        self._database.execute(revisions.update().where(*gone).values(gone=1, revision=_R.revision + 1))
        self._bound()

    def count(self) -> int:
        """Return how many wait."""
        ((count,),) = self._database.execute(select(func.count()).select_from(announcements))
        return int(count)


def what(before: Incident | None, after: Incident) -> str:
    """Name what became of an incident in one transaction."""
    if not after.is_open:
        return "resolved"
    if before is None:
        return "opened"
    if after.reopened > before.reopened or not before.is_open:
        return "reopened"
    if after.pages > before.pages or len(after.alerts) > len(before.alerts) or len(after.beyond) > len(before.beyond):
        return "grew"
    if after.status != before.status:
        return after.status
    return "shrank" if len(after.firing) < len(before.firing) else "updated"


def compose(incident: Incident, change: str, revision: int, entries: list[tuple[Any, ...]], now: float) -> bytes:
    """Return a revision as a CloudEvent, bounded whatever is in the incident."""
    told = page.described(incident)
    radius = told["blast_radius"]
    radius |= {name: radius[name][:NAMES_MAX] for name in ("features", "segments")} | {
        "features_count": len(radius["features"]),
        "segments_count": len(radius["segments"]),
    }
    recorded = rfc3339(round(now * 1000))
    steps = [
        {"id": f"{incident.incident_id}#{seq}", "at": rfc3339(max(0, at)), "kind": kind, "text": text[:TEXT_MAX]}
        for seq, at, kind, text in entries
    ]
    data = told | {
        "revision": revision,
        "change": change,
        "recorded_at": recorded,
        "headline": headline(incident),
        "dedup_keys": list(incident.dedup_keys),
        "resolved_at": None if incident.resolved_at is None else rfc3339(incident.resolved_at),
        "timeline": steps,
    }
    return orjson.dumps(
        {
            "specversion": "1.0",
            "id": f"{incident.incident_id}.{revision}",
            "source": f"/streamdrift/{incident.model}",
            "type": TYPE,
            "subject": incident.incident_id,
            "time": recorded,
            "datacontenttype": "application/json",
            "dataschema": SCHEMA,
            "partitionkey": incident.incident_id,
            "data": data,
        }
    )
