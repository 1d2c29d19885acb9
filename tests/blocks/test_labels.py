"""The join of labels: its order, its bounds, and that neither spill, batches, exchange nor restarts change what it gives."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamdrift.blocks import wire
from streamdrift.blocks.assemble import Assembler
from streamdrift.blocks.block import Block
from streamdrift.blocks.labels import REVISIONS_MAX, LabelJoin
from streamdrift.blocks.measures import LOSS_MAX, measures, prediction_of
from streamdrift.blocks.waiting import Kept, Waiting
from streamdrift.errors import InputProblem
from streamdrift.ports import Partition, Record
from streamdrift.settings import LabelSettings, Settings
from streamdrift.transports.spill import SpillFile

EVENTS, LABELS = Partition("events", 0), Partition("labels", 0)
Message = tuple[str, dict[str, Any]]
"""`e` or `l`, and an event or a label."""
Row = tuple[int, dict[str, float], bool, str | None, str | None]
"""Time, measures, muted, version, segment value."""


def event(name: object, time: int, model: str = "m", **prediction: object) -> Message:
    told = {"model": {"name": model, "version": "7"}, "prediction_id": str(name), "occurred_at": time}
    return "e", told | {"segments": {"d": f"s{name}"}, "prediction": prediction or {"label": "a"}}


def label(name: object, time: int, truth: object = "a", model: str = "m", **more: object) -> Message:
    return "l", {"model": model, "prediction_id": str(name), "observed_at": time, "label": truth} | more


def records(messages: Sequence[Message], replayed: int = 0) -> list[Record]:
    offsets: Counter[str] = Counter()
    made = []
    for i, (kind, told) in enumerate(messages):
        partition = EVENTS if kind == "e" else LABELS
        made.append(Record(json.dumps(told).encode(), partition, offsets[kind], 0, replayed=i < replayed))
        offsets[kind] += 1
    return made


def rows_of(blocks: Sequence[Block]) -> list[Row]:
    found = []
    for block in blocks:
        for row in range(len(block)):
            given_measures = {name: float(column.numbers[row]) for name, column in block.columns.items()}
            told = {name: value for name, value in given_measures.items() if value == value}  # noqa: PLR0124 - NaN
            segment = block.dimensions["d"].at(row) if "d" in block.dimensions else None
            found.append((int(block.time[row]), told, bool(block.muted[row]), block.versions.at(row), segment))
    return found


def run(
    recorded: Sequence[Record],
    settings: LabelSettings,
    cuts: Sequence[int] = (),
    *,
    exchange: bool = False,
    twice: bool = False,
    finish: bool = True,
) -> tuple[list[Row], Counter[str]]:
    """Rows of one model and what was counted, the records in batches that end at the cuts."""
    assembler, join, found = (
        Assembler(Settings(), labels=True),
        LabelJoin(settings, 10, SpillFile(settings.join_events_max)),
        [],
    )
    for begin, end in zip([0, *cuts], [*cuts, len(recorded)], strict=True):
        for record in recorded[begin:end]:
            if record.partition == EVENTS:
                assembler.add(record)
            elif (decoded := assembler.read_label(record)) is not None:
                assembler.add_label(record, decoded)
        blocks = assembler.take().blocks
        if exchange:
            parts = [(m, bool(b.muted.all())) for b in blocks for m in wire.encode(b)]
            blocks = [wire.decode(m, muted=muted) for m, muted in parts]
        for _ in range(1 + twice):
            found += rows_of(join.update(blocks))
    if finish:
        found += rows_of(join.finish())
    return found, join.counts


names = st.integers(0, 5)
times = st.integers(0, 60).map(lambda t: t * 1_000)
messages: st.SearchStrategy[list[Message]] = st.lists(
    st.builds(event, names, times)
    | st.builds(label, names, times, st.sampled_from(["a", "b", "c"]))
    | st.builds(label, names, times, prediction=st.just({"label": "b"})),
    max_size=40,
)
bounded = st.builds(
    lambda kept, held, ttl: {"join_events_max": kept, "hold_events_max": held, "join_ttl_s": ttl},
    st.integers(1, 6),
    st.integers(1, 6),
    st.sampled_from([5.0, 40.0]),
)


@given(messages, bounded)
def test_where_predictions_wait_changes_nothing(told: list[Message], bounds: dict[str, Any]) -> None:
    in_memory, spilled = (LabelSettings(**bounds, join_memory_max=n) for n in (1_000, 1))
    assert run(records(told), in_memory) == run(records(told), spilled)


@given(messages, bounded, st.data())
def test_batches_and_second_deliveries_change_nothing(
    told: list[Message], bounds: dict[str, Any], data: st.DataObject
) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(told)), max_size=6)))
    settings = LabelSettings(**bounds)
    whole = run(records(told), settings)
    assert run(records(told), settings, cuts) == whole
    one_by_one = range(1, len(told))
    assert run(records(told), settings, one_by_one, exchange=True) == whole
    assert run(records(told), settings, one_by_one, twice=True) == whole


@given(messages, st.data())
def test_a_restart_goes_on_where_it_was_and_counts_nothing_twice(told: list[Message], data: st.DataObject) -> None:
    k = data.draw(st.integers(0, len(told)))
    settings = LabelSettings()
    whole, counts = run(records(told), settings, finish=False)
    before, counted = run(records(told[:k]), settings, finish=False)
    again, rest = run(records(told, replayed=k), settings, finish=False)
    assert [row for row in again if row[2]] == [(t, m, True, v, s) for t, m, _, v, s in before]
    assert [row for row in again if not row[2]] == whole[len(before) :]
    assert counted + rest == counts


@given(st.integers(1, 8), st.randoms(use_true_random=False), st.data())
def test_a_restart_in_another_order_of_the_streams_loses_no_row(
    n: int, rng: random.Random, data: st.DataObject
) -> None:
    """Which stream comes first is the broker's choice, so a new label may find its prediction among events read again."""

    def merged() -> list[Message]:
        parts = {"e": iter(events), "l": iter(labels)}
        kinds = ["e", "l"] * n
        rng.shuffle(kinds)
        return [next(parts[kind]) for kind in kinds]

    events = [event(i, 1_000 * i) for i in range(n)]
    labels = [label(i, 100_000 + i) for i in rng.sample(range(n), n)]
    first, second = merged(), merged()
    k = data.draw(st.integers(0, 2 * n))
    seen = [kind for kind, _ in first[:k]]
    bounds = {EVENTS: seen.count("e"), LABELS: seen.count("l")}
    again = [replace(record, replayed=record.offset < bounds[record.partition]) for record in records(second)]
    before, counted = run(records(first[:k]), LabelSettings(), finish=False)
    after, rest = run(again, LabelSettings(), finish=False)
    told = [row[0] for row in [*before, *after] if not row[2]]
    assert told == [message["observed_at"] for _, message in labels]
    assert counted + rest == {"joined": n}


def test_rows_come_in_the_labels_order_whichever_stream_is_ahead() -> None:
    events = [event(i, 1_000 * i) for i in range(50)]
    labels = [label(i, 1_000 * i + 5_000) for i in reversed(range(50))]
    late_events, counts = run(records([*labels, *events]), LabelSettings())
    assert (late_events, counts) == run(records([*events, *labels]), LabelSettings())
    assert [row[0] for row in late_events] == [1_000 * i + 5_000 for i in reversed(range(50))]
    assert [row[3:] for row in late_events[:2]] == [("7", "s49"), ("7", "s48")]


def test_an_unknown_prediction_is_waited_for_until_the_events_come_to_its_label() -> None:
    told = [label("gone", 30_000), event(1, 10_000), label(1, 20_000)]
    assert run(records(told), LabelSettings(), finish=False) == ([], {})
    waited, counts = run(records([*told, event(2, 30_000)]), LabelSettings(), finish=False)
    assert [row[0] for row in waited] == [20_000]
    assert counts == {"orphan": 1, "joined": 1}


def test_nobody_waits_for_a_time_that_can_not_be() -> None:
    told = [event(1, 10_000), label("gone", 4_000_000_000_000), label(1, 20_000)]
    rows, counts = run(records(told), LabelSettings(), finish=False)
    assert (len(rows), counts) == (1, {"orphan": 1, "joined": 1})


def test_the_wait_ends_when_too_many_wait() -> None:
    told = [event(1, 1_000), *(label(f"gone{i}", 9_000) for i in range(3)), label(1, 9_000)]
    _, counts = run(records(told), LabelSettings(hold_events_max=1), finish=False)
    assert counts == {"orphan": 3, "joined": 1}


class Log:
    """A join behind a log of blocks; seconds are the log's."""

    def __init__(self, **settings: Any) -> None:
        self.join = LabelJoin(LabelSettings(hold_s=10, **settings), 10, SpillFile())
        self._assembler, self._offset = Assembler(Settings(), labels=True), 0

    def write(self, second: int, message: Message, partition: int = 0, log: int = 0) -> list[int]:
        """Times of the rows that come of one more block."""
        kind, told = message
        source = Partition("events" if kind == "e" else "labels", partition)
        record = Record(json.dumps(told).encode(), source, self._offset, 0)
        self._offset += 1
        if kind == "e":
            self._assembler.add(record)
        elif (decoded := self._assembler.read_label(record)) is not None:
            self._assembler.add_label(record, decoded)
        blocks = self._assembler.take().blocks
        return [row[0] for row in rows_of(self.join.update(blocks, (Partition("blocks", log), second * 1_000)))]


def test_by_a_log_all_partitions_that_bring_events_must_have_come_to_the_label() -> None:
    log = Log()
    log.write(0, event(0, 1_000), 0)
    log.write(0, event(1, 9_000), 1)
    assert log.write(1, label(2, 5_000)) == []
    assert log.write(2, label(0, 6_000)) == []
    for second in range(3, 40, 2):
        assert log.write(second, event(f"a{second}", 1_000 + second), 0) == []
        assert log.write(second + 1, event(f"b{second}", 9_000), 1) == []
    assert log.write(40, event(2, 2_000), 0) == [5_000, 6_000]
    assert log.join.counts == {"joined": 2}


def test_by_a_log_a_partition_that_went_quiet_is_not_waited_for() -> None:
    log = Log()
    log.write(0, event(0, 1_000), 0)
    assert log.write(1, label("gone", 5_000)) == []
    assert log.write(1, label(0, 6_000)) == []
    for second in range(2, 11):
        assert log.write(second, event(second, 9_000), 1) == []
    assert log.write(60, event("elsewhere", 9_000, model="other"), 1, log=1) == []
    assert log.write(11, event("other", 9_000, model="other"), 1) == [6_000]
    assert log.join.counts == {"orphan": 1, "joined": 1}


def test_by_a_log_too_nobody_waits_for_a_time_that_can_not_be() -> None:
    log = Log()
    log.write(0, event(0, 1_000))
    assert log.write(1, label("gone", 4_000_000_000_000)) == []
    assert log.write(2, label(0, 6_000)) == []
    assert log.write(11, event(1, 2_000)) == [6_000]


def test_the_clock_ends_the_wait_where_nothing_comes_at_all() -> None:
    assembler, join = Assembler(Settings(), labels=True), LabelJoin(LabelSettings(hold_s=10), 10, SpillFile())
    (record,) = records([label("gone", 9_000)])
    decoded = assembler.read_label(record)
    assert decoded is not None
    assembler.add_label(record, decoded)
    join.update(assembler.take().blocks)
    assert join.idle(50_000) == join.idle(59_999) == []
    assert not join.counts
    join.idle(60_000)
    assert join.counts == {"orphan": 1}


def test_a_correction_makes_a_row_and_a_repetition_none() -> None:
    told = [event(1, 0), label(1, 1_000, "b"), label(1, 1_000, "a"), label(1, 2_000, "b"), label(1, 500, "a")]
    rows, counts = run(records([*told, label(1, 3_000, "a")]), LabelSettings())
    assert [(time, told["performance.error"]) for time, told, *_ in rows] == [(1_000, 1.0), (3_000, 0.0)]
    assert counts == {"joined": 1, "duplicate": 3, "revised": 1}
    fickle = [event(1, 0), *(label(1, i * 1_000, "ab"[i % 2]) for i in range(20))]
    assert run(records(fickle), LabelSettings())[1] == {
        "joined": 1,
        "revised": REVISIONS_MAX,
        "duplicate": 19 - REVISIONS_MAX,
    }


def test_a_prediction_that_comes_again_counts_while_it_waits_and_not_once_it_is_answered() -> None:
    told = [event(1, 0, label="a"), event(1, 1_000, label="b"), label(1, 2_000, "b"), event(1, 3_000, label="a")]
    rows, counts = run(records([*told, label(1, 4_000, "b")]), LabelSettings())
    assert [told["performance.error"] for _, told, *_ in rows] == [0.0]
    assert counts == {"joined": 1, "duplicate": 1}


def test_only_predictions_that_somebody_may_ask_for_count_as_evicted() -> None:
    settings = LabelSettings(join_events_max=2, join_ttl_s=5)
    labelled = label("stray", 0)
    assert run(records([labelled, *(event(i, 1_000 * i) for i in range(5))]), settings)[1] == {
        "orphan": 1,
        "evicted": 3,
    }
    assert run(records([labelled, *(event(i, 6_000 * i) for i in range(5))]), settings)[1] == {"orphan": 1}
    assert run(records([event(i, 1_000 * i) for i in range(5)]), settings)[1] == {}
    answered = [part for i in range(5) for part in (event(i, 1_000 * i), label(i, 1_000 * i))]
    assert run(records(answered), settings)[1] == {"joined": 5}


def test_labels_of_more_models_than_are_held_are_passed_over() -> None:
    told = [part for i in range(20) for part in (event(i, 0, model=f"m{i}"), label(i, 0, model=f"m{i}"))]
    assert run(records(told), LabelSettings())[1] == {"joined": 10}


CASES: list[tuple[dict[str, Any], object, dict[str, float]]] = [
    ({"label": "late"}, "late", {"error": 0}),
    ({"label": True}, 1, {"error": 0}),
    ({"label": "true"}, False, {"error": 1}),
    ({"score": 0.75}, "late", {}),
    ({"score": 0.75}, True, {"loss": 0.2876820724517809, "calibration": -0.25}),
    ({"score": 0.75, "label": 1}, 0, {"error": 1, "loss": 1.3862943611198906, "calibration": 0.75}),
    ({"score": 3.5, "label": 1}, 0, {"error": 1}),
    ({"score": 0}, 1, {"loss": LOSS_MAX, "calibration": -1}),
    ({"score": 1}, 1, {"loss": 0, "calibration": 0}),
    ({"score": 0.31, "label": "on-time", "probabilities": {"late": 0.25}}, "on-time",
     {"error": 0, "loss": 0.2876820724517809, "calibration": 0.25}),
    ({"probabilities": {"a": 0.5, "b": 0.25, "c": 0.25}}, "b",
     {"error": 1, "loss": 1.3862943611198906, "calibration": 0.5}),
    ({"probabilities": {"a": 0.5, "b": 0.5}}, "unheard", {"error": 1, "loss": LOSS_MAX, "calibration": 0.5}),
    ({"probabilities": {"a": "much", "b": 7, "c": float("inf")}}, "a", {}),
    ({"probabilities": ["a"], "label": ["a"], "score": "a"}, "a", {}),
]  # fmt: skip


@pytest.mark.parametrize(("raw", "truth", "expected"), CASES)
def test_a_class_is_measured_by_what_the_prediction_has(
    raw: dict[str, Any], truth: object, expected: dict[str, float]
) -> None:
    prediction = prediction_of(raw, 100)
    found = {} if prediction is None else measures(prediction, truth, numeric=False)
    assert found == pytest.approx({f"performance.{name}": value for name, value in expected.items()}, abs=1e-12)


def test_a_number_is_measured_by_its_distance_within_bounds() -> None:
    assert measures((None, 2.0, {}), 5, numeric=True) == {"performance.error": 3.0, "performance.loss": 9.0}
    far = measures((None, 1e308, {}), -1e308, numeric=True)
    assert far == {"performance.error": 1e150, "performance.loss": pytest.approx(1e300)}
    assert measures((None, 2.0, {}), float("inf"), numeric=True) == {}
    assert measures(("a", None, {}), 5, numeric=True) == {}


@given(
    st.integers(1, 5),
    st.lists(st.tuples(st.sampled_from(["add", "add", "add", "pop", "replace"]), st.integers(0, 9)), max_size=100),
)
def test_the_spill_is_a_map_in_order(memory_max: int, steps: list[tuple[str, int]]) -> None:
    kept_max = 6
    waiting, model = Waiting(memory_max, SpillFile(kept_max)), dict[bytes, Kept]()
    for i, (step, name) in enumerate(steps):
        key, kept = b"\xff%d" % name, Kept(i, b"stub" * name, i % 2 == 0, b"%d" % i)
        if step == "pop" and model:
            oldest = next(iter(model))
            assert waiting.pop_oldest() == (oldest, model.pop(oldest))
        elif step == "replace" and key in model:
            waiting.replace(key, kept)
            model[key] = kept
        elif step == "add" and key not in model:
            waiting.add(key, kept)
            model[key] = kept
            if len(waiting) > kept_max:
                oldest = next(iter(model))
                assert waiting.pop_oldest() == (oldest, model.pop(oldest))
        assert len(waiting) == len(model)
        assert all(waiting.get(b"\xff%d" % n) == model.get(b"\xff%d" % n) for n in range(10))


def test_the_file_is_gone_as_soon_as_it_is_open_and_faults_are_told(tmp_path: Path) -> None:
    spill = SpillFile(10, tmp_path)
    spill.append([(b"k", b"value")])
    assert spill.get(b"k") == b"value"
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(InputProblem, match=r"missing: No such file or directory; .*LABELS__SPILL_DIRECTORY"):
        SpillFile(10, tmp_path / "missing").append([(b"k", b"value")])
