r"""Which segments explain the alerts of one feature: Adtributor, fitted to alerts.

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
the other alerts (below). Where that can't be told, it is the one that had an alert first: the evidence of n of
the model's events grows as n p e² / 2, and neither p e nor e is larger in what only overlaps with the cause. Then it is
the one with the most surprise at the lower end of its errors, with the fewest values, with the most surprise.

That set S explains if it fits better than "all traffic moved alike". Both are held against the alerts, in squared standard
errors: *alike* misses by Σ ((e - T)/se)² over the e in S above T, S by ((T - Σm)/se)². S has to be better by ``BETTER``,
and by 2 for every value after the first (Akaike 1974), and its events must have moved ``LIFT_MIN`` times as far as all.
If the numbers can't tell, S explains where it is the one value of its dimension with an alert, and had it before all
traffic: a change of everything shows first where most events are. Children that have all of the traffic between them are all
traffic, even where that has no alert.

What is left when a cell is taken away
--------------------------------------
Segments of different dimensions overlap. What moved by e in p of the traffic shows in any other segment with no more than e, and
no more than the mass p e. An alert within both bounds (and the errors) tells nothing more: it is listed with the cell
that explains it, as all traffic's diluted alert is. What exceeds them is explained anew, by itself, as are other values of the
same dimension: these share no events.

Cost: O(n log n) for n alerts, at most ``ROUNDS_MAX`` times.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from streamdrift.alerts import Alert
from streamdrift.escalate.effects import Effect, displaced, evidence, measured, total

EXPLAINED_MIN = 0.67
"""Share of the change that a set must explain: T_EP of the paper."""
LIFT_MIN = 1.25
"""By so much must a segment's events have moved further than all; below, all traffic has the change."""
BETTER = 4.0
ALL_TRAFFIC_MIN = 0.8
"""Children of one dimension with so much of the traffic are all of it."""
"""Squared standard errors by which one explanation must fit better than another."""
ROUNDS_MAX = 8
SETS_MAX = 20
"""Dimensions whose sets are compared with each other."""
LANES = {"missing_feature": "null_rate", "type_change": "invalid_value", "silence": "volume_drop"}
"""Faults that are a larger form of another."""

Places = frozenset[tuple[str, str, str]]


@dataclass(frozen=True, slots=True)
class Cell:
    """One feature in one segment, and what it explains.

    Attributes
    ----------
    alert
        The alert that tells most of it.
    segment
        Where; ``{}`` is all traffic, of which ``alert`` may be the largest part.
    explains
        Share of the feature's change in all traffic, 0 to 1.
    surprise
        Nats, 0 to ln 2 / 2; of all traffic 0.
    contribution
        Share of the whole incident's change, 0 to 1: of cells that follow nothing.
    also
        Alerts that this cell explains: what they show is part of it.
    beside
        The other cells of its set, where several values of one dimension explain together.
    follows
        The cell's feature that moved before this output; empty where there is none.
    """

    alert: Alert
    segment: dict[str, str]
    explains: float
    surprise: float
    contribution: float = 0.0
    also: tuple[Alert, ...] = ()
    beside: tuple[Alert, ...] = field(default=(), repr=False)
    follows: str = ""

    @property
    def traffic_share(self) -> float:
        """Of the model's traffic, in the segment."""
        return self.alert.traffic_share if self.segment else 1.0

    @property
    def score(self) -> float:
        """Share of the model's events displaced, times the evidence in thresholds."""
        return self.traffic_share * displaced(self.alert) * max(evidence(self.alert), 1e-9)


def signal_kind(alert: Alert) -> str:
    """What moved of the feature: its values, or the share of one fault."""
    return "values" if alert.kind == "drift" else LANES.get(alert.reason, alert.reason)


def explained(alerts: Sequence[Alert], alone: Places) -> list[Cell]:
    """Return the cells that explain these alerts, each alert in one of them.

    Parameters
    ----------
    alerts
        Of one feature and kind (``signal_kind``), in one direction, in the order in which they opened.
    alone
        Features, kinds and dimensions of which a single value has an alert, whatever its severity.
    """
    best: dict[tuple[tuple[str, str], ...], Effect] = {}
    again: list[Alert] = []
    for effect in sorted(measured(alerts), key=lambda e: (-e.size, e.alert.series_id, e.alert.reason)):
        place = tuple(sorted(effect.alert.segment.items()))
        if best.setdefault(place, effect) is not effect:
            again.append(effect.alert)  # a second reason of the same series
    whole = best.pop((), None)
    left = list(best.values())
    change = _total(left, whole)
    found: list[Cell] = []
    for _ in range(ROUNDS_MAX):
        if not left and whole is None:
            break
        taken, cells = _round(left, whole, change, alone, first=not found)
        left, cells = _sorted_out(left, whole, taken, cells)
        found += cells
        whole = None
    found += [_cell(effect, change) for effect in left]
    return _with_again(found, again)


def _by_dimension(effects: Iterable[Effect]) -> dict[tuple[str, ...], list[Effect]]:
    found: dict[tuple[str, ...], list[Effect]] = defaultdict(list)
    for effect in effects:
        found[effect.dimension].append(effect)
    return found


def _total(children: Sequence[Effect], whole: Effect | None) -> float:
    """The change of all traffic, as far as it is known."""
    sums = [math.fsum(e.mass for e in values) for values in _by_dimension(children).values()]
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
    q = min(q, 1.0)
    if q <= p:
        return 0.0
    return max(0.0, 0.5 * (p * math.log(2 * p / (p + q)) + q * math.log(2 * q / (p + q))))


def _round(
    left: Sequence[Effect], whole: Effect | None, change: float, alone: Places, *, first: bool
) -> tuple[list[Effect], list[Cell]]:
    """The next set and its cells; without effects it is all traffic."""
    sets = [_set(values, change) for values in _by_dimension(left).values()]
    chosen = _best([one for one in sets if one], left, whole, change)
    if whole is not None and not (chosen and (_fits(chosen, whole, change) or _shadowed(chosen, whole, alone))):
        return [], [Cell(whole.alert, {}, 1.0, 0.0)]
    if not chosen:  # what is left explains too little: each by itself, by the largest
        chosen = [max(left, key=lambda e: (e.mass, e.alert.series_id))]
    if first and whole is None and _everywhere(chosen, left, change):
        return chosen, [Cell(chosen[0].alert, {}, 1.0, 0.0, also=tuple(e.alert for e in chosen[1:]))]
    cells = [_cell(effect, change) for effect in chosen]
    told = tuple(cell.alert for cell in cells)
    return chosen, [replace(c, beside=tuple(a for a in told if a is not c.alert)) for c in cells]


def _cell(effect: Effect, change: float) -> Cell:
    power = min(1.0, effect.mass / change)
    return Cell(effect.alert, effect.alert.segment, power, surprise(effect.share, power))


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


def _fits(chosen: Sequence[Effect], whole: Effect, change: float) -> bool:
    """Whether the set explains better than that all traffic moved alike."""
    if math.fsum(e.mass for e in chosen) < LIFT_MIN * change * math.fsum(e.share for e in chosen):
        return False
    alike = math.fsum(_misfit(e.size - whole.size, [e.error, whole.error]) for e in chosen if e.size > whole.size)
    apart = _misfit(whole.size - math.fsum(e.mass for e in chosen), [whole.error, *(e.mass_error for e in chosen)])
    return alike - apart >= BETTER + 2 * (len(chosen) - 1)


def _everywhere(chosen: Sequence[Effect], left: Iterable[Effect], change: float) -> bool:
    """Whether these children and their siblings have all of the traffic, and moved alike."""
    siblings = _by_dimension(left)[chosen[0].dimension]
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


# What a cell explains ------------------------------------------------------------------------------------------------


def _sorted_out(
    left: Sequence[Effect], whole: Effect | None, taken: Sequence[Effect], cells: Sequence[Cell]
) -> tuple[list[Effect], list[Cell]]:
    """What this round's cells don't explain, and the cells with what they do."""
    used = {id(effect) for effect in taken}
    rest = [effect for effect in left if id(effect) not in used]
    everywhere = not cells[0].segment
    source = [whole] if everywhere and whole is not None else list(taken)
    most = max(source, key=lambda e: e.size)
    mass = math.fsum(e.mass for e in source), total(e.mass_error for e in source)
    own = None if everywhere else taken[0].dimension
    echo = [e for e in rest if e.dimension != own and within(e, most, mass, everywhere=everywhere)]
    also = [e.alert for e in echo] + ([whole.alert] if whole is not None and not everywhere else [])
    known = {id(effect) for effect in echo}
    first = replace(cells[0], also=cells[0].also + tuple(sorted(also, key=_shown)))
    return [e for e in rest if id(e) not in known], [first, *cells[1:]]


def within(effect: Effect, most: Effect, mass: tuple[float, float], *, everywhere: bool) -> bool:
    """Whether an effect may be part of a change, as far as two standard errors allow.

    Parameters
    ----------
    most
        The largest effect of the change.
    mass
        What the change moves in all traffic, and two standard errors of that.
    everywhere
        Whether it is all traffic's.
    """
    if everywhere:
        return effect.size - LIFT_MIN * most.size <= total([effect.error, LIFT_MIN * most.error])
    return effect.size - most.size <= total([effect.error, most.error]) and effect.mass - mass[0] <= total(
        [effect.mass_error, mass[1]]
    )


def _shown(alert: Alert) -> tuple[bool, float, str]:
    return bool(alert.segment), -alert.traffic_share, alert.series_id


def _with_again(cells: Sequence[Cell], again: Iterable[Alert]) -> list[Cell]:
    """Second reasons of a series go with the first."""
    places = {a.series_id: i for i, cell in enumerate(cells) for a in (cell.alert, *cell.also)}
    more: dict[int, list[Alert]] = defaultdict(list)
    for alert in again:
        more[places[alert.series_id]].append(alert)
    return [replace(cell, also=cell.also + tuple(more[i])) if i in more else cell for i, cell in enumerate(cells)]
