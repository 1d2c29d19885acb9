"""What a person is paged about: alerts of one model with one cause."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from streamdrift.alerts import Alert, Severity

Status = Literal["open", "acknowledged", "mitigating", "resolved"]
"""Where an incident stands. All but the last take in alerts."""
RANK: dict[str, int] = {"info": 0, "warning": 1, "critical": 2}
BAND = 4
"""So many times as many features, or as much traffic, are worth another page."""
DOUBLED = 2.0
"""So is an alert whose effect has grown by this."""


@dataclass(frozen=True, slots=True)
class Reach:
    """How far an incident goes: what is compared to tell whether it grew enough for another page.

    Attributes
    ----------
    severity
        0 info, 1 warning, 2 critical.
    traffic_share
        Of the model's traffic, in the segments that explain it.
    effects
        Size of the effect of each alert that was updated, by what opened it and the unit; of what was paged: the size
        that it has to double.
    """

    severity: int
    all_traffic: bool
    features: int
    traffic_share: float
    effects: dict[str, float] = field(default_factory=dict)

    def beyond(self, other: Reach) -> str | None:
        """Name what is by a band larger than the other's; None where nothing is."""
        if self.severity > other.severity:
            return "severity"
        if self.all_traffic and not other.all_traffic:
            return "all_traffic"
        if self.features >= BAND * other.features:
            return "features"
        if self.traffic_share >= BAND * other.traffic_share > 0:
            return "traffic_share"
        doubled = (size >= DOUBLED * other.effects.get(key, 0.0) > 0 for key, size in self.effects.items())
        return "effect" if any(doubled) else None

    def joined(self, other: Reach) -> Reach:
        """The larger of both, measure by measure; of the other's effects those that are still there."""
        return Reach(
            max(self.severity, other.severity),
            self.all_traffic or other.all_traffic,
            max(self.features, other.features),
            max(self.traffic_share, other.traffic_share),
            {key: max(size, other.effects.get(key, 0.0)) for key, size in self.effects.items()},
        )


@dataclass(frozen=True, slots=True)
class Incident:
    """Alerts of one model with one cause. Times are event times, in milliseconds since the epoch.

    Attributes
    ----------
    incident_id
        From the model and the first alert: the same alerts give the same id.
    severity
        Highest of its alerts, as ``severity`` grades them for the model's tier.
    opened_at, updated_at
        ``detected_at`` of the first and of the latest alert.
    onset_at
        Earliest onset of the alerts that may page (of all, where none may).
    alerts
        The firing alerts it was told of, the latest per series and reason, in the order in which they opened: one that
        updates another stands in its place. Those that are resolved stay, too.
    resolved
        Series and reason of those that are resolved.
    beyond
        Ids of firing series for which ``alerts`` had no room. They keep the incident open.
    paged
        What was paged so far; None where nobody was.
    pages
        Number of pages, each with a dedup key of its own.
    reopened
        How often it came back after it was resolved.
    resolved_at
        When it ended last; None while it goes on.
    """

    incident_id: str
    model: str
    status: Status
    severity: Severity
    opened_at: int
    updated_at: int
    onset_at: int
    alerts: tuple[Alert, ...]
    resolved: frozenset[tuple[str, str]]
    beyond: frozenset[str] = frozenset()
    paged: Reach | None = None
    pages: int = 0
    reopened: int = 0
    resolved_at: int | None = None

    @property
    def is_open(self) -> bool:
        """Whether it goes on: nobody is done with it, and alerts may join it."""
        return self.status != "resolved"

    @property
    def firing(self) -> tuple[Alert, ...]:
        """Alerts that are not resolved."""
        return tuple(alert for alert in self.alerts if not self.is_over(alert))

    def is_over(self, alert: Alert) -> bool:
        """Whether an alert that it holds is resolved. A series can fire for several reasons, each with an end of its own."""
        return (alert.series_id, alert.reason) in self.resolved

    def fires(self, series_id: str) -> bool:
        """Whether an alert of this series is open in it."""
        return series_id in self.beyond or any(alert.series_id == series_id for alert in self.firing)

    @property
    def dedup_keys(self) -> tuple[str, ...]:
        """Dedup keys of its pages, oldest first."""
        return tuple(dedup_key(self.incident_id, number) for number in range(1, self.pages + 1))


def dedup_key(incident_id: str, number: int) -> str:
    """Dedup key of an incident's n-th page.

    A page about growth has a key of its own. With the key of the first, PagerDuty would add a line to an alert that
    somebody may have acknowledged hours ago, and call nobody: growth would go unnoticed, as it does with Alertmanager.
    Growth is measured in bands, so there are few such pages; all keys are resolved together.

    >>> dedup_key("c0ffee", 1), dedup_key("c0ffee", 2)
    ('c0ffee', 'c0ffee.2')
    """
    return incident_id if number == 1 else f"{incident_id}.{number}"
