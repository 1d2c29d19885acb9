"""Reports on sources in the ledger: what each had, when somebody looked."""

from __future__ import annotations

from dataclasses import asdict

import orjson
from sqlalchemy import func, select

from streamdrift.escalate.database import Database
from streamdrift.escalate.tables import source_reports
from streamdrift.events.source_report import SourceReport

REPORTS_MAX = 500
"""Reports of one source that are kept; over it the oldest goes. At one in ten minutes that is three days."""
KEPT_MS = 15 * 86_400_000

_C = source_reports.c


class SourceReports:
    """Reports, by source and time."""

    def __init__(self, database: Database, reports_max: int = REPORTS_MAX) -> None:
        self._database, self._max = database, reports_max

    def put(self, report: SourceReport) -> bool:
        """Note a report; return whether it was not known."""
        known = select(_C.at).where(_C.source == report.source, _C.at == report.time)
        if self._database.execute(known):
            return False
        body = orjson.dumps(asdict(report), option=orjson.OPT_SORT_KEYS).decode()
        self._database.execute(source_reports.insert().values(source=report.source, at=report.time, body=body))
        mine = _C.source == report.source
        ((count,),) = self._database.execute(select(func.count()).select_from(source_reports).where(mine))
        if count > self._max:
            oldest = select(func.min(_C.at)).where(mine).scalar_subquery()
            self._database.execute(source_reports.delete().where(mine, _C.at == oldest))
        return True

    def of(self, source: str, until: int) -> list[SourceReport]:
        """Return those of one source up to a time, oldest first."""
        rows = self._database.execute(select(_C.body).where(_C.source == source, _C.at <= until).order_by(_C.at))
        return [SourceReport(**orjson.loads(body)) for (body,) in rows]

    def prune(self, before_ms: int) -> None:
        """Forget those that are older."""
        self._database.execute(source_reports.delete().where(_C.at < before_ms))
