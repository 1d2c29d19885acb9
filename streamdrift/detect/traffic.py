"""A model's arrivals: how fast events come, what share each segment has, and whether they come at all.

Rate: the gaps between events are a series like any other, scanned by rank. Shares: each segment is a 0/1 score over the
model's events, scanned downwards, against its share in the reference window; so the model's own day and night don't
matter. Events that come twice: ``duplicates``. Silence, a gap far longer than any in the reference window: ``silence``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from streamdrift.alerts import Alert
from streamdrift.blocks.block import Block
from streamdrift.blocks.breadth import DIMENSIONS_MAX
from streamdrift.blocks.column import NUMBER, Floats, Ints
from streamdrift.detect import baseline, explain
from streamdrift.detect.baseline import Reference, significant
from streamdrift.detect.budget import budget, held_to
from streamdrift.detect.calibration import STRETCH, UNIT, Calibration, calibrate, joined, score_table, share_calibration
from streamdrift.detect.confirm import Evidence, Scan
from streamdrift.detect.duplicates import Duplicates
from streamdrift.detect.explain import Change, Identity
from streamdrift.detect.open_alerts import OpenAlerts
from streamdrift.detect.policy import Lane, Verdict
from streamdrift.detect.rebaseline import Order, closing, names
from streamdrift.settings import AnomalySettings, PolicySettings

SHARE_MIN = 0.005
"""Least share of a segment whose disappearance the scan could ever prove (4,096 events · p/2 ≥ threshold)."""
FEATURE = "traffic.rate"


@dataclass(frozen=True, slots=True)
class TrafficSettings:
    """What traffic needs of the settings; ``duplicates`` has the policies of these, by feature."""

    policy: PolicySettings
    duplicates: Mapping[str, PolicySettings]
    anomalies: AnomalySettings
    reference_events: int
    segments_max: int


@dataclass(frozen=True, slots=True)
class Gap:
    """A time without events: opens where it became too long, else ends.

    Attributes
    ----------
    since, at
        Event time of the last event before it, and the time that is spoken of: the limit passed, or the next event.
    seen
        Events of the model before it.
    version
        Model version of the last event.
    """

    opens: bool
    since: int
    at: int
    seen: int
    version: str | None


class Traffic:
    """Arrivals of one model. ``update`` takes its rows of all traffic in order."""

    def __init__(self, model: str, settings: TrafficSettings, config_hash: str, states: Counter[str]) -> None:
        self.model, self._settings, self._config_hash = model, settings, config_hash
        self._gaps: list[Floats] = []
        self._codes: dict[str, list[list[str | None]]] = {}
        self._rows = self._forgotten = 0
        self.last_time: int | None = None
        self._rate: _Rate | None = None
        self._first_rate: _Rate | None = None
        self.waiting: list[Order] = []
        self.acted: list[str] = []
        """As of a group."""
        self._shares: _Shares | None = None
        self._open = OpenAlerts(states)
        events = settings.reference_events
        self._duplicates = Duplicates(model, settings.duplicates, settings.anomalies, events, config_hash)

    def update(self, block: Block, *, recorded: bool = False) -> list[tuple[int, Alert]]:
        """Take the model's next rows; return alerts with the row that decided each.

        Of recorded rows none: they are learned from, and not judged.
        """
        told = self._arrivals(block, recorded=recorded)
        return told + self._duplicates.update(block, recorded=recorded)

    def _arrivals(self, block: Block, *, recorded: bool) -> list[tuple[int, Alert]]:
        """Take the rows for rate and shares."""
        gaps = self._gaps_of(block.time)
        begin = 0
        if self._rate is None:
            begin = self._learn(block, gaps)
            if self._rate is None:
                self._rows += len(block)
                return []
        seen, self._rows = self._rows, self._rows + len(block)
        if recorded:
            return []
        found = self._rate.update(gaps[begin:], block.time[begin:])
        if self._shares is not None:
            found += self._shares.update(block, begin)
        found.sort(key=lambda item: item[0])
        told = [(begin + row, self._alert(segment, change, block, begin + row, seen)) for row, segment, change in found]
        return [(row, alert) for row, alert in told if alert is not None]

    def forget(self, block: Block, order: Order) -> list[Alert]:
        """Learn what the order names anew from a block's first row on; return the open alerts, resolved by that.

        How long a silence must be stays as it was first learned: it is no matter of what is usual now.
        """
        alerts = self._duplicates.forget(block, order)
        if not names(order, FEATURE):
            return alerts
        for key in [key for key in self._open.opened if key[0] != "silence"]:
            alert = self._open.opened[key]
            self._open.close(key)
            identity = Identity(self.model, alert.segment, FEATURE, "traffic", self._config_hash)
            alerts += closing([(key[0], alert)], identity, order, block, self._rows, alert.traffic_share)
        self._rate, self._shares, self._gaps, self._codes = None, None, [], {}
        self._forgotten = self._rows
        return alerts

    def rejoin(self) -> None:
        """What comes next follows another time: the gap before it says nothing."""
        self.last_time = None
        self._duplicates.rejoin()

    @property
    def silence_ms(self) -> int | None:
        """Gap beyond which the model counts as silent; None while that is being learned."""
        return None if self._first_rate is None else self._first_rate.silence_ms

    def silence(self, block: Block, gap: Gap) -> Alert:
        """Alert that events stopped, or that they came again: of the one row of this block, behind which no event stands."""
        rate = self._first_rate
        if rate is None:
            raise RuntimeError("silence was judged before it was learned")
        seconds = (gap.at - gap.since) / 1000
        change = Change(
            "opens" if gap.opens else "resolves",
            "silence",
            "anomaly",
            "silence",
            ("silence",),
            round(seconds, 3),
            round(rate.silence_ms / 1000, 3),
            round(seconds / max(rate.longest_s, 1e-3), 3),
            "ratio",
            0,
            gap.since if gap.opens else gap.at,
            {"n": rate.reference.n, "longest_gap_s": round(rate.longest_s, 3), "mean_gap_s": round(rate.mean_s, 3)},
            {"n": 0, "gap_s": round(seconds, 3)},
        )
        alert = self._alert({}, change, block, 0, gap.seen - 1)
        if alert is None:
            raise RuntimeError("silence opens or ends, and is not looked at in between")
        return replace(alert, detected_at=gap.at, model={"name": self.model, "version": gap.version})

    def _gaps_of(self, times: Ints) -> Floats:
        """(n,) seconds since the latest event before each; an event that is late has a gap of 0."""
        first = int(times[0]) if self.last_time is None else self.last_time
        latest = np.maximum.accumulate(np.concatenate([[first], times]))
        self.last_time = int(latest[-1])
        return np.diff(latest) / 1000.0

    def _learn(self, block: Block, gaps: Floats) -> int:
        """Gather rows; return how many of these went into the reference window once it is full."""
        wanted = self._settings.reference_events
        rows = self._rows - self._forgotten
        used = min(len(block), wanted - rows)
        self._gaps.append(gaps[:used])
        for dimension in [*self._codes, *(name for name in block.dimensions if name not in self._codes)]:
            if dimension not in self._codes and len(self._codes) >= DIMENSIONS_MAX:
                break
            coded = block.dimensions.get(dimension)
            texts = [None if coded is None else coded.at(row) for row in range(used)]
            self._codes.setdefault(dimension, [[None] * rows] if rows else []).append(texts)
        if rows + used < wanted:
            return 0
        all_gaps = np.concatenate(self._gaps)
        span_ms, lanes = float(all_gaps.sum()) * 1000, int(block.breadth[used - 1])
        found = budget(self._settings.policy, (wanted, wanted), span_ms, lanes, int(block.time[used - 1]))
        self._settings = replace(self._settings, policy=held_to(self._settings.policy, found))
        self._rate = _Rate(all_gaps, self._settings)
        self._first_rate = self._first_rate or self._rate
        columns = {name: [text for part in parts for text in part] for name, parts in self._codes.items()}
        self._shares = _Shares.learn(columns, self._settings)
        self._gaps, self._codes = [], {}
        return used

    def _alert(self, segment: dict[str, str], change: Change, block: Block, row: int, seen: int) -> Alert | None:
        identity = Identity(self.model, segment, FEATURE, "traffic", self._config_hash)
        key = (change.lane, str(segment))
        share = float(change.reference.get("share", 1.0))
        if change.lane == "rate" and change.step == "looks" and not self._open.is_untold(key):
            return None  # how much slower or faster it became is told once

        def make(change: Change, opened: Alert | None) -> Alert:
            return explain.alert(identity, change, block, row, seen + row + 1, share, opened)

        return self._open.take(key, change, int(block.time[row]), self._settings.policy, make)


class _Rate:
    """Gaps between events against those of the reference window."""

    def __init__(self, gaps: Floats, settings: TrafficSettings) -> None:
        self.reference: Reference
        self.reference, values = baseline.build(NUMBER, gaps[1:], [], 0.0)  # before the first event there is no gap
        self._table = score_table(self.reference.n)[:, :1]
        self._scan = Scan(calibrate(self._table[self.reference.rank(values)]))
        self._bounds = self._scan.bounds(settings.policy.threshold)
        self._lane = Lane(settings.policy)
        self.longest_s, self.mean_s = float(gaps.max()), float(gaps[1:].mean())
        anomalies = settings.anomalies
        self.silence_ms = round(1000 * max(anomalies.silence_min_s, anomalies.silence_factor * self.longest_s))
        self._threshold = settings.policy.threshold

    def update(self, gaps: Floats, times: Ints) -> list[tuple[int, dict[str, str], Change]]:
        scores = self._table[self.reference.rank(gaps)]
        evidence = self._scan.update(scores, times, None if self._lane.is_open else self._bounds)
        if evidence is None:
            return []
        return [
            (v.end, {}, self._change(v, evidence, times)) for v in self._lane.judge(evidence, times, lambda _: True)
        ]

    def _change(self, verdict: Verdict, evidence: Evidence, times: Ints) -> Change:
        slower = evidence.mean(verdict.j, verdict.back, 0) > float(evidence.calibration.mean[0])
        span_s = max((int(times[verdict.end]) - verdict.onset) / 1000, 1e-3)
        then, now = 1 / max(self.mean_s, 1e-6), verdict.back * STRETCH / span_s
        return Change(
            verdict.step,
            "rate",
            "anomaly",
            "volume_drop" if slower else "volume_surge",
            ("scan",),
            round(verdict.t, 3),
            self._threshold,
            round(now / then, 4),
            "ratio",
            verdict.back,
            verdict.onset,
            {"n": self.reference.n, "rate": significant(then)},
            {"n": verdict.back * STRETCH, "rate": significant(now)},
        )


class _Shares:
    """Shares of a model's segments, each with an alert of its own."""

    def __init__(
        self, names: list[tuple[str, str]], shares: list[float], scan: Scan, settings: TrafficSettings, n: int
    ) -> None:
        self._names, self._shares, self._scan, self._n = names, shares, scan, n
        self._bounds = scan.bounds(settings.policy.threshold)
        self._lanes = [Lane(settings.policy, is_fault=True) for _ in names]
        self._threshold = settings.policy.threshold

    @classmethod
    def learn(cls, columns: dict[str, list[str | None]], settings: TrafficSettings) -> _Shares | None:
        names: list[tuple[str, str]] = []
        shares: list[float] = []
        calibrations: list[Calibration] = []
        for dimension in sorted(columns):
            texts = np.array([text if text is not None else "" for text in columns[dimension]], object)
            counts = Counter(text for text in columns[dimension] if text is not None)
            for value, hits in sorted(counts.items()):
                if SHARE_MIN <= hits / len(texts) < 1 and len(names) < settings.segments_max:
                    flags = texts == value
                    names.append((dimension, value))
                    shares.append(hits / len(flags))
                    scores = np.where(flags, UNIT, 0).astype(np.int64)[:, None]
                    calibrations.append(share_calibration(hits, len(flags), scores, rise=False))
        if not names:
            return None
        scan = Scan(joined(calibrations), up=False)
        return cls(names, shares, scan, settings, len(next(iter(columns.values()))))

    def update(self, block: Block, begin: int) -> list[tuple[int, dict[str, str], Change]]:
        times = block.time[begin:]
        if not len(times):
            return []
        is_open = any(lane.is_open for lane in self._lanes)
        evidence = self._scan.update_sums(self._sums(block, begin), times, None if is_open else self._bounds)
        if evidence is None:
            return []
        peaks = evidence.t.max(axis=(0, 1))
        found = []
        for i, lane in enumerate(self._lanes):
            if lane.is_open or peaks[i] >= self._threshold:
                own = evidence.of(i)
                segment = dict([self._names[i]])
                verdicts = lane.judge(own, times, lambda _: True)
                found += [(v.end, segment, self._change(v, own, self._shares[i])) for v in verdicts]
        return found

    def _sums(self, block: Block, begin: int) -> Ints:
        """(p, S) events of each segment, as scores, from each of the scan's starts to the next."""
        n = len(block) - begin
        starts = self._scan.starts(n)
        piece = np.repeat(np.arange(len(starts)), np.diff(starts, append=n)) * len(self._names)
        sums = np.zeros(len(starts) * len(self._names), np.int64)
        lanes = {name: lane for lane, name in enumerate(self._names)}
        for dimension in dict(self._names):
            coded = block.dimensions.get(dimension)
            if coded is not None:
                places = np.array([lanes.get((dimension, value), -1) for value in coded.values] + [-1])
                of_row = places[coded.codes[begin:]]  # -1, no value, is the last
                hits = piece[of_row >= 0] + of_row[of_row >= 0]
                sums += np.bincount(hits, minlength=len(sums)) * UNIT
        return sums.reshape(len(starts), len(self._names))

    def _change(self, verdict: Verdict, evidence: Evidence, share: float) -> Change:
        now = evidence.mean(verdict.j, verdict.back, 0)
        return Change(
            verdict.step,
            "share",
            "anomaly",
            "silence" if now <= explain.GONE * share else "volume_drop",
            ("scan",),
            round(verdict.t, 3),
            self._threshold,
            round(now / share, 4),
            "ratio",
            verdict.back,
            verdict.onset,
            {"n": self._n, "share": significant(share)},
            {"n": verdict.back * STRETCH, "share": significant(now)},
        )
