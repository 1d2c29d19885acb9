"""What explains the alerts of one feature: cells of feature × segment, and for each what else shows the same.

``attribution`` finds the set of segments that explains (or all traffic). It becomes cells, what they explain is attached to them, and
what is left is explained anew.

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
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from streamdrift.alerts import Alert
from streamdrift.escalate.attribution import LIFT_MIN, Places, attributed, everywhere, known_change, surprise
from streamdrift.escalate.effects import Effect, displaced, evidence, measured, total

ROUNDS_MAX = 8


@dataclass(slots=True)
class Cell:
    """One feature in one segment, and what it explains; filled in by ``explained`` and ``ranking.ranked``.

    Attributes
    ----------
    alert
        The alert that tells most of it.
    segment
        Where; ``{}`` is all traffic, of which ``alert`` may be the largest part.
    explains
        Share of the feature's change in all traffic, 0 to 1.
    contribution
        Share of the whole incident's change, 0 to 1: of cells that follow nothing.
    surprise
        Nats, 0 to ln 2 / 2; of all traffic 0.
    score
        Share of the model's events displaced, times the evidence in thresholds.
    also
        Alerts that this cell explains: what they show is part of it.
    beside
        The other cells of its set, where several values of one dimension explain together.
    follows
        The cell's feature that moved before this output; empty where there is none.
    """

    alert: Alert
    segment: dict[str, str]
    explains: float = 1.0
    also: tuple[Alert, ...] = ()
    beside: tuple[Alert, ...] = field(default=(), repr=False)
    surprise: float = 0.0
    score: float = 0.0
    contribution: float = 0.0
    follows: str = ""

    def __post_init__(self) -> None:
        self.score = self.traffic_share * displaced(self.alert) * max(evidence(self.alert), 1e-9)

    @property
    def slight(self) -> bool:
        """Whether nothing graver than an alert of severity info tells of it."""
        return all(alert.severity == "info" for alert in (self.alert, *self.also))

    @property
    def traffic_share(self) -> float:
        """Of the model's traffic, in the segment."""
        return self.alert.traffic_share if self.segment else 1.0


def explained(alerts: Sequence[Alert], alone: Places) -> list[Cell]:
    """Return the cells that explain these alerts, each alert in one of them.

    Parameters
    ----------
    alerts
        Of one feature and kind (``signal_kind``), in one direction, in the order in which they opened.
    alone
        Features, kinds and dimensions of which a single value has an alert, whatever its severity.
    """
    if len(alerts) == 1:
        return _settled([Cell(alerts[0], alerts[0].segment)], 0.0)
    best: dict[tuple[tuple[str, str], ...], Effect] = {}
    again: list[Alert] = []
    for effect in sorted(measured(alerts), key=lambda e: (-e.size, e.alert.series_id, e.alert.reason)):
        place = tuple(sorted(effect.alert.segment.items()))
        if best.setdefault(place, effect) is not effect:
            again.append(effect.alert)  # a second reason of the same series
    whole = best.pop((), None)
    left = list(best.values())
    change = known_change(left, whole)
    least = 0.0 if whole is None else (whole.size - whole.error) / change
    found: list[Cell] = []
    for _ in range(ROUNDS_MAX):
        if not left and whole is None:
            break
        taken, cells = _round(left, whole, change, alone, first=not found)
        left = _sorted_out(left, whole, taken, cells)
        found += cells
        whole = None
    found += [_cell(effect, change) for effect in left]
    _attach_again(found, again)
    return _settled(found, least)


def _round(
    left: Sequence[Effect], whole: Effect | None, change: float, alone: Places, *, first: bool
) -> tuple[list[Effect], list[Cell]]:
    """The next set and its cells; without effects it is all traffic."""
    chosen = attributed(left, whole, change, alone)
    if not chosen and whole is not None:
        return [], [Cell(whole.alert, {})]
    if first and whole is None and everywhere(chosen, left, change):
        return chosen, [Cell(chosen[0].alert, {}, also=tuple(e.alert for e in chosen[1:]))]
    told = tuple(effect.alert for effect in chosen)
    cells = [_cell(effect, change) for effect in chosen]
    for cell in cells:
        cell.beside = tuple(alert for alert in told if alert is not cell.alert)
    return chosen, cells


def _cell(effect: Effect, change: float) -> Cell:
    return Cell(effect.alert, effect.alert.segment, effect.mass / change)


def _settled(cells: list[Cell], least: float) -> list[Cell]:
    """What each explains of all that is explained, or of the least that all traffic shows, if that is more."""
    whole = 1.0 if not cells or not cells[0].segment else max(least, math.fsum(c.explains for c in cells), 1e-12)
    for cell in cells:
        cell.explains = min(1.0, cell.explains / whole)
        cell.surprise = surprise(cell.traffic_share, cell.explains) if cell.segment else 0.0
    return cells


# What a cell explains ------------------------------------------------------------------------------------------------


def _sorted_out(
    left: Sequence[Effect], whole: Effect | None, taken: Sequence[Effect], cells: Sequence[Cell]
) -> list[Effect]:
    """Attach what this round's cells explain to the first of them; return what they don't."""
    used = {id(effect) for effect in taken}
    rest = [effect for effect in left if id(effect) not in used]
    everywhere = not cells[0].segment
    source = [whole] if everywhere and whole is not None else list(taken)
    most = max(source, key=lambda e: e.size)
    mass = math.fsum(e.mass for e in source), total(e.mass_error for e in source)
    own = None if everywhere else taken[0].dimension
    echo = [e for e in rest if e.dimension != own and _within(e, most, mass, everywhere=everywhere)]
    also = [e.alert for e in echo] + ([whole.alert] if whole is not None and not everywhere else [])
    known = {id(effect) for effect in echo}
    cells[0].also += tuple(sorted(also, key=_shown))
    return [e for e in rest if id(e) not in known]


def _within(effect: Effect, most: Effect, mass: tuple[float, float], *, everywhere: bool) -> bool:
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


def _attach_again(cells: Sequence[Cell], again: Iterable[Alert]) -> None:
    """Second reasons of a series go with the first."""
    places = {alert.series_id: cell for cell in cells for alert in (cell.alert, *cell.also)}
    for alert in again:
        places[alert.series_id].also += (alert,)
