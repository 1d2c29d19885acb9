"""All series of a worker: blocks in, alerts out, in event order."""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial

import numpy as np

from streamdrift import kernels
from streamdrift.alerts import Alert
from streamdrift.blocks.block import Block
from streamdrift.blocks.marks import Marks
from streamdrift.blocks.turns import turns
from streamdrift.detect import embedding, explain, places
from streamdrift.detect.duplicates import FEATURES as DUPLICATES
from streamdrift.detect.embedding import Embedding
from streamdrift.detect.explain import Change, Identity
from streamdrift.detect.group import Group, Told
from streamdrift.detect.holdings import Holdings
from streamdrift.detect.rebaseline import Order, acted, due, of_traffic, pieces, reaches
from streamdrift.detect.series import Series
from streamdrift.detect.silence import Silence
from streamdrift.detect.together import Numbers, Together
from streamdrift.detect.traffic import FEATURE, Traffic, TrafficSettings
from streamdrift.detect.value_watch import WatchSettings
from streamdrift.detect.versions import ROLES, Versions
from streamdrift.detect.versions import role as role_of
from streamdrift.events import derived
from streamdrift.ports import Partition
from streamdrift.settings import Settings
from streamdrift.settings.overrides import for_series

UNCATEGORICAL_MAX = 100
"""Features that are noted because they have too many categories."""


class Bank(Holdings):
    """State of every series, by (stream, model, segment) and feature.

    Parameters
    ----------
    settings
        The frozen tree.
    config_hash
        What the settings that matter for detection hash to; it stands in every alert.

    Attributes
    ----------
    invalid
        Values refused, by reason.
    states
        Series in a state that operators should know of, ``held_back``; and how often nobody was told, ``withheld``.
    limits_hit
        How often a bound turned something away, by the bound's name.
    duplicates
        Rows that had been seen before (a block that was delivered twice).
    uncategorical
        (model, feature) whose texts are too many to be categories: free text, or an id.
    """

    def __init__(self, settings: Settings, config_hash: str) -> None:
        super().__init__(settings, config_hash)
        self._ordinary = kernels.engine(settings.engine).ordinary
        self._numbers: dict[tuple[str, str], Numbers] = {}
        self.recorded = False
        self.duplicates = 0
        self.uncategorical: list[tuple[str, str]] = []

    def update(self, blocks: Iterable[Block], log: Partition | None = None) -> list[Alert]:
        """Take the blocks of one batch; return their alerts in event order.

        Parameters
        ----------
        log
            The partition of the exchange that they came by, split by segment. None: they are of all traffic, and all that was
            read in the batch.
        """
        parts = (part for turn in turns(blocks) for part in self._in_order(turn, split=log is None))
        alerts = [alert for part in parts for alert in self._update(part, log)]
        self.measuring.settle()
        return alerts

    def _in_order(self, blocks: list[Block], *, split: bool) -> Iterator[list[Block]]:
        """Yield the blocks; in parts, one after the other, where those that come first are to get the last places."""
        if self._is_settled(blocks, split=split):
            yield blocks
            return
        parts = places.halves(blocks)
        for part in parts:
            yield from self._in_order(part, split=split) if len(parts) > 1 else (part,)

    def _is_settled(self, blocks: list[Block], *, split: bool) -> bool:
        settings, most = self._settings, places.bound(blocks)
        taken = max(self.series, len(self._groups))
        models = {block.model: settings.segments_per_model_max - self._segments_of[block.model] for block in blocks}
        room = places.Room(settings.series_max - taken, settings.series_max - self.series, models)
        if most < room.groups and (len(models) == len(blocks) or most < min(models.values())):
            return True
        by_version = settings.reference.by_version
        counting = places.Counting(
            self._groups, room, settings.segments, self._held, self.overflown, by_version=by_version
        )
        return room.settles(counting.wanted(blocks, split=split))

    def _update(self, blocks: list[Block], log: Partition | None) -> list[Alert]:
        split = log is None
        told: Told = []
        fresh_blocks = []
        for block in blocks:
            fresh = self._group(block, block.segment)
            if fresh is None:
                if block.segment and self._segments_of[block.model]:  # of a model that is watched
                    told += self._overflow(block, 0)
                continue
            rows = fresh.fresh(block)
            self.duplicates += len(block) - len(rows)
            if len(rows):
                self.touched[rows.stream, rows.model, fresh.name] = None
                told += self.measuring.feed(fresh, rows, self)
            mixed = split and self._is_mixed(block)
            parted = block if mixed else rows
            if split and len(parted) and parted.dimensions:
                told += self._update_segments(parted, mixed=mixed)
            if len(rows) and not rows.segment and rows.stream == "events":
                fresh_blocks.append(rows)
        told += self._update_traffic(fresh_blocks, log)
        told.sort(key=lambda item: (item[0], item[1].series_id))
        return [alert for _, alert in told]

    def rebaseline(self, order: Order) -> None:
        """From the first row on that is not before the order's time, let the series in its scope learn anew."""
        if order in self._orders:
            return
        self.limits_hit["rebaselines_max"] += self._orders.add(order)
        for group in self._groups.values():
            if reaches(order, group.model, group.segment) and order.change_id not in group.acted:
                insort(group.waiting, order, key=due)
        for model, traffic in self._traffic.items():
            if of_traffic(order) and reaches(order, model, {}) and order.change_id not in traffic.acted:
                insort(traffic.waiting, order, key=due)

    def learn(self, blocks: Iterable[Block]) -> None:
        """Take recorded blocks of all traffic: references are learned from them, and nothing is judged."""
        self.recorded = True
        try:
            self.update(blocks)
        finally:
            self.recorded = False

    def rejoin(self) -> None:
        """The recorded blocks have ended: what comes next has times, places and counts of its own."""
        self._silence = Silence()
        self.overflown.clear()
        for traffic in self._traffic.values():
            traffic.rejoin()
        for group in self._groups.values():
            group.rejoin()

    def mark(self, marks: Marks, models: Iterable[str] | None = None) -> list[Alert]:
        """Take how far the input was read; return the alerts of models that have been silent for too long by that.

        Parameters
        ----------
        models
            Those whose events so far were seen; None for all.
        """
        return self._silence.mark(marks, self._silence.models() if models is None else models, self._traffic)

    def left(self, log: Partition) -> None:
        """A partition of the exchange went to another worker."""
        self._silence.left(log)

    def heat(self, model: str) -> dict[tuple[str, str], float]:
        """How far each series of a model is from its reference now, 0 to 1, by (feature, segment)."""
        found = {}
        for (stream, name, segment), group in self._groups.items():
            if name == model and stream == "events":
                for feature, series in group.series.items():
                    if series is not None and (heat := series.heat) is not None:
                        found[feature, segment] = heat
        return found

    def watched(self) -> Iterator[tuple[Group, str, Series]]:
        """Yield every series that is held, with its group and feature."""
        for group in self._groups.values():
            for feature, series in group.series.items():
                for one in series.all() if isinstance(series, Versions) else (series,):
                    if one is not None:
                        yield group, feature, one

    def _is_mixed(self, block: Block) -> bool:
        """Whether a group of this model may have seen rows of the block that another one has not: they were put away at
        different times, and each has to look for itself.
        """
        ends = self._mixed.get((block.stream, block.model))
        if ends is None:
            return False
        for code, source in enumerate(block.sources):
            here = np.flatnonzero(block.source == code)
            if len(here) and source in ends and block.offset[here[0]] >= ends[source]:
                del ends[source]
        if not ends:
            del self._mixed[block.stream, block.model]
        return any(source in ends for source in block.sources)

    def _update_segments(self, rows: Block, *, mixed: bool) -> Told:
        told: Told = []
        self._split.add((rows.stream, rows.model))
        wanted = self._settings.segments
        held = self._held.get((rows.stream, rows.model), {}) if rows.model in self.overflown else None
        # by first row, so that who gets the last place does not depend on how the events were cut into blocks
        segments = sorted(rows.segments(wanted, held), key=lambda s: (int(s[1][0]), next(iter(s[0]))))
        together = None if mixed else self._together(rows)
        for segment, where in segments:
            group = self._group(rows, segment)
            if group is None:
                told += self._overflow(rows, int(where[0]))
                continue
            self.touched[rows.stream, rows.model, group.name] = None
            if mixed:
                part = group.fresh(rows.take(where, segment))
                told += group.update(part, self) if len(part) else []
            elif together is None or not together.add(group, where, segment):
                told += group.update(rows.take(where, segment), self)
        for group, where, segment, taken in () if together is None else together.advance():
            told += group.go_on(rows.take(where, segment), self, taken)
        if held is not None and (
            full := self._full(rows.model)
        ):  # places never come free: what is beyond is only counted
            self.limits_hit[full] += rows.segments_count(wanted) - len(segments)
        return told

    def _together(self, rows: Block) -> Together | None:
        if self._ordinary is None or self.recorded:
            return None
        return Together.of(self._ordinary, rows, self._numbers.setdefault((rows.stream, rows.model), Numbers()))

    def _group(self, block: Block, segment: dict[str, str]) -> Group | None:
        name = "".join(f"{dimension}={value}" for dimension, value in segment.items())
        key = (block.stream, block.model, name)
        group = self._groups.get(key)
        if group is None:
            full = self._full(block.model if segment else None)
            if full is not None:
                self.limits_hit[full] += 1
                return None
            self._segments_of[block.model] += bool(segment)
            for dimension, value in segment.items():
                self._held.setdefault((block.stream, block.model), {}).setdefault(dimension, set()).add(value)
            group = self._groups[key] = Group(block.model, segment, name)
            group.waiting = self._orders.of(block.model, segment)
        return group

    def _full(self, model: str | None) -> str | None:
        """The limit that leaves no place for another segment of a model, or for another model."""
        if model is not None and self._segments_of[model] >= self._settings.segments_per_model_max:
            return "segments_per_model_max"
        # groups are counted as well: those of features that are always null have no series
        return "series_max" if max(self.series, len(self._groups)) >= self._settings.series_max else None

    def make_embedding(self, group: Group, name: str) -> Embedding | None:
        """Return what makes series of an embedding, None where none of them is monitored or there is no room."""
        settings = self._settings
        if not any(for_series(settings, group.model, f, group.name).enabled for f in embedding.features(name)):
            return None
        if self.series >= settings.series_max:
            self.limits_hit["series_max"] += 1
            return None
        return Embedding(name, settings.reference.events)

    def make_series(self, group: Group, feature: str, role: str) -> Series | Versions | None:
        """Return a new series, or that of the first version; None where it is not monitored or there is no room."""
        series = self._make(group, feature, role)
        if series is None or role not in ROLES or not self._settings.reference.by_version:
            return series
        return Versions(series, partial(self._make, group, feature, role), self._release, self.limits_hit)

    def _maker(self, group: Group, feature: str) -> Callable[[str], Series | None]:
        return partial(self._make, group, feature, role_of(feature))

    def _watch_settings(self, model: str, feature: str, segment: str) -> WatchSettings:
        settings, found = self._settings, for_series(self._settings, model, feature, segment)
        return WatchSettings(
            found.detectors,
            found.policy,
            settings.anomalies,
            settings.reference,
            settings.categories_max,
            settings.engine,
        )

    def _make(self, group: Group, feature: str, role: str, suffix: str = "") -> Series | None:
        found = for_series(self._settings, group.model, feature, group.name)
        if not found.enabled:
            return None
        if self.series >= self._settings.series_max:
            self.limits_hit["series_max"] += 1
            return None
        self.series += 1
        settings = self._watch_settings(group.model, feature, group.name)
        if feature in group.silent_on_faults or not derived.tells_faults(feature, self._settings.free_text):
            settings = replace(settings, anomalies=settings.anomalies.model_copy(update={"enabled": False}))
        identity = Identity(group.model, group.segment, feature, role, self._config_hash, suffix)
        return Series(identity, settings, self.invalid, self.states)

    def too_many_categories(self, group: Group, feature: str, *, capped: bool) -> None:
        """Note, once per feature and only so many, that a feature's texts are too many to be categories."""
        if capped:
            self.limits_hit["categories_max"] += 1
        if len(self.uncategorical) < UNCATEGORICAL_MAX and not group.segment:
            self.uncategorical.append((group.model, feature))

    def _overflow(self, rows: Block, row: int) -> Told:
        """Say, once per model, that there are more segments than are told apart."""
        if rows.model in self.overflown or rows.muted[row] or self.recorded:
            self.overflown.add(rows.model)
            return []
        self.overflown.add(rows.model)
        held, limit = float(self._segments_of[rows.model]), float(self._settings.segments_per_model_max)
        full = self._full(rows.model) or "segments_per_model_max"
        if full == "series_max":
            held, limit = float(max(self.series, len(self._groups))), float(self._settings.series_max)
        ratio = round((held + 1) / max(held, 1), 4)
        change = Change(
            "opens", "", "anomaly", "segment_overflow", ("limits",), held, limit, ratio, "ratio", 0, int(rows.time[row]),
            {"n": int(held), "limit": full}, {"n": int(held) + 1},
        )  # fmt: skip
        identity = Identity(rows.model, {}, "traffic.segments", "traffic", self._config_hash)
        return [(int(rows.order[row]), explain.alert(identity, change, rows, row, int(rows.model_row[row]), 1.0, None))]

    def _update_traffic(self, blocks: list[Block], log: Partition | None) -> Told:
        if not self._settings.anomalies.enabled or not blocks:
            return []
        told: Told = []
        for rows in blocks:
            traffic = self._traffic.get(rows.model)
            if traffic is None:
                if len(self._traffic) >= self._settings.series_max:
                    self.limits_hit["series_max"] += 1
                    continue
                traffic = self._traffic[rows.model] = self._make_traffic(rows.model)
            for orders, part in pieces([] if self.recorded else traffic.waiting, rows):
                found = [(0, alert) for order in orders for alert in traffic.forget(part, order)]
                for order in orders:
                    acted(traffic.acted, order)
                found += traffic.update(part, recorded=self.recorded)
                told += [(int(part.order[row]), alert) for row, alert in found if not part.muted[row]]
        return told if self.recorded else told + self._silence.update(blocks, self._traffic, log)

    def _make_traffic(self, model: str) -> Traffic:
        traffic = Traffic(model, self._traffic_settings(model), self._config_hash, self.states)
        traffic.waiting = [order for order in self._orders.of(model, {}) if of_traffic(order)]
        return traffic

    def _traffic_settings(self, model: str) -> TrafficSettings:
        settings = self._settings
        rate, *twice = (for_series(settings, model, feature, "") for feature in (FEATURE, *DUPLICATES))
        duplicates = {f: found.policy for f, found in zip(DUPLICATES, twice, strict=True) if found.enabled}
        anomalies, events = settings.anomalies, settings.reference.events
        return TrafficSettings(rate.policy, duplicates, anomalies, events, settings.segments_per_model_max)
