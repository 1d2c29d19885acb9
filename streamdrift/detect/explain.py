"""What an alert tells: the reason by name, how large the change is, then and now."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from streamdrift.alerts import Alert, Kind, Severity, series_id
from streamdrift.blocks.block import Block
from streamdrift.blocks.column import NUMBER, Floats
from streamdrift.blocks.measures import CALIBRATION
from streamdrift.detect.baseline import Reference, significant
from streamdrift.detect.calibration import STRETCH
from streamdrift.detect.faults import ShareLane
from streamdrift.detect.policy import Verdict

MATERIAL = {"sd": 0.5, "ratio": 1.5, "ks": 0.25, "share": 0.05}
"""Effects from which an alert is a warning, by unit; half a standard deviation is a medium effect (Cohen 1988)."""
CRITICAL = {"sd": 2.0, "ratio": float("inf"), "ks": 0.75, "share": 0.5}
QUALITATIVE = frozenset({"new_category", "invalid_value", "type_change", "segment_overflow"})
"""Reasons that are of a kind that should not occur at all: any number of them is a warning."""
MAJORITY = 0.5


@dataclass(frozen=True, slots=True)
class Identity:
    """Which series; ``config_hash`` says by which settings."""

    model: str
    segment: dict[str, str]
    feature: str
    role: str
    config_hash: str


@dataclass(frozen=True, slots=True)
class Change:
    """What a lane has to say, before it is an alert of a certain event."""

    opens: bool
    lane: str
    kind: Kind
    reason: str
    detectors: tuple[str, ...]
    statistic: float
    threshold: float
    effect_size: float
    effect_unit: str
    back: int
    onset: int
    reference: dict[str, Any] = field(default_factory=dict)
    current: dict[str, Any] = field(default_factory=dict)


def shift(verdict: Verdict, reference: Reference, window: Floats, who: list[str], threshold: float) -> Change:
    """A change of the values' distribution; the score that gave the evidence names it."""
    described = reference.describe(window)
    if reference.kind != NUMBER:
        reason, effect, unit = "category_shift", _total_variation(reference, window), "share"
    elif verdict.channel == 0:
        reason, effect, unit = "mean_shift", (float(window.mean()) - reference.mean) / reference.sd, "sd"
    elif verdict.channel == 1:
        reason, effect, unit = "variance_shift", float(window.std()) / reference.sd, "ratio"
    else:
        reason, effect, unit = "distribution_shift", _ks(reference, window), "ks"
    return Change(
        verdict.opens,
        "values",
        "drift",
        reason,
        tuple(who),
        significant(verdict.t),
        threshold,
        significant(effect),
        unit,
        verdict.back,
        verdict.onset,
        reference.summary(),
        {"n": len(window), **described},
    )


def flag(name: str, reference: Reference, window: Floats, time: int) -> Change:
    """A detector's flag, as it is."""
    effect, unit = (
        (_ks(reference, window), "ks")
        if name == "ks"
        else ((float(window.mean()) - reference.mean) / reference.sd, "sd")
    )
    reason = "distribution_shift" if name == "ks" else "mean_shift"
    current = {"n": len(window), **reference.describe(window)}
    return Change(
        True,
        "",
        "drift",
        reason,
        (name,),
        significant(abs(effect)),
        0.0,
        significant(effect),
        unit,
        0,
        time,
        reference.summary(),
        current,
    )


def missing(lane: ShareLane, verdict: Verdict) -> Change:
    """Values that should be there and are not: null, or without even the key."""
    now, without_key = lane.current(verdict), lane.current(verdict, 1)
    gone = now >= MAJORITY and without_key >= MAJORITY * now
    return _share("missing_feature" if gone else "null_rate", "missing", "null_rate", lane, verdict)


def invalid(lane: ShareLane, verdict: Verdict) -> Change:
    """Values of another type than the feature's, or beyond a double."""
    changed = lane.current(verdict, 1) >= MAJORITY
    return _share("type_change" if changed else "invalid_value", "invalid", "invalid_rate", lane, verdict)


def new_category(lane: ShareLane, verdict: Verdict, reference: Reference, window: Floats) -> Change:
    """Categories that the reference window lacks."""
    change = _share("new_category", "unseen", "unseen_rate", lane, verdict)
    change.reference.update(reference.summary())
    change.current.update(reference.describe(window))
    return change


def _share(reason: str, lane_name: str, key: str, lane: ShareLane, verdict: Verdict) -> Change:
    now = lane.current(verdict)
    return Change(
        verdict.opens,
        lane_name,
        "anomaly",
        reason,
        ("scan",),
        significant(verdict.t),
        lane.threshold,
        significant(now - lane.share),
        "share",
        verdict.back,
        verdict.onset,
        {"n": lane.n, key: significant(lane.share)},
        {"n": verdict.back * STRETCH, key: significant(now)},
    )


def alert(
    identity: Identity,
    change: Change,
    block: Block,
    row: int,
    seen: int,
    share: float,
    opened: Alert | None,
) -> Alert:
    """The change as an alert of the event in this row of the block."""
    source = block.sources[int(block.source[row])]
    # scores that came to be too low are as bad as those that came to be too high: of calibration no side is the good one
    role = "prediction" if identity.feature == CALIBRATION else identity.role
    return Alert(
        series_id=series_id(identity.model, identity.segment, identity.feature),
        status="firing" if change.opens else "resolved",
        kind=opened.kind if opened else change.kind,
        reason=opened.reason if opened else _reason(role, change),
        severity=opened.severity if opened else severity(role, change),
        model={"name": identity.model, "version": block.versions.at(row)},
        segment=identity.segment,
        feature=identity.feature,
        role=identity.role,
        detector=opened.detector if opened else change.detectors[0],
        detectors=opened.detectors if opened else change.detectors,
        detected_at=int(block.time[row]),
        onset_at=change.onset,
        events_since_onset=change.back * STRETCH,
        events_seen=seen,
        statistic=change.statistic,
        threshold=change.threshold,
        effect_size=change.effect_size,
        effect_unit=change.effect_unit,
        reference=change.reference,
        current=change.current,
        traffic_share=significant(share),
        config_hash=identity.config_hash,
        position=dict(source.position(int(block.offset[row]))),
        resolves=opened.alert_id if opened else None,
    )


def _reason(role: str, change: Change) -> str:
    """A model's error that moves away from zero is worse performance, whatever the shape of the move."""
    worse = role == "performance" and change.kind == "drift" and change.effect_size > 0
    return "performance_drop" if worse and change.effect_unit == "sd" else change.reason


def severity(role: str, change: Change) -> Severity:
    """How much it matters, whatever its evidence: a large series proves changes that nobody should get up for.

    Critical where half the events are hit, the mean is two reference sd off, or nothing comes at all; info below the
    sizes of ``MATERIAL``, and where a model makes fewer errors than before.
    """
    size = abs(change.effect_size)
    if change.reason == "silence":
        return "critical"
    if role == "performance" and change.effect_size < 0:
        return "info"
    if change.reason in QUALITATIVE:
        return "warning"
    if change.effect_unit == "ratio":
        size = max(size, 1 / max(size, 1e-9))
    if size < MATERIAL[change.effect_unit]:
        return "info"
    return "critical" if size >= CRITICAL[change.effect_unit] else "warning"


def _total_variation(reference: Reference, window: Floats) -> float:
    cells = max(len(reference.categories), 2) + 1
    then = np.bincount(reference.ordered.astype(np.int64), minlength=cells) / reference.n
    now = np.bincount(window.astype(np.int64), minlength=cells) / max(1, len(window))
    return float(np.abs(then - now).sum() / 2)


def _ks(reference: Reference, window: Floats) -> float:
    """KS distance of two samples, exact under ties."""
    points = np.concatenate([reference.ordered, window])
    then = np.searchsorted(reference.ordered, points, "right") / reference.n
    now = np.searchsorted(np.sort(window), points, "right") / max(1, len(window))
    return float(np.abs(then - now).max())
