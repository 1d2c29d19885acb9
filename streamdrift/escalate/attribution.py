r"""Which segments of which dimension explain a feature's change: Adtributor, fitted to alerts.

Adtributor (Bhagwan et al., "Adtributor: Revenue Debugging in Advertising Systems", NSDI 2014) asks which values of which dimension
explain that a measure moved. A value's *explanatory power* is its part of the whole change; its *surprise* is how far
that part is from the part it should have had, in terms of the Jensen-Shannon divergence; a small set is better than a large
one. The paper has every value's measure. Here there are alerts only: a child may be silent, or have told its effect
from 32 events.

Let segment i have the share p\ :sub:`i` of the traffic and the effect e\ :sub:`i` on a scale on which segments add up
(``effects``). What it moves in all traffic is its mass m = p e. T is the change of all traffic: the effect of the alert of all
traffic, moved within its two standard errors towards the best sum of masses of one dimension; that sum, where
all traffic has no alert. Then

- explanatory power: q = m / T;
- surprise: s = ½ (p ln(2p / (p+q)) + q ln(2q / (p+q))) where q > p, else 0. Were all traffic to move alike, each segment had q = p
  and no surprise.

For each dimension the most surprising values are taken until they explain ``EXPLAINED_MIN``, as far as two standard errors
allow, and with them those that moved more than all traffic by ``LIFT_MIN``. The dimension is the one whose set leaves least of
the other alerts (``contribution``). Where that can't be told, it is the one that had an alert first: the evidence of n of
the model's events grows as n p e² / 2, and neither p e nor e is larger in what only overlaps with the cause. Then it is
the one with the most surprise at the lower end of its errors, with the fewest values, with the most surprise.

That set S explains if it fits better than "all traffic moved alike". Both are held against the alerts, in squared standard
errors: *alike* misses by Σ ((e - T)/se)² over the e in S above T, S by ((T - Σm)/se)². S has to be better by ``BETTER``,
and by 2 for every value after the first (Akaike 1974), and its events must have moved ``LIFT_MIN`` times as far as all. Where
values that have all of the traffic have alerts, it has to be better by ``MUCH_BETTER``: all did move.
If the numbers can't tell, S explains where it is the one value of its dimension with an alert, and had it before all
traffic: a change of everything shows first where most events are. Children that have all of the traffic between them are all
traffic, even where that has no alert.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence

from streamdrift.alerts import Alert
from streamdrift.escalate.effects import SHARE_MIN, Effect, total

EXPLAINED_MIN = 0.67
"""Share of the change that a set must explain: T_EP of the paper."""
LIFT_MIN = 1.25
"""By so much must a segment's events have moved further than all; below, all traffic has the change."""
BETTER = 4.0
"""Squared standard errors by which one explanation must fit better than another."""
MUCH_BETTER = 16.0
ALL_TRAFFIC_MIN = 0.8
"""Children of one dimension with so much of the traffic are all of it."""
SETS_MAX = 20
"""Dimensions whose sets are compared with each other."""
LANES = {"missing_feature": "null_rate", "type_change": "invalid_value", "silence": "volume_drop"}
"""Faults that are a larger form of another."""

Places = frozenset[tuple[str, str, str]]
"""Feature, kind and dimension."""


def signal_kind(alert: Alert) -> str:
    """What moved of the feature: its values, or the share of one fault."""
    return "values" if alert.kind == "drift" else LANES.get(alert.reason, alert.reason)


def by_dimension(effects: Iterable[Effect]) -> dict[tuple[str, ...], list[Effect]]:
    """Return the effects of each dimension, in their order."""
    found: dict[tuple[str, ...], list[Effect]] = defaultdict(list)
    for effect in effects:
        found[effect.dimension].append(effect)
    return found


def known_change(children: Sequence[Effect], whole: Effect | None) -> float:
    """The change of all traffic, as far as it is known."""
    sums = [math.fsum(e.mass for e in values) for values in by_dimension(children).values()]
    best = max(sums, default=0.0)
    if whole is None:
        return max(best, 1e-12)
    if not children:
        return max(whole.size, 1e-12)
    return max(min(max(best, whole.size - whole.error), whole.size + whole.error), 1e-12)


def surprise(p: float, q: float) -> float:
    """Jensen-Shannon term of a part q of the change where p was to be expected; nats, 0 where it is no more than p.

    >>> surprise(0.5, 0.5), round(surprise(0.01, 1.0), 3), surprise(0.5, 0.1)
    (0.0, 0.322, 0.0)
    """
    p, q = max(p, SHARE_MIN), min(q, 1.0)
    if q <= p:
        return 0.0
    return max(0.0, 0.5 * (p * math.log(2 * p / (p + q)) + q * math.log(2 * q / (p + q))))


def attributed(left: Sequence[Effect], whole: Effect | None, change: float, alone: Places) -> list[Effect]:
    """Return the set that explains, the most surprising value first; empty where it is all traffic.

    Parameters
    ----------
    left
        Effects of segments.
    whole
        That of all traffic, if it has an alert.
    change
        From ``known_change``.
    alone
        Where a single value of a dimension has an alert.
    """
    sets = [_set(values, change) for values in by_dimension(left).values()]
    chosen = _best([one for one in sets if one], left, whole, change)
    if whole is not None:
        siblings = [e for e in left if chosen and e.dimension == chosen[0].dimension]
        if not chosen or not (_fits(chosen, siblings, whole, change) or _shadowed(chosen, whole, alone)):
            return []
    # where what is left explains too little it is each by itself, the largest first
    return chosen or [max(left, key=lambda e: (e.mass, e.alert.series_id))]


def _set(values: Iterable[Effect], change: float) -> list[Effect]:
    """The most surprising values of one dimension that explain enough; empty where all of them don't."""
    first = sorted(values, key=lambda e: (-surprise(e.share, e.mass / change), -e.mass, e.alert.series_id))
    mass = variance = 0.0
    for n, effect in enumerate(first, start=1):
        mass, variance = mass + effect.mass, variance + effect.mass_error**2
        if mass + math.sqrt(variance) >= EXPLAINED_MIN * change:
            return first[:n] + [more for more in first[n:] if more.size >= LIFT_MIN * change]
    return []


def _best(sets: Sequence[list[Effect]], left: Sequence[Effect], whole: Effect | None, change: float) -> list[Effect]:
    """Of one set per dimension the one that leaves least, then the one that was first, then the most surprising."""
    likely = sorted(sets, key=lambda one: _set_order(one, change))[:SETS_MAX]
    if len(likely) < 2:
        return likely[0] if likely else []
    misfits = [_unexplained(one, left, whole) + 2 * len(one) for one in likely]
    near = [one for one, misfit in zip(likely, misfits, strict=True) if misfit <= min(misfits) + BETTER]
    if any(effect.alert.updates for effect in left):
        return min(near, key=lambda one: min(effect.order for effect in one))
    return min(near, key=lambda one: min(effect.alert.detected_at for effect in one))


def _unexplained(chosen: Sequence[Effect], left: Iterable[Effect], whole: Effect | None) -> float:
    """What other dimensions and all traffic show beyond the bounds of a set's echo, in squared standard errors."""
    most, own = max(chosen, key=lambda e: e.size), chosen[0].dimension
    mass, error = math.fsum(e.mass for e in chosen), total(e.mass_error for e in chosen)
    found = 0.0 if whole is None else _misfit(whole.size - mass, [whole.error, error])
    for effect in left:
        if effect.dimension != own and (effect.size > most.size or effect.mass > mass):
            size = _misfit(max(0.0, effect.size - most.size), [effect.error, most.error])
            found += max(size, _misfit(max(0.0, effect.mass - mass), [effect.mass_error, error]))
    return found


def _set_order(chosen: Sequence[Effect], change: float) -> tuple[float, int, float, str]:
    sure = math.fsum(surprise(e.share, max(0.0, e.mass - e.mass_error) / change) for e in chosen)
    likely = math.fsum(surprise(e.share, e.mass / change) for e in chosen)
    return -round(sure, 6), len(chosen), -round(likely, 6), chosen[0].alert.series_id


def _fits(chosen: Sequence[Effect], siblings: Sequence[Effect], whole: Effect, change: float) -> bool:
    """Whether the set explains better than that all traffic moved alike; clearly better, where all siblings moved."""
    if math.fsum(e.mass for e in chosen) < LIFT_MIN * change * math.fsum(e.share for e in chosen):
        return False
    alike = math.fsum(_misfit(e.size - whole.size, [e.error, whole.error]) for e in chosen if e.size > whole.size)
    apart = _misfit(whole.size - math.fsum(e.mass for e in chosen), [whole.error, *(e.mass_error for e in chosen)])
    all_moved = math.fsum(e.share for e in siblings) >= ALL_TRAFFIC_MIN
    return alike - apart >= (MUCH_BETTER if all_moved else BETTER) + 2 * (len(chosen) - 1)


def everywhere(chosen: Sequence[Effect], left: Iterable[Effect], change: float) -> bool:
    """Whether these children and their siblings have all of the traffic, and moved alike."""
    siblings = by_dimension(left)[chosen[0].dimension]
    if len(siblings) < 2 or math.fsum(e.share for e in siblings) < ALL_TRAFFIC_MIN:
        return False
    return math.fsum(e.mass for e in chosen) < LIFT_MIN * change * math.fsum(e.share for e in chosen)


def _misfit(distance: float, errors: Iterable[float]) -> float:
    """In squared standard errors; the errors given are two of them."""
    return min(1e6, 2 * distance / max(total(errors), 1e-12)) ** 2


def _shadowed(chosen: Sequence[Effect], whole: Effect, alone: Places) -> bool:
    """Whether all traffic only followed the one value of its dimension with an alert."""
    first = chosen[0].alert
    single = all((first.feature, signal_kind(first), name) in alone for name in first.segment)
    return len(chosen) == 1 and single and _before(chosen[0], whole)


def _before(one: Effect, other: Effect) -> bool:
    """Whether it had its alert first. What updates an alert was detected later than that: it stands in its place."""
    if one.alert.updates or other.alert.updates:
        return one.order < other.order
    return one.alert.detected_at < other.alert.detected_at
