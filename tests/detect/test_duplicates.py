from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamdrift.alerts import Alert
from streamdrift.blocks import wire
from streamdrift.blocks.assemble import Assembler
from streamdrift.blocks.block import Block
from streamdrift.blocks.column import Ints
from streamdrift.detect.bank import Bank
from streamdrift.detect.duplicates import RecentIds
from streamdrift.pipeline import Assemble, Detect
from streamdrift.ports import Partition, Record
from streamdrift.settings import Settings
from streamdrift.telemetry import Metrics
from streamdrift.transports.memory import MemoryBroker
from tests.command import SMALL as ENVIRONMENT
from tests.command import read, streamdrift, written
from tests.detect.test_bank import START, detect, detected, records
from tests.detect.test_life_cycle import order, run
from tests.test_pipeline import FakeClock, drain, published, worker

SMALL = Settings.model_validate(
    {
        "reference": {"events": 300},
        "detectors": {"ks": {"window_events": 100}},
        "anomalies": {"duplicate_within_events": 100},
    }
)
SERIES = "m//traffic.duplicates"
FAR = {"duplicate_within_events": 100, "replay_within_events": 2_000, "silence_min_s": 10_000}


def event(i: int, name: object, **other: Any) -> dict[str, Any]:
    return {"prediction_id": name, "model": "m", "occurred_at": START + i * 1_000, "features": {"x": 1.0}, **other}


def doubled(n: int = 1_500, begin: int = 700, end: int = 900) -> list[dict[str, Any]]:
    """Each event between begin and end comes twice."""
    return [event(i, f"p{i}") for i in range(n) for _ in range(1 + (begin <= i < end))]


def resent(n: int, share: float, seed: int, later: float | None = None) -> list[dict[str, Any]]:
    """A share of the events is sent again up to 20 events later; from the middle on another share."""
    rng = np.random.default_rng(seed)
    draws = rng.random(n) < np.where(np.arange(n) < n // 2, share, share if later is None else later)
    places = [(float(i), i) for i in range(n)]
    places += [(i + float(rng.uniform(0, 20)), i) for i in np.flatnonzero(draws).tolist()]
    return [event(k, f"p{i}") for k, (_, i) in enumerate(sorted(places))]


def of_duplicates(alerts: Sequence[Alert]) -> list[Alert]:
    return [a for a in alerts if a.reason == "duplicate_events"]


def test_events_that_come_twice_are_told_by_name_once_and_end() -> None:
    opened, resolved = of_duplicates(detect(records(doubled()), tree=SMALL))
    assert (opened.series_id, opened.reason, opened.kind, opened.role) == (
        SERIES,
        "duplicate_events",
        "anomaly",
        "traffic",
    )
    assert (opened.status, opened.severity, opened.effect_unit) == ("firing", "warning", "share")
    assert opened.effect_size == pytest.approx(0.5, abs=0.1)
    assert opened.reference == {"n": 300, "duplicate_rate": 0.0}
    assert opened.current["duplicate_rate"] == pytest.approx(0.5, abs=0.1)
    assert 700 < opened.events_seen <= 750
    assert opened.onset_at == pytest.approx(START + 700_000, abs=20_000)
    assert opened.expected_false_per_week is not None
    assert (resolved.status, resolved.resolves) == ("resolved", opened.alert_id)


def test_an_hour_that_is_read_once_more_is_a_replay_and_no_surge() -> None:
    """Events 1,000 to 2,000 come again, slowly, behind event 2,500; the memory reaches back 2,000."""
    tree = Settings.model_validate(SMALL.model_dump() | {"anomalies": FAR})
    again = [event(5_000 + k, f"p{i}") for k, i in enumerate(range(1_000, 2_000))]
    events = [event(i, f"p{i}") for i in range(2_500)] + again
    (opened, *_) = alerts = detect(records(events), tree=tree)
    assert {(a.series_id, a.reason) for a in alerts} == {("m//traffic.replays", "duplicate_events")}
    assert 2_500 < opened.events_seen <= 2_550
    assert opened.effect_size > 0.2
    beyond = Settings.model_validate(SMALL.model_dump() | {"anomalies": FAR | {"replay_within_events": 1_000}})
    assert detect(records(events), tree=beyond) == []


def test_without_ids_nothing_is_carried_learned_or_said() -> None:
    events = [{k: v for k, v in one.items() if k != "prediction_id"} for one in doubled()]
    assert of_duplicates(detect(records(events), tree=SMALL)) == []
    assembler = Assembler(SMALL)
    assembler.add(records(events)[0])
    (block,) = assembler.take().blocks
    assert block.ids is None
    (message,) = wire.encode(block)
    assert wire.decode(message, muted=False).ids is None


def test_events_without_an_id_are_no_duplicates_of_each_other_nor_counted() -> None:
    mixed = [one for i, some in enumerate(doubled()) for one in (some, event(i, None), event(i, None))]
    opened, _ = of_duplicates(detect(records(mixed), tree=SMALL))
    assert 700 < opened.events_seen <= 750


@given(
    st.lists(st.integers(1, 12), max_size=200),
    st.integers(1, 15),
    st.integers(0, 20),
    st.lists(st.integers(0, 200), max_size=5),
)
def test_what_came_within_so_many_events_is_remembered_exactly(
    ids: list[int], within: int, young_max: int, cuts: list[int]
) -> None:
    recent, found = RecentIds(within, young_max), list[Ints]()
    edges = [0, *sorted(min(cut, len(ids)) for cut in cuts), len(ids)]
    for begin, end in itertools.pairwise(edges):
        found.append(recent.distances(np.array(ids[begin:end], np.uint64)))
    expected = [next((d for d in range(1, min(i, within) + 1) if ids[i - d] == one), 0) for i, one in enumerate(ids)]
    assert np.concatenate(found).tolist() == expected
    assert len(recent) <= within + young_max + max(end - begin for begin, end in itertools.pairwise(edges))


# Whatever the way ----------------------------------------------------------------------------------------------------

STREAM = records(doubled() + [event(2_000 + i, None) for i in range(10)])
EXPECTED = [a.to_cloudevent() for a in detect(STREAM, tree=SMALL)]


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(0, len(STREAM)), max_size=12).map(sorted), st.booleans())
def test_where_batches_end_and_the_exchange_change_not_one_bit(cuts: list[int], exchange: bool) -> None:
    assert len(EXPECTED) > 1
    assert sorted(a.to_cloudevent() for a in detect(STREAM, cuts, SMALL, exchange=exchange)) == sorted(EXPECTED)


@pytest.mark.parametrize("again", [range(1_700), range(900, 1_000)])
def test_a_record_that_is_delivered_again_is_no_duplicate(again: range) -> None:
    """By blocks, as the exchange redelivers them, and by the records that an assembler reads again."""
    bank, assembler, alerts = Bank(SMALL, "config"), Assembler(SMALL), []
    once: list[Block] = []
    for i, record in enumerate(STREAM):
        assembler.add(record)
        if i % 50 == 49:
            once += (blocks := assembler.take().blocks)
            alerts += bank.update(blocks)
            if i in again:
                alerts += bank.update(once[-2:])
                restarted = Assembler(SMALL)
                for one in STREAM[max(0, i - 80) : i + 1]:
                    restarted.add(one)
                alerts += bank.update(restarted.take().blocks)
    assert [a.alert_id for a in of_duplicates(alerts)] == [
        Alert.from_cloudevent(e).alert_id for e in EXPECTED if b"traffic.duplicates" in e
    ]


def test_a_restart_in_between_gives_the_same_alerts() -> None:
    broker = MemoryBroker()
    for begin in range(0, len(STREAM), 400):
        for record in STREAM[begin : begin + 400]:
            broker.append(SMALL.topics.events, record.value, timestamp_ms=record.timestamp_ms)
        drain(worker(Assemble(SMALL, Metrics()), broker, FakeClock(), SMALL))
        drain(worker(Detect(SMALL, "config", Metrics()), broker, FakeClock(), SMALL))
    assert sorted(a.alert_id for a in published(broker)) == sorted(Alert.from_cloudevent(e).alert_id for e in EXPECTED)


def test_the_same_event_on_two_partitions_is_a_duplicate() -> None:
    """Two writers, each to a partition of its own, and an assembler for each: detect sees all of a model."""
    bank, assemblers, alerts = Bank(SMALL, "config"), [Assembler(SMALL), Assembler(SMALL)], []
    for begin in range(0, 1_000, 20):
        for which, assembler in enumerate(assemblers):
            for i in range(begin, begin + 20):
                if which == 0 or i >= 700:
                    value = json.dumps(event(i, f"p{i}")).encode()
                    assembler.add(Record(value, Partition("inference-events", which), i, START))
            for block in assembler.take().blocks:
                (message,) = wire.encode(block)
                alerts += bank.update([wire.decode(message, muted=False)], Partition("streamdrift.blocks", 0))
    assert [a.reason for a in of_duplicates(alerts)] == ["duplicate_events"]


# What is usual -------------------------------------------------------------------------------------------------------

DEFAULT = Settings()


@pytest.mark.parametrize("share", [0.0, 0.01, 0.02])
def test_retries_that_are_usual_are_no_fault(share: float) -> None:
    """10 streams of 15,000 events: none may be told; more than .002 per 10,000 events would show in 1 of 3 such runs."""
    found = [of_duplicates(detect(records(resent(15_000, share, seed)), tree=DEFAULT)) for seed in range(10)]
    assert found == [[]] * 10


def test_more_retries_than_usual_are_found() -> None:
    for seed in range(5):
        opened, *grown = of_duplicates(detect(records(resent(16_000, 0.02, seed, later=0.1)), tree=DEFAULT))
        assert all(a.updates == opened.alert_id for a in grown)
        assert 8_000 < opened.events_seen < 8_000 * 1.02 + 600
        assert opened.effect_size == pytest.approx(0.08, abs=0.05)


def test_ids_that_mean_something_else_and_come_again_by_themselves_are_no_fault() -> None:
    """Users instead of predictions: a memory that still fills sees fewer of them than a full one."""
    both = {"duplicate_within_events": 4_000, "replay_within_events": 8_000}
    deep = Settings.model_validate({"reference": {"events": 1_000}, "anomalies": both})
    for users, tree in ((500, DEFAULT), (3_000, DEFAULT), (100_000, DEFAULT), (4_000, deep)):
        rng = np.random.default_rng(users)
        events = [event(i, int(user)) for i, user in enumerate(rng.integers(users, size=20_000))]
        events = [{**one, "prediction_id": f"u{one['prediction_id']}"} for one in events]
        assert of_duplicates(detect(records(events), tree=tree)) == []


def test_a_recorded_baseline_is_learned_from_and_its_events_may_come_again() -> None:
    bank, clean = Bank(SMALL, "config"), [event(i, f"p{i}") for i in range(500)]
    bank.learn(blocks_of(clean))
    bank.rejoin()
    assert of_duplicates(bank.update(blocks_of(clean[450:]))) == []
    late = records([event(600 + i, f"q{i // 2}") for i in range(60)], first=50)
    (opened,) = of_duplicates(detected(late, bank, [], SMALL))
    assert opened.events_seen <= 550 + 60


def blocks_of(events: Sequence[dict[str, Any]]) -> list[Block]:
    assembler = Assembler(SMALL)
    for record in records(events):
        assembler.add(record)
    return assembler.take().blocks


# What operators do ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("features", "resolved"), [((), True), (("traffic.duplicates",), True), (("traffic.rate",), False)]
)
def test_a_rebaseline_takes_what_is_now_as_usual(features: tuple[str, ...], resolved: bool) -> None:
    told, _ = run(doubled(2_500, 700, 2_500), orders=[order(1_000, models=("m",), features=features)], tree=SMALL)
    alerts = of_duplicates(told)
    assert [a.status for a in alerts] == ["firing", "resolved"][: 1 + resolved]
    assert not resolved or alerts[1].current["rebaseline"] == "r-1"


def test_an_override_turns_it_off() -> None:
    rules = {name: {"feature": f"traffic.{name}", "enabled": False} for name in ("duplicates", "replays")}
    tree = Settings.model_validate(SMALL.model_dump() | {"overrides": rules})
    assert of_duplicates(detect(records(doubled()), tree=tree)) == []


def test_an_incident_is_named_by_what_came_twice_and_the_surge_follows(tmp_path: Path) -> None:
    """End to end, by the command: a file in which events come twice for a while."""
    rng = np.random.default_rng(4)
    at = np.cumsum(rng.exponential(1_000, 6_000)).astype(int)
    lines = [
        json.dumps({**event(0, f"p{i}"), "occurred_at": START + int(at[i]), "features": {"x": float(x)}}).encode()
        for i, x in enumerate(rng.standard_normal(6_000))
        for _ in range(1 + (3_000 <= i < 3_600))
    ]
    alerts, report = tmp_path / "alerts", tmp_path / "report.html"
    done = streamdrift(
        "replay", written(tmp_path / "events.ndjson", lines), "--alerts", alerts, "--report", report, "--summary", "-",
        settings=ENVIRONMENT | {"STREAMDRIFT_REFERENCE__EVENTS": "1000"},
    )  # fmt: skip
    assert done.code == 0, done.said
    told = {(a["data"]["feature"], a["data"]["reason"]) for a in read(alerts) if a["data"]["status"] == "firing"}
    assert told == {("traffic.duplicates", "duplicate_events"), ("traffic.rate", "volume_surge")}
    assert done.summary["incidents"] == 1
    text = report.read_text()
    assert "events come twice in all traffic" in text
    assert "follows traffic.duplicates" in text
