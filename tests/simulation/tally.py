"""A stage that costs next to nothing and forgives nothing: what it says of a key hangs on every event of it, in order."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b

from streamdrift.ports import Partition, Record, StateRecord
from streamdrift.worker import Message, Output

FLOOR = b"\0floor"
EVERY = 3
FLUSH_S = 1.5


@dataclass(slots=True)
class _Key:
    count: int = 0
    chain: str = ""
    next_offset: int = 0
    dirty_since: float | None = None
    kept: int = 0
    """Next offset of what was put away last."""


class Tally:
    """Counts the events of each key and hashes them one onto the other; every third it tells.

    State of a partition is one record for each key, with the offset up to which it goes, and a floor: the offset from which
    input must be read again, since everything before it is in the records.
    """

    name = "detect"

    def __init__(self, clock: object, topic: str) -> None:
        self._clock, self._topic = clock, topic
        self._keys: dict[Partition, dict[bytes, _Key]] = {}
        self._position: dict[Partition, int] = {}
        self._floor: dict[Partition, int] = {}

    def process(self, records: Sequence[Record]) -> Output:
        output = Output()
        for record in records:
            key = record.key or b""
            state = self._keys.setdefault(record.partition, {}).setdefault(key, _Key())
            self._position[record.partition] = record.offset + 1
            if record.offset < state.next_offset:
                continue  # the state that was restored has it already
            state.count += 1
            state.chain = blake2b(state.chain.encode() + (record.value or b""), digest_size=8).hexdigest()
            if state.dirty_since is None:
                state.dirty_since, state.kept = self._clock.monotonic(), record.offset  # type: ignore[attr-defined]
            state.next_offset = record.offset + 1
            if state.count % EVERY == 0 and not record.replayed:
                told = {"id": f"{key.decode()}:{state.count}", "chain": state.chain, "offset": record.offset}
                output.messages.append(Message(self._topic, json.dumps(told).encode(), key))
        return output

    def idle(self, now_ms: int) -> Output:
        del now_ms
        return Output()

    def mark(self, now_ms: int, waited_ms: Mapping[Partition, int]) -> Output:
        del now_ms, waited_ms
        return Output()

    def due(self, now_s: float) -> Sequence[StateRecord]:
        found = []
        for partition, keys in self._keys.items():
            for key, state in keys.items():
                if state.dirty_since is not None and now_s - state.dirty_since >= FLUSH_S:
                    state.dirty_since = None
                    told = {"count": state.count, "chain": state.chain, "next_offset": state.next_offset}
                    found.append(StateRecord(partition, key, json.dumps(told).encode()))
            floor = min((s.kept for s in keys.values() if s.dirty_since is not None), default=self._position[partition])
            if floor != self._floor.get(partition):
                self._floor[partition] = floor
                found.append(StateRecord(partition, FLOOR, b"%d" % floor))
        return found

    def restore(self, partition: Partition, records: Mapping[bytes, bytes]) -> int | None:
        self.drop(partition)
        floor = int(records.get(FLOOR, b"0"))
        keys = {}
        for key, value in records.items():
            if key != FLOOR:
                told = json.loads(value)
                keys[key] = _Key(told["count"], told["chain"], told["next_offset"])
        self._keys[partition], self._position[partition], self._floor[partition] = keys, floor, floor
        return floor

    def drop(self, partition: Partition) -> None:
        for held in (self._keys, self._position, self._floor):
            held.pop(partition, None)
