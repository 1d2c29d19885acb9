from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamdrift.alerts import Alert
from streamdrift.blocks import wire
from streamdrift.blocks.assemble import Assembler
from streamdrift.blocks.marks import Mark, Marks
from streamdrift.detect.bank import Bank
from streamdrift.detect.heard import DAY_MS
from streamdrift.ports import Partition, Record
from tests.detect.test_bank import BLOCKS, EVENTS, SMALL, START, arrivals, detect, records

OTHER = Partition(EVENTS.name, 1)
GAP = (600_000, 800_000)
MINE = [int(t) for t in arrivals(1_000, 1_000) if not GAP[0] < t < GAP[1]]
BEFORE, AFTER = max(t for t in MINE if t <= GAP[0]), min(t for t in MINE if t >= GAP[1])
LIMIT = 60_000
"""``anomalies.silence_min_s``: no gap between these events is a third of it."""


class Log:
    """Records of several partitions, as they are read."""

    def __init__(self) -> None:
        self._next: dict[Partition, int] = {}

    def record(self, model: str, at: int, partition: Partition = EVENTS) -> Record:
        offset = self._next.get(partition, 0)
        self._next[partition] = offset + 1
        value = json.dumps({"model": model, "occurred_at": START + at, "features": {"x": 1.0}})
        return Record(value.encode(), partition, offset, START)


def run(bank: Bank, taken: Sequence[Record], size: int = 50) -> list[Alert]:
    assembler, alerts = Assembler(SMALL), list[Alert]()
    for begin in range(0, len(taken), size):
        for record in taken[begin : begin + size]:
            assembler.add(record)
        alerts += bank.update(assembler.take().blocks)
    return silences(alerts)


def silences(alerts: Sequence[Alert]) -> list[Alert]:
    return [alert for alert in alerts if alert.reason == "silence" and not alert.segment]


def said(alerts: Sequence[Alert]) -> list[tuple[Any, ...]]:
    """What does not hang on how partitions were interleaved."""
    return [(a.status, a.model_name, a.onset_at - START, a.detected_at - START, a.position) for a in alerts]


def clocks(at: int, *sources: tuple[Partition, int, int], log: Partition | None = None, muted: bool = False) -> Marks:
    found = {p: Mark(-1 if latest < 0 else START + latest, waited) for p, latest, waited in sources}
    return Marks(START + at, found, log, muted)


def test_silence_of_a_model_is_seen_by_another_s_events_and_its_alert_does_not_depend_on_them() -> None:
    tick = list(range(0, 1_000_000, 7_000))
    both = [("m", t) for t in MINE] + [("other", t) for t in tick]

    def told(pairs: list[tuple[str, int]], cuts: Sequence[int] = ()) -> list[Alert]:
        events = [
            {"model": m, "occurred_at": START + t, "features": {"x": 1.0}} for m, t in sorted(pairs, key=lambda p: p[1])
        ]
        return [a for a in silences(detect(records(events), cuts)) if a.model_name == "m"]

    with_other, alone = told(both), told([("m", t) for t in MINE])
    assert [a.status for a in with_other] == ["firing", "resolved"]
    assert [a.alert_id for a in with_other] == [a.alert_id for a in alone]
    assert with_other[0].detected_at == alone[0].detected_at
    assert with_other[0].onset_at == START + BEFORE
    assert with_other[0].severity == "critical"
    order = sorted(both, key=lambda p: p[1])
    places = [order.index(("m", BEFORE)), order.index(("m", AFTER))]
    assert [a.position["offset"] for a in with_other] == places
    assert [a.to_cloudevent() for a in told(both, [100, 101, 640, 650, 700])] == [a.to_cloudevent() for a in with_other]


def test_silence_is_told_when_nothing_comes_at_all() -> None:
    log, bank, times = Log(), Bank(SMALL, "config"), [int(t) for t in arrivals(500, 1_000)]
    last = times[-1]
    assert run(bank, [log.record("m", t) for t in times]) == []
    assert bank.mark(clocks(last, (EVENTS, -1, LIMIT))) == []
    told = bank.mark(clocks(last, (EVENTS, -1, LIMIT + 1)))
    assert said(told) == [("firing", "m", last, last + LIMIT, EVENTS.position(499))]
    assert bank.mark(clocks(last, (EVENTS, -1, 2 * LIMIT))) == []
    assert [a.status for a in run(bank, [log.record("m", last + 3_600_000)])] == ["resolved"]


def test_a_recording_that_was_played_did_not_fall_silent() -> None:
    log, bank = Log(), Bank(SMALL, "config")
    run(bank, [log.record("m", t) for t in MINE])
    assert bank.mark(clocks(MINE[-1] + DAY_MS + 1, (EVENTS, -1, 10 * LIMIT))) == []
    assert len(bank.mark(clocks(MINE[-1] + DAY_MS - 1, (EVENTS, -1, 10 * LIMIT)))) == 1


def test_a_partition_that_is_read_ahead_makes_no_model_of_another_silent() -> None:
    log, bank = Log(), Bank(SMALL, "config")
    mine = [log.record("m", t) for t in range(0, 500_000, 1_000)]
    other = [log.record("other", t, OTHER) for t in range(0, 500_000, 1_000)]
    taken = mine[:300] + other + mine[300:]
    assert run(bank, taken) == []
    assert [a.model_name for a in bank.mark(clocks(500_000, (EVENTS, -1, LIMIT + 1_000), (OTHER, -1, 0)))] == ["m"]


def test_a_model_of_two_partitions_is_silent_once_both_have_come_so_far() -> None:
    log, bank = Log(), Bank(SMALL, "config")
    mine = [log.record("m", t, (EVENTS, OTHER)[i % 2]) for i, t in enumerate(MINE)]
    here = [record for record in mine if record.partition == EVENTS]
    there = [record for record in mine if record.partition == OTHER]
    begun = len([t for t in MINE[:250] if t]) // 2
    assert run(bank, mine[:250]) == []
    assert run(bank, here[begun:]) == []  # beyond the gap: who knows what the other has in it
    key = ("events", "m", "")
    kept, bank = bank.put_away(key), Bank(SMALL, "config")
    assert bank.take_up(kept) == key
    assert bank.put_away(key) == kept
    told = run(bank, there[begun:])
    assert [a.status for a in told] == ["firing", "resolved"]
    assert (told[0].onset_at - START, told[0].detected_at - START) == (BEFORE, BEFORE + LIMIT)
    assert told[1].detected_at == START + AFTER


def test_what_another_partition_brings_fills_a_gap() -> None:
    log, bank = Log(), Bank(SMALL, "config")
    dense = list(range(0, 1_000_000, 2_000))
    here = [log.record("m", t) for t in dense if not GAP[0] < t < GAP[1]]
    there = [log.record("m", t + 1_000, OTHER) for t in dense]
    assert run(bank, [record for pair in zip(here[:150], there[:150], strict=True) for record in pair]) == []
    assert run(bank, here[150:]) == []
    assert run(bank, there[150:]) == []
    assert not bank._silence._models["m"].waiting


@given(
    st.lists(st.tuples(st.sampled_from([0, 1, 2]), st.integers(1, 200)), min_size=3, max_size=12), st.integers(1, 90)
)
@settings(max_examples=40, deadline=None)
def test_how_partitions_are_interleaved_changes_nothing(turns: list[tuple[int, int]], size: int) -> None:
    """A gap, and another that is in two of three partitions only; a second model on the third."""
    partitions = [EVENTS, OTHER, Partition(EVENTS.name, 2)]
    rng = np.random.default_rng(1)

    def logs() -> list[list[Record]]:
        log, found = Log(), list[list[Record]]([[], [], []])
        for i, t in enumerate(range(0, 1_200_000, 1_500)):
            which = int(i % 3 if i < 300 else rng.integers(3))
            if GAP[0] < t < GAP[1] or (900_000 < t < 1_000_000 and which < 2):
                continue
            found[which].append(log.record("m", t, partitions[which]))
            if i % 5 == 0:
                found[2].append(log.record("other", t, partitions[2]))
        return found

    def in_order(found: Sequence[Record]) -> list[Record]:
        return sorted(found, key=lambda record: int(json.loads(record.value or b"")["occurred_at"]))

    left, bank, whole = logs(), Bank(SMALL, "config"), Bank(SMALL, "config")
    begun = in_order([record for log in left for record in log[:100]])
    rest = [log[100:] for log in left]
    ends = clocks(1_200_000, *((p, -1, 10_000) for p in partitions))
    told = run(whole, begun + in_order([record for log in rest for record in log])) + silences(whole.mark(ends))
    assert [a.status for a in told] == ["firing", "resolved"]

    taken = begun
    for which, n in [*turns, (0, 10_000), (1, 10_000), (2, 10_000)]:
        taken += rest[which][:n]
        del rest[which][:n]
    found = run(bank, taken, size) + silences(bank.mark(ends))
    assert sorted(said(found), key=str) == sorted(said(told), key=str)


@pytest.mark.parametrize("log", [None, BLOCKS])
@pytest.mark.parametrize("model", ["m", "other"])
def test_one_event_whose_time_is_wrong_makes_nobody_silent(model: str, log: Partition | None) -> None:
    times = [(m, t) for t in range(0, 600_000, 1_000) for m in ("m", "other")]
    times[800 + (model == "other")] = (model, 3_000_000_000_000)
    for size in (1, 50, 1_000):
        places, bank = Log(), Bank(SMALL, "config")
        taken = [places.record(m, t) for m, t in times]
        assert (run(bank, taken, size) if log is None else off(bank, taken)) == []
        late = clocks(600_000, (EVENTS, 599_000, LIMIT + 2_000), log=log)
        assert {a.model_name for a in bank.mark(late, ["m", "other"])} >= {"m", "other"} - {model}


def test_a_model_whose_events_come_late_is_not_silent_for_that() -> None:
    places, bank = Log(), Bank(SMALL, "config")
    taken = []
    for t in range(0, 1_000_000, 1_000):
        taken += [places.record("other", t + 5 * LIMIT), places.record("m", t)]
    assert run(bank, taken[:1_500]) == []
    alone = [record for record in taken[1_500:] if json.loads(record.value or b"")["model"] == "other"]
    assert [a.model_name for a in run(bank, alone)] == ["m"]


# Off the exchange ----------------------------------------------------------------------------------------------------


def off(bank: Bank, taken: Sequence[Record], log: Partition = BLOCKS) -> list[Alert]:
    assembler, alerts = Assembler(SMALL), list[Alert]()
    for begin in range(0, len(taken), 50):
        for record in taken[begin : begin + 50]:
            assembler.add(record)
        for block in assembler.take().blocks:
            for message in wire.encode(block):
                alerts += bank.update([wire.decode(message, muted=False)], log)
    return silences(alerts)


def test_blocks_of_one_model_say_nothing_of_another() -> None:
    log, bank = Log(), Bank(SMALL, "config")
    off(bank, [log.record("m", t) for t in MINE[:300]])
    assert off(bank, [log.record("other", t) for t in range(0, 10_000_000, 10_000)]) == []


def test_a_model_s_own_event_ends_its_gap() -> None:
    log, bank = Log(), Bank(SMALL, "config")
    told = off(bank, [log.record("m", t) for t in MINE])
    assert said(told) == [
        ("firing", "m", BEFORE, BEFORE + LIMIT, EVENTS.position(MINE.index(BEFORE))),
        ("resolved", "m", AFTER, AFTER, EVENTS.position(MINE.index(AFTER))),
    ]


@pytest.mark.parametrize("latest", [-1, BEFORE, BEFORE + 30_000])
def test_marks_show_silence_where_they_came(latest: int) -> None:
    log, bank, end = Log(), Bank(SMALL, "config"), MINE.index(AFTER)
    off(bank, [log.record("m", t) for t in MINE[:end]])
    elsewhere = Partition(BLOCKS.name, 1)
    late = (EVENTS, latest, BEFORE + LIMIT + 1 - max(latest, BEFORE))
    assert bank.mark(clocks(GAP[1], late, log=elsewhere), ["other"]) == []
    assert bank.mark(clocks(GAP[1], (OTHER, 900_000, 900_000), log=BLOCKS), ["m"]) == []
    assert bank.mark(clocks(GAP[1], (*late[:2], late[2] - 1), log=BLOCKS), ["m"]) == []
    assert [a.status for a in bank.mark(clocks(GAP[1], late, log=BLOCKS), ["m"])] == ["firing"]
    assert [a.status for a in off(bank, [log.record("m", t) for t in MINE[end:]])] == ["resolved"]


def test_what_was_read_before_is_not_told_again() -> None:
    log, bank, end = Log(), Bank(SMALL, "config"), MINE.index(AFTER)
    off(bank, [log.record("m", t) for t in MINE[:end]])
    late = (EVENTS, GAP[1], 0)
    assert bank.mark(clocks(GAP[1], late, log=BLOCKS, muted=True), ["m"]) == []
    assert bank.mark(clocks(GAP[1], late, log=BLOCKS), ["m"]) == []
    assert [a.status for a in off(bank, [log.record("m", t) for t in MINE[end:]])] == ["resolved"]
