"""Strikes with the faults of a schedule, and notes of each that it has struck."""

from __future__ import annotations

import signal
import time
from typing import Any

from kafka.errors import KafkaError

from tests.soak import streams
from tests.soak.cluster import Node, until
from tests.soak.schedule import INSTEAD, Fault
from tests.soak.turns import Turns
from tests.soak.workers import Slot

TRAP_S = 20.0
"""After this time an armed process that did not come to its point is killed where it is."""
NOTICED_S = 60.0
DISCARDED = (b"state discarded", b"all of the log is read again")
LEADER_S = 40.0
DAMAGED = (b"detect/events/", b"assemble/events/rows", b"detect/partition")
"""Of what the records are that are damaged, one after the other: a group of series, counts of rows, what belongs to a partition."""
COPIES = 20


class Striker(Turns):
    """The faults themselves."""

    def _kill(self, fault: Fault) -> bool:
        slot = self._someone(fault.slot)
        if slot is None or slot.process is None:
            return False
        slot.killed = True
        slot.signal(signal.SIGKILL)
        if slot.process.wait(10) == -signal.SIGKILL:
            self.struck["kill"] += 1
            self.say(f"kill -9 worker {slot.number}")
        return True

    def _crash(self, fault: Fault) -> bool:
        slot = self._someone(fault.slot)
        asks = fault.point in INSTEAD and not self._has.get(fault.point)
        if slot is None or (asks and self._broker_busy):  # which would not answer, and is brought back by this thread
            return False
        point = fault.point if self._possible(fault.point) else INSTEAD[fault.point]
        slot.arm(point, fault.count, fault.seconds)
        self.say(f"worker {slot.number} dies at {point}, time {fault.count}")
        self._watch_trap(slot, time.monotonic() + TRAP_S)
        return True

    def _possible(self, point: str) -> bool:
        """Whether this release comes to the point at all; what it can is seen by what it did so far."""
        if point in INSTEAD and not self._has.get(point):
            try:
                if point == "after_state":
                    self._has[point] = streams.length(self.cluster.bootstrap, self.topics["state"]) > 0
                else:
                    self._has[point] = bool(streams.transactions(self.cluster.bootstrap))
            except KafkaError:
                return False
        return self._has.get(point, True)

    def _watch_trap(self, slot: Slot, deadline: float) -> None:
        """Who did not come to its point in time dies where it is; who ended before, by another fault, is still to come to it."""
        if not slot.armed.exists():
            return
        if time.monotonic() < deadline or not slot.up or slot.stopped:
            self._after(0.2, lambda: self._watch_trap(slot, deadline))
            return
        slot.armed.unlink(missing_ok=True)
        slot.killed = True
        slot.signal(signal.SIGKILL)
        if slot.process is not None:
            slot.process.wait(10)
        self.struck["kill"] += 1
        self.say(f"worker {slot.number} did not come to its point in {TRAP_S:g} s; killed where it was")

    def _stop(self, fault: Fault) -> bool:
        slot = self._someone(fault.slot)
        if slot is None:
            return False
        slot.signal(signal.SIGSTOP)
        slot.stopped = True
        began = time.monotonic()
        self.say(f"SIGSTOP worker {slot.number} for {fault.seconds} s")

        def resume() -> None:
            if slot.state() == "T" and time.monotonic() - began > slot.session_ms / 1_000:
                self.struck["stop"] += 1
            else:
                self._again(fault)
            slot.signal(signal.SIGCONT)
            slot.stopped = False
            self.say(f"SIGCONT worker {slot.number}")

        self._after(fault.seconds, resume)
        return True

    def _leave(self, fault: Fault) -> bool:
        slot = self._someone(fault.slot)
        if slot is None or slot.process is None:
            return False
        slot.wanted = False
        slot.signal(signal.SIGTERM)
        self.say(f"worker {slot.number} leaves")
        process = slot.process

        def back() -> None:
            if process.poll() is None:
                self._after(0.2, back)
                return
            self.struck["leave"] += process.returncode == 0
            if process.returncode != 0:
                self._again(fault)  # it was about to end by itself: a broker was gone
                self.workers.exits[f"{process.returncode} after SIGTERM"] += 1
            slot.restart_at = 0.0
            slot.start()
            self.say(f"worker {slot.number} joins (it had left with {process.returncode})")

        self._after(fault.seconds, back)
        return True

    def _broker(self, index: int) -> Node | None:
        if self._broker_busy or not all(node.running for node in self.cluster.nodes):
            return None
        self._broker_busy = True
        return self.cluster.nodes[index]

    def _broker_back(self, index: int) -> None:
        if not self.cluster.nodes[index].running:
            self.cluster.start(index)
        if not self.cluster.up(index):
            self._after(0.2, lambda: self._broker_back(index))
            return
        self.say(f"broker {index} is back")

        def free() -> None:
            self._broker_busy = False

        self._after(3.0, free)

    def _broker_kill(self, fault: Fault) -> bool:
        node = self._broker(fault.slot)
        if node is None:
            return False
        node.kill()
        self.struck["broker_kill"] += 1
        self.say(f"kill -9 broker {fault.slot} for {fault.seconds} s")
        self._after(fault.seconds, lambda: self._broker_back(fault.slot))
        return True

    def _leader_loss(self, fault: Fault) -> bool:
        """A broker is gone until another leads what it led: its partitions are then written and read elsewhere."""
        try:
            leader = streams.leader(self.cluster.bootstrap, self.topics["alerts"])
        except KafkaError:
            return False
        node = self._broker(leader) if leader >= 0 else None
        if node is None:
            return False
        node.kill()
        self.say(f"kill -9 broker {leader}, which leads {self.topics['alerts']}/0")
        deadline = time.monotonic() + LEADER_S

        def look() -> None:
            try:
                now = streams.leader(self.cluster.bootstrap, self.topics["alerts"])
            except KafkaError:
                now = -1
            if now in {leader, -1} and time.monotonic() < deadline:
                self._after(0.5, look)
                return
            self.struck["leader_loss"] += now not in {leader, -1}
            self.say(f"broker {now} leads it now")
            self._broker_back(leader)

        self._after(fault.seconds, look)
        return True

    def _broker_stop(self, fault: Fault) -> bool:
        node = self._broker(fault.slot)
        if node is None:
            return False
        node.signal(signal.SIGSTOP)
        self.struck["broker_stop"] += 1
        self.say(f"SIGSTOP broker {fault.slot} for {fault.seconds} s")

        def resume() -> None:
            node.signal(signal.SIGCONT)
            self._broker_back(fault.slot)

        self._after(fault.seconds, resume)
        return True

    def _cut(self, fault: Fault) -> bool:
        return self._spoil_link(fault, "cut")

    def _slow(self, fault: Fault) -> bool:
        return self._spoil_link(fault, "slow")

    def _spoil_link(self, fault: Fault, mode: str) -> bool:
        """Nobody gets through to a broker, or all do so slowly; when that ends, connections break off every other time."""
        node = self._broker(fault.slot)
        if node is None:
            return False
        link, before = node.link, node.link.held_up
        link.mode = mode
        self.say(f"the way to broker {fault.slot} is {mode} for {fault.seconds} s")

        def mend() -> None:
            link.mode = "open"
            if link.held_up > before:
                self.struck[mode] += 1
            else:
                self._again(fault)  # no worker had anything to say to this broker
            if self._rng.random() < 0.5:
                link.reset()
            self.say(f"the way to broker {fault.slot} is open; {link.held_up - before} pieces were held up")
            self._broker_back(fault.slot)

        self._after(fault.seconds, mend)
        return True

    def _disk_full(self, fault: Fault) -> bool:
        node = self._broker(fault.slot)
        if node is None:
            return False
        before = node.log.stat().st_size
        node.fill_disk()
        self.say(f"disk of broker {fault.slot} is full")
        deadline = time.monotonic() + fault.seconds

        def free() -> None:
            if node.running and time.monotonic() < deadline:
                self._after(0.5, free)
                return
            told = node.log.read_bytes()[before:]
            self.struck["disk_full"] += not node.running or b"File too large" in told
            self.say(f"disk of broker {fault.slot} has room again; it had {'gone on' if node.running else 'given up'}")
            node.free_disk()
            node.kill()
            self._broker_back(fault.slot)

        self._after(1.0, free)
        return True

    def _clock(self, fault: Fault) -> bool:
        """All workers' wall clock jumps; what was noted by them is counted by the judge."""
        path = self.workers.slots[0].clock
        partial = path.with_suffix(".new")
        partial.write_text(str(fault.seconds), encoding="utf-8")
        partial.replace(path)
        self.say(f"wall clock is wrong by {fault.seconds:g} s")
        return True

    def _redeliver(self, fault: Fault) -> bool:
        """Blocks that were there before come once more, after later ones, in another order."""
        del fault
        topic = self.topics.get("blocks", "")
        if not topic or self._broker_busy:
            return not topic
        try:
            records = streams.read(self.cluster.bootstrap, topic)
            if not records:
                return False
            chosen = self._rng.choices(records, k=COPIES)
            copied = streams.copy(self.cluster.bootstrap, chosen)
        except (KafkaError, TimeoutError) as e:
            self.say(f"no redelivery: {e!r}")
            return False
        self.struck["redeliver"] += copied > 0
        self.say(f"{copied} blocks delivered again, out of order")
        return True

    def _corrupt_state(self, fault: Fault) -> bool:
        """A state record is damaged while nobody has it in memory; who takes it up must notice, and rebuild what it was."""
        if self._broker_busy or not all(slot.ready_to_be_struck for slot in self.workers.slots):
            return False
        try:
            records = streams.last_records(self.cluster.bootstrap, self.topics["state"])
        except (KafkaError, TimeoutError):
            return False
        kind = DAMAGED[self._damages % len(DAMAGED)]
        chosen = [key for key in sorted(records) if kind in key]
        if not chosen:
            return False
        self._damages += 1
        for slot in self.workers.slots:
            slot.killed, slot.wanted = True, False
            slot.signal(signal.SIGKILL)
            if slot.process is not None:
                slot.process.wait(10)
        self._damage(records[self._rng.choice(chosen)], fault)
        return True

    def _damage(self, stale: Any, fault: Fault) -> None:
        """Damage what is the newest record now that nobody writes any more."""
        record = streams.last_records(self.cluster.bootstrap, self.topics["state"]).get(stale.key, stale)
        at = self._rng.randrange(len(record.value))
        damaged = bytearray(record.value)
        damaged[at] ^= 0x55
        streams.copy(self.cluster.bootstrap, [record._replace(value=bytes(damaged))])
        for slot in self.workers.slots:
            slot.restart_at = 0.0
            slot.start()
        self.say(f"state record {record.key!r} damaged at byte {at}")
        since = {slot.number: slot.lives for slot in self.workers.slots}

        def noticed() -> bool:
            self.supervise()
            return any(slot.says(DISCARDED, since[slot.number]) for slot in self.workers.slots)

        if until(noticed, NOTICED_S):
            self.struck["corrupt_state"] += 1
            self.say("a worker discarded it")
        else:
            self.say(f"no worker said so in {NOTICED_S:g} s")
            self._again(fault)
