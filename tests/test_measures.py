"""What detection counts for objectives: the same to the last bit, however events are cut into batches, by whichever way they come."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from streamdrift.errors import Rejected
from streamdrift.pipeline import Assemble, Detect, Direct
from streamdrift.settings import Settings
from streamdrift.slo.counts import MINUTE_MS
from streamdrift.slo.measures import LADDER, Minute, Slice, named_rung, rung
from streamdrift.telemetry import Metrics
from streamdrift.transports.memory import MemoryBroker
from tests.detect.test_bank import SMALL, START, traffic
from tests.test_pipeline import FakeClock, drain, worker
from tests.test_schemas import validator

TREE = Settings.model_validate(SMALL.model_dump() | {"slo": {"publish": True}})
EVENTS = traffic(1_500)
MEASURES = TREE.topics.measures


def broker(events: Sequence[dict[str, Any]] = EVENTS, raw: Sequence[bytes] = ()) -> MemoryBroker:
    made = MemoryBroker()
    for i, value in enumerate([*(orjson.dumps(event) for event in events), *raw]):
        made.append(TREE.topics.events, value, timestamp_ms=START + i * 1_000)
    return made


def slices(made: MemoryBroker) -> list[Slice]:
    return [Slice.from_cloudevent(record.value) for record in made.records(MEASURES)]


def values(made: MemoryBroker) -> list[bytes]:
    return [record.value or b"" for record in made.records(MEASURES)]


def direct(tree: Settings = TREE, events: Sequence[dict[str, Any]] = EVENTS, raw: Sequence[bytes] = ()) -> MemoryBroker:
    made = broker(events, raw)
    drain(worker(Direct(tree, "config", Metrics()), made, FakeClock(), tree))
    return made


EXPECTED = values(direct())


def summed(found: Sequence[Slice], model: str = "m") -> Counter[str]:
    total: Counter[str] = Counter()
    for one in found:
        for minute in one.minutes if one.model == model else ():
            total.update(minute.counts)
    return total


def test_nothing_is_published_where_nobody_asked() -> None:
    assert not values(direct(SMALL))
    assert EXPECTED


def test_counts_are_those_of_the_events() -> None:
    found = [one for one in slices(direct()) if one.model == "m"]
    last = found[-1].last[2]
    mine = [e for e in EVENTS[: last + 1] if e["model"] == "m"]
    total = summed(found)
    assert total["events"] == len(mine)
    seen, cells, nulls, of_y = set[str](), 0, 0, 0
    for event in mine:
        seen |= event["features"].keys()
        there = {name for name, value in event["features"].items() if value is not None}
        cells, nulls = cells + len(seen), nulls + len(seen - there)
        of_y += "y" not in there
    assert (total["cells"], total["nulls"]) == (cells, nulls)
    assert sum(minute.nulls.get("y", 0) for one in found for minute in one.minutes) == of_y
    z = [e["features"]["z"] for e in mine if "z" in e["features"]]
    assert (
        total["invalid"] == sum(isinstance(value, str) for value in z[100:]) > 50
    )  # most of the first hundred are numbers
    assert total["drifting"] < total["series"]
    assert found[-1].minutes[-1].counts["drifting"] >= 3


def test_each_row_is_in_one_slice() -> None:
    found = [one for one in slices(direct()) if one.model == "m"]
    assert all(one.last[2] < other.first[2] for one, other in pairwise(found))
    assert [minute.at % MINUTE_MS for one in found for minute in one.minutes] == [0] * sum(
        len(one.minutes) for one in found
    )
    assert all(len(one.minutes) <= 2 for one in found)


@pytest.mark.parametrize("exchange", [False, True])
@pytest.mark.parametrize("records_max", [17, 333])
def test_batches_and_the_exchange_change_not_one_bit(records_max: int, exchange: bool) -> None:
    tree = Settings.model_validate(TREE.model_dump() | {"kafka": {"poll_records_max": records_max}})
    made = broker()
    if exchange:
        drain(worker(Assemble(tree, Metrics()), made, FakeClock(), tree))
        drain(worker(Detect(tree, "config", Metrics()), made, FakeClock(), tree))
    else:
        drain(worker(Direct(tree, "config", Metrics()), made, FakeClock(), tree))
    assert values(made) == EXPECTED or exchange
    assert sorted(values(made)) == sorted(EXPECTED)  # by the exchange, models are in no order of each other


@hypothesis_settings(max_examples=8, deadline=None)
@given(st.lists(st.integers(0, 14), min_size=1, max_size=3))
def test_what_a_crash_repeats_has_the_same_id(steps: Sequence[int]) -> None:
    tree = Settings.model_validate(TREE.model_dump() | {"kafka": {"poll_records_max": 100, "commit_interval_s": 0.001}})
    made, clock = broker(), FakeClock()
    for n in steps:
        crashing = worker(Direct(tree, "config", Metrics()), made, clock, tree)
        for _ in range(n):
            crashing.step(0.0)
            clock.sleep(0.0005)
    drain(worker(Direct(tree, "config", Metrics()), made, clock, tree))
    assert list(dict.fromkeys(values(made))) == EXPECTED


def test_late_events_and_one_that_is_years_off_make_no_more_slices_than_minutes() -> None:
    events = [json.loads(json.dumps(event)) for event in EVENTS]
    for i, event in enumerate(events):
        event["occurred_at"] -= 45_000 * (i % 3)
    events[700]["occurred_at"] *= 2
    found = [one for one in slices(direct(events=events)) if one.model == "m"]
    assert summed(found)["events"] >= 0.8 * (found[-1].last[2] + 1) - 5
    assert len(found) <= 25 + 4


def test_events_that_were_put_aside_count_for_the_model_that_they_name() -> None:
    bad = [
        b'{"model":"m","occurred_at":"never","features":{"x":1}}',
        b"nonsense",
        b'{"model":{"name":"n"},"features":7}',
    ]
    found = [one for one in slices(direct(raw=bad)) if one.stream == "rejected"]
    assert {one.model: summed([one], one.model)["rejected"] for one in found} == {"m": 1, "n": 1}


def test_models_over_the_limit_are_not_counted_and_that_is_said() -> None:
    tree = Settings.model_validate(TREE.model_dump() | {"slo": {"publish": True, "models_max": 1}})
    made = broker()
    stage = Direct(tree, "config", Metrics())
    drain(worker(stage, made, FakeClock(), tree))
    assert {one.model for one in slices(made)} == {"other"}
    assert stage.bank.limits_hit["slo.models_max"]


def test_labels_are_counted_by_the_bound_that_their_error_keeps_within() -> None:
    made = broker([{**event, "prediction_id": f"p{i}", "prediction": {"label": "a"}} for i, event in enumerate(EVENTS)])
    for i in range(1_500):
        label = {"model": EVENTS[i]["model"], "prediction_id": f"p{i}", "label": "a" if i % 4 else "b"}
        made.append(
            TREE.topics.events, orjson.dumps(label | {"observed_at": START + i * 1_000}), timestamp_ms=START + i * 1_000
        )
    stage = Direct(TREE, "config", Metrics(), labels=True)
    records = made.records(TREE.topics.events)
    labels = [
        type(r)(r.value, type(r.partition)(TREE.topics.labels, 0), r.offset, r.timestamp_ms) for r in records[1_500:]
    ]
    output = [*stage.process(records[:1_500]).messages, *stage.process(labels).messages]
    found = [Slice.from_cloudevent(m.value) for m in output if m.topic == MEASURES]
    errors: Counter[str] = Counter()
    for one in found:
        for minute in one.minutes if one.stream == "labels" else ():
            errors.update(minute.errors)
    assert set(errors) == {"0", "1"}
    assert errors["1"] / errors.total() == pytest.approx(0.25, abs=0.02)


def test_the_contract_takes_what_is_published() -> None:
    contract = validator("measures")
    for value in EXPECTED:
        contract.validate(json.loads(value))
    errors = {named_rung(bound): 1 for bound in LADDER} | {"inf": 1}
    contract.validate(
        json.loads(
            Slice("m", "labels", ("t", 0, 0), ("t", 0, 1), (Minute(0, {"labels": 1}, {}, errors),)).to_cloudevent()
        )
    )


def test_what_is_read_is_what_was_written() -> None:
    for value in EXPECTED:
        assert Slice.from_cloudevent(value).to_cloudevent() == value


@pytest.mark.parametrize(
    "change",
    [
        {"model": ""}, {"model": 7}, {"stream": "others"}, {"minutes": []}, {"minutes": 3}, {"first": ["t", 0]}, {"last": ["t", "0", 1]},
        {"minutes": [{"minute": "yesterday"}]}, {"minutes": [{"minute": "2013-04-17T08:15:00Z", "events": -1}]},
        {"minutes": [{"minute": "2013-04-17T08:15:00Z", "events": 1.5}]}, {"minutes": [{"minute": "2013-04-17T08:15:00Z", "errors": {"3": 1}}]},
        {"minutes": [{"minute": "2013-04-17T08:15:00Z", "events": True}]}, {"minutes": [{"minute": "9999-12-31T23:59:59-23:00"}]},
    ],
)  # fmt: skip
def test_what_is_no_measures_is_rejected(change: dict[str, Any]) -> None:
    message = json.loads(EXPECTED[0])
    message["data"] |= change
    with pytest.raises(Rejected) as refused:
        Slice.from_cloudevent(orjson.dumps(message))
    assert refused.value.reason == "not_measures"


@given(st.floats(0, allow_nan=False))
def test_a_rung_is_the_least_bound_that_holds(error: float) -> None:
    fits = [bound for bound in LADDER if error <= bound]
    assert rung(error) == (named_rung(fits[0]) if fits else "inf")
    assert all(float(named_rung(bound)) == bound for bound in LADDER)
