"""Where the time goes from fetched bytes to alerts: each stage against the least that anybody would need, in one run.

    python -m benchmarks.stages [--quick] [--rounds N]

The events of `benchmarks/replay.py` with 200 segments (2,000 series). What is least is measured on this machine in the same
rounds: a checksum and one copy of the bytes, the quickest parser's bare parse, one copy of the columns, the kernels alone on one
series each. A stage's MB/s are those of what it takes: fetched bytes, event bytes, columns, messages.
"""

from __future__ import annotations

import sys
import tempfile
import zlib
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

from crc32c import crc32c
from kafka import TopicPartition
from kafka.record.memory_records import MemoryRecords, MemoryRecordsBuilder

from benchmarks import rounds
from benchmarks.kernels import Lanes
from benchmarks.rounds import Contestant, Turns, turn
from benchmarks.traffic import FEATURES, START_MS, Pipeline, Traffic, learned, settings_for
from streamdrift import kernels
from streamdrift.alerts import Alert
from streamdrift.blocks import wire
from streamdrift.blocks.block import Block
from streamdrift.records import Run
from streamdrift.transports.kafka.bulk import BulkRecords

TITLE = "Stage by stage"
FETCHED = 16_384
"""Bytes of a record batch: what producers send by default."""


def copied(data: bytes) -> None:
    bytearray(data)


@dataclass
class Scene:
    """One batch after the other, and each stage's part of the work on it."""

    pipeline: Pipeline
    traffic: Traffic
    size: int

    def __post_init__(self) -> None:
        self.blocks: list[list[Block]] = []
        self.parts: list[list[Block]] = []
        self.messages: list[bytes] = []
        self.alerts: list[Alert] = []

    def more(self) -> None:
        """The next round's events, in the forms that the stages take them."""
        self.values = self.traffic.take(self.size)
        self.batches: list[Run] = self.pipeline.batches(self.values)
        self.fetched = fetched(self.values)
        self.blocks, self.parts, self.messages = [], [], []

    def fetch(self) -> int:
        """Record batches to columns of bytes."""
        place = TopicPartition("events", 0)
        for data in self.fetched:
            part = BulkRecords(0, place, MemoryRecords(data), None, None, check_crcs=True)
            part.take(None)
        return self.size

    def decode(self) -> int:
        """Bytes to columns."""
        for records in self.batches:
            self.pipeline.direct.assembler.gather(records)
            self.blocks.append(self.pipeline.direct.assembler.take().blocks)
        return self.size

    def split(self) -> int:
        """A block per segment, its columns cut out, as the exchange needs them."""
        for blocks in self.blocks:
            for block in blocks:
                parts = [block.take(rows, segment) for segment, rows in block.segments()]
                for part in parts:
                    for name in part.columns:
                        _ = part.columns[name]
                self.parts.append([block, *parts])
        return self.size

    def encode(self) -> int:
        """Blocks to messages of the exchange."""
        self.messages = [message for parts in self.parts for part in parts for message in wire.encode(part)]
        return self.size

    def read(self) -> int:
        """And back."""
        for message in self.messages:
            wire.decode(message, muted=False)
        return self.size

    def detect(self) -> int:
        """Blocks to alerts."""
        for blocks in self.blocks:
            self.alerts += self.pipeline.direct.bank.update(blocks)
        return self.size

    def checksum_and_copy(self, data: Callable[[], Sequence[bytes]], checksum: Callable[[bytes], int]) -> Contestant:
        """What bytes take at least that come from elsewhere."""

        def run() -> int:
            for piece in data():
                checksum(piece)
                copied(piece)
            return self.size

        return lambda: rounds.timed(run)

    def copy_columns(self) -> int:
        """What it takes to move the columns once."""
        for blocks in self.blocks:
            for block in blocks:
                for column in block.columns.values():
                    column.numbers.copy()
        return self.size


def fetched(values: Sequence[bytes]) -> list[bytes]:
    """The events as record batches."""
    found, at = [], 0
    while at < len(values):
        builder = MemoryRecordsBuilder(2, 0, FETCHED, at)
        while at < len(values) and builder.append(timestamp=START_MS + at, key=None, value=values[at], headers=[]):
            at += 1
        builder.close()
        found.append(bytes(builder.buffer()))
    return found


def stages(segments: int, size: int, count: int) -> str:
    """The table of stages."""
    scene = Scene(*learned(segments, settings_for(segments)), size)
    runs = {"fetch": scene.fetch, "decode": scene.decode, "detect": scene.detect, "split": scene.split}
    kernel_runs = Lanes(1, seed=1).each_kernel(kernels.engine())
    runs |= {"encode": scene.encode, "read": scene.read, "copy": scene.copy_columns, **kernel_runs}
    contestants: dict[str, Contestant] = {name: turn(run) for name, run in runs.items()}
    contestants["bytes"] = scene.checksum_and_copy(lambda: scene.fetched, crc32c)
    contestants["messages"] = scene.checksum_and_copy(lambda: scene.messages, zlib.crc32)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        path = Path(folder) / "events.ndjson"
        path.write_bytes(b"\n".join(Traffic(segments, seed=3).take(size)))
        try:
            contestants["parse"] = stack.enter_context(closing(Turns(rounds.rival("simdjson_parse", path))))
        except rounds.MissingError as e:
            rounds.progress(f"pysimdjson: {e}")
        times = rounds.race(contestants, count, scene.more)
    together = zip(*(times[name] for name in kernel_runs), strict=True)
    times["kernels"] = [FEATURES * sum(of_round) for of_round in together]
    return rows_of(scene, times)


def rows_of(scene: Scene, times: rounds.Times) -> str:
    """Each stage, beside the least that it could take."""
    event = sum(map(len, scene.values)) / scene.size
    batch = sum(map(len, scene.fetched)) / scene.size
    message = sum(map(len, scene.messages)) / scene.size
    column = 8.0 * FEATURES
    per_event = (
        ("fetch: record batches to lists of bytes", "fetch", batch, "bytes", "checksum, one copy"),
        ("decode, assemble: bytes to blocks", "decode", event, "parse", "pysimdjson's bare parse"),
        ("detect: blocks to alerts", "detect", column, "kernels", "the three kernels alone, ten series"),
        ("exchange: a block per segment", "split", column, "copy", "one copy of the columns"),
        ("exchange: blocks to messages", "encode", message, "messages", "checksum, one copy"),
        ("exchange: messages to blocks", "read", message, "messages", "checksum, one copy"),
    )
    rows = []
    for title, name, size, least, why in per_event:
        ns = rounds.median(times, name) * 1e9
        told = f"{title} | {ns:,.0f} | {size / ns * 1e3:,.0f}"
        if least in times:
            share = 1 / rounds.middle(rounds.ratios(times, least, name))
            rows.append(f"{told} | {why} | {rounds.median(times, least) * 1e9:,.0f} | {share:.0%}")
        else:
            rows.append(f"{told} | {why}: not installed | – | –")
    head = ("stage", "ns per event", "MB/s", "the least", "ns of it", "share reached")
    return rounds.table(head, rows)


def main(arguments: Sequence[str]) -> int:
    options = rounds.command(__doc__, "few events, one round", 9).parse_args(arguments)
    if not kernels.compiled():
        print(f"### {TITLE}\n\nNot measured: {kernels.told()}.")
        return 0
    segments, size, count = (2, 2_000, 1) if options.quick else (200, 24_576, options.rounds)
    table = stages(segments, size, count)
    print(f"### {TITLE}, {segments} segments\n\n{rounds.told(count)}.\n\n{table}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
