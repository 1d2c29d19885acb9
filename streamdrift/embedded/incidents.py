"""Incidents of recorded alerts, and how warm the model's series were at their time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from streamdrift.alerts import Alert
from streamdrift.escalate.policy import Incident, apply, choose
from streamdrift.report import HeatMap, IncidentReport
from streamdrift.settings import Settings

SEGMENTS_IN_HEAT = 24
FEATURES_IN_HEAT = 24


class IncidentBook:
    """Incidents of recorded alerts, by the escalation worker's own policy; nobody is paged.

    Parameters
    ----------
    on_page
        Told what would be paged: the action, the incident, and the event time of the alert that caused it.
    """

    def __init__(
        self, settings: Settings, on_page: Callable[[str, Incident, int], None] = lambda _action, _incident, _at: None
    ) -> None:
        self._settings, self._on_page = settings.escalate, on_page
        self._incidents: dict[str, Incident] = {}
        self._heat: dict[str, HeatMap | None] = {}

    def take(self, alert: Alert, heat: HeatMap | None) -> None:
        """Let an alert open, join or resolve an incident; ``heat`` is the model's at that time."""
        mine = (i for i in self._incidents.values() if i.model == alert.model_name)
        decision = apply(choose(mine, alert, self._settings), alert, self._settings)
        incident = decision.incident
        if incident is None or decision.action == "ignore":
            return
        self._incidents[incident.incident_id] = incident
        if alert.status == "firing":
            self._heat[incident.incident_id] = warmer(self._heat.get(incident.incident_id), heat)
        if decision.page:
            self._on_page(decision.action, incident, alert.detected_at)

    def incident(self, incident_id: str) -> Incident | None:
        """Return an incident as it stands now."""
        return self._incidents.get(incident_id)

    @property
    def paged(self) -> tuple[Incident, ...]:
        """Incidents that somebody would have been paged about, in order of their first alert."""
        return tuple(i for i in self._incidents.values() if i.pages)

    @property
    def noted(self) -> int:
        """Incidents of alerts below ``escalate.severity_min``."""
        return len(self._incidents) - len(self.paged)

    def reports(self) -> tuple[IncidentReport, ...]:
        """What the report shows of each incident that paged: all that it had, not only what still fires at the end."""
        whole = (replace(i, resolved=frozenset()) for i in self.paged)
        return tuple(IncidentReport(i, self._heat.get(i.incident_id)) for i in whole)


def heat_map(heat: dict[tuple[str, str], float]) -> HeatMap | None:
    """Arrange values by (feature, segment) as a table: the warmest features and the segments with most series."""
    if not heat:
        return None
    warmth: dict[str, float] = {}
    width: dict[str, int] = {}
    for (feature, segment), value in heat.items():
        warmth[feature] = max(warmth.get(feature, 0.0), value)
        width[segment] = width.get(segment, 0) + 1
    features = sorted(warmth, key=lambda f: (-warmth[f], f))[:FEATURES_IN_HEAT]
    segments = sorted(sorted(width, key=lambda s: (-width[s], s))[:SEGMENTS_IN_HEAT])
    return HeatMap(
        tuple(features),
        tuple(segments),
        tuple(tuple(heat.get((feature, segment)) for segment in segments) for feature in features),
    )


def warmer(one: HeatMap | None, two: HeatMap | None) -> HeatMap | None:
    """Cell by cell the larger of two maps, over the rows and columns of the second and then of the first."""
    if one is None or two is None:
        return two or one
    cells: dict[tuple[str, str], float] = {}
    for heat in (one, two):
        for feature, row in zip(heat.features, heat.values, strict=True):
            for segment, value in zip(heat.segments, row, strict=True):
                if value is not None:
                    cells[feature, segment] = max(cells.get((feature, segment), 0.0), value)
    return heat_map(cells)
