"""How like an incident is to one that is over: whether the same moved, in the same way, in the same place.

The score is a sum of four, each 0 to 1, by weight: the same model; signals in common (feature and kind); segments in common;
reasons in common. A new incident has one alert, where the past one had all of its own: what is in common counts by the mean of its share of
the new one's and its share of both. Where the confirmed cause of the past one is of the kind of a suspect of the new one, that adds to it.
The weights are set by hand: what moved tells most.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from streamdrift.alerts import segment_name
from streamdrift.escalate.attribution import signal_kind
from streamdrift.escalate.incident import Incident
from streamdrift.escalate.postmortem.blameless import told
from streamdrift.escalate.postmortem.record import Cause, acts
from streamdrift.escalate.timeline import Entry
from streamdrift.escalate.triage import blast_radius, counted
from streamdrift.escalate.words import duration, named

MODEL, SIGNALS, SEGMENTS, REASONS, CAUSE = 0.25, 0.35, 0.2, 0.2, 0.1
LIKE_MIN = 0.5
"""Less alike is not told."""
MARKS_MAX = 100
ALL_TRAFFIC = "all traffic"


@dataclass(frozen=True, slots=True)
class Marks:
    """What an incident is known by again.

    Attributes
    ----------
    signals
        Feature and kind of what moved, as ``feature/kind``.
    """

    model: str
    feature: str
    signals: frozenset[str]
    segments: frozenset[str]
    reasons: frozenset[str]

    def to_json(self) -> dict[str, Any]:
        """The marks in JSON terms."""
        sets = {"signals": self.signals, "segments": self.segments, "reasons": self.reasons}
        return {"model": self.model, "feature": self.feature} | {name: sorted(found) for name, found in sets.items()}

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> Marks:
        """Read what ``to_json`` wrote."""
        signals, segments, reasons = (frozenset(found[name]) for name in ("signals", "segments", "reasons"))
        return cls(found["model"], found["feature"], signals, segments, reasons)


def marks(incident: Incident) -> Marks:
    """Return what an incident is known by: of its alerts those that count."""
    alerts = counted(incident)
    return Marks(
        incident.model,
        blast_radius(incident).lead.feature,
        _first(f"{alert.feature}/{signal_kind(alert)}" for alert in alerts),
        _first(segment_name(alert.segment) or ALL_TRAFFIC for alert in alerts),
        _first(alert.reason for alert in alerts),
    )


def _first(texts: Iterable[str]) -> frozenset[str]:
    return frozenset(sorted(set(texts))[:MARKS_MAX])


@dataclass(frozen=True, slots=True)
class Past:
    """An incident that is over, as much of it as is kept for good.

    Attributes
    ----------
    ending
        How it ended, in words.
    """

    incident_id: str
    marks: Marks
    severity: str
    onset_at: int
    resolved_at: int
    headline: str
    ending: str
    cause: Cause | None = None

    @property
    def outcome(self) -> str:
        """What is known of its cause and its end."""
        if self.cause is None:
            return f"no cause confirmed; {self.ending}"
        change = (
            f"{named(self.cause.kind or '', 24)} {named(self.cause.change_id, 64)}: " if self.cause.change_id else ""
        )
        return f"cause confirmed as {change}{named(self.cause.text, 200)}; {self.ending}"

    def to_json(self) -> dict[str, Any]:
        """It in JSON terms."""
        cause = self.cause
        return {
            "incident_id": self.incident_id,
            "model": self.marks.model,
            "severity": self.severity,
            "onset_at": self.onset_at,
            "resolved_at": self.resolved_at,
            "headline": self.headline,
            "ending": self.ending,
            "cause": None if cause is None else {"change_id": cause.change_id, "kind": cause.kind, "text": cause.text},
        }


@dataclass(frozen=True, slots=True)
class Likeness:
    """A past incident that a new one is like.

    Attributes
    ----------
    score
        For the order alone: it is no probability.
    same
        What they have in common, in words.
    """

    past: Past
    score: float
    same: tuple[str, ...]

    @property
    def sentence(self) -> str:
        """All of it in one line."""
        return f"like {self.past.incident_id[:8]} of {day(self.past.onset_at)} ({', '.join(self.same)}): {self.past.outcome}"

    def to_json(self) -> dict[str, Any]:
        """The likeness in JSON terms."""
        return {
            "incident_id": self.past.incident_id,
            "score": round(self.score, 3),
            "same": list(self.same),
            "outcome": self.past.outcome,
            "sentence": self.sentence,
        }


def likest(new: Marks, past: Iterable[Past], suspected: Collection[str] = ()) -> list[Likeness]:
    """Return the past incidents that it is like, the likest first; of equals one whose cause is confirmed, then the latest.

    Parameters
    ----------
    suspected
        Kinds of the changes that are suspects of the new one.
    """
    found = [_likeness(new, one, suspected) for one in past]
    alike = [one for one in found if one is not None and one.score >= LIKE_MIN]
    return sorted(
        alike,
        key=lambda one: (-round(one.score, 2), one.past.cause is None, -one.past.resolved_at, one.past.incident_id),
    )


def _likeness(new: Marks, past: Past, suspected: Collection[str]) -> Likeness | None:
    old = past.marks
    signals = _common(new.signals, old.signals)
    if not signals:
        return None
    segments, reasons = _common(new.segments, old.segments), _common(new.reasons, old.reasons)
    score = MODEL * (new.model == old.model) + SIGNALS * signals + SEGMENTS * segments + REASONS * reasons
    features = {signal.rpartition("/")[0] for signal in new.signals & old.signals}
    same = ["same feature" if len(features) == 1 else f"{len(features)} features in common"]
    same += ["reason"] if reasons else []
    same += ["segment"] if segments else []
    same += [] if new.model == old.model else [f"of model {named(old.model, 48)}"]
    if past.cause is not None and past.cause.kind in suspected:
        score += CAUSE
        same.append(f"a suspect of the kind of its cause ({named(past.cause.kind or '', 24)})")
    return Likeness(past, min(1.0, score), tuple(same))


def _common(new: frozenset[str], old: frozenset[str]) -> float:
    both = len(new & old)
    return (both / len(new) + both / len(new | old)) / 2 if both else 0.0


def ending(incident: Incident, entries: Iterable[Entry]) -> str:
    """How an incident ended, by its timeline."""
    entries = list(entries)
    lasted = duration(max(0, (incident.resolved_at or incident.updated_at) - incident.opened_at) / 1000) or "0 s"
    done = acts(entries)[-1:]
    undone = (
        any(entry.kind == "mitigation_reverted" and entry.seq > done[0].seq for entry in entries) if done else False
    )
    if done and not undone:
        what = done[0].detail.get("title") or told(done[0])
        return f"over after {lasted}, with a mitigation: {named(str(what), 160)}"
    by = next((entry.detail for entry in reversed(entries) if entry.kind == "resolved"), {})
    match by.get("by"):
        case "hand":
            return f"resolved by hand after {lasted}: {named(str(by.get('reason', '')), 160)}"
        case "limit":
            return "put aside: nothing says that it was over"
        case _:
            return f"its alerts ended after {lasted}"


def day(ms: int) -> str:
    """A day, in UTC.

    >>> day(1_366_186_500_000)
    '17 Apr 2013'
    """
    held = min(max(ms, -62_135_596_800_000), 253_402_300_799_000)
    then = datetime.fromtimestamp(held / 1000, UTC)
    return f"{then.day} {then:%b %Y}"
