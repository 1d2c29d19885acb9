"""The compiled decoder against the reference: whole batches, to the last bit."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamdrift.events.label import Label
from streamdrift.ports import Partition, Record
from streamdrift.records import Run
from streamdrift.settings import Settings
from tests.kernels.same_batch import EVENTS, assert_same, both, check, needs_compiled, records

pytestmark = needs_compiled

OTHER = Partition("inference-events", 4)
MIXED = Settings(anomalies={"enabled": False}, free_text=("comment",), segments=("origin", "shop"), text_length_max=12, features_per_event_max=7)

texts = st.sampled_from(
    ["", "a", "b", "EWR", "ü", "日本語", "a longer text than twelve", 'quote"', "back\\slash", "\n", "😀"]
)
numbers = (
    st.integers(-(2**70), 2**70)
    | st.integers(-1_000, 1_000)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.floats(-10, 10).map(lambda x: round(x, 5))
    | st.sampled_from([0.0, -0.0, 2**53 + 1, 1e22, 1e23, 5e-324, 1.7976931348623157e308])
)
plain = st.none() | st.booleans() | numbers | texts
odd = plain | st.sampled_from([[], {}, [1, "x"], {"a": [1]}])
names = st.sampled_from(
    [
        "x",
        "y",
        "z",
        "ü",
        "",
        "comment",
        "a name that is long",
        "a name that is longer",
        "prediction.score",
        "embedding.e.0",
    ]
)
times = (
    st.none()
    | st.integers(-1, 2**53)
    | st.floats(-1.5, 1e14)
    | st.datetimes().map(lambda t: t.isoformat() + "Z")
    | st.datetimes(timezones=st.timezones()).map(lambda t: t.isoformat())
    | st.sampled_from(
        [
            "2013-04-01T08:15:00.1239+02:00",
            "2013-04-01 08:15:00Z",
            "20130401T081500Z",
            "noon",
            True,
            "2013-02-29T00:00:00Z",
        ]
    )
)
probabilities = st.dictionaries(st.sampled_from("abc"), st.floats(0, 1), max_size=2)


def an_event(values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        {
            "model": st.sampled_from(
                ["m", "n", {"name": "m"}, {"name": "m", "version": "1"}, {"version": 2, "name": "n"}]
            )
        },
        optional={
            "features": st.none() | st.dictionaries(names, values, max_size=8),
            "segments": st.none()
            | st.dictionaries(st.sampled_from(["origin", "carrier", "shop", "a long dimension"]), values),
            "prediction": st.none()
            | st.fixed_dictionaries(
                {},
                optional={"score": values, "label": values, "other": odd, "probabilities": st.none() | probabilities},
            ),
            "prediction_id": values,
            "occurred_at": times,
            "tags": odd,
            "embeddings": st.none() | st.dictionaries(st.sampled_from("ef"), st.lists(st.floats(-1, 1), max_size=3)),
            "specversion": st.just("1.0"),
        },
    )


usual = st.fixed_dictionaries(
    {
        "prediction_id": st.integers(0, 10**6).map(str) | st.integers(0, 9),
        "model": st.sampled_from(["m", {"name": "m", "version": "1"}, {"name": "m", "version": "2"}]),
        "features": st.dictionaries(st.sampled_from("vwxyz"), plain, min_size=1, max_size=4),
    },
    optional={
        "segments": st.dictionaries(st.sampled_from(["origin", "shop"]), texts),
        "prediction": st.fixed_dictionaries({}, optional={"score": numbers, "label": texts | st.booleans() | numbers}),
        "occurred_at": times,
    },
)
events = usual | an_event(plain) | an_event(odd)
written: st.SearchStrategy[Callable[[Any], bytes]] = st.sampled_from(
    [
        lambda e: json.dumps(e).encode(),
        lambda e: json.dumps(e, ensure_ascii=False, indent=1).encode(),
        lambda e: json.dumps(e, separators=(",", ":")).encode(),
    ]
)
lines = st.builds(lambda write, event: write(event), written, events)
headers = st.sampled_from([(), (), (), (("trace", b"1"),), (("ce_id", b"e-1"), ("ce_time", b"2013-04-01T08:15:00Z"))])


@st.composite
def batches(draw: st.DrawFn) -> list[Record]:
    return [
        Record(
            value,
            draw(st.sampled_from([EVENTS, EVENTS, OTHER])),
            offset,
            draw(st.integers(0, 10**13)),
            headers=draw(headers),
            replayed=draw(st.booleans()),
        )
        for offset, value in enumerate(draw(st.lists(lines, max_size=12)))
    ]


@settings(max_examples=300, deadline=None)
@given(batches(), st.sampled_from([Settings(), MIXED]), st.booleans(), st.integers(0, 12))
def test_any_events_give_the_same_batches(given: list[Record], tree: Settings, labels: bool, cut: int) -> None:
    check(given, tree, labels=labels, cuts=[min(cut, len(given))])


def mutated(value: bytes, kind: str, at: int, byte: int) -> bytes:
    at %= len(value) + 1
    if kind == "cut":
        return value[:at]
    if kind == "insert":
        return value[:at] + bytes([byte]) + value[at:]
    if kind == "drop":
        return value[:at] + value[at + 1 :]
    if kind == "double":
        return value[:at] + value[at // 2 :]
    return value[:at] + bytes([byte]) + value[at + 1 :]


mutations = st.tuples(
    st.sampled_from(["cut", "insert", "drop", "flip", "double"]),
    st.integers(0, 400),
    st.sampled_from(list(b'"{}[],:\\\x00\x1f \n0-+.eEtfnu\x80\xff\xc3\xed')) | st.integers(0, 255),
)


@settings(max_examples=500, deadline=None)
@given(st.lists(st.tuples(lines, st.lists(mutations, max_size=3)), min_size=1, max_size=8), st.booleans())
def test_damaged_bytes_are_refused_or_read_as_the_reference_does(
    given: list[tuple[bytes, list[tuple[str, int, int]]]], labels: bool
) -> None:
    values = []
    for value, changes in given:
        for change in changes:
            value = mutated(value, *change)  # noqa: PLW2901 - it is changed step by step
        values.append(value)
    check(records(values), labels=labels)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.binary(max_size=60), max_size=5))
def test_any_bytes_are_decoded_or_refused(values: list[bytes]) -> None:
    check(records(values))


@settings(max_examples=100, deadline=None)
@given(
    st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**64), 2**65),
    st.sampled_from(["{}", "{:e}", "{:.20f}", "{:.17g}", "{:.25e}"]),
)
def test_numbers_are_rounded_as_orjson_rounds_them(number: float, form: str) -> None:
    check(records([b'{"model":"m","features":{"x":%s,"y":1}}' % form.format(number).encode()]))


def test_events_of_the_plain_shape_are_not_handed_to_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamdrift.events.inference.decode", lambda *_: pytest.fail("an event was deferred"))
    assembler, _ = both(labels=True)
    event = {
        "prediction_id": "f-17",
        "occurred_at": "2013-04-01T08:15:00.5+02:00",
        "model": {"name": "flights", "version": 7},
        "segments": {"origin": "EWR", "carrier": "Ü\n", "late": True, "gate": 5, "none": None},
        "features": {
            "a": 1,
            "b": -2.5e-3,
            "c": "text",
            "d": None,
            "e": False,
            "f": 12345678901234567890,
            "g": 0.1 + 0.2,
        },
        "prediction": {"score": 0.31, "label": "on-time", "by": [1, {}]},
        "tags": {"request_id": "r-9", "path": ["x", 1]},
    }
    assembler.gather(records([json.dumps(event).encode(), orjson.dumps(event), json.dumps(event, indent=2).encode()]))
    (block,) = assembler.take().blocks
    assert block.time.tolist() == [1_364_796_900_500] * 3
    assert block.facts == (("f-17", "on-time", 0.31, {}),) * 3


@given(st.lists(usual, min_size=1, max_size=20), st.integers(0, 20), st.booleans())
def test_records_column_by_column_are_read_as_records(given: list[dict[str, Any]], cut: int, replayed: bool) -> None:
    values = [json.dumps(event).encode() for event in given]
    n = len(values)
    run = Run(values, EVENTS, np.arange(7, 7 + n), np.arange(n) * 1_000, replayed=replayed)
    ours, theirs = both()
    assert ours.add_many(run, 0, cut) == theirs.add_many(list(run), 0, cut)
    assert_same(ours.take(), theirs.take())
    assert ours.add_many(run[cut:]) == theirs.add_many(list(run)[cut:])
    assert_same(ours.take(), theirs.take())


@given(st.lists(st.tuples(usual, st.none() | st.integers(0, 2 * 10**12)), min_size=1, max_size=20), st.integers(1, 5))
def test_labels_are_let_in_between_the_same_events(given: list[tuple[dict[str, Any], int | None]], most: int) -> None:
    """Reading stops at the first event that comes to the time; a label takes the next place."""
    events = records([json.dumps(event).encode() for event, _ in given])
    label = Label("p", 5, "m", "late", numeric=False, prediction=None, segments={})
    ours, theirs = both(labels=True)
    begin = 0
    for _, due in given * 2:
        added = ours.add_many(events, begin, begin + most, due)
        assert added == theirs.add_many(events, begin, begin + most, due)
        ours.add_label(events[0], label)
        theirs.add_label(events[0], label)
        begin = added.end
        if begin % 3 == 0:
            assert_same(ours.take(), theirs.take())
    assert_same(ours.take(), theirs.take())
