from __future__ import annotations

import json

import pytest

from streamdrift.blocks import marks
from streamdrift.blocks.assemble import Assembler
from streamdrift.blocks.marks import Latest, Mark, Marks
from streamdrift.errors import Rejected
from streamdrift.ports import Partition, Record
from streamdrift.settings import Settings

ONE, OTHER, LOG = Partition("events", 0), Partition("events", 1), Partition("blocks", 3)
MARKS = Marks(1_700_000_000_000, {ONE: Mark(1_600_000_000_000, 1_500), OTHER: Mark(-1)})


def test_marks_go_over_the_exchange() -> None:
    message = marks.encode(MARKS)
    assert marks.is_marks(message)
    assert not marks.is_marks(b"SDB1")
    assert not marks.is_marks(None)
    assert marks.decode(message, LOG, muted=True) == Marks(MARKS.at, MARKS.sources, LOG, muted=True)


@pytest.mark.parametrize("at", [4, 20, -1])
def test_damaged_marks_are_refused(at: int) -> None:
    message = bytearray(marks.encode(MARKS))
    message[at] ^= 1
    with pytest.raises(Rejected, match="checksum"):
        marks.decode(bytes(message), LOG, muted=False)


def test_marks_of_a_later_format_are_refused() -> None:
    with pytest.raises(Rejected, match="upgrade this worker"):
        marks.decode(b"SDM2" + marks.encode(MARKS)[4:], LOG, muted=False)


@pytest.mark.parametrize("size", [1, 2, 7])
def test_a_clock_is_moved_by_two_events(size: int) -> None:
    assembler, latest, told = Assembler(Settings()), Latest(), list[int]()
    times = [10, 30, 20, 40, 9_999, 50, 45]
    for i, at in enumerate(times):
        value = json.dumps({"model": "ab"[i % 2], "occurred_at": at, "features": {"x": 1}}).encode()
        assembler.add(Record(value, ONE, i, 0))
        if (i + 1) % size == 0:
            latest.note(assembler.take().blocks)
            told.append(latest.marks(0, {ONE: 5, OTHER: 0}).sources[ONE].latest)
    assert told == [[-1, 10, 20, 30, 40, 50, 50], [10, 30, 50], [50]][[1, 2, 7].index(size)]
    assert latest.marks(0, {ONE: 5, OTHER: 0}).sources[OTHER] == Mark(-1, 0)
    latest.drop(ONE)
    assert latest.marks(0, {ONE: 5}).sources[ONE] == Mark(-1, 5)
