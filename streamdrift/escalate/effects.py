"""How large an alert's effect is, how sure, and on a scale on which segments add up to all traffic.

Let a segment have the share w of the traffic and let only its events change. Then all traffic changes by w times as much,
on a scale that is linear in the distribution F of the values:

``share``  F itself: shares of nulls, total variation of categories.
``ks``     sup |F' - F| = w sup |G' - G| where only G, the segment's part of F, changes.
``sd``     the mean; in the feature's own units (times the reference's sd), as each segment has an sd of its own.
``ratio``  the variance, r² - 1 of the reference's; of traffic the events that are missing or too many, r - 1.

Different units of one feature are compared by the means that the alerts tell of; where they tell of none, by the share of events
that are *displaced*: the KS distance that the effect would have between normal distributions. It is the scale between
features, too.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from streamdrift.alerts import Alert

SIZE_MAX = 1e6
"""Effects beyond are held here: other producers may write alerts, too."""
SHARE_MIN = 1e-9


@dataclass(frozen=True, slots=True)
class Effect:
    """One alert's effect, comparable with those it was measured with.

    Attributes
    ----------
    share
        Of the model's traffic, in the alert's segment.
    size
        How far the segment's events moved, 0 or more.
    error
        Two standard errors of ``size``.
    order
        Its place among those it was measured with.
    dimension
        Name of its segment's dimension, as a tuple; of all traffic ``()``.
    """

    alert: Alert
    share: float
    size: float
    error: float
    order: int
    dimension: tuple[str, ...]

    @property
    def mass(self) -> float:
        """What it moves in all traffic."""
        return self.share * self.size

    @property
    def mass_error(self) -> float:
        """Two standard errors of ``mass``."""
        return self.share * self.error


def measured(alerts: Sequence[Alert]) -> list[Effect]:
    """Measure alerts of one feature on a scale that they have in common.

    Where some segments tell of their mean and others of their scatter or shape, as a mixture of moved and unmoved
    events does, all are measured by the mean that each tells of.
    """
    units = {alert.effect_unit for alert in alerts}
    if len(units) > 1:
        means = [_by_mean(alert, i) for i, alert in enumerate(alerts)] if "sd" in units else []
        found = [effect for effect in means if effect is not None]
        return (
            found
            if found and len(found) == len(means)
            else [_effect(alert, displaced(alert), i) for i, alert in enumerate(alerts)]
        )
    scales = [1.0] * len(alerts)
    if units == {"sd"} or (units == {"ratio"} and alerts[0].role != "traffic"):
        sds = [_positive(alert.reference.get("sd")) for alert in alerts]
        if all(sds):
            scales = [min(sd, SIZE_MAX) for sd in sds]
    return [_effect(alert, _linear(alert, scales[i]), i) for i, alert in enumerate(alerts)]


def _by_mean(alert: Alert, order: int) -> Effect | None:
    """By then and now, in the feature's own units; None where the alert lacks one of them."""
    then, now = _number(alert.reference.get("mean")), _number(alert.current.get("mean"))
    sd, n = (
        _positive(alert.current.get("sd")) or _positive(alert.reference.get("sd")),
        _positive(alert.current.get("n")),
    )
    if then is None or now is None or not sd or not n:
        return None
    size = min(abs(now - then), SIZE_MAX)
    error = size * relative_error(alert) if alert.effect_unit == "sd" else 0.0
    return replace(_effect(alert, size, order), error=max(error, 2 * min(sd, SIZE_MAX) / math.sqrt(n)))


def _effect(alert: Alert, size: float, order: int) -> Effect:
    share = 1.0 if not alert.segment else min(1.0, max(SHARE_MIN, alert.traffic_share))
    return Effect(alert, share, size, size * relative_error(alert), order, tuple(sorted(alert.segment)))


def _linear(alert: Alert, sd: float) -> float:
    size = held(alert)
    match alert.effect_unit:
        case "sd":
            return size * sd
        case "ratio" if alert.role == "traffic":
            return abs(size - 1)
        case "ratio":
            return abs(size * size - 1) * sd * sd
        case _:
            return size


def held(alert: Alert) -> float:
    """The effect's size as a finite number."""
    size = abs(alert.effect_size)
    return min(size, SIZE_MAX) if size == size else 0.0  # noqa: PLR0124 - NaN alone differs from itself


def magnitude(alert: Alert) -> float:
    """Size of the effect, comparable between alerts of one unit; a ratio counts both ways."""
    return abs(math.log(max(held(alert), 1e-6))) if alert.effect_unit == "ratio" else held(alert)


def displaced(alert: Alert) -> float:
    """Share of the segment's events that are not where they were, 0 to 1.

    >>> from types import SimpleNamespace as Some
    >>> [round(displaced(Some(effect_unit=u, effect_size=e, role="feature")), 3)
    ...  for u, e in (("sd", -1.0), ("sd", 0.1), ("ratio", 2.0), ("ratio", 0.5), ("share", 0.3))]
    [0.383, 0.04, 0.161, 0.161, 0.3]
    """
    size = held(alert)
    match alert.effect_unit:
        case "sd":  # between N(0, 1) and N(d, 1)
            return math.erf(size / (2 * math.sqrt(2)))
        case "ratio" if alert.role == "traffic":
            return 1 - min(size, 1 / max(size, 1e-9))
        case "ratio":  # between N(0, 1) and N(0, r²): where both densities are equal
            r = min(max(size, 1e-3), 1e3)
            if abs(r - 1) < 1e-6:
                return 0.0
            x = math.sqrt(2 * math.log(r) * r * r / (r * r - 1))
            return abs(_normal(x) - _normal(x / r))
        case _:
            return min(1.0, size)


def _normal(x: float) -> float:
    return 0.5 * (1 + math.erf(x / math.sqrt(2)))


# How sure -------------------------------------------------------------------------------------------------------------


def evidence(alert: Alert) -> float:
    """The statistic in units of its threshold: how surprising the alert is, where the threshold is one."""
    ratio = alert.statistic / alert.threshold if alert.threshold > 0 else alert.statistic
    return ratio if math.isfinite(ratio) else 0.0


def relative_error(alert: Alert) -> float:
    """Two standard errors of the effect as a part of it; 1 where nothing is known.

    The larger one of what the number of events allows, and what the evidence does: a log-likelihood ratio of T nats is an
    effect of √(2T) standard errors, by the series' own dependence.
    """
    n = _positive(alert.current.get("n"))
    found = [_by_events(alert, n)] if n else []
    if alert.threshold > 0 and alert.statistic > 0:
        found.append(2 / math.sqrt(2 * alert.statistic))
    return min(1e3, max(found, default=1.0))


def _by_events(alert: Alert, n: float) -> float:
    size = max(held(alert), 1e-9)
    match alert.effect_unit:
        case "share":
            part = min(size, 1.0)
            return 2 * math.sqrt(part * (1 - part) / n) / size
        case "ratio" if alert.role == "traffic":
            return _of_traffic(alert, n) / max(abs(size - 1), 1e-9)
        case "ratio":
            return 2 * size * size * math.sqrt(2 / n) / max(abs(size * size - 1), 1e-9)
        case _:
            return 2 / math.sqrt(n) / size


def _of_traffic(alert: Alert, n: float) -> float:
    """Two standard errors of the ratio of a segment's share now to then."""
    then, now = _positive(alert.reference.get("share")), alert.current.get("share")
    if not then or not isinstance(now, int | float):
        return 2 / math.sqrt(n)
    part = min(max(_positive(now), 1 / n), 1.0)
    return 2 * math.sqrt(part * (1 - part) / n) / then


def total(values: Iterable[float]) -> float:
    """Errors of independent numbers, for their sum."""
    return math.sqrt(math.fsum(value * value for value in values))


def _positive(value: Any) -> float:
    """The number, or 0 where it is none or not above it."""
    return max(0.0, _number(value) or 0.0)


def _number(value: Any) -> float | None:
    known = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if known else None
