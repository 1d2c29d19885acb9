"""What becomes of mitigations, told by log and metrics; and what the serving side answered, taken into the ledger."""

from __future__ import annotations

from structlog.typing import FilteringBoundLogger

from streamdrift.escalate.ledger import Ledger
from streamdrift.escalate.mitigation.course import OVER, Course
from streamdrift.escalate.mitigation.serving import NAME
from streamdrift.escalate.mitigation.states import ACTIONS, STATES
from streamdrift.escalate.mitigation.told import title
from streamdrift.escalate.receivers.base import OUTCOMES, Page
from streamdrift.ports import Clock
from streamdrift.settings import EscalateSettings
from streamdrift.telemetry import Metrics


class Answers:
    """Stands between deliveries and the course that mitigations take."""

    def __init__(
        self, ledger: Ledger, settings: EscalateSettings, clock: Clock, metrics: Metrics, log: FilteringBoundLogger
    ) -> None:
        self._ledger, self._settings, self._clock, self._metrics, self._log = ledger, settings, clock, metrics, log

    def start(self) -> None:
        """Begin every count at 0 where mitigation is on; where it was switched off, end what is under way."""
        if self._settings.mitigation.url is not None:
            for action in ACTIONS:
                for state in STATES:
                    self._metrics.mitigations.labels(action, state)
            for outcome in (*(kind.name for kind in OUTCOMES), "dead"):
                self._metrics.deliveries.labels(NAME, outcome)
            return
        course = self._course()
        with self._ledger.transaction():
            left = course.switched_off()
        self.tell(course)
        for one in left:
            self._log.error(
                "mitigation is switched off, and nothing takes this back", incident=one.incident_id, what=title(one)
            )

    def take(self, page: Page, *, done: bool, uncertain: bool, reason: str) -> None:
        """Take in what became of a delivery, within the transaction that notes it."""
        course = self._course()
        course.answered(page.dedup_key, page.action, done=done, uncertain=uncertain, reason=reason)
        self.tell(course)

    def tell(self, course: Course) -> None:
        """Count and log what a course moved."""
        for one in course.moved:
            self._metrics.mitigations.labels(one.action, one.state).inc()
            log = self._log.warning if one.state in OVER else self._log.info
            log(
                f"mitigation {one.state}",
                incident=one.incident_id,
                model=one.model,
                what=title(one),
                mitigation=one.mitigation_id,
                dry_run=one.dry_run,
                reason=one.said,
            )
        if course.untold:
            self._metrics.limit_hits.labels("timeline_entries_max").inc(course.untold)
        for limit in course.limits:
            self._metrics.limit_hits.labels(limit).inc()
        course.moved.clear()
        course.limits.clear()
        course.untold = 0

    def _course(self) -> Course:
        return Course(self._ledger, self._settings, self._clock.now())
