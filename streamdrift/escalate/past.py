"""Past incidents in the ledger: what they were, how they ended and what was learnt, long after they themselves are forgotten."""

from __future__ import annotations

from typing import Any

import orjson
from sqlalchemy import ColumnElement, Select, exists, func, or_, select

from streamdrift.alerts import digest
from streamdrift.escalate.causes import cause_in
from streamdrift.escalate.database import Database
from streamdrift.escalate.incident import Incident
from streamdrift.escalate.postmortem.likeness import Likeness, Marks, Past, ending, likest, marks
from streamdrift.escalate.postmortem.record import Cause
from streamdrift.escalate.tables import causes, incidents, past
from streamdrift.escalate.timeline import Entry
from streamdrift.escalate.triage import headline

PAST_KEPT_S = 730 * 86_400.0
PAST_MAX = 20_000
"""Incidents that are kept so; over it those that ended first go."""
COMPARED_MAX = 200
"""Of the same model or feature, those that ended last are compared with a new one."""
FEATURES_MAX = 10
WORDS_MAX = 20_000
TERMS_MAX, TERM_MAX = 10, 100
SAID = ("note", "suspect", "resolved", "silenced")
"""Kinds of entries whose words are searched."""

_C = past.c


class PastIncidents:
    """What is over, by incident."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, incident: Incident, entries: list[Entry], cause: Cause | None) -> None:
        """Note an incident that is over; one that was over before is noted anew."""
        found, said = marks(incident), headline(incident)
        values = {
            "model_key": digest(found.model),
            "feature_key": digest(found.feature),
            "model": found.model,
            "severity": incident.severity,
            "onset_at": incident.onset_at,
            "resolved_at": incident.resolved_at or incident.updated_at,
            "headline": said,
            "marks": orjson.dumps(found.to_json()).decode(),
            "ending": ending(incident, entries),
            "words": _words(incident, said, entries, cause),
        }
        made = self._database.insert(past).values(incident_id=incident.incident_id, **values)
        self._database.execute(made.on_conflict_do_update(index_elements=["incident_id"], set_=values))

    def like(self, incident: Incident, suspected: set[str] | None = None, limit: int = 1) -> list[Likeness]:
        """Return the past incidents that this one is like, the likest first."""
        mine = marks(incident)
        features = sorted({signal.rpartition("/")[0] for signal in mine.signals})[:FEATURES_MAX]
        near = or_(_C.model_key == digest(mine.model), _C.feature_key.in_([digest(name) for name in features]))
        asked = _selected().where(near, _C.incident_id != incident.incident_id, _over()).limit(COMPARED_MAX)
        return likest(mine, self._read(asked), suspected or set())[:limit]

    def search(self, text: str, limit: int) -> list[Past]:
        """Return those whose words hold each word of a text, those that ended last first."""
        terms = [_C.words.contains(term, autoescape=True) for term in terms_of(text)]
        return self._read(_selected().where(*terms, _over()).limit(limit)) if terms else []

    def _read(self, asked: Select[tuple[Any, ...]]) -> list[Past]:
        return [_past(row) for row in self._database.execute(asked)]

    def prune(self, before_ms: int) -> None:
        """Forget what was over before, and the oldest where there are too many."""
        self._database.execute(past.delete().where(_C.resolved_at < before_ms))
        beyond = select(_C.incident_id).order_by(_C.resolved_at.desc(), _C.incident_id).offset(PAST_MAX).limit(1_000)
        rows = self._database.execute(beyond)
        if rows:
            self._database.execute(past.delete().where(_C.incident_id.in_([row[0] for row in rows])))

    def unknown(self, limit: int) -> list[str]:
        """Return the ids of incidents that are over, were paged, and are not noted: an older release had ended them."""
        here = exists().where(_C.incident_id == incidents.c.incident_id)
        over = (incidents.c.status == "resolved", incidents.c.pages > 0, ~here)
        rows = self._database.execute(select(incidents.c.incident_id).where(*over).limit(limit))
        return [str(incident_id) for (incident_id,) in rows]

    def count(self) -> int:
        """Return how many are kept."""
        ((count,),) = self._database.execute(select(func.count()).select_from(past))
        return int(count)


def _selected() -> Select[tuple[Any, ...]]:
    c = causes.c
    columns = (_C.incident_id, _C.marks, _C.severity, _C.onset_at, _C.resolved_at, _C.headline, _C.ending)
    joined = past.outerjoin(causes, causes.c.incident_id == _C.incident_id)
    order = (_C.resolved_at.desc(), _C.incident_id)
    asked: Select[tuple[Any, ...]] = select(*columns, c.at, c.body, c.change_id, c.kind, c.seq)
    return asked.select_from(joined).order_by(*order)


def _over() -> ColumnElement[bool]:
    """It did not come back."""
    return ~exists().where(incidents.c.incident_id == _C.incident_id, incidents.c.status != "resolved")


def _past(row: tuple[Any, ...]) -> Past:
    incident_id, found, severity, onset_at, resolved_at, said, end, *cause = row
    return Past(
        incident_id,
        Marks.from_json(orjson.loads(found)),
        severity,
        onset_at,
        resolved_at,
        said,
        end,
        None if cause[0] is None else cause_in(incident_id, *cause),
    )


def _words(incident: Incident, said: str, entries: list[Entry], cause: Cause | None) -> str:
    """What a search looks through, in small letters."""
    told = [said, incident.incident_id, incident.model, incident.severity]
    told += [] if cause is None else [cause.text, cause.change_id or "", cause.kind or ""]
    for alert in incident.alerts:
        told += [alert.reason, alert.feature, *(f"{name}={value}" for name, value in alert.segment.items())]
    told += [entry.text for entry in entries if entry.kind in SAID]
    return words(told)


def words(told: list[str]) -> str:
    """Texts as they are searched: each once, in small letters."""
    return "\n".join(dict.fromkeys(text.casefold() for text in told))[:WORDS_MAX]


def terms_of(text: str) -> list[str]:
    """The words of a search."""
    return [term[:TERM_MAX] for term in text.casefold().split()][:TERMS_MAX]
