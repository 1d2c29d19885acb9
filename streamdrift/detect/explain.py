"""What an alert tells: the reason by name, how large the change is, then and now."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from streamdrift.alerts import Alert, Kind, Severity, series_id
from streamdrift.blocks.block import Block
from streamdrift.blocks.column import NUMBER, Floats
from streamdrift.blocks.measures import CALIBRATION
from streamdrift.detect import robust
from streamdrift.detect.baseline import Reference, distance, moments, significant
from streamdrift.detect.calibration import STRETCH
from streamdrift.detect.faults import ShareLane
from streamdrift.detect.frozen import Freeze, Frozen
from streamdrift.detect.policy import Step, Verdict

MATERIAL = {"sd": 0.5, "ratio": 1.5, "ks": 0.25, "share": 0.05}
"""Effects from which an alert is a warning, by unit; half a standard deviation is a medium effect (Cohen 1988)."""
CRITICAL = {"sd": 2.0, "ratio": float("inf"), "ks": 0.75, "share": 0.5}
QUALITATIVE = frozenset(
    {"new_category", "invalid_value", "type_change", "segment_overflow", "unit_change", "frozen_value", "version_shift"}
)
"""Reasons that are a warning whatever the effect: of a kind that should not occur at all, or told only where it matters."""
MAJORITY = 0.5
GONE = 0.05
"""Of its usual share: a segment with less than that is gone (a few events before the change point may be counted in)."""
RANK: tuple[Severity, ...] = ("info", "warning", "critical")


@dataclass(frozen=True, slots=True)
class Identity:
    """Which series; ``config_hash`` says by which settings, ``suffix`` sets it apart from others of the same feature."""

    model: str
    segment: dict[str, str]
    feature: str
    role: str
    config_hash: str
    suffix: str = ""


@dataclass(frozen=True, slots=True)
class Change:
    """What a lane has to say, before it is an alert of a certain event."""

    step: Step
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
    onset_range: tuple[int, int] | None = None
    effect_robust: float | None = None


def shift(verdict: Verdict, reference: Reference, window: Floats, who: list[str], threshold: float) -> Change:
    """A change of the values' distribution; the score that gave the evidence names it."""
    described = reference.describe(window)
    if reference.kind != NUMBER:
        reason, effect, unit = "category_shift", _total_variation(reference, window), "share"
    elif verdict.channel == 0:
        reason, effect, unit = "mean_shift", reference.off(moments(window)[0]), "sd"
    elif verdict.channel == 1:
        reason, effect, unit = "variance_shift", moments(window)[1] / reference.sd, "ratio"
    else:
        reason, effect, unit = "distribution_shift", distance(reference.ordered, window), "ks"
    return Change(
        verdict.step,
        "values",
        "drift",
        reason,
        tuple(who),
        significant(verdict.t),
        threshold,
        significant(effect),
        unit,
        verdict.since,
        verdict.onset,
        reference.summary(),
        {"n": len(window), **described},
        verdict.onset_range,
        _robust(reference, window, effect, unit),
    )


def flag(name: str, reference: Reference, window: Floats, time: int) -> Change:
    """A detector's flag, as it is."""
    effect, unit = (
        (distance(reference.judged, reference.pooled(window)), "ks")
        if name == "ks"
        else (reference.off(moments(reference.pooled(window))[0]), "sd")
    )
    reason = "distribution_shift" if name == "ks" else "mean_shift"
    current = {"n": len(window), **reference.describe(window)}
    return Change(
        "opens",
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
        effect_robust=_robust(reference, window, effect, unit),
    )


def _robust(reference: Reference, window: Floats, effect: float, unit: str) -> float | None:
    """The effect by the bulk of the values, in its own unit; the plain one where the bulk has no scale."""
    if reference.kind != NUMBER or unit not in {"sd", "ratio"}:
        return None
    measure = robust.shift if unit == "sd" else robust.spread
    found = measure(reference.ordered, window)
    return significant(effect if found is None else found)


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


def duplicates(lane: ShareLane, verdict: Verdict) -> Change:
    """Events whose prediction id came before."""
    return _share("duplicate_events", "duplicates", "duplicate_rate", lane, verdict)


def far_out(reason: str, lane: ShareLane, verdict: Verdict, reference: Reference, facts: dict[str, float]) -> Change:
    """Values far outside the reference, with what they are named by."""
    change = _share(reason, "far_out", "far_out_rate", lane, verdict)
    change.reference.update(reference.summary())
    change.current.update({name: significant(value) for name, value in facts.items()})
    return change


def frozen(freeze: Freeze, watch: Frozen, reference: Reference) -> Change:
    """A value that no longer changes, or does so again."""
    longest = watch.longest(freeze.value)
    return Change(
        "opens" if freeze.opens else "resolves",
        "frozen",
        "anomaly",
        "frozen_value",
        ("run",),
        float(freeze.run),
        float(watch.limit(freeze.value)),
        significant(freeze.run / longest),
        "ratio",
        0,
        freeze.onset,
        {"longest_run": longest, **reference.summary()},
        {"n": freeze.run, "value": significant(freeze.value), "run": freeze.run},
    )


def forgotten(lane: str, opened: Alert, by: str, time: int) -> Change:
    """The end of an alert whose reference was given up: ``current`` names the order that did it."""
    return _ended(lane, opened, time, {"n": 0, "rebaseline": by})


def withdrawn(lane: str, opened: Alert, time: int) -> Change:
    """The end of an alert whose model version serves no longer."""
    return _ended(lane, opened, time, {"n": 0, "ended": "withdrawn"})


def _ended(lane: str, opened: Alert, time: int, current: dict[str, object]) -> Change:
    return Change(
        "resolves",
        lane,
        opened.kind,
        opened.reason,
        opened.detectors,
        0.0,
        opened.threshold,
        opened.effect_size,
        opened.effect_unit,
        0,
        time,
        opened.reference,
        current,
    )


def _share(reason: str, lane_name: str, key: str, lane: ShareLane, verdict: Verdict) -> Change:
    now = lane.current(verdict)
    return Change(
        verdict.step,
        lane_name,
        "anomaly",
        reason,
        ("scan",),
        significant(verdict.t),
        lane.threshold,
        significant(now - lane.share),
        "share",
        verdict.since,
        verdict.onset,
        {"n": lane.n, key: significant(lane.share)},
        {"n": verdict.back * STRETCH, key: significant(now)},
        verdict.onset_range,
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
    kind, reason, graded = change.kind, _reason(role, change), severity(role, change)
    detectors = change.detectors
    if opened is not None:
        kind, reason, detectors = opened.kind, opened.reason, opened.detectors
        graded = max(opened.severity, graded, key=RANK.index) if change.step == "looks" else opened.severity
    return Alert(
        series_id=series_id(identity.model, identity.segment, identity.feature) + identity.suffix,
        status="resolved" if change.step == "resolves" else "firing",
        kind=kind,
        reason=reason,
        severity=graded,
        model={"name": identity.model, "version": block.versions.at(row)},
        segment=identity.segment,
        feature=identity.feature,
        role=identity.role,
        detector=opened.detector if opened else detectors[0],
        detectors=detectors,
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
        resolves=opened.alert_id if opened and change.step == "resolves" else None,
        updates=opened.alert_id if opened and change.step == "looks" else None,
        onset_range=change.onset_range,
        effect_robust=change.effect_robust,
    )


def became_critical(told: Alert, change: Change, factor: float) -> bool:
    """Whether an open alert that was told as less is critical by now: of .4 of all events, .7 is not twice as many.

    Half-way to the factor, on the scale of ratios, it must have grown all the same: near the bound, chance goes to and fro.
    """
    is_critical = told.severity != "critical" and severity(told.role, change) == "critical"
    return is_critical and has_grown(told, change, math.sqrt(factor))


def has_grown(told: Alert | Change, change: Change, factor: float) -> bool:
    """Whether an open alert is to be sent again: its effect is so much larger than the one told last."""
    if is_half_seen(told.reference) and not is_half_seen(change.reference):
        return True  # it was told a step lower
    if change.effect_unit != told.effect_unit:
        return False
    now, then = change.effect_size, told.effect_size
    if change.effect_unit == "ratio":
        return now >= factor * then >= factor or (GONE < then <= 1 and 0 <= now <= then / factor)
    return now * then > 0 and abs(now) >= factor * abs(then)


def _reason(role: str, change: Change) -> str:
    """A model's error that moves away from zero is worse performance, whatever the shape of the move.

    What an embedding's measures are made of is for the developer: an operator is told that it moved, or that it is no
    vector of its dimension.
    """
    if role == "embedding":
        faults = {"type_change": "invalid_value"}
        return "embedding_shift" if change.kind == "drift" else faults.get(change.reason, change.reason)
    worse = role == "performance" and change.kind == "drift" and change.effect_size > 0
    return "performance_drop" if worse and change.effect_unit == "sd" else change.reason


def severity(role: str, change: Change) -> Severity:
    """How much it matters, whatever its evidence: a large series proves changes that nobody should get up for.

    Critical where half the events are hit, the mean is two reference sd off, or nothing comes at all (that events come
    twice is none of these: each of them is right); info below the sizes of ``MATERIAL``, where a model makes fewer errors
    than before, and where the reference is short for what the series does.
    A step lower where one of two references does not show it.
    """
    found = _by_effect(role, change)
    return RANK[max(0, RANK.index(found) - 1)] if is_half_seen(change.reference) else found


def is_half_seen(reference: dict[str, Any]) -> bool:
    """Whether one of two references shows nothing: it came slowly, or it was normal once (``detect.side_by_side``)."""
    return reference.get("which") in {"first", "rolling"} and not reference.get("first_moved")


def _by_effect(role: str, change: Change) -> Severity:
    size = abs(change.effect_size)
    if change.kind == "drift" and change.reference.get("short"):
        return "info"
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
    is_critical = size >= CRITICAL[change.effect_unit] and change.reason != "duplicate_events"
    return "critical" if is_critical else "warning"


def _total_variation(reference: Reference, window: Floats) -> float:
    """Half the sum of what the shares of the categories differ by, less what chance makes of that in so few values.

    The rare ones count as one. At least the share by which a single one differs, which chance adds little to.
    """
    cells = max(len(reference.categories), 2) + 1
    n, m = reference.n, max(1, len(window))
    then = np.bincount(reference.judged.astype(np.int64), minlength=cells) / n
    now = np.bincount(reference.pooled(window).astype(np.int64), minlength=cells) / m
    size = n * m / (n + m)
    expected = size * (n * then + m * now) / (n + m)
    by_chance = sum(map(_mean_deviation, expected[expected > 0].tolist())) / size / 2
    apart = np.abs(then - now)
    return max(float(apart.max()), float(apart.sum()) / 2 - by_chance)


def _mean_deviation(mean: float) -> float:
    """Mean absolute deviation of a Poisson count (Crow 1958)."""
    below = math.floor(mean)
    return 2 * math.exp((below + 1) * math.log(mean) - mean - math.lgamma(below + 1))
