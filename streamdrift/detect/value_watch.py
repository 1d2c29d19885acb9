"""The clean values of one series: faults among them first, then detectors that open candidates, and the scan that confirms them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from streamdrift.blocks.column import NUMBER, TEXT, Bools, Floats, Ints
from streamdrift.detect import explain
from streamdrift.detect.adwin import Adwin
from streamdrift.detect.base import Detector, Values
from streamdrift.detect.baseline import Reference
from streamdrift.detect.calibration import STRETCH, Calibration, score_table
from streamdrift.detect.clock import ClockProfile
from streamdrift.detect.confirm import Scan
from streamdrift.detect.explain import Change
from streamdrift.detect.far_out import FarOut
from streamdrift.detect.faults import ShareLane
from streamdrift.detect.frozen import Frozen
from streamdrift.detect.ks import Ks
from streamdrift.detect.page_hinkley import PageHinkley
from streamdrift.detect.policy import Lane, Verdict
from streamdrift.kernels import Ordinary
from streamdrift.settings import AnomalySettings, DetectorSettings, EngineChoice, PolicySettings, ReferenceSettings

RECENT = 512
"""Values kept to show what is current."""
COMPILED = ("adwin", "page_hinkley", "ks")
"""Detectors that the compiled watch runs, in its order."""
NO_VALUES: Floats = np.empty(0)
NEVER = -(10**12)
"""Number of the latest flagged value where there was none."""


@dataclass(frozen=True, slots=True)
class WatchSettings:
    """The settings of one series, overrides applied."""

    detectors: DetectorSettings
    policy: PolicySettings
    anomalies: AnomalySettings
    reference: ReferenceSettings
    categories_max: int
    engine: EngineChoice = "auto"


@dataclass(frozen=True, slots=True)
class Judged:
    """The values of an update that the scan was shown, and the evidence that it had.

    Attributes
    ----------
    near
        (k,) their indices into the update; None for all.
    ends, peaks
        (m,) index, into the k values, of the last of each stretch that ended, and its evidence, nats.
    """

    near: Ints | None = None
    ends: Ints = field(default_factory=lambda: np.empty(0, np.int64))
    peaks: Floats = field(default_factory=lambda: np.empty(0))


NOTHING = Judged()


class ValueWatch:
    """The clean values of a series: detectors open candidates, the scan confirms them.

    Parameters
    ----------
    lane
        That of a watch whose place this one takes: what it told still counts.
    """

    def __init__(
        self,
        reference: Reference,
        calibration: Calibration,
        clock: ClockProfile | None,
        values: Floats,
        settings: WatchSettings,
        lane: Lane | None = None,
    ) -> None:
        self.reference, self._clock, self._settings = reference, clock, settings
        self._table = score_table(reference.n)
        self.calibration = calibration
        self._scan = Scan(calibration)
        self.lane = Lane(settings.policy) if lane is None else lane
        self.judged: Judged = NOTHING
        """What the last update was judged by, for whoever stands beside."""
        self._ks = Ks(settings.detectors.ks, reference, settings.engine) if settings.detectors.ks.enabled else None
        self.detectors = _detectors(settings.detectors, settings.engine, self._ks)
        self._last_flag = {detector.name: NEVER for detector in self.detectors}
        self._flagged = Counter({detector.name: 0 for detector in self.detectors})
        self._seen = 0
        self._recent = values[-RECENT:].copy()
        self._unseen = self._unseen_lane(values)
        numeric = reference.kind == NUMBER and settings.anomalies.enabled
        self._far_out = FarOut(reference, values, settings.policy) if numeric else None
        self._frozen = Frozen(values, reference.many) if settings.anomalies.enabled else None

    def _unseen_lane(self, values: Floats) -> ShareLane | None:
        """Categories that the reference lacks, against the share that its second half had of what its first lacked."""
        if self.reference.kind != TEXT or not self._settings.anomalies.enabled:
            return None
        half = len(values) // 2
        new = ~np.isin(values[half:], values[:half])
        return ShareLane(new, self._settings.policy, events_min=self._settings.anomalies.new_category_events)

    @property
    def is_plain(self) -> bool:
        """Whether the compiled watch knows all that is done here: the scan confirms, and every detector is compiled."""
        compiled = self._settings.policy.confirm != "off" and {d.name for d in self.detectors} <= set(COMPILED)
        return compiled and (self._clock is None or self._clock.is_bounded)

    @property
    def is_calm(self) -> bool:
        """Whether no alert on the values is firing."""
        lanes = [self._unseen, self._far_out.lane if self._far_out else None]
        frozen = self._frozen is not None and self._frozen.is_frozen
        return not (self.lane.is_open or frozen or any(lane is not None and lane.is_open for lane in lanes))

    def leave(self) -> None:
        """No alert is open any more, and what came until now counts for none."""
        self.lane.leave(self._scan.boundary)
        for share in (self._unseen, None if self._far_out is None else self._far_out.lane):
            if share is not None:
                share.leave()
        if self._frozen is not None:
            self._frozen.begin_anew()

    def parts(self, ordinary: Ordinary) -> dict[str, Any]:
        """Return what the compiled watch is made of."""
        far, unseen = self._far_out, self._unseen
        return {
            **self.reference.compared(ordinary),
            **{detector.name: getattr(detector, "kernel", None) for detector in self.detectors},
            "scan": self._scan.judged(self._settings.policy.threshold),
            "clock": None if self._clock is None else self._clock.tables(),
            "far": None if far is None else (*far.range, far.lane.judged()),
            "unseen": None if unseen is None else (float(len(self.reference.categories)), unseen.judged()),
            "run": None if self._frozen is None else self._frozen.limits(),
            "recent": RECENT,
        }

    def told(self) -> dict[str, Any]:
        """Return the state that ordinary values change, for whoever goes on from it."""
        return {
            "scan": self._scan.told(),
            "far": None if self._far_out is None else self._far_out.lane.scan.told(),
            "unseen": None if self._unseen is None else self._unseen.scan.told(),
            "run": None if self._frozen is None else self._frozen.told(),
            "recent": self._recent,
            "flags": [(self._flagged.get(name, 0), self._last_flag.get(name, NEVER)) for name in COMPILED],
            "seen": self._seen,
        }

    def adopt(self, told: Mapping[str, Any]) -> None:
        """Go on from a state."""
        self._scan.adopt(told["scan"])
        if self._far_out is not None:
            self._far_out.lane.scan.adopt(told["far"])
        if self._unseen is not None:
            self._unseen.scan.adopt(told["unseen"])
        if self._frozen is not None and told["run"] is not None:
            self._frozen.adopt(told["run"])
        for name, (count, latest) in zip(COMPILED, told["flags"], strict=True):
            if name in self._flagged:
                self._flagged[name], self._last_flag[name] = count, latest
        self._recent, self._seen = told["recent"], told["seen"]

    def let_go(self) -> None:
        """Hold no state that ordinary values change: it was told to whoever goes on from it, and will be adopted again."""
        self._recent = NO_VALUES
        for scan in self._scans():
            scan.let_go()

    def _scans(self) -> Iterator[Scan]:
        yield self._scan
        for lane in (self._unseen, None if self._far_out is None else self._far_out.lane):
            if lane is not None:
                yield lane.scan

    @property
    def table(self) -> Ints:
        """(2n+1, C) scores by rank in the reference of n values."""
        return self._table

    @property
    def flags(self) -> dict[str, int]:
        """Values at which each detector flagged so far; for the scan, stretches at whose end it had the evidence."""
        return {**self._flagged, "scan": self.lane.reached}

    @property
    def distance(self) -> float:
        """KS distance of the current window to the reference; 0 without that detector."""
        return self._ks.distance if self._ks else 0.0

    def update(self, raw: Floats, times: Ints) -> list[tuple[int, Change]]:
        """Take (n,) values and their times; return changes with the index of the value that decided each.

        Faults first; what is far out is a fault, and not shown to the detectors.
        """
        found: list[tuple[int, Change]] = []
        self.judged = NOTHING
        if self._frozen is not None:
            freezes = self._frozen.update(raw, times)
            found += [(freeze.end, explain.frozen(freeze, self._frozen, self.reference)) for freeze in freezes]
        if self._far_out is not None:
            far, named = self._far_out.update(raw, times)
            found += named
            if far.any():
                near = np.flatnonzero(~far)
                self.judged = replace(self.judged, near=near)
                return found + [(int(near[i]), change) for i, change in self._judge(raw[near], times[near])]
        return found + self._judge(raw, times)

    def _judge(self, raw: Floats, times: Ints) -> list[tuple[int, Change]]:
        if not len(raw):
            return []
        reference = self.reference
        rank = reference.rank(raw)
        pooled = reference.pooled(raw)
        values = Values(pooled, reference.standardise(pooled), rank)
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
        if evidence is not None:
            self.judged = replace(self.judged, ends=evidence.ends, peaks=evidence.t.max(axis=(1, 2)))
        if self._settings.policy.confirm == "off":
            found += self._unconfirmed(flags, recent, first, times)
        elif evidence is not None:
            for verdict in self.lane.judge(evidence, times, lambda v: self._is_candidate(v.end, flags)):
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
        if self._settings.policy.require == "none" or self.reference.is_constant:
            return True  # in a constant no detector has a scale: whatever departs from it is told by the scan alone
        oldest = self._seen + end - self._settings.policy.candidate_events
        return any(self._latest(name, flags, end) >= oldest for name in flags)

    def _who(self, verdict: Verdict, flags: dict[str, Ints]) -> list[str]:
        """Detectors that flagged since the change point, the latest last; the scan always agrees."""
        since = self._seen + verdict.end - verdict.since * STRETCH
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


def _detectors(settings: DetectorSettings, engine: EngineChoice, ks: Ks | None) -> list[Detector]:
    detectors: list[Detector] = []
    if settings.adwin.enabled:
        detectors.append(Adwin(settings.adwin, engine))
    if settings.page_hinkley.enabled:
        detectors.append(PageHinkley(settings.page_hinkley, engine))
    if ks is not None:
        detectors.append(ks)
    return detectors


def _window(recent: Floats, last: int, back: int) -> Floats:
    """The values of the last ``back`` stretches up to index ``last``, as far as they are kept."""
    return recent[max(0, last + 1 - min(RECENT, back * STRETCH)) : last + 1]
