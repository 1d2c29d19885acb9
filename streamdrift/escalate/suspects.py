"""Upstream changes shortly before an incident: suspects, ranked, each with what speaks for it and what against.

Suspects, no more: the nearest in time is often innocent, so nothing here is called a cause. A change's score is a product of three:

time     1 between the ends of the onset's range, half as much for every ``HALF_LIFE_MS`` before it; a change after it ``AFTER``.
         That the time between weighs exponentially is from Li et al., *Gandalf*, NSDI 2020.
scope    how narrowly it names what moved: the lead feature, another that moved, none at all; the segment that explains, none, or
         a segment of another dimension, of which the incident is not; other models that are quiet speak against it.
kind     how often such changes are behind outages: pushes of binaries 37 %, of configuration 31 % in Beyer et al., *The Site
         Reliability Workbook*, 2018, appendix C; the others are set by hand, below these.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from streamdrift.alerts import rfc3339, segment_name
from streamdrift.escalate.incident import Incident
from streamdrift.escalate.triage import BlastRadius, blast_radius, first
from streamdrift.escalate.words import duration, named
from streamdrift.events.change import REBASELINE, Change

BEFORE_MS = 24 * 3_600_000
AFTER_MS = 3_600_000
"""A change is a suspect from a day before the onset to an hour after it: an estimated onset can be early."""
LOOKED_BACK_MS = 7 * 86_400_000
"""How far back a deployment is looked for, to say that there was none."""
HALF_LIFE_MS = 6 * 3_600_000
AFTER = 0.25
KIND = {
    "deployment": 1.0,
    "configuration": 0.85,
    "schema": 0.8,
    "feature-store": 0.7,
    "feature-pipeline": 0.7,
    "data-source": 0.7,
}
OTHER_KIND = 0.6
SHOWN_MAX, NAMES_MAX = 5, 4


@dataclass(frozen=True, slots=True)
class Suspect:
    """A change that may have to do with an incident.

    Attributes
    ----------
    score
        0 to 1, for the order alone: it is no probability.
    why, against
        What speaks for it, and what against, a phrase each.
    """

    change: Change
    score: float
    why: tuple[str, ...]
    against: tuple[str, ...]

    @property
    def sentence(self) -> str:
        """All of it in one line."""
        change = self.change
        what = f"suspect: {named(change.kind, 24)} {named(change.change_id, 64)}: {named(change.summary, 160)}"
        told = "; ".join([what, *([", ".join(self.why)] if self.why else [])])
        told += f"; but {', '.join(self.against)}" if self.against else ""
        return told + (f" ({named(change.link, 200)})" if change.link else "")

    def to_json(self) -> dict[str, object]:
        """The suspect in JSON terms."""
        change = self.change
        return {
            "change_id": change.change_id,
            "kind": change.kind,
            "occurred_at": rfc3339(change.time),
            "summary": change.summary,
            "link": change.link,
            "score": round(self.score, 3),
            "why": list(self.why),
            "against": list(self.against),
            "sentence": self.sentence,
        }


@dataclass(frozen=True, slots=True)
class Upstream:
    """What is known of changes upstream of an incident.

    Attributes
    ----------
    no_deployment
        That there was none, in words; None where there was one or nothing is known.
    """

    suspects: tuple[Suspect, ...]
    no_deployment: str | None = None

    @property
    def sentences(self) -> list[str]:
        """A line for each suspect, and that there was no deployment."""
        return [suspect.sentence for suspect in self.suspects] + ([self.no_deployment] if self.no_deployment else [])

    def to_json(self) -> dict[str, object]:
        """The same in JSON terms."""
        told: dict[str, object] = {"suspects": [suspect.to_json() for suspect in self.suspects]}
        return told | ({"no_deployment": self.no_deployment} if self.no_deployment else {})


def kinds(above: Upstream | None) -> set[str]:
    """The kinds of the changes that are suspects."""
    return set() if above is None else {suspect.change.kind for suspect in above.suspects}


def upstream(
    incident: Incident,
    changes: Collection[Change],
    alarmed: Collection[str] | None = None,
    known_since: int | None = None,
) -> Upstream:
    """Return what is to be said of changes upstream of an incident; see ``suspects`` and ``no_deployment``."""
    return Upstream(tuple(suspects(incident, changes, alarmed)), no_deployment(incident, changes, known_since))


def suspects(incident: Incident, changes: Iterable[Change], alarmed: Collection[str] | None = None) -> list[Suspect]:
    """Return the changes that reach the incident's model, one of its features and one of its segments, the most suspicious first.

    Parameters
    ----------
    alarmed
        Models with an incident that is open; None where that isn't known.
    """
    radius, onset = blast_radius(incident), _onset(incident)
    found = [
        _suspect(change, incident, radius, onset, alarmed)
        for change in changes
        if _reaches(change, incident, radius, onset)
    ]
    return sorted(found, key=lambda s: (-s.score, abs(s.change.time - onset[1]), s.change.change_id))[:SHOWN_MAX]


def no_deployment(incident: Incident, changes: Iterable[Change], known_since: int | None) -> str | None:
    """Say that the model was not deployed lately, as far back as changes are known; None where it was, or none is known."""
    _, latest = _onset(incident)
    since = latest - LOOKED_BACK_MS
    deployed = [
        change
        for change in changes
        if change.kind == "deployment" and since <= change.time <= latest and _of_model(change, incident.model)
    ]
    if deployed or known_since is None or known_since > latest:
        return None
    if known_since <= since:
        return f"no deployment in the last {LOOKED_BACK_MS // 86_400_000} days before it"
    return f"no deployment in the {duration((latest - known_since) / 1000)} before it for which changes are known"


def _onset(incident: Incident) -> tuple[int, int]:
    """Earliest and latest time of the change point."""
    return first(incident).onset_range or (incident.onset_at, incident.onset_at)


def _of_model(change: Change, model: str) -> bool:
    return not change.models or model in change.models


def _reaches(change: Change, incident: Incident, radius: BlastRadius, onset: tuple[int, int]) -> bool:
    return (
        change.kind != REBASELINE  # it changed how we see the model, not the model
        and onset[0] - BEFORE_MS <= change.time <= onset[1] + AFTER_MS
        and _of_model(change, incident.model)
        and (not change.features or bool(set(change.features) & {alert.feature for alert in incident.alerts}))
        and any(all(place.get(d, v) == v for d, v in change.segments.items()) for place in radius.segments)
    )


def _suspect(
    change: Change, incident: Incident, radius: BlastRadius, onset: tuple[int, int], alarmed: Collection[str] | None
) -> Suspect:
    why, against = list[str](), list[str]()
    score = KIND.get(change.kind, OTHER_KIND) * _time(change, onset, why, against)
    alerted = {alert.feature for alert in incident.alerts}
    score *= _features(change, radius, alerted, why, against) * _models(change, incident.model, alarmed, why, against)
    score *= _segments(change, radius, why, against)
    return Suspect(change, score, tuple(why), tuple(against))


def _time(change: Change, onset: tuple[int, int], why: list[str], against: list[str]) -> float:
    earliest, latest = onset
    if change.time > latest:
        against.append(f"it came {duration((change.time - latest) / 1000)} after the onset")
        return AFTER
    if change.time >= earliest:
        why.append("at the time of the onset")
        return 1.0
    why.append(f"{duration((earliest - change.time) / 1000)} before the onset")
    return float(0.5 ** ((earliest - change.time) / HALF_LIFE_MS))


def _features(
    change: Change, radius: BlastRadius, alerted: Collection[str], why: list[str], against: list[str]
) -> float:
    if not change.features:
        against.append("it names no feature")
        return 0.5
    moved = [feature for feature in radius.features if feature in change.features]
    slight = [feature for feature in change.features if feature in alerted and feature not in radius.features]
    why += [f"it names {_names(moved)}"] if moved else []
    why += [f"it names {_names(slight)}, which moved slightly"] if slight else []
    quiet = [feature for feature in change.features if feature not in alerted and feature not in radius.features]
    if quiet:
        against.append(f"{_names(quiet)} that it names as well {'is' if len(quiet) == 1 else 'are'} quiet")
    others = [feature for feature in radius.features if feature not in change.features]
    if others:
        against.append(f"it does not name {_names(others)}")
    return 1.0 if radius.features[0] in change.features else 0.7


def _segments(change: Change, radius: BlastRadius, why: list[str], against: list[str]) -> float:
    """How well its segments fit those that explain; what they share no dimension with can hit them in part only."""
    if not change.segments:
        return 1.0 if radius.all_traffic else 0.7
    shared = {d: v for place in radius.segments for d, v in place.items() if change.segments.get(d) == v}
    if shared:
        why.append(f"it names {_names([segment_name({d: v}) for d, v in shared.items()])}")
        return 1.0
    against.append(f"it is of {_names([segment_name({d: v}) for d, v in change.segments.items()])} alone")
    return 0.4


def _models(change: Change, model: str, alarmed: Collection[str] | None, why: list[str], against: list[str]) -> float:
    if not change.models:
        against.append("it names no model")
        return 0.7
    if alarmed is not None:
        others = [name for name in change.models if name != model]
        quiet = [name for name in others if name not in alarmed]
        if quiet:
            against.append(f"{_names(quiet)} in its scope {'is' if len(quiet) == 1 else 'are'} quiet")
        if hit := [name for name in others if name in alarmed]:
            why.append(f"{_names(hit)} in its scope {'is' if len(hit) == 1 else 'are'} hit as well")
        return 0.8 if quiet else 1.0
    return 1.0


def _names(names: Collection[str]) -> str:
    told = [named(name, 40) for name in list(names)[:NAMES_MAX]]
    rest = len(names) - len(told)
    told += [f"{rest:,} more"] if rest else []
    return told[0] if len(told) == 1 else f"{', '.join(told[:-1])} and {told[-1]}"
