"""What a report shows: plain data, gathered by ``app`` and turned into a page by ``render``."""

from __future__ import annotations

from dataclasses import dataclass, field

from streamdrift.escalate.policy import Incident


@dataclass(frozen=True, slots=True)
class HeatMap:
    """How far every feature stood from its reference in every segment, while the incident was open.

    Attributes
    ----------
    features, segments
        Names of rows and columns; the segment ``""`` is all traffic.
    values
        One row per feature, one number per segment, from 0 (as ever) to 1; ``None`` where nothing is known.
    measures
        What each number is, such as ``KS distance`` or ``null share``, in the shape of ``values``; empty: KS distance.
    """

    features: tuple[str, ...]
    segments: tuple[str, ...]
    values: tuple[tuple[float | None, ...], ...]
    measures: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class IncidentReport:
    """One incident as it stood at its last alert, with the heat map of its time."""

    incident: Incident
    heat: HeatMap | None = None


@dataclass(frozen=True, slots=True)
class Delivery:
    """One attempt to tell a receiver of an incident.

    Attributes
    ----------
    action
        What was told: ``trigger``, ``resolve`` and so on.
    outcome
        What came of it, such as ``delivered (202)``.
    at
        Event time of the alert that caused it, milliseconds since the epoch.
    """

    incident_id: str
    receiver: str
    action: str
    outcome: str
    at: int


@dataclass(frozen=True, slots=True)
class RunReport:
    """One run over recorded events.

    Attributes
    ----------
    generated_for
        What was read: the demo, or file names.
    rejected
        Events that could not be read, by reason.
    seconds
        How long the run took.
    first_event, last_event
        Event times, milliseconds since the epoch.
    engine, config_hash, command
        What computed it, by which settings, and how to compute it again.
    """

    title: str
    generated_for: str
    events: int
    rejected: dict[str, int]
    series: int
    seconds: float
    first_event: int
    last_event: int
    incidents: tuple[IncidentReport, ...] = ()
    deliveries: tuple[Delivery, ...] = ()
    config_hash: str = ""
    engine: str = ""
    command: str = ""
    notes: tuple[str, ...] = field(default=())
