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
from streamdrift.detect.bank import Bank
from streamdrift.ports import Partition, Record
from streamdrift.settings import Settings

EVENTS, BLOCKS = Partition("inference-events", 0), Partition("streamdrift.blocks", 0)
SMALL = Settings.model_validate({"reference": {"events": 200}, "detectors": {"ks": {"window_events": 100}}})
START = 1_700_000_000_000


def records(events: Sequence[dict[str, Any]], first: int = 0) -> list[Record]:
    return [Record(json.dumps(e).encode(), EVENTS, first + i, START) for i, e in enumerate(events)]


def detect(
    recorded: Sequence[Record], cuts: Sequence[int] = (), tree: Settings = SMALL, *, exchange: bool = False
) -> list[Alert]:
    return detected(recorded, Bank(tree, "config"), cuts, tree, exchange=exchange)


def detected(
    recorded: Sequence[Record], bank: Bank, cuts: Sequence[int], tree: Settings, *, exchange: bool = False
) -> list[Alert]:
    assembler, alerts = Assembler(tree), []
    for begin, end in zip([0, *cuts], [*cuts, len(recorded)], strict=True):
        for record in recorded[begin:end]:
            assembler.add(record)
        blocks = assembler.take().blocks
        if exchange:
            split = [b.take(rows, s) for b in blocks for s, rows in b.segments(tree.segments)]
            blocks = [wire.decode(m, muted=False) for b in [*blocks, *split] for m in wire.encode(b)]
        alerts += bank.update(blocks, BLOCKS if exchange else None)
    return alerts


def traffic(n: int = 1_200, seed: int = 1) -> list[dict[str, Any]]:
    """Two models; one feature of each kind; from the middle on x moves where d=a, y is null, a category is new."""
    rng = np.random.default_rng(seed)
    events = []
    for i in range(n):
        late, segment = i > n // 2, "ab"[int(rng.integers(2))]
        features: dict[str, Any] = {
            "x": float(rng.standard_normal() + (3 if late and segment == "a" else 0)),
            "y": None if late and rng.random() < 0.3 else float(rng.random()),
            "c": "new" if late and rng.random() < 0.1 else ["red", "green"][int(rng.integers(2))],
            "b": bool(rng.random() < 0.3),
        }
        if i % 7 == 0:
            features["z"] = "text" if late else 1.0
        events.append(
            {
                "model": "m" if i % 5 else "other",
                "occurred_at": START + i * 1_000,
                "segments": {"d": segment},
                "features": features,
            }
        )
    return events


def names(alerts: Sequence[Alert]) -> set[tuple[str, str]]:
    return {(a.series_id, a.reason) for a in alerts if a.status == "firing"}


def test_each_fault_is_found_where_it_is_and_nothing_else() -> None:
    alerts = detect(records(traffic(3_000)))
    found = names(alerts)
    assert {("m/d=a/x", "mean_shift"), ("m//y", "null_rate"), ("m//c", "new_category")} <= found
    assert "m//x" in {series for series, _ in found}
    assert not [name for name in found if "/b" in name[0] or "d=b/x" in name[0]]
    assert all(a.onset_at <= a.detected_at for a in alerts)
    shifted = next(a for a in alerts if a.series_id == "m/d=a/x")
    assert abs(shifted.onset_at - (START + 1_500_000)) < 60_000
    assert shifted.effect_size == pytest.approx(3, abs=1)  # the first window reaches back before the change
    assert shifted.traffic_share == pytest.approx(0.5, abs=0.05)
    then, now = shifted.reference["quantiles"], shifted.current["quantiles"]
    assert list(then) == ["1", "5", "25", "50", "75", "95", "99"]
    assert then["50"] == pytest.approx(0, abs=0.3)
    assert now["50"] == pytest.approx(3, abs=1)
    assert list(then.values()) == sorted(then.values())


ALERTS = {
    exchange: [a.to_cloudevent() for a in detect(records(traffic()), exchange=exchange)] for exchange in (False, True)
}


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(0, 1_200), max_size=12).map(sorted))
def test_where_batches_end_changes_not_one_bit(cuts: list[int]) -> None:
    assert ALERTS[False]
    assert [a.to_cloudevent() for a in detect(records(traffic()), cuts)] == ALERTS[False]


def test_the_exchange_gives_the_alerts_of_memory() -> None:
    assert sorted(ALERTS[True]) == sorted(ALERTS[False])


def test_values_that_would_blind_a_detector_are_counted_and_passed_over() -> None:
    rng = np.random.default_rng(2)
    events = []
    for i in range(1_200):
        value: object = float(rng.standard_normal() + (3 if i >= 900 else 0))
        if 300 <= i < 330:
            value = [float("inf"), "NaN", True, {}, []][i % 5]
        events.append({"model": "m", "occurred_at": START + i * 1_000, "features": {"x": value}})
    recorded = [
        Record(json.dumps(e).replace("Infinity", "1e999").encode(), EVENTS, i, START) for i, e in enumerate(events)
    ]
    tree = SMALL
    assembler, bank = Assembler(tree), Bank(tree, "config")
    for record in recorded:
        assembler.add(record)
    batch = assembler.take()
    assert not batch.rejected
    found = names(bank.update(batch.blocks))
    assert found == {("m//x", "type_change"), ("m//x", "mean_shift")}
    assert bank.invalid == {"out_of_range": 6, "wrong_type": 24}


def test_a_feature_of_one_value_that_changes_is_told() -> None:
    events = [
        {"model": "m", "occurred_at": START + i * 1_000, "features": {"x": 1 if i < 600 else 2}} for i in range(900)
    ]
    assert ("m//x", "mean_shift") in names(detect(records(events)))


def test_an_alert_opens_once_and_is_resolved_with_evidence() -> None:
    rng = np.random.default_rng(3)
    events = [
        {
            "model": "m",
            "occurred_at": START + i * 60_000,
            "features": {"x": float(rng.standard_normal() + (2 if 500 <= i < 1_500 else 0))},
        }
        for i in range(4_000)
    ]
    alerts = [a for a in detect(records(events)) if a.feature == "x"]
    assert [a.status for a in alerts] == ["firing", "resolved"]
    assert alerts[1].resolves == alerts[0].alert_id
    assert alerts[1].detected_at > START + 1_500 * 60_000
    assert alerts[1].reason == alerts[0].reason


def test_no_data_is_no_recovery() -> None:
    rng = np.random.default_rng(3)
    shifted = [float(rng.standard_normal() + (2 if i >= 500 else 0)) for i in range(600)]
    events = [{"model": "m", "occurred_at": START + i * 1_000, "features": {"x": x}} for i, x in enumerate(shifted)]
    events += [{"model": "m", "occurred_at": START + i * 1_000, "features": {"y": 1}} for i in range(600, 3_000)]
    assert [a.status for a in detect(records(events)) if a.reason == "mean_shift"] == ["firing"]


def delivered_twice(recorded: Sequence[Record]) -> tuple[list[Alert], Bank]:
    """Alerts of the first delivery; the second must have none."""
    bank, assembler = Bank(SMALL, "config"), Assembler(SMALL)
    alerts = []
    for begin in range(0, len(recorded), 300):
        for record in recorded[begin : begin + 300]:
            assembler.add(record)
        blocks = assembler.take().blocks
        alerts += bank.update(blocks)
        assert bank.update(blocks) == []
    return alerts, bank


def test_blocks_delivered_twice_count_once() -> None:
    alerts, bank = delivered_twice(records(traffic()))
    assert [a.to_cloudevent() for a in alerts] == ALERTS[False]
    assert bank.duplicates >= 1_200


@pytest.mark.parametrize("block", [2_000, 100, 7])
@pytest.mark.parametrize("split", [True, False])
def test_segments_over_the_limit_fold_into_all_traffic_and_one_anomaly_says_so(block: int, split: bool) -> None:
    tree = Settings.model_validate(
        {"segments_per_model_max": 10, "reference": {"events": 200}, "detectors": {"ks": {"window_events": 100}}}
    )
    events = [
        {
            "model": "m",
            "occurred_at": START + i,
            "segments": {"user": f"u{i}", "parity": str(i % 2)},
            "features": {"x": 1.0},
        }
        for i in range(2_000)
    ]
    assembler, bank = Assembler(tree), Bank(tree, "config")
    alerts = []
    for begin in range(0, 2_000, block):
        for record in records(events)[begin : begin + block]:
            assembler.add(record)
        blocks = assembler.take().blocks
        if not split:  # as off the exchange, though in the order in which one bank alone would split them
            parts = [b.take(rows, s) for b in blocks for s, rows in b.segments(None)]
            blocks += sorted(parts, key=lambda part: (int(part.order[0]), next(iter(part.segment))))
        alerts += bank.update(blocks, None if split else BLOCKS)
    assert names(alerts) == {("m//traffic.segments", "segment_overflow")}
    assert len(alerts) == 1
    assert alerts[0].position["offset"] == 8
    assert (alerts[0].current["n"], alerts[0].severity) == (11, "warning")
    assert bank.series == 11
    assert bank.limits_hit == {"segments_per_model_max": 1_992}


def test_which_limit_is_full_is_told() -> None:
    tree = Settings.model_validate({"series_max": 20, "reference": {"events": 200}})
    events = [
        {"model": "m", "occurred_at": START + i, "segments": {"user": f"u{i}"}, "features": {"x": 1.0, "y": 2.0}}
        for i in range(100)
    ]
    (alert,) = detect(records(events), tree=tree)
    assert (alert.reason, alert.reference["limit"]) == ("segment_overflow", "series_max")
    assert (alert.statistic, alert.threshold) == (20, 20)


def test_models_without_a_value_are_bounded_too() -> None:
    tree = Settings.model_validate({"series_max": 50})
    events = [{"model": f"m{i}", "occurred_at": START + i, "features": {"x": None}} for i in range(500)]
    assembler, bank = Assembler(tree), Bank(tree, "config")
    for record in records(events):
        assembler.add(record)
    bank.update(assembler.take().blocks)
    assert bank.limits_hit["series_max"] >= 450


def test_series_are_bounded_against_feature_names_without_end() -> None:
    tree = Settings.model_validate(
        {"series_max": 50, "reference": {"events": 200}, "detectors": {"ks": {"window_events": 100}}}
    )
    events = [{"model": "m", "occurred_at": START + i, "features": {f"f{i}": 1.0}} for i in range(500)]
    assembler, bank = Assembler(tree), Bank(tree, "config")
    for record in records(events):
        assembler.add(record)
    bank.update(assembler.take().blocks)
    assert bank.series == 50
    assert bank.limits_hit["series_max"] == 450


def arrivals(n: int, gap_ms: int, seed: int = 5) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.cumsum(np.random.default_rng(seed).exponential(gap_ms, n)).astype(np.int64)


def test_a_segment_that_goes_is_named() -> None:
    rng = np.random.default_rng(6)
    events = []
    for i, t in enumerate(arrivals(3_000, 1_000)):
        carrier = ["UA", "EV", "DL"][int(rng.choice(3, p=[0.4, 0.3, 0.3]))]
        if not (i > 1_500 and carrier == "EV"):
            events.append(
                {"model": "m", "occurred_at": START + int(t), "segments": {"carrier": carrier}, "features": {"x": 1.0}}
            )
    alerts = [a for a in detect(records(events)) if a.feature == "traffic.rate" and a.segment]
    assert [(a.segment, a.reason) for a in alerts] == [({"carrier": "EV"}, "silence")]
    assert alerts[0].current["share"] < 0.02


def test_a_segment_that_loses_half_and_then_all_is_told_twice() -> None:
    rng = np.random.default_rng(7)
    events = []
    for i, t in enumerate(arrivals(9_000, 1_000)):
        carrier = ["UA", "EV", "DL"][int(rng.choice(3, p=[0.4, 0.3, 0.3]))]
        left = 1.0 if i < 3_000 else 0.5 if i < 6_000 else 0.0
        if carrier != "EV" or rng.random() < left:
            events.append(
                {"model": "m", "occurred_at": START + int(t), "segments": {"carrier": carrier}, "features": {"x": 1.0}}
            )
    tree = Settings.model_validate({"reference": {"events": 1_000}})
    alerts = [a for a in detect(records(events), tree=tree) if a.feature == "traffic.rate" and a.segment]
    assert [a.segment for a in alerts] == [{"carrier": "EV"}] * len(alerts)
    assert alerts[0].reason == "volume_drop"
    assert alerts[0].updates is None
    assert {a.updates for a in alerts[1:]} == {alerts[0].alert_id}
    assert alerts[-1].severity == "critical"
    assert alerts[-1].effect_size < 0.1
    assert alerts[1].detected_at > START + 6_000_000 > alerts[0].detected_at


def test_confirm_off_gives_the_raw_detectors() -> None:
    tree = Settings.model_validate(SMALL.model_dump() | {"policy": {"confirm": "off"}})
    rng = np.random.default_rng(7)
    events = [
        {
            "model": "m",
            "occurred_at": START + i * 1_000,
            "features": {"x": float(rng.standard_normal() + 2 * (i > 600))},
        }
        for i in range(1_200)
    ]
    alerts = [a for a in detect(records(events), tree=tree) if a.kind == "drift"]
    assert {a.detector for a in alerts} == {"adwin", "page_hinkley", "ks"}
    assert len({a.alert_id for a in alerts}) == len(alerts)


def test_an_override_switches_a_series_off() -> None:
    tree = Settings.model_validate(SMALL.model_dump() | {"overrides": {"quiet": {"feature": "x", "enabled": False}}})
    assert not [a for a in detect(records(traffic()), tree=tree) if a.feature == "x"]
