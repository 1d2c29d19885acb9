"""Whether detection still works, by what the broker knows of it; where it doesn't, that is an incident as any other.

Detection is silent by design where nothing drifts, so its alerts are no sign of life. Its commits are: a stage that works commits what
it has read. So it is silent where records came after its last commit, and ``escalate.heartbeat_s`` went by without another one.
``docs/decisions/0014-the-heartbeat.md`` has what that leaves out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from streamdrift.alerts import Alert, series_id

MODEL, FEATURE, REASON = "pipeline of streamdrift", "traffic.heartbeat", "pipeline_silent"
LOOKS = 4
"""So often within ``heartbeat_s`` the broker is asked."""


@dataclass(frozen=True, slots=True)
class Observation:
    """What the broker knows of one stage, over all partitions.

    Attributes
    ----------
    written
        Sum of the end offsets of what it reads.
    read
        Sum of the offsets that it committed.
    """

    stage: str
    written: int
    read: int


class Pulse(Protocol):
    """Where observations come from."""

    def look(self) -> Sequence[Observation]:
        """Return one for each stage.

        Raises
        ------
        Retriable, Fatal
            The broker can't be asked now.
        """
        ...

    def close(self) -> None:
        """Let go of it; a second call does nothing."""
        ...


@dataclass(slots=True)
class _Stage:
    last: Observation
    waiting_since: float | None = None


class Heart:
    """Decides which stages are silent. Pure: times are given."""

    def __init__(self, silent_s: float) -> None:
        self._silent_s = silent_s
        self._stages: dict[str, _Stage] = {}
        self.moved: frozenset[str] = frozenset()
        """Stages that were seen to work by the last look."""

    def beat(self, seen: Sequence[Observation], now: float) -> dict[str, float]:
        """Take what was seen; return for each silent stage how long it has been so, in seconds.

        What is read moves: it lives. What is written moves and what is read doesn't: it is waited for from then on. Neither
        moves: nothing new is known; offsets of transactions' own marks are never committed, so a lag alone proves nothing.
        """
        moved: set[str] = set()
        for one in seen:
            stage = self._stages.setdefault(one.stage, _Stage(one))
            if one.read != stage.last.read:
                stage.waiting_since = None
                moved.add(one.stage)
            elif one.written > stage.last.written and stage.waiting_since is None:
                stage.waiting_since = now
            stage.last = one
        self.moved = frozenset(moved)
        waits = {name: stage.waiting_since for name, stage in self._stages.items()}
        return {name: now - at for name, at in waits.items() if at is not None and now - at >= self._silent_s}


def silent(stage: str, seconds: float, now: float) -> Alert:
    """Return the alert that a stage is silent."""
    at = round(now * 1000)
    return Alert(
        series_id=series_id(MODEL, {"stage": stage}, FEATURE),
        status="firing",
        kind="anomaly",
        reason=REASON,
        severity="critical",
        model={"name": MODEL, "version": None},
        segment={"stage": stage},
        feature=FEATURE,
        role="traffic",
        detector="heartbeat",
        detectors=("heartbeat",),
        detected_at=at,
        onset_at=at - round(seconds * 1000),
        events_since_onset=0,
        events_seen=0,
        statistic=seconds,
        threshold=seconds,
        effect_size=1.0,
        effect_unit="share",
        reference={},
        current={"silent_s": seconds},
        traffic_share=1.0,
        config_hash="",
    )


def alive(alert: Alert, now: float) -> Alert:
    """Return the end of one that fires."""
    return replace(alert, status="resolved", resolves=alert.alert_id, detected_at=round(now * 1000))
