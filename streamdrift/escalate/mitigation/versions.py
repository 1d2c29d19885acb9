"""What is known of a model's versions: which one serves, which one did before, and whether an older one reads what broke. Pure.

Known is what deployments on the changes topic say (``version``, and ``reads``: all features that the version reads), and which
version each alert was of. Whoever says nothing makes it unknown, and unknown is what is told.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from streamdrift.alerts import Alert
from streamdrift.escalate.incident import Incident
from streamdrift.escalate.mitigation.states import Verdict
from streamdrift.escalate.ranking import INPUTS, OUTPUTS
from streamdrift.escalate.suspects import AFTER_MS
from streamdrift.escalate.triage import first
from streamdrift.escalate.words import moment, named
from streamdrift.events.change import Change

NAMES_MAX = 4
VERSION_SHOWN = 48


@dataclass(frozen=True, slots=True)
class Known:
    """What the ledger has of one model.

    Attributes
    ----------
    deployments
        Those that name a version, in their order.
    alerts
        Lately, of any of its incidents.
    left
        Versions that were rolled back from, and when: milliseconds since the epoch.
    """

    deployments: Sequence[Change] = ()
    alerts: Sequence[Alert] = ()
    left: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Check:
    """Whether an older version would be free of what broke, and what says so."""

    verdict: Verdict
    why: tuple[str, ...]


def shown(version: str | None) -> str:
    """A version by name.

    >>> shown("12"), shown(None)
    ('version 12', 'version ?')
    """
    return f"version {named(version or '?', VERSION_SHOWN)}"


def serving(incident: Incident, known: Known) -> str | None:
    """Return the version that serves now: that of the latest alert, or of a deployment after it; None where nothing says."""
    seen = _seen([*incident.alerts, *known.alerts], known.deployments)
    return seen[-1][1] if seen else None


def previous(current: str | None, incident: Incident, known: Known) -> str | None:
    """Return the version that served before; None where nothing says."""
    others = [version for _, version in _seen([*incident.alerts, *known.alerts], known.deployments)]
    return next((version for version in reversed(others) if version != current), None)


def check(incident: Incident, target: str, current: str | None, known: Known) -> Check:
    """Look at whether a version reads what broke, or was hit as well."""
    if target in known.left:
        at = f"{shown(target)} was rolled back from on {moment(known.left[target])} UTC"
        return Check("unknown", (at,))
    broken = sorted({alert.feature for alert in incident.firing if alert.role in INPUTS})
    hit = _hit(incident, target, current, known, broken)
    if hit:
        return Check("hit", hit)
    if incident.beyond:
        return Check("unknown", ("of some of its series not even the feature is kept",))
    if not broken:
        return _outputs(incident)
    found = next((one for one in reversed(known.deployments) if one.version == target and one.reads is not None), None)
    if found is None:
        return Check("unknown", (f"whether {shown(target)} reads {names(broken)} is not known",))
    return Check(
        "clear", (f"{shown(target)} does not read {names(broken)} ({named(found.change_id, 64)} says what it reads)",)
    )


def _hit(incident: Incident, target: str, current: str | None, known: Known, broken: Sequence[str]) -> tuple[str, ...]:
    """What says that the version is no better, if anything does."""
    if any(_version(alert) == target for alert in incident.firing):
        return (f"alerts of this incident are of {shown(target)} itself",)
    if _came_later(current, target, _latest_onset(incident), known):
        return (f"{shown(target)} served when it began",)
    declared = next(
        (one for one in reversed(known.deployments) if one.version == target and one.reads is not None), None
    )
    read = [feature for feature in broken if declared is not None and _reads(declared.reads or (), feature)]
    if read and declared is not None:
        return (f"{shown(target)} reads {names(read)} as well ({named(declared.change_id, 64)} says what it reads)",)
    alarmed = {alert.feature for alert in known.alerts if _version(alert) == target}
    seen = [feature for feature in broken if feature in alarmed]
    return (f"{names(seen)} had an alert under {shown(target)}, so it comes with that, too",) if seen else ()


def _outputs(incident: Incident) -> Check:
    if any(alert.role in OUTPUTS for alert in incident.firing):
        return Check("clear", ("no input that is watched moved, only what the model puts out",))
    return Check("unknown", ("only the traffic moved; whether another version changes that is not known",))


def names(features: Sequence[str]) -> str:
    """Features by name, some of them."""
    told = [named(feature, 40) for feature in features[:NAMES_MAX]]
    rest = len(features) - len(told)
    told += [f"{rest:,} more"] if rest else []
    return told[0] if len(told) == 1 else f"{', '.join(told[:-1])} and {told[-1]}"


def _reads(read: Sequence[str], feature: str) -> bool:
    """A feature is known by its own name, or by that of the embedding or text it was derived from."""
    return any(feature == name or feature.startswith((f"{name}.", f"embedding.{name}.")) for name in read)


def _seen(alerts: Sequence[Alert], deployments: Sequence[Change]) -> list[tuple[int, str]]:
    """When which version was seen, in the order of time; of one time, what was deployed comes last."""
    by_alert = [(alert.detected_at, 0, version) for alert in alerts if (version := _version(alert)) is not None]
    deployed = [(change.time, 1, change.version) for change in deployments if change.version]
    return [(at, version) for at, _, version in sorted([*by_alert, *deployed])]


def _came_later(current: str | None, target: str, onset_at: int, known: Known) -> bool:
    """Whether the one that serves was deployed after an onset, at which the target served. Both deployments have to be known."""
    before = next((change.version for change in reversed(known.deployments) if change.time <= onset_at), None)
    return before == target and any(c.version == current and c.time > onset_at for c in known.deployments)


def _latest_onset(incident: Incident) -> int:
    """An estimate without a range may be early by as much as suspects allow for."""
    lead = first(incident)
    return lead.onset_range[1] if lead.onset_range else incident.onset_at + AFTER_MS


def _version(alert: Alert) -> str | None:
    version = alert.model.get("version")
    return version if isinstance(version, str) and version else None
