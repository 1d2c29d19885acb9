"""What a post-mortem is made from, and how it is looked up there."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from streamdrift.alerts import Alert
from streamdrift.escalate.incident import Incident
from streamdrift.escalate.postmortem.action import Action
from streamdrift.escalate.timeline import Entry
from streamdrift.escalate.triage import BlastRadius, blast_radius, first
from streamdrift.escalate.words import moment

CITED_MAX = 20
"""Entries that one claim cites."""


@dataclass(frozen=True, slots=True)
class Cause:
    """What a person confirmed as the cause.

    Attributes
    ----------
    at
        When, in milliseconds since the epoch.
    change_id, kind
        Of the change upstream that it is; None where it is none that is known.
    seq
        The timeline's entry about it; None where there was no room for one.
    """

    incident_id: str
    at: int
    text: str
    change_id: str | None = None
    kind: str | None = None
    seq: int | None = None


@dataclass(frozen=True)
class Record:
    """One incident as the ledger has it, at one moment.

    Attributes
    ----------
    now
        Of the draft, milliseconds since the epoch.
    """

    incident: Incident
    entries: tuple[Entry, ...]
    now: int
    cause: Cause | None = None
    actions: tuple[Action, ...] = ()

    @cached_property
    def radius(self) -> BlastRadius:
        """The attribution over all alerts that it had."""
        return blast_radius(self.incident)

    @property
    def lead(self) -> Alert:
        """The alert that says most."""
        return self.radius.lead

    @cached_property
    def onset(self) -> Alert:
        """The alert that has the incident's onset."""
        return first(self.incident)

    def of(self, *kinds: str, **detail: Any) -> tuple[Entry, ...]:
        """Return the entries of these kinds whose detail holds these values, in their order."""
        return tuple(
            entry
            for entry in self.entries
            if entry.kind in kinds and all(entry.detail.get(name) == value for name, value in detail.items())
        )

    def of_alert(self, *alerts: Alert) -> tuple[str, ...]:
        """Cite what tells of alerts: the entries of their coming, else of their opening, else the alerts."""
        return cited([cite for alert in alerts[:CITED_MAX] for cite in self._of_alert(alert)])

    def _of_alert(self, alert: Alert) -> tuple[str, ...]:
        for alert_id in (alert.alert_id, alert.opening_id):
            if alert_id in self._by_alert:
                return (self._by_alert[alert_id],)
        return (f"alert {alert.alert_id}",)

    @cached_property
    def _by_alert(self) -> dict[str, str]:
        told = self.of("detected", "grew", "reopened")
        return {str(e.detail["alert_id"]): e.entry_id for e in told if "alert_id" in e.detail}

    def known(self, cite: str) -> bool:
        """Whether what is cited is there."""
        kind, _, alert_id = cite.partition(" ")
        if kind == "alert":
            return any(alert.alert_id == alert_id for alert in self.incident.alerts)
        return any(entry.entry_id == cite for entry in self.entries)

    @cached_property
    def suspects(self) -> tuple[Entry, ...]:
        """Changes that were told as suspects, the most suspicious first; one that was told twice as it was told last."""
        found = {str(entry.detail.get("change_id")): entry for entry in self.of("suspect")}
        return tuple(sorted(found.values(), key=lambda entry: (-_score(entry), entry.seq)))

    @property
    def first_events(self) -> int:
        """Events since the onset that made the first alert; 0 where that isn't known."""
        told = self.of("detected")[:1]
        found = told[0].detail.get("events_since_onset") if told else self.onset.events_since_onset
        return found if isinstance(found, int) and found > 0 else 0

    @property
    def acted(self) -> tuple[Entry, ...]:
        """What was really done against it: neither what was only offered or refused, nor dry runs."""
        return acts(self.entries)

    @property
    def over_at(self) -> int | None:
        """When it ended; None while it goes on."""
        return None if self.incident.is_open else self.incident.resolved_at or self.incident.updated_at

    @property
    def lasted_ms(self) -> int:
        """From its onset until its end, or until now."""
        return max(0, (self.over_at or self.now) - self.incident.onset_at)


def _score(entry: Entry) -> float:
    found = entry.detail.get("score")
    return float(found) if isinstance(found, int | float) else 0.0


def acts(entries: Iterable[Entry]) -> tuple[Entry, ...]:
    """The entries that tell of a mitigation that the serving side took."""
    kinds = {"mitigation_sent", "mitigation_verified"}
    return tuple(entry for entry in entries if entry.kind in kinds and not entry.detail.get("dry_run"))


def ids(entries: Iterable[Entry]) -> tuple[str, ...]:
    """Cite entries."""
    return cited([entry.entry_id for entry in entries])


def cited(cites: Iterable[str]) -> tuple[str, ...]:
    """Citations once each, as many as a claim may have."""
    return tuple(dict.fromkeys(cites))[:CITED_MAX]


def clock(ms: int, beside: int | None = None) -> str:
    """A time in UTC; without its day where it is that of another.

    >>> clock(1_366_186_500_000), clock(1_366_186_500_000, 1_366_186_000_000)
    ('2013-04-17 08:15', '08:15')
    """
    told = moment(ms)
    return told[11:] if beside is not None and moment(beside)[:10] == told[:10] else told
