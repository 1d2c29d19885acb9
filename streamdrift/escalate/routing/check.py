"""What would become of an alert by the routes, in JSON terms: who is told, when, and what would withhold it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from streamdrift.alerts import Alert, segment_name
from streamdrift.escalate.policy import apply
from streamdrift.escalate.routing.document import Routes
from streamdrift.escalate.routing.labels import of_alert, of_incident
from streamdrift.escalate.routing.matchers import all_hold
from streamdrift.escalate.routing.quiet import Quiet, covers
from streamdrift.escalate.routing.tree import Leg, legs
from streamdrift.settings import EscalateSettings


def course(
    alert: Alert,
    routes: Routes,
    silences: Iterable[Quiet],
    receivers: Sequence[str],
    settings: EscalateSettings,
    now: float,
) -> dict[str, Any]:
    """Return what would become of an alert, if it opened an incident at a time (seconds since the epoch)."""
    decision = apply(None, alert, settings)
    team = routes.team(alert.model_name)
    labels = of_alert(alert, team)
    quiets = [*silences, *routes.maintenance]
    withheld = [one.title for one in quiets if one.in_force(now) and covers(one, alert, labels)]
    taken = []
    if decision.incident is not None and decision.page == "trigger":
        taken = legs(routes.route, of_incident(decision.incident, team), tuple(receivers))
    told = [_leg(leg, routes, now) for leg in taken]
    return {
        "model": alert.model_name,
        "team": team or None,
        "severity": alert.severity,
        "reason": alert.reason,
        "feature": alert.feature,
        "segment": segment_name(alert.segment),
        "pages": decision.page == "trigger",
        "why": decision.reason,
        "withheld_by": withheld,
        "may_be_inhibited_by": [
            rule.name for rule in routes.inhibit if all_hold(rule.target, labels) and not all_hold(rule.source, labels)
        ],
        "routes": told,
        "anybody_told": not withheld and any(leg["receivers"] or leg["steps"] for leg in told),
    }


def _leg(leg: Leg, routes: Routes, now: float) -> dict[str, Any]:
    return {
        "route": leg.route,
        "receivers": list(leg.receivers),
        "on_call": _called(routes, leg.on_call, now),
        "steps": [
            {
                "after_s": step.after_s,
                "receivers": list(step.receivers or ()),
                "on_call": _called(routes, step.on_call, now + step.after_s),
            }
            for step in leg.steps
        ],
    }


def _called(routes: Routes, on_call: str | None, now: float) -> dict[str, Any] | None:
    """Whom a list calls at a time; with no name where nobody's shift has begun."""
    return None if on_call is None else {"list": on_call, "name": None} | routes.called(on_call, now)
