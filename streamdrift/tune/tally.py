"""What would have been told and paged: a history's alerts, counted, and grouped by the escalation worker's own policy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from streamdrift.alerts import Alert, segment_name
from streamdrift.escalate.policy import Incident, apply, choose, may_reopen
from streamdrift.settings import EscalateSettings


@dataclass(slots=True)
class Count:
    """What one detector, segment or series came to.

    Attributes
    ----------
    alerts
        That opened, whatever their severity.
    pages
        Alerts, or their updates, that would have paged somebody: those that opened an incident, or made it grow by a band.
    """

    alerts: int = 0
    pages: int = 0


@dataclass(slots=True)
class Tally:
    """Counts of one model's alerts, in event order.

    Attributes
    ----------
    incidents
        Incidents that paged.
    """

    settings: EscalateSettings
    total: Count = field(default_factory=Count)
    incidents: int = 0
    detectors: dict[str, Count] = field(default_factory=dict)
    segments: dict[str, Count] = field(default_factory=dict)
    series: dict[str, Count] = field(default_factory=dict)
    reasons: Counter[str] = field(default_factory=Counter)
    features: set[str] = field(default_factory=set)
    _known: dict[str, Incident] = field(default_factory=dict)

    def take(self, alerts: Iterable[Alert]) -> list[bool]:
        """Count the next alerts; return, for each, whether it pages somebody."""
        pages = []
        for alert in alerts:
            paged = self._page(alert)
            pages.append(paged)
            if alert.status == "firing":
                opens = alert.updates is None
                self.reasons[alert.reason] += opens
                self.features.add(alert.feature)
                for count in self._counts(alert):
                    count.alerts += opens
                    count.pages += paged
        return pages

    def _counts(self, alert: Alert) -> list[Count]:
        counts = [self.total, self.segments.setdefault(segment_name(alert.segment), Count())]
        counts.append(self.series.setdefault(alert.series_id, Count()))
        return counts + [self.detectors.setdefault(name, Count()) for name in alert.detectors]

    def _page(self, alert: Alert) -> bool:
        """Whether somebody is told of this alert, by a page that was not sent before."""
        lost = [i for i in self._known.values() if not i.is_open and not may_reopen(i, alert, self.settings)]
        for gone in lost:
            del self._known[gone.incident_id]
        decision = apply(choose(self._known.values(), alert, self.settings), alert, self.settings)
        incident = decision.incident
        if incident is None or decision.action == "ignore":
            return False
        self._known[incident.incident_id] = incident
        first = decision.page == "trigger" and incident.pages == 1
        self.incidents += first
        return decision.page == "trigger"
