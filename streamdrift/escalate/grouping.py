"""Which incident an alert belongs to, and whether it comes too late for it; ``policy`` has the rules in words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from streamdrift.alerts import Alert
from streamdrift.escalate.incident import Incident
from streamdrift.settings import EscalateSettings


def choose(incidents: Iterable[Incident], alert: Alert, settings: EscalateSettings) -> Incident | None:
    """Return the incident of the alert's model that it belongs to; of several equal ones, an open one, the latest.

    Parameters
    ----------
    incidents
        Those that go on, and those that ended lately: a firing alert of the same cause opens one again (``may_reopen``).
    """
    firing = alert.status == "firing"
    candidates = [one for one in incidents if one.is_open or (firing and may_reopen(one, alert, settings))]
    latest_first = sorted(candidates, key=lambda i: (i.is_open, i.updated_at, i.incident_id), reverse=True)
    for rule in _RULES if firing else (_closes, _same_series):
        for incident in latest_first:
            if rule(incident, alert, settings) and not (firing and _apart(incident, alert)):
                return incident
    return None


def may_reopen(incident: Incident, alert: Alert, settings: EscalateSettings) -> bool:
    """Whether an incident that is over ended so lately that this alert may be its cause come back."""
    if incident.resolved_at is None or settings.reopen_s == 0:
        return False
    late = alert.detected_at - incident.resolved_at
    return incident.opened_at <= alert.detected_at and late <= settings.reopen_s * 1000


def _held(incident: Incident) -> Sequence[Alert]:
    """What tells its cause: what fires; of one that is over, all that fired."""
    return incident.firing if incident.is_open else incident.alerts


def _same_alert(incident: Incident, alert: Alert, _settings: EscalateSettings | None = None) -> bool:
    """The incident has what this alert updates, or an update of it."""
    return any(held.opening_id == alert.opening_id for held in incident.alerts if held.series_id == alert.series_id)


def _apart(incident: Incident, alert: Alert) -> bool:
    """Drift too slow for the recent past, and what is news to that, have two causes, whatever series they meet in."""
    alerts = _held(incident)
    slow = all(_is_slow(held) for held in alerts)
    return bool(alerts) and slow != _is_slow(alert) and not _same_alert(incident, alert)


def _is_slow(alert: Alert) -> bool:
    return alert.reference.get("which") == "first"


def _closes(incident: Incident, alert: Alert, _settings: EscalateSettings) -> bool:
    """The incident has what this alert names as resolved: of a series that fires in two, the right one."""
    return any(
        alert.resolves in {held.alert_id, held.opening_id}
        for held in incident.firing
        if held.series_id == alert.series_id
    )


def _same_series(incident: Incident, alert: Alert, _settings: EscalateSettings) -> bool:
    return incident.fires(alert.series_id) or any(held.series_id == alert.series_id for held in _held(incident))


def _same_signal(incident: Incident, alert: Alert, _settings: EscalateSettings) -> bool:
    return any(
        held.feature == alert.feature and held.reason == alert.reason and _rises(held) == _rises(alert)
        for held in _held(incident)
    )


def _rises(alert: Alert) -> bool:
    """A feature that goes up in one segment has another cause than one that goes down in others."""
    return alert.effect_unit != "sd" or alert.effect_size >= 0


def _same_time(incident: Incident, alert: Alert, settings: EscalateSettings) -> bool:
    """They began together; or they are noticed together, and share a feature.

    Noticed together alone says little: the small segments of one change are still being noticed when the next begins.
    """
    window_ms = settings.incident_window_s * 1000
    held = _held(incident)
    if any(_between_onsets(alert, other) <= window_ms for other in held):
        return True
    noticed = incident.is_open and abs(alert.detected_at - incident.updated_at) <= window_ms
    return noticed and any(other.feature == alert.feature for other in held)


def _between_onsets(one: Alert, other: Alert) -> int:
    """Time between the nearest plausible change points of two alerts, in milliseconds; 0 where they overlap."""
    (first, last), (other_first, other_last) = _onsets(one), _onsets(other)
    return max(0, other_first - last, first - other_last)


def _onsets(alert: Alert) -> tuple[int, int]:
    if alert.onset_range is None:
        return alert.onset_at, alert.onset_at
    return min(alert.onset_at, alert.onset_range[0]), max(alert.onset_at, alert.onset_range[1])


_RULES = (_same_alert, _same_series, _same_signal, _same_time)


def overtaken(incident: Incident, alert: Alert) -> str | None:
    """Why this alert comes too late, if so."""
    for held in incident.alerts:
        if held.series_id == alert.series_id and held.opening_id == alert.opening_id:
            if incident.is_over(held):
                return "closed"
            if (held.detected_at, held.events_seen) >= (alert.detected_at, alert.events_seen):
                return "stale"
        elif _signal(held) == _signal(alert) and _fires_later(incident, held, alert):
            return "stale"
    return None


def _fires_later(incident: Incident, held: Alert, alert: Alert) -> bool:
    return not incident.is_over(held) and held.detected_at > alert.detected_at


def _signal(alert: Alert) -> tuple[str, str]:
    """A series can fire for several reasons at once: null, and shifted where it isn't."""
    return alert.series_id, alert.reason
