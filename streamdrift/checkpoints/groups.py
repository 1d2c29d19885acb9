"""State of the detect stage on the changelog: which group is put away when, and what is taken up again.

A group is due when it has been changed for ``kafka.state_flush_s``; of those that are, each commit takes its share, so that it
costs about the same each time. What was told without a record that could be read again (a model fell silent by the clock, a label
was held until nothing came) is due at once: it must be known to whoever comes next.

So groups are put away at different offsets. Each partition has a record of the offset from which reading must begin for all of
them; rows that a group has seen pass it by (``blocks.fresh``).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import structlog

from streamdrift.blocks.assemble import Assembler
from streamdrift.blocks.block import Block, Stream
from streamdrift.blocks.labels import LabelJoin
from streamdrift.checkpoints.epochs import Epochs
from streamdrift.checkpoints.rows import PLAIN, Count, Names, Place, RowCounts, plain, spans
from streamdrift.checkpoints.stored import Stored, Written, key_of, name_of
from streamdrift.detect.bank import Bank
from streamdrift.detect.holdings import Key
from streamdrift.ports import Partition, Record, StateRecord
from streamdrift.settings import Settings
from streamdrift.state import records
from streamdrift.state.records import Blob
from streamdrift.state.spec import Damaged
from streamdrift.telemetry import Metrics

PARTITION = b"detect/partition"
"""Blob of what belongs to a partition, and to no group."""
NAMES = b"detect/"
STREAMS: tuple[Stream, ...] = ("events", "truths")


@dataclass(slots=True)
class _Change:
    """Since when a group's state is not what was put away: by commit, and by the clock once it was asked."""

    epoch: int
    since: float | None = None


class GroupCheckpoints:
    """``ports.Stateful`` of a stage with a bank.

    Parameters
    ----------
    assembler
        Where the stage has one; its counts are put away with the offset that reading begins from.
    join
        Of labels. It is rebuilt from the log, so that all of that is read again where it knows a model.
    """

    def __init__(
        self,
        bank: Bank,
        settings: Settings,
        metrics: Metrics,
        assembler: Assembler | None = None,
        *,
        join: LabelJoin,
    ) -> None:
        self._bank, self._settings, self._metrics, self._join = bank, settings, metrics, join
        bank.touched.clear()  # what it learned from recorded events, it learns again in any process
        bank.take_silent()
        self._counts = None if assembler is None else RowCounts(assembler)
        self._epochs = Epochs({})
        self._at: dict[Partition, int] = {}
        self._homes: dict[Key, Partition] = {}
        self._models: dict[str, Partition] = {}
        self._models_max = 2 * settings.series_max
        self._stored: dict[Key, Stored] = {}
        self._changed: dict[Key, _Change] = {}
        self._urgent: dict[Key, None] = {}
        self._overflown: dict[str, Partition] = {}
        self._condemned: dict[Partition, Written] = {}
        self._pending: dict[Partition, tuple[int, dict[Place, Count]]] = {}
        self._names: dict[Partition, Names] = {}
        self._told: dict[Partition, bytes] = {}
        self._asked_at: float | None = None
        self._log = structlog.get_logger("streamdrift").bind(stage="detect")

    def cut(self, taken: Sequence[Record]) -> int:
        """Return how many of these records must be gone through before the rest, because there the counts of rows go on."""
        if self._counts is None or not self._pending:
            return len(taken)
        ends = spans(taken)
        for partition, (offset, counts) in list(self._pending.items()):
            if partition not in ends or ends[partition][1] <= offset:
                continue
            index = next(i for i, one in enumerate(taken) if one.partition == partition and one.offset >= offset)
            if index:
                return index
            del self._pending[partition]
            for place, count in counts.items():
                self._counts.count_on(place, count)
        return len(taken)

    def passed(self, taken: Sequence[Record], blocks: Iterable[Block] = ()) -> None:
        """Note which records were taken, and what blocks came of them, after the bank saw these."""
        for partition, (first, end) in spans(taken).items():
            self._epochs.begin(partition, first)
            self._at[partition] = end
        only = taken[0].partition if self._counts is None else None
        self.saw(blocks, only)
        self._note(only)

    def saw(self, blocks: Iterable[Block], partition: Partition | None = None) -> None:
        """Note which partition each model is on: this one, or else that of its first row."""
        for block in blocks:
            if not block.segment and block.model not in self._models and len(self._models) < self._models_max:
                self._models[block.model] = partition or self._of_events(block.sources[int(block.source[0])])

    def models(self, partition: Partition) -> list[str]:
        """Those whose events of all traffic are on this partition."""
        return [key[1] for key, home in self._homes.items() if home == partition and key[0] == "events" and not key[2]]

    def idled(self) -> None:
        """Note what changed though no record came: nothing can be read again for it."""
        self._urgent |= self._bank.touched
        self._note(None)

    def due(self, now_s: float) -> list[StateRecord]:
        """As ``ports.Stateful``: the groups that are due, or their share of it, and how far the partitions are."""
        chosen = self._chosen(now_s)
        self._asked_at = self._asked_at if now_s == math.inf else now_s
        gone = [partition for partition in self._condemned if partition in self._at]
        found = [StateRecord(partition, *record) for partition in gone for record in self._condemned.pop(partition)]
        found += [StateRecord(self._homes[key], *record) for key in chosen for record in self._put(key)]
        oldest: dict[Partition, int] = {}
        for key, change in self._changed.items():
            home = self._homes[key]
            oldest[home] = min(change.epoch, oldest.get(home, change.epoch))
        self._close({} if self._counts is None else self._counts.now())
        groups = Counter(self._homes[key] for key in self._stored)
        for partition in self._at:
            found += self._partition(partition, oldest.get(partition, self._epochs.now), groups[partition])
        return found

    def restore(self, partition: Partition, found: Mapping[bytes, bytes]) -> int | None:
        """As ``ports.Stateful``."""
        if partition != self._of_events(partition):
            return None  # labels, whose join is rebuilt from the log
        self.drop(partition)
        blobs = records.opened({key: value for key, value in found.items() if key.startswith(NAMES)})
        if not blobs:
            return None
        groups: dict[Key, dict[int, Blob]] = {}
        for name, blob in blobs.items():
            if (place := key_of(name)) is not None:
                groups.setdefault(place[0], {})[place[1]] = blob
        lost = sum(not self._take_up(partition, key, group) for key, group in groups.items())
        return self._go_on(partition, blobs, len(groups), lost)

    def drop(self, partition: Partition) -> None:
        """As ``ports.Stateful``."""
        for key in [key for key, home in self._homes.items() if home == partition]:
            self._bank.forget(key)
            for known in (self._homes, self._stored, self._changed, self._urgent):
                known.pop(key, None)
        self._bank.left(partition)
        for model in [model for model, home in self._overflown.items() if home == partition]:
            del self._overflown[model]
            self._bank.overflown.discard(model)
        for model in [model for model, home in self._models.items() if home == partition]:
            del self._models[model]
            self._join.forget(model)
            if self._counts is not None:
                for stream in STREAMS:
                    self._counts.forget((stream, model))
        for places in (self._at, self._condemned, self._pending, self._names, self._told):
            places.pop(partition, None)
        self._epochs.drop(partition)

    def _note(self, partition: Partition | None) -> None:
        """Note what changed; all of it belongs to this partition, or None: to that of its model."""
        silent = {("events", model, ""): None for model in self._bank.take_silent()}
        self._urgent |= silent
        for key in self._bank.touched | silent:
            self._changed.setdefault(key, _Change(self._epochs.now))
            if key not in self._homes:
                self._homes[key] = partition or self._home(key[1])
        self._bank.touched.clear()
        if len(self._bank.overflown) != len(self._overflown):
            for model in self._bank.overflown - self._overflown.keys():
                self._overflown[model] = partition or self._home(model)

    def _home(self, model: str) -> Partition:
        return self._models.get(model) or next(iter(self._at), self._of_events(Partition("", 0)))

    def _of_events(self, partition: Partition) -> Partition:
        """The partition of events that belongs to a partition of labels, where both are read here; else itself."""
        if self._counts is None or partition.name == self._settings.topics.events:
            return partition
        return Partition(self._settings.topics.events, partition.index)

    def _chosen(self, now_s: float) -> list[Key]:
        changed, flush_s = self._changed, self._settings.kafka.state_flush_s
        for change in changed.values():
            change.since = now_s if change.since is None else change.since
        if now_s == math.inf:
            return list(changed)
        passed = 0.0 if self._asked_at is None else now_s - self._asked_at
        share = math.ceil(sum(map(self._bank.size, changed)) * min(1.0, passed / flush_s))
        chosen = [key for key in self._urgent if key in changed]
        for key, change in changed.items():  # in the order in which they changed
            if share <= 0 or change.since is None or now_s - change.since < flush_s:
                break
            if key not in self._urgent:
                share -= self._bank.size(key)
                chosen.append(key)
        return chosen

    def _put(self, key: Key) -> Written:
        self._changed.pop(key, None)
        self._urgent.pop(key, None)
        stored = self._stored.get(key)
        if stored is None:
            stored = self._stored[key] = Stored(name_of(key))
        return stored.put(self._bank, key)

    def _close(self, counts: dict[Place, Count]) -> None:
        self._epochs.close(self._at, counts, min((change.epoch for change in self._changed.values()), default=None))

    def _partition(self, partition: Partition, oldest: int, groups: int) -> list[StateRecord]:
        """The record of a partition, where it changed, and with it the names of features that its counts are of."""
        offset = self._epochs.offset(partition, oldest)
        if offset is None or partition != self._of_events(partition):
            return []
        counts = self._epochs.counts(oldest)
        places = sorted(place for place in counts if self._home(place[1]) == partition)
        overflown = sorted(model for model, home in self._overflown.items() if home == partition)
        joins = any(home == partition and self._join.knows(model) for model, home in self._models.items())
        rows = [(*place, *counts[place]) for place in places]
        payload = PLAIN.encode((offset, groups, overflown, rows, joins))
        if self._told.get(partition) == payload:
            return []
        self._told[partition] = payload
        found: Written = []
        if self._counts is not None:
            names = self._names.setdefault(partition, Names(self._counts, NAMES))
            found += names.due(places)
        found += records.seal(PARTITION, payload)
        return [StateRecord(partition, *record) for record in found]

    def _take_up(self, partition: Partition, key: Key, blobs: dict[int, Blob]) -> bool:
        """Go on with a group; return whether that was possible."""
        stored = Stored(name_of(key), {number: blob.pieces for number, blob in blobs.items()})
        try:
            if any(blob.damage is None and blob.settings != self._bank.settings_hash(key) for blob in blobs.values()):
                return self._discard(
                    partition, key, stored, "settings", "the settings that it depends on are others now"
                )
            stored.take_up(self._bank, blobs)
        except ValueError as e:
            return self._discard(partition, key, stored, "damaged", str(e))
        self._stored[key], self._homes[key] = stored, partition
        return True

    def _discard(self, partition: Partition, key: Key, stored: Stored, reason: str, why: str) -> bool:
        self._metrics.state_discarded.labels(reason).inc()
        self._log.warning(
            "state discarded: it is rebuilt from the log, as far as that reaches back",
            model=key[1], segment=key[2], partition=partition.index, reason=reason, why=why,
        )  # fmt: skip
        self._condemned.setdefault(partition, []).extend(stored.delete())
        return False

    def _go_on(self, partition: Partition, blobs: Mapping[bytes, Blob], groups: int, lost: int) -> int | None:
        """Take up what belongs to the partition; return where reading must begin."""
        try:
            if self._counts is not None:
                self._names[partition] = Names(self._counts, NAMES)
                self._names[partition].take_up(blobs)
            offset, expected, overflown, counts, joins = plain(blobs.get(PARTITION))
        except Damaged as e:
            self._metrics.state_discarded.labels("damaged").inc()
            self._log.warning("all of the log is read again", partition=partition.index, why=str(e))
            return None
        for model in overflown:
            self._overflown[model] = partition
            self._bank.overflown.add(model)
        counted: dict[Place, Count] = {(c[0], c[1]): (c[2], c[3], c[4]) for c in counts}
        self._models |= dict.fromkeys((model for _, model in counted), partition)
        if self._counts is not None:
            self._pending[partition] = offset, counted
        if groups < expected:
            self._metrics.state_discarded.labels("missing").inc(expected - groups)
            self._log.warning(
                "state is missing: all of the log is read again",
                partition=partition.index, groups=groups, expected=expected,
            )  # fmt: skip
        if lost or groups < expected or joins:
            return None
        self._epochs.begin(partition, offset)
        self._at[partition] = offset
        self._close(counted if self._counts is None else self._counts.now() | counted)
        return int(offset)
