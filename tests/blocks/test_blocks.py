from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamdrift.blocks import column, wire
from streamdrift.blocks.assemble import Assembler, Batch
from streamdrift.blocks.block import Block
from streamdrift.blocks.labels import LabelJoin
from streamdrift.errors import Rejected
from streamdrift.ports import Partition, Record
from streamdrift.settings import LabelSettings, Settings
from streamdrift.transports.spill import SpillFile

EVENTS = Partition("inference-events", 3)
values: st.SearchStrategy[Any] = st.sampled_from(
    [..., None, 1, 2.5, -3, True, False, "a", "b", "", float("inf"), [], {}]
) | st.floats(allow_nan=False)


def records(events: list[dict[str, Any]]) -> list[Record]:
    return [Record(json.dumps(e).encode(), EVENTS, i, 1_000 * i) for i, e in enumerate(events)]


def assembled(events: list[dict[str, Any]], settings: Settings | None = None) -> Batch:
    assembler = Assembler(settings or Settings())
    for record in records(events):
        assembler.add(record)
    return assembler.take()


@given(st.lists(values, min_size=1, max_size=30))
def test_a_column_tells_kinds_apart(raw: list[Any]) -> None:
    made = column.from_values(raw, 10)
    kinds = made.kind_of_rows()
    for i, value in enumerate(raw):
        if value is ...:
            assert kinds[i] == column.ABSENT
        elif value is None:
            assert kinds[i] == column.NULL
        elif isinstance(value, bool):
            assert (kinds[i], made.numbers[i]) == (column.BOOLEAN, float(value))
        elif isinstance(value, str):
            assert kinds[i] == column.TEXT
            assert made.codes is not None
            assert made.texts[made.codes[i]] == value[:10]
        elif isinstance(value, (int, float)):
            expected = column.INFINITE if math.isinf(value) else column.NUMBER
            assert kinds[i] == expected
            assert made.numbers[i] == value or expected == column.INFINITE
        else:
            assert kinds[i] == column.OTHER
    assert np.isfinite(made.numbers[(kinds == column.NUMBER) | (kinds == column.BOOLEAN)]).all()


def test_segments_are_told_with_their_rows() -> None:
    block = assembled(
        [
            {"model": "m", "features": {"x": i}, "segments": {"origin": o} | ({"carrier": "UA"} if i % 2 else {})}
            for i, o in enumerate(["EWR", "JFK", "EWR", "LGA"])
        ]
    ).blocks[0]
    assert [(s, rows.tolist()) for s, rows in block.segments()] == [
        ({"carrier": "UA"}, [1, 3]),
        ({"origin": "EWR"}, [0, 2]),
        ({"origin": "JFK"}, [1]),
        ({"origin": "LGA"}, [3]),
    ]
    assert [s for s, _ in block.segments(["carrier"])] == [{"carrier": "UA"}]


def test_bad_events_are_set_aside_and_the_good_ones_around_them_go_on() -> None:
    assembler = Assembler(Settings())
    good = b'{"model":"m","features":{"x":1}}'
    for i, value in enumerate([good, b"nonsense", good, b"", None, good]):
        assembler.add(Record(value, EVENTS, i, 0))
    batch = assembler.take()
    assert [(letter.record.offset, letter.reason) for letter in batch.rejected] == [
        (1, "not_json"),
        (3, "empty"),
        (4, "empty"),
    ]
    assert batch.blocks[0].offset.tolist() == [0, 2, 5]
    assert not assembler.take()


def same(a: Block, b: Block) -> None:
    assert (a.model, a.segment, a.stream) == (b.model, b.segment, b.stream)
    for row in range(len(a)):
        assert a.sources[a.source[row]] == b.sources[b.source[row]]
        assert a.versions.at(row) == b.versions.at(row)
        assert {d: c.at(row) for d, c in a.dimensions.items()} == {d: c.at(row) for d, c in b.dimensions.items()}
    for name in ("time", "offset", "model_row", "order"):
        assert getattr(a, name).tolist() == getattr(b, name).tolist()
    assert list(a.columns) == list(b.columns)
    for name, one in a.columns.items():
        two = b.columns[name]
        assert one.numbers.tobytes() == two.numbers.tobytes()
        assert one.kind_of_rows().tolist() == two.kind_of_rows().tolist()
        if one.codes is not None and two.codes is not None:
            texts = [
                [c.texts[code] if code >= 0 else None for code in c.codes] for c in (one, two) if c.codes is not None
            ]
            assert texts[0] == texts[1]


rows = st.lists(
    st.fixed_dictionaries(
        {
            "model": st.fixed_dictionaries({"name": st.just("m")}, optional={"version": st.sampled_from("12")}),
            "features": st.dictionaries(
                st.sampled_from("xyz"), st.sampled_from([1, 2.5, None, "a", "b", True]), min_size=1
            ),
            "segments": st.dictionaries(st.sampled_from(["o", "c"]), st.sampled_from(["1", "2", "ü"])),
        }
    ),
    min_size=1,
    max_size=20,
)


@given(rows, st.integers(900, 5_000))
def test_a_block_comes_through_the_exchange_as_it_was(events: list[dict[str, Any]], bytes_max: int) -> None:
    block = assembled(events).blocks[0]
    for part in [block, *(block.take(r, s) for s, r in block.segments())]:
        same(part, wire.decode(next(wire.encode(part)), muted=False))
        pieces = [wire.decode(m, muted=True) for m in wire.encode(part, bytes_max)]
        assert [o for piece in pieces for o in piece.offset.tolist()] == part.offset.tolist()
        assert all(piece.muted.all() for piece in pieces)


@given(rows, st.data())
def test_a_damaged_block_is_refused(events: list[dict[str, Any]], data: st.DataObject) -> None:
    message = bytearray(next(wire.encode(assembled(events).blocks[0])))
    at = data.draw(st.integers(0, len(message) - 1))
    message[at] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(Rejected):
        wire.decode(bytes(message), muted=False)
    with pytest.raises(Rejected):
        wire.decode(bytes(message[: len(message) // 2]), muted=False)


def test_a_block_of_a_later_release_is_refused() -> None:
    message = next(wire.encode(assembled([{"model": "m", "features": {"x": 1}}]).blocks[0]))
    with pytest.raises(Rejected, match=r"newer_block: .*upgrade this worker"):
        wire.decode(b"SDB2" + message[4:], muted=False)


def joined(
    settings: LabelSettings, events: list[dict[str, Any]], labels: list[dict[str, Any]]
) -> tuple[list[float], dict[str, int]]:
    join = LabelJoin(settings, 10, SpillFile())
    assembler = Assembler(Settings(), labels=True)
    for record in records(events):
        assembler.add(record)
    for record in records(labels):
        label = assembler.read_label(record)
        assert label is not None
        assembler.add_label(record, label)
    blocks = [*join.update(assembler.take().blocks), *join.finish()]
    return [v for b in blocks for v in b.columns["performance.error"].numbers.tolist()], dict(join.counts)


def predicted(i: int, **prediction: object) -> dict[str, Any]:
    return {"model": "m", "prediction_id": f"p{i}", "occurred_at": 0, "prediction": prediction}


def test_labels_meet_their_predictions() -> None:
    events = [predicted(0, label="late"), predicted(1, label=True), predicted(2, score=0.75), predicted(3, label="x")]
    labels: list[dict[str, Any]] = [
        {"model": "m", "prediction_id": "p0", "label": "on-time"},
        {"model": "m", "prediction_id": "p1", "label": 1},
        {"model": "m", "prediction_id": "p2", "value": 0.5},
        {"model": "m", "prediction_id": "p3", "value": 1.0},
        {"model": "m", "prediction_id": "p0", "label": "on-time"},
        {"model": "m", "prediction_id": "unheard", "label": "late"},
        {"model": "m", "prediction_id": "own", "label": "a", "prediction": {"label": "a"}},
    ]
    errors, counts = joined(LabelSettings(), events, labels)
    assert errors == [1.0, 0.0, 0.25, 0.0]
    assert counts == {"joined": 4, "unusable": 1, "orphan": 1, "duplicate": 1}


def test_predictions_wait_for_their_labels_within_bounds() -> None:
    events = [predicted(i, label="a") for i in range(5)]
    labels = [{"model": "m", "prediction_id": f"p{i}", "label": "a", "observed_at": 10_000} for i in range(5)]
    assert joined(LabelSettings(join_events_max=2), events, labels)[1] == {"orphan": 3, "joined": 2}
    assert joined(LabelSettings(join_ttl_s=5), events, labels)[1] == {"late": 5}


def test_rows_of_labels_are_counted_over_batches_as_those_of_events_are() -> None:
    assembler, join = Assembler(Settings(), labels=True), LabelJoin(LabelSettings(), 10, SpillFile())
    counted: list[int] = []
    events = records([predicted(i, label="a") for i in range(4)])
    labels = records([{"model": "m", "prediction_id": f"p{i}", "label": "a"} for i in range(4)])
    for i, (event, record) in enumerate(zip(events, labels, strict=True)):
        assembler.add(event)
        label = assembler.read_label(record)
        assert label is not None
        assembler.add_label(record, label)
        if i % 2:
            counted += [n for b in join.update(assembler.take().blocks) for n in b.model_row.tolist()]
    assert counted == [1, 2, 3, 4]
