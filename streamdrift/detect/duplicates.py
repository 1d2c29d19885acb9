"""Events that come twice: a model's prediction ids against those of its last events.

Each event with an id is a 0/1 score, whether its id came before; the share is judged like any other that should be rare
(``faults``). What is sent twice comes again soon; what is read once more from farther back comes after thousands of others: two series,
``traffic.duplicates`` within the last ``anomalies.duplicate_within_events`` events, ``traffic.replays`` from there to
``anomalies.replay_within_events``. A memory that still fills sees fewer repetitions than one that is full, so each reference begins
when it is: then retries that are usual, and ids that mean something else and come again by themselves, are no fault. Events
without an id are passed over, and a model without any holds nothing.

A record that is delivered again has its own offset, and is gone before it comes here (``blocks.fresh``): two events with one id
are two records.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from streamdrift.alerts import Alert
from streamdrift.blocks.block import Block
from streamdrift.blocks.column import Bools, Ids, Ints
from streamdrift.blocks.ids import NONE
from streamdrift.detect import explain
from streamdrift.detect.budget import budget, held_to
from streamdrift.detect.explain import Change, Identity
from streamdrift.detect.faults import ShareLane
from streamdrift.detect.open_alerts import OpenAlerts
from streamdrift.detect.rebaseline import Order, closing, names
from streamdrift.settings import AnomalySettings, PolicySettings

FEATURES = ("traffic.duplicates", "traffic.replays")
YOUNG = 4_096
"""Ids that are kept one by one, at 100 bytes each, until they are sorted in among the older ones, at 16."""


class RecentIds:
    """The ids of the last ``within`` events.

    Examples
    --------
    >>> RecentIds(2).distances(np.array([7, 8, 7, 9, 9, 8], np.uint64)).tolist()
    [0, 0, 2, 0, 1, 0]
    """

    def __init__(self, within: int, young_max: int = YOUNG) -> None:
        self._within, self._young_max = within, young_max
        self._young: dict[int, int] = {}
        self._ids = np.zeros(0, np.uint64)
        self._at = np.zeros(0, np.int64)
        self._events = 0

    def __len__(self) -> int:
        return len(self._young) + len(self._ids)

    def distances(self, ids: Ids) -> Ints:
        """Take the ids of the next (n,) events; return how many events ago each came last, 0 where not within reach."""
        young, first = self._young, self._events
        before, listed = self._older(ids).tolist(), ids.tolist()
        if len(set(listed)) == len(listed):  # the usual case, without a loop
            before = list(map(young.get, listed, before))
            young.update(zip(listed, range(first, first + len(listed)), strict=True))
        else:
            for i, one in enumerate(listed):
                before[i] = young.get(one, before[i])
                young[one] = first + i
        self._events += len(ids)
        if len(young) > self._young_max:
            self._sort_in()
        found = np.arange(first, first + len(ids)) - np.array(before, np.int64)
        return np.where(found <= self._within, found, 0)

    def _older(self, ids: Ids) -> Ints:
        """(n,) number of the event that had each id last, of those that are sorted in; far back where none had."""
        never = np.full(len(ids), -self._within - 1)
        if not len(self._ids):
            return never
        place = np.minimum(np.searchsorted(self._ids, ids), len(self._ids) - 1)
        return np.where(self._ids[place] == ids, self._at[place], never)

    def _sort_in(self) -> None:
        """Merge the young ones in, and let go of those out of reach: what is sorted already isn't sorted again."""
        n, oldest = len(self._young), self._events - self._within
        ids, at = np.fromiter(self._young, np.uint64, n), np.fromiter(self._young.values(), np.int64, n)
        order = np.argsort(ids)
        order = order[at[order] >= oldest]
        ids, at = ids[order], at[order]
        keep = self._at >= oldest
        place = np.searchsorted(self._ids, ids)
        known = place < len(self._ids)
        known[known] = self._ids[place[known]] == ids[known]
        keep[place[known]] = False
        older, older_at = self._ids[keep], self._at[keep]
        place = np.searchsorted(older, ids)
        self._ids, self._at = np.insert(older, place, ids), np.insert(older_at, place, at)
        self._young = {}


class Duplicates:
    """Shares of a model's events that are there already. ``update`` takes its rows of all traffic in order.

    Parameters
    ----------
    policies
        By feature; those that are not looked for are left out.
    events
        With an id, that a reference has.
    """

    def __init__(
        self,
        model: str,
        policies: Mapping[str, PolicySettings],
        anomalies: AnomalySettings,
        events: int,
        config_hash: str,
    ) -> None:
        near, far = anomalies.duplicate_within_events, anomalies.replay_within_events
        reaches = dict(zip(FEATURES, ((0, near), (near, far)), strict=True))
        self._bands = [
            _Band(Identity(model, {}, feature, "traffic", config_hash), reaches[feature], policy, anomalies, events)
            for feature, policy in policies.items()
            if reaches[feature][0] < reaches[feature][1]
        ]
        self._within = max((band.within for band in self._bands), default=0)
        self._recent = RecentIds(self._within)

    def update(self, block: Block, *, recorded: bool) -> list[tuple[int, Alert]]:
        """Take the model's next rows; return alerts with the row that decided each. Of recorded rows none."""
        ids = np.zeros(len(block), np.uint64) if block.ids is None or not self._bands else block.ids
        with_id = np.flatnonzero(ids != NONE)
        ago = self._recent.distances(ids[with_id]) if len(with_id) else np.zeros(0, np.int64)
        return [found for band in self._bands for found in band.update(block, with_id, ago, recorded=recorded)]

    def forget(self, block: Block, order: Order) -> list[Alert]:
        """Learn what the order names anew from a block's first row on; return the open alerts, resolved by that."""
        named = [band for band in self._bands if names(order, band.identity.feature)]
        return [alert for band in named for alert in band.forget(block, order)]

    def rejoin(self) -> None:
        """What comes next follows other events: it may be these again, and is no duplicate for that."""
        self._recent = RecentIds(self._within)
        for band in self._bands:
            band.rejoin()


class _Band:
    """Share of the events whose id came last from so far back."""

    def __init__(
        self,
        identity: Identity,
        reach: tuple[int, int],
        policy: PolicySettings,
        anomalies: AnomalySettings,
        events: int,
    ) -> None:
        self.identity = identity
        self._beyond, self.within = reach
        self._asked, self._least, self._wanted = policy, anomalies.duplicate_events, self.within + events
        self._seen = 0
        self._learn_anew()

    def _learn_anew(self) -> None:
        self._lane: ShareLane | None = None
        self._open = OpenAlerts(Counter())  # duplicates are told each time
        self._flags: list[Bools] = []
        self._flagged = self._rows = 0
        self._since = 0
        self._expected: float | None = None

    def update(self, block: Block, with_id: Ints, ago: Ints, *, recorded: bool) -> list[tuple[int, Alert]]:
        """Take rows, of which those with an id have had it so many events ago."""
        if not len(with_id):
            self._rows += len(block)
            return []
        repeated = (ago > self._beyond) & (ago <= self.within)
        begin = self._learn(block, with_id, repeated) if self._lane is None else 0
        seen, self._seen = self._seen, self._seen + len(with_id)
        lane = self._lane
        if lane is None or recorded or begin == len(with_id):
            return []
        found = []
        for verdict in lane.update(repeated[begin:], block.time[with_id[begin:]]):
            at = begin + verdict.end
            row = int(with_id[at])
            alert = self._alert(explain.duplicates(lane, verdict), block, row, seen + at + 1)
            found += [] if alert is None else [(row, alert)]
        return found

    def forget(self, block: Block, order: Order) -> list[Alert]:
        """As ``Duplicates.forget``."""
        opened = [(lane, alert) for (lane, _), alert in self._open.opened.items()]
        self._learn_anew()
        return list(closing(opened, self.identity, order, block, self._seen, 1.0))

    def rejoin(self) -> None:
        """The memory begins anew; what is not learned is learned with it."""
        if self._lane is None:
            self._learn_anew()

    def _learn(self, block: Block, with_id: Ints, repeated: Bools) -> int:
        """Gather flags; return how many of these were learned from, once there are enough."""
        used = min(len(repeated), self._wanted - self._flagged)
        if not self._flagged:
            self._since, self._rows = int(block.time[with_id[0]]), -int(with_id[0])
        self._flags.append(repeated[:used])
        self._flagged += used
        if self._flagged < self._wanted:
            self._rows += len(block)
            return used
        last = int(with_id[used - 1])
        now = int(block.time[last])
        rows = self._flagged, self._rows + last + 1
        found = budget(self._asked, rows, now - self._since, int(block.breadth[last]), now)
        flags = np.concatenate(self._flags)[self.within :]
        self._flags = []
        self._lane = ShareLane(flags, held_to(self._asked, found), events_min=self._least)
        self._expected = found.expected_false_per_week
        return used

    def _alert(self, change: Change, block: Block, row: int, seen: int) -> Alert | None:
        def make(change: Change, opened: Alert | None) -> Alert:
            alert = explain.alert(self.identity, change, block, row, seen, 1.0, opened)
            return replace(alert, expected_false_per_week=self._expected)

        return self._open.take((change.lane, ""), change, int(block.time[row]), self._asked, make)
