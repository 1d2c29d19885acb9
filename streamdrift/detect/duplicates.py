"""Events that come twice: a model's prediction ids against those of its last events.

Each event with an id is a 0/1 score, whether its id came within the last ``anomalies.duplicate_within_events`` of them; the
share is judged like any other that should be rare (``faults``). A memory that still fills sees fewer repetitions than one that is
full, so the reference begins when it is: then retries that are usual, and ids that mean something else and come again by
themselves, are no fault. Events without an id are passed over, and a model without any holds nothing.

A record that is delivered again has its own offset, and is gone before it comes here (``blocks.fresh``): two events with one id
are two records.
"""

from __future__ import annotations

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
from streamdrift.detect.rebaseline import Order, closing
from streamdrift.settings import AnomalySettings, PolicySettings

FEATURE = "traffic.duplicates"


class RecentIds:
    """The ids of the last ``within`` events.

    Examples
    --------
    >>> RecentIds(2).repeated(np.array([7, 8, 7, 9, 9, 8], np.uint64)).tolist()
    [False, False, True, False, True, False]
    """

    def __init__(self, within: int) -> None:
        self._within = within
        self._latest: dict[int, int] = {}
        self._events = 0

    def __len__(self) -> int:
        return len(self._latest)

    def repeated(self, ids: Ids) -> Bools:
        """Take the ids of the next (n,) events; return whose id one of the ``within`` events before it had."""
        latest, within, first = self._latest, self._within, self._events
        found = np.zeros(len(ids), np.bool_)
        for i, one in enumerate(ids.tolist(), first):
            before = latest.get(one)
            if before is not None and i - before <= within:
                found[i - first] = True
            latest[one] = i
        self._events += len(ids)
        if len(latest) > 2 * within:  # seldom enough to cost nothing per event
            oldest = self._events - within
            self._latest = {one: i for one, i in latest.items() if i >= oldest}
        return found


class Duplicates:
    """Share of a model's events that are there already. ``update`` takes its rows of all traffic in order."""

    def __init__(
        self, model: str, policy: PolicySettings, anomalies: AnomalySettings, events: int, config: str
    ) -> None:
        self._identity = Identity(model, {}, FEATURE, "traffic", config)
        self._asked, self._anomalies, self._wanted = policy, anomalies, events
        self._recent = RecentIds(anomalies.duplicate_within_events)
        self._seen = 0
        self._learn_anew()

    def _learn_anew(self) -> None:
        self._lane: ShareLane | None = None
        self._open = OpenAlerts()
        self._flags: list[Bools] = []
        self._flagged = self._rows = 0
        self._since = 0
        self._expected: float | None = None

    def update(self, block: Block, *, recorded: bool) -> list[tuple[int, Alert]]:
        """Take the model's next rows; return alerts with the row that decided each. Of recorded rows none."""
        ids = np.zeros(len(block), np.uint64) if block.ids is None else block.ids
        with_id = np.flatnonzero(ids != NONE)
        if not len(with_id):
            self._rows += len(block)
            return []
        repeated = self._recent.repeated(ids[with_id])
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
        """Learn anew from a block's first row on; return the open alert, resolved by that."""
        opened = [(lane, alert) for (lane, _), alert in self._open.opened.items()]
        self._learn_anew()
        return list(closing(opened, self._identity, order, block, self._seen, 1.0))

    def rejoin(self) -> None:
        """What comes next follows other events: it may be these again, and is no duplicate for that."""
        self._recent = RecentIds(self._anomalies.duplicate_within_events)
        if self._lane is None:
            self._learn_anew()

    def _learn(self, block: Block, with_id: Ints, repeated: Bools) -> int:
        """Gather flags; return how many of these were learned from, once there are enough."""
        filling = self._anomalies.duplicate_within_events
        used = min(len(repeated), filling + self._wanted - self._flagged)
        if not self._flagged:
            self._since, self._rows = int(block.time[with_id[0]]), -int(with_id[0])
        self._flags.append(repeated[:used])
        self._flagged += used
        if self._flagged < filling + self._wanted:
            self._rows += len(block)
            return used
        last = int(with_id[used - 1])
        now = int(block.time[last])
        rows = self._flagged, self._rows + last + 1
        found = budget(self._asked, rows, now - self._since, int(block.breadth[last]), now)
        flags = np.concatenate(self._flags)[filling:]
        self._flags = []
        policy = held_to(self._asked, found)
        self._lane = ShareLane(flags, policy, events_min=self._anomalies.duplicate_events)
        self._expected = found.expected_false_per_week
        return used

    def _alert(self, change: Change, block: Block, row: int, seen: int) -> Alert | None:
        def make(opened: Alert | None) -> Alert:
            alert = explain.alert(self._identity, change, block, row, seen, 1.0, opened)
            return replace(alert, expected_false_per_week=self._expected)

        return self._open.take((change.lane, ""), change, self._asked.update_factor, make)
