"""One series: a feature of a model in a segment. Learns its reference window, then watches.

What it says depends on its own events in order and on nothing else: not on how they were cut into blocks, nor on the clock.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from streamdrift.alerts import Alert
from streamdrift.blocks.block import Block
from streamdrift.blocks.column import INFINITE, NULL, NUMBER, TEXT, Bools, Column, Floats, Ints
from streamdrift.detect import explain
from streamdrift.detect.adwin import Adwin
from streamdrift.detect.base import Detector, Values
from streamdrift.detect.baseline import Reference
from streamdrift.detect.budget import Budget, budget, held_to
from streamdrift.detect.calibration import STRETCH, Calibration, score_table
from streamdrift.detect.clock import ClockProfile
from streamdrift.detect.confirm import Scan
from streamdrift.detect.explain import Change, Identity
from streamdrift.detect.far_out import FarOut
from streamdrift.detect.faults import ShareLane
from streamdrift.detect.frozen import Frozen
from streamdrift.detect.ks import Ks
from streamdrift.detect.learning import Learned, Learning, first_present
from streamdrift.detect.page_hinkley import PageHinkley
from streamdrift.detect.policy import Lane, Verdict
from streamdrift.detect.rebaseline import Order, closing
from streamdrift.settings import AnomalySettings, DetectorSettings, PolicySettings, ReferenceSettings

Crowded = Literal["capped", "distinct"]
"""Texts that are too many to be categories: more than are told apart, or more than half of the reference's values."""

RECENT = 512
"""Values kept to show what is current."""


@dataclass(frozen=True, slots=True)
class WatchSettings:
    """The settings of one series, overrides applied."""

    detectors: DetectorSettings
    policy: PolicySettings
    anomalies: AnomalySettings
    reference: ReferenceSettings
    categories_max: int


@dataclass(slots=True)
class Rows:
    """The rows of a block that a series is given.

    Attributes
    ----------
    share
        (n,) the segment's share of the model's traffic, as of each row.
    age
        (n,) events that the model had had since the segment's first, this one included.
    recorded
        Whether they are the recorded baseline: learned from, and not judged.
    """

    block: Block
    share: Floats
    age: Ints
    recorded: bool = False

    def of(self, rows: Ints) -> Rows:
        """Return these rows alone, without columns: a series is given its column beside them."""
        bare = replace(self.block, columns={}, dimensions={}, vectors={})
        return Rows(bare.take(rows), self.share[rows], self.age[rows], self.recorded)


@dataclass(frozen=True, slots=True)
class Known:
    """A reference window, and as how many independent values it counts."""

    reference: Reference
    worth: float


class Series:
    """State of one series. ``update`` takes the next rows, returns the alerts that they cause."""

    def __init__(
        self, identity: Identity, settings: WatchSettings, invalid_counts: Counter[str], states: Counter[str]
    ) -> None:
        self.identity, self._settings = identity, settings
        self._invalid_counts, self._states = invalid_counts, states
        self._asked = settings.policy
        self.seen = 0
        self.crowded: Crowded | None = None
        """Set at the end of learning, for whoever tells the operator."""
        self._learn_anew()

    def _learn_anew(self) -> None:
        reference = self._settings.reference
        self._learning: Learning | None = Learning(
            reference.events, reference.segment_events, self._settings.categories_max
        )
        self._first_age = 0
        self._missing: ShareLane | None = None
        self._invalid: ShareLane | None = None
        self._values: ValueWatch | None = None
        self._kind: int | None = None
        self._open: dict[str, Alert] = {}
        self._told: dict[str, Alert] = {}
        self._first_time = 0
        self.budget: Budget | None = None
        self.learned_at: int | None = None
        """Row of the last update at which the reference was complete, where that was in it."""
        self.known: Known | None = None

    @property
    def threshold(self) -> float:
        """Evidence that an alert asks for, in nats."""
        return self._settings.policy.threshold

    def let_go(self) -> None:
        """Count it out of the states that operators are told of."""
        self._states["held_back"] -= self.is_held_back

    def forget(self, block: Block, order: Order, share: float) -> list[Alert]:
        """Give up the reference before a block's first row, and learn anew; return the open alerts, resolved by that."""
        self.let_go()
        alerts = list(closing(self._open.items(), self.identity, order, block, self.seen, share))
        self._learn_anew()
        return alerts

    @property
    def watch(self) -> ValueWatch | None:
        """What watches the clean values; None while learning, and where there were too few."""
        return self._values

    @property
    def is_held_back(self) -> bool:
        """Whether the reference window still is too short for what the series does, so that its values are not judged."""
        return self._learning is not None and self._kind is not None

    @property
    def heat(self) -> float | None:
        """How far the current window is from the reference, 0 to 1; None while learning."""
        if self._kind is None:
            return None
        missing = self._missing.recent_rise if self._missing else 0.0
        return max(self._values.distance if self._values else 0.0, missing)

    def update(self, rows: Rows, column: Column) -> list[tuple[int, Alert]]:
        """Take the rows' values; return alerts, each with the row that decided it, in event order."""
        n, learned_rows = len(column), 0
        self.learned_at = None
        faults_from = 0 if self._kind is not None else n
        if self._learning is not None:
            begin = 0
            if not self._learning.rows:
                begin = first_present(column)
                if begin < n:
                    self._first_age = int(rows.age[begin]) - 1
                    self._first_time = int(rows.block.time[begin])
            ages = rows.age[begin:] - self._first_age
            times = rows.block.time[begin:]
            for learned in self._learning.add(column.take(slice(begin, None)), ages, times) if begin < n else ():
                learned_rows = begin + learned.rows
                faults_from = min(faults_from, learned_rows)
                self._hold_to_budget(rows, learned_rows - 1, len(learned.missing))
                self._begin(learned)
                self.learned_at = learned_rows - 1 if learned.done else None
            if self._learning is not None:
                learned_rows = n
            self.seen += faults_from - begin
        if rows.recorded:
            self.seen += n - faults_from
            return []
        return self._watch(rows, column, faults_from, learned_rows)

    def _hold_to_budget(self, rows: Rows, last: int, own: int) -> None:
        """Take the threshold that the false-alarm budget asks for, as of the last row that was learned from."""
        now, lanes = int(rows.block.time[last]), int(rows.block.breadth[last])
        counted = own, int(rows.age[last]) - self._first_age
        since = now if self.budget is None else self.budget.since
        self.budget = budget(self._asked, counted, now - self._first_time, lanes, since)
        self._settings = replace(self._settings, policy=held_to(self._asked, self.budget))

    def _begin(self, learned: Learned) -> None:
        settings = self._settings
        first = self._kind is None
        self._states["held_back"] += (not learned.done) - (not first)
        if first:
            self._kind = learned.kind
            if settings.anomalies.enabled:
                self._missing = ShareLane(learned.missing, settings.policy, notes=1)
                self._invalid = ShareLane(learned.invalid, settings.policy, notes=1)
        if learned.done:
            self._learning = None
        if learned.reference is not None and learned.calibration is not None and learned.values is not None:
            self._values = ValueWatch(learned.reference, learned.calibration, learned.clock, learned.values, settings)
            self.known = Known(learned.reference, learned.calibration.worth)
            self.crowded = _crowded(learned.reference, settings.categories_max)

    def _watch(self, rows: Rows, column: Column, begin: int, values_from: int) -> list[tuple[int, Alert]]:
        """Look for faults from row ``begin`` on, and at the values from row ``values_from`` on."""
        if begin:
            column = column.take(slice(begin, None))
        n = len(column)
        if not n:
            return []
        times = rows.block.time[begin:]
        kinds = column.kind_of_rows()
        clean = kinds == self._kind
        missing = kinds <= NULL
        invalid = ~(clean | missing)
        seen, self.seen = self.seen, self.seen + n
        found: list[tuple[int, Change]] = []
        if self._missing is not None and self._invalid is not None:
            found += [
                (verdict.end, explain.missing(self._missing, verdict))
                for verdict in self._missing.update(missing, times, kinds < NULL)
            ]
            found += [
                (verdict.end, explain.invalid(self._invalid, verdict))
                for verdict in self._invalid.update(invalid, times, invalid & (kinds != INFINITE))
            ]
        if invalid.any():
            self._count_invalid(kinds[invalid])
        if self._values is not None:
            clean[: max(0, values_from - begin)] = False
            places = np.flatnonzero(clean)
            read = self._values.reference.read(column, clean)
            if len(read):
                found += [(int(places[i]), change) for i, change in self._values.update(read, times[clean])]
        found.sort(key=lambda pair: pair[0])
        alerts = ((begin + row, self._alert(change, rows, begin + row, seen + row + 1)) for row, change in found)
        return [(row, alert) for row, alert in alerts if alert is not None]

    def _count_invalid(self, kinds: np.ndarray[tuple[int], np.dtype[np.uint8]]) -> None:
        infinite = int((kinds == INFINITE).sum())
        if infinite:
            self._invalid_counts["out_of_range"] += infinite
        if infinite < len(kinds):
            self._invalid_counts["wrong_type"] += len(kinds) - infinite

    def _alert(self, change: Change, rows: Rows, row: int, seen: int) -> Alert | None:
        """The change as an alert; None where an open one is what it was."""
        opened = self._open.get(change.lane)
        if change.step == "looks":
            if opened is None or not explain.has_grown(
                self._told[change.lane], change, self._settings.policy.update_factor
            ):
                return None
        elif change.step == "resolves":
            self._open.pop(change.lane, None)
        else:
            opened = None
        alert = explain.alert(self.identity, change, rows.block, row, seen, float(rows.share[row]), opened)
        if self.budget is not None and change.threshold == self.budget.threshold:
            alert = replace(alert, expected_false_per_week=self.budget.expected_false_per_week)
        if change.lane and change.step != "resolves":
            self._told[change.lane] = alert
            if opened is None:
                self._open[change.lane] = alert
        return alert


class ValueWatch:
    """The clean values of a series: detectors open candidates, the scan confirms them."""

    def __init__(
        self,
        reference: Reference,
        calibration: Calibration,
        clock: ClockProfile | None,
        values: Floats,
        settings: WatchSettings,
    ) -> None:
        self.reference, self._clock, self._settings = reference, clock, settings
        self._table = score_table(reference.n)
        self.calibration = calibration
        self._scan = Scan(calibration)
        self._lane = Lane(settings.policy)
        self._ks = Ks(settings.detectors.ks, reference) if settings.detectors.ks.enabled else None
        self.detectors = _detectors(settings.detectors, self._ks)
        self._last_flag = {detector.name: -(10**12) for detector in self.detectors}
        self._flagged = Counter({detector.name: 0 for detector in self.detectors})
        self._seen = 0
        self._recent = values[-RECENT:].copy()
        self._unseen = self._unseen_lane(values)
        numeric = reference.kind == NUMBER and settings.anomalies.enabled
        self._far_out = FarOut(reference, values, settings.policy) if numeric else None
        self._frozen = Frozen(values) if settings.anomalies.enabled else None

    def _unseen_lane(self, values: Floats) -> ShareLane | None:
        """Categories that the reference lacks, against the share that its second half had of what its first lacked."""
        if self.reference.kind != TEXT or not self._settings.anomalies.enabled:
            return None
        half = len(values) // 2
        new = ~np.isin(values[half:], values[:half])
        return ShareLane(new, self._settings.policy, events_min=self._settings.anomalies.new_category_events)

    @property
    def table(self) -> Ints:
        """(2n+1, C) scores by rank in the reference of n values."""
        return self._table

    @property
    def flags(self) -> dict[str, int]:
        """Values at which each detector flagged so far; for the scan, stretches at whose end it had the evidence."""
        return {**self._flagged, "scan": self._lane.reached}

    @property
    def distance(self) -> float:
        """KS distance of the current window to the reference; 0 without that detector."""
        return self._ks.distance if self._ks else 0.0

    def update(self, raw: Floats, times: Ints) -> list[tuple[int, Change]]:
        """Take (n,) values and their times; return changes with the index of the value that decided each.

        Faults first; what is far out is a fault, and not shown to the detectors.
        """
        found: list[tuple[int, Change]] = []
        if self._frozen is not None:
            freezes = self._frozen.update(raw, times)
            found += [(freeze.end, explain.frozen(freeze, self._frozen, self.reference)) for freeze in freezes]
        if self._far_out is not None:
            far, named = self._far_out.update(raw, times)
            found += named
            if far.any():
                near = np.flatnonzero(~far)
                return found + [(int(near[i]), change) for i, change in self._judge(raw[near], times[near])]
        return found + self._judge(raw, times)

    def _judge(self, raw: Floats, times: Ints) -> list[tuple[int, Change]]:
        if not len(raw):
            return []
        reference = self.reference
        rank = reference.rank(raw)
        values = Values(raw, reference.standardise(raw), rank)
        flags = {detector.name: detector.update(values) for detector in self.detectors}
        recent = np.concatenate([self._recent, raw])
        first = len(self._recent)
        found: list[tuple[int, Change]] = []
        if self._unseen is not None:
            unseen: Bools = raw >= len(reference.categories)
            for verdict in self._unseen.update(unseen, times):
                window = _window(recent, first + verdict.end, verdict.back)
                found.append((verdict.end, explain.new_category(self._unseen, verdict, reference, window)))
        scores = self._table[rank]
        evidence = self._scan.update(scores if self._clock is None else scores - self._clock.at(times), times)
        if self._settings.policy.confirm == "off":
            found += self._unconfirmed(flags, recent, first, times)
        elif evidence is not None:
            for verdict in self._lane.judge(evidence, times, lambda v: self._is_candidate(v.end, flags)):
                window = _window(recent, first + verdict.end, verdict.back)
                who = self._who(verdict, flags)
                found.append(
                    (verdict.end, explain.shift(verdict, reference, window, who, self._settings.policy.threshold))
                )
        for name, indices in flags.items():
            if len(indices):
                self._last_flag[name] = self._seen + int(indices[-1])
                self._flagged[name] += len(indices)
        self._seen += len(raw)
        self._recent = recent[-RECENT:].copy()
        return found

    def _latest(self, name: str, flags: dict[str, Ints], end: int) -> int:
        """Number of the last value, up to index ``end`` of this update, at which a detector flagged."""
        before = flags[name][flags[name] <= end]
        return self._seen + int(before[-1]) if len(before) else self._last_flag[name]

    def _is_candidate(self, end: int, flags: dict[str, Ints]) -> bool:
        if self._settings.policy.require == "none":
            return True
        oldest = self._seen + end - self._settings.policy.candidate_events
        return any(self._latest(name, flags, end) >= oldest for name in flags)

    def _who(self, verdict: Verdict, flags: dict[str, Ints]) -> list[str]:
        """Detectors that flagged since the change point, the latest last; the scan always agrees."""
        since = self._seen + verdict.end - verdict.back * STRETCH
        latest = {name: self._latest(name, flags, verdict.end) for name in flags}
        return [*sorted((n for n in latest if latest[n] >= since), key=lambda n: (latest[n], n)), "scan"]

    def _unconfirmed(
        self,
        flags: dict[str, Ints],
        recent: Floats,
        first: int,
        times: Ints,
    ) -> list[tuple[int, Change]]:
        found = []
        for name, indices in flags.items():
            for i in indices.tolist():
                window = _window(recent, first + i, RECENT // STRETCH)
                found.append((i, explain.flag(name, self.reference, window, int(times[i]))))
        return found


def _detectors(settings: DetectorSettings, ks: Ks | None) -> list[Detector]:
    detectors: list[Detector] = []
    if settings.adwin.enabled:
        detectors.append(Adwin(settings.adwin))
    if settings.page_hinkley.enabled:
        detectors.append(PageHinkley(settings.page_hinkley))
    if ks is not None:
        detectors.append(ks)
    return detectors


def _crowded(reference: Reference, categories_max: int) -> Crowded | None:
    if len(reference.categories) > categories_max:
        return "capped"
    return "distinct" if len(reference.categories) > reference.n // 2 else None


def _window(recent: Floats, last: int, back: int) -> Floats:
    """The values of the last ``back`` stretches up to index ``last``, as far as they are kept."""
    return recent[max(0, last + 1 - min(RECENT, back * STRETCH)) : last + 1]
