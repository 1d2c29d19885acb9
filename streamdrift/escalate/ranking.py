"""An incident's cells, feature × segment, in the order of what they contribute.

A cell's score is explanatory power × surprise again: the share of the model's events that it displaced, times the evidence of its
alert in thresholds. Scores over their sum are the ``contribution``. A model's outputs are functions of its features, never the
other way round: a score or an error that moves where a feature moved, and not clearly earlier, *follows*
and comes after. So does a surge of the traffic that is no more than its events coming twice. A fault comes before a drift, an alert of severity info after all others. Traffic follows from other things
more often than it causes them: it comes last, but where it is graver than all others or its evidence is by
far the strongest.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence

from streamdrift.alerts import Alert
from streamdrift.escalate.attribution import Places, signal_kind
from streamdrift.escalate.contribution import Cell, explained
from streamdrift.escalate.effects import displaced, evidence, held, relative_error
from streamdrift.escalate.incident import RANK

FAR = 2.0
"""By so much must the evidence of a traffic alert exceed all others, to lead."""
ONSET_SLACK_MS = 3_600_000
"""An output may seem to move this much before the feature it follows: onsets are estimates."""
OUTPUTS, INPUTS = frozenset({"prediction", "performance"}), frozenset({"feature", "embedding"})

Signal = tuple[str, str]


def ranked(alerts: Sequence[Alert]) -> tuple[Cell, ...]:
    """Rank feature × segment by what they contribute; every alert is in one cell, as its own or in ``also``.

    Alerts of severity info tell where a change is like all others; cells of such alone come last.
    """
    alone = _alone(alerts)
    cells = [cell for signal in _signals(alerts) for cell in explained(signal, alone)]
    return _ordered([cell for cell in cells if not cell.slight], [cell for cell in cells if cell.slight])


def _keyed(alerts: Iterable[Alert]) -> dict[Signal, list[Alert]]:
    found: dict[Signal, list[Alert]] = defaultdict(list)
    for alert in alerts:
        found[alert.feature, signal_kind(alert)].append(alert)
    return found


def _signals(alerts: Iterable[Alert]) -> Iterable[list[Alert]]:
    """Alerts by feature and kind; means that rise and means that fall apart, the rest with the more of them."""
    for signal in _keyed(alerts).values():
        rising = [alert for alert in signal if alert.effect_unit == "sd" and alert.effect_size > 0]
        falling = [alert for alert in signal if alert.effect_unit == "sd" and not alert.effect_size > 0]
        if not rising or not falling:
            yield signal
            continue
        unsigned = [alert for alert in signal if alert.effect_unit != "sd"]
        less, more = sorted((rising, falling), key=lambda side: sum(_moved(alert) for alert in side))
        yield more + unsigned
        yield less


def _moved(alert: Alert) -> float:
    return (alert.traffic_share if alert.segment else 1.0) * displaced(alert)


def _alone(alerts: Iterable[Alert]) -> Places:
    """Features, kinds and dimensions of which a single value has an alert, whatever its severity."""
    values: dict[tuple[str, str, str], set[str]] = defaultdict(set)
    for alert in alerts:
        for name, value in alert.segment.items():
            values[alert.feature, signal_kind(alert), name].add(value)
    return frozenset(key for key, seen in values.items() if len(seen) == 1)


def _ordered(cells: Sequence[Cell], minor: Sequence[Cell]) -> tuple[Cell, ...]:
    inputs = _Inputs(cells)
    for cell in cells:
        cell.follows = _followed(cell, inputs)
    early = _traffic_first(cells or minor)
    found = [cell for some in (cells, minor) for cell in sorted(some, key=lambda cell: _order(cell, early))]
    whole = math.fsum(cell.score for cell in cells or minor if not cell.follows) or 1.0
    for cell in found:
        cell.contribution = 0.0 if cell.follows else min(1.0, cell.score / whole)
    return tuple(found)


def _order(cell: Cell, traffic_first: bool) -> tuple[object, ...]:
    a = cell.alert
    late = a.role == "traffic" and not traffic_first
    early = a.role == "traffic" and traffic_first
    return not early, bool(cell.follows), late, a.kind != "anomaly", -cell.score, a.onset_at, a.series_id


def _traffic_first(cells: Sequence[Cell]) -> bool:
    traffic = [cell.alert for cell in cells if cell.alert.role == "traffic"]
    others = [cell.alert for cell in cells if cell.alert.role != "traffic"]
    if not traffic or not others:
        return False
    graver = max(RANK[a.severity] for a in traffic) > max(RANK[a.severity] for a in others)
    return graver or max(map(evidence, traffic)) >= FAR * max(map(evidence, others))


class _Inputs:
    """The features that moved, by place: for each the one that moved most there.

    Attributes
    ----------
    twice
        The alert that events come twice; None without.
    """

    def __init__(self, cells: Iterable[Cell]) -> None:
        self._at: dict[tuple[tuple[str, str], ...], Cell] = {}
        self._in: dict[tuple[str, ...], Cell] = {}
        cells = list(cells)
        self.twice = next((cell.alert for cell in cells if cell.alert.reason == "duplicate_events"), None)
        for cell in sorted((c for c in cells if c.alert.role in INPUTS), key=lambda c: (-c.score, c.alert.series_id)):
            place = tuple(sorted(cell.segment.items()))
            self._at.setdefault(place, cell)
            self._in.setdefault(tuple(name for name, _ in place), cell)

    def near(self, cell: Cell) -> list[Cell]:
        """Return those whose events may be the cell's: of the same place, of all traffic, of other dimensions."""
        place = tuple(sorted(cell.segment.items()))
        own = tuple(name for name, _ in place)
        found = [self._at.get(place), self._at.get(())]
        return [c for c in [*found, *(c for names, c in self._in.items() if not own or names != own)] if c is not None]


def _followed(cell: Cell, inputs: _Inputs) -> str:
    """The feature that an output follows, where one moved where it did, or a surge of the traffic; else empty."""
    if cell.alert.reason == "volume_surge":
        twice = inputs.twice
        return twice.feature if twice is not None and _as_many(cell.alert, twice) else ""
    if cell.alert.role in OUTPUTS:
        for candidate in inputs.near(cell):
            if _earliest(candidate.alert) <= _latest(cell.alert) + ONSET_SLACK_MS:
                return candidate.alert.feature
    return ""


def _as_many(surge: Alert, twice: Alert) -> bool:
    """Whether events that come twice may be half of those beyond the usual, as far as two standard errors allow.

    A share s of all events is s/(1-s) of the others.
    """
    surplus = (held(surge) - 1) * (1 - min(1.0, relative_error(surge)))
    share = min(held(twice) * (1 + relative_error(twice)), 1 - 1e-9)
    return share / (1 - share) >= surplus / 2


def _earliest(alert: Alert) -> int:
    return alert.onset_range[0] if alert.onset_range else alert.onset_at


def _latest(alert: Alert) -> int:
    return alert.onset_range[1] if alert.onset_range else alert.onset_at
