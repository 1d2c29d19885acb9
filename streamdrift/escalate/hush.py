"""Why an incident's page is withheld now: what the ledger has of silences, and of incidents that inhibit others."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

from streamdrift.escalate.incident import Incident
from streamdrift.escalate.ledger import Ledger
from streamdrift.escalate.routing.document import Routes
from streamdrift.escalate.routing.labels import may_page, of_alert, of_incident
from streamdrift.escalate.routing.matchers import Labels
from streamdrift.escalate.routing.quiet import Quiet, silenced
from streamdrift.settings import EscalateSettings

NAMED_MAX = 5
"""Silences told by name."""


class Hush:
    """Looks once at what may withhold pages; made anew for each transaction."""

    def __init__(self, ledger: Ledger, routes: Routes, settings: EscalateSettings, now: float) -> None:
        self._ledger, self._routes, self._settings, self._now = ledger, routes, settings, now

    def why(self, incident: Incident) -> str:
        """Return what withholds an incident's pages, in words; empty where nothing does."""
        quiets = self._silenced(incident)
        if quiets:
            rest = len(quiets) - NAMED_MAX
            return ", ".join([quiet.title for quiet in quiets[:NAMED_MAX]] + ([f"{rest} more"] if rest > 0 else []))
        return next(self._inhibited(incident), "")

    @cached_property
    def _quiets(self) -> list[Quiet]:
        return [*self._ledger.silences.lasting(self._now), *self._routes.maintenance]

    def _silenced(self, incident: Incident) -> tuple[Quiet, ...]:
        if not self._quiets:
            return ()
        team = self._routes.team(incident.model)
        alerts = [(alert, of_alert(alert, team)) for alert in may_page(incident, self._settings.severity_min)]
        named = {"model": frozenset({incident.model}), "team": frozenset({team} if team else ())}
        return silenced(self._quiets, alerts, self._now, beyond=named if incident.beyond else None)

    @cached_property
    def _sources(self) -> list[tuple[Incident, Labels]]:
        """Incidents that may keep others from being told: open, and not withheld themselves."""
        opened = (incident for incident in self._ledger.incidents.all_open() if incident.pages)
        return [
            (incident, of_incident(incident, self._routes.team(incident.model)))
            for incident in opened
            if self._ledger.withheld.get(incident.incident_id) is None
        ]

    def _inhibited(self, incident: Incident) -> Iterator[str]:
        if not self._routes.inhibit:
            return
        mine = of_incident(incident, self._routes.team(incident.model))
        for rule in self._routes.inhibit:
            for source, labels in self._sources:
                if source.incident_id != incident.incident_id and rule.inhibits(labels, mine):
                    yield f"inhibition {rule.name} by incident {source.incident_id}"
