from __future__ import annotations

import json
import struct
import zlib
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamdrift.alerts import Alert
from streamdrift.blocks import wire
from streamdrift.blocks.assemble import Assembler
from streamdrift.blocks.breadth import NAMES_MAX, Breadth
from streamdrift.detect import embedding
from streamdrift.detect.budget import FROM, RATE, budget, expected_false_per_week, in_words, threshold
from streamdrift.ports import Record
from streamdrift.settings import PolicySettings, Settings
from tests.detect.test_bank import EVENTS, SMALL, START, detect, records

WEEK_S = 604_800
GAP_MS = 5


def fast(n: int = 900) -> list[dict[str, Any]]:
    """200 events per second; from two thirds on x is 3 sd off where d=a. The third feature comes in the 150th event."""
    rng = np.random.default_rng(8)
    return [
        {
            "model": "m",
            "occurred_at": START + i * GAP_MS,
            "segments": {"d": "ab"[i % 2]},
            "features": {"x": float(rng.standard_normal() + 3 * (i > 600 and i % 2 == 0)), "y": float(rng.random())}
            | ({"z": float(rng.random())} if i >= 150 else {}),
        }
        for i in range(n)
    ]


FAST = records(fast())
TOLD = [alert.to_cloudevent() for alert in detect(FAST)]


def shift(alerts: list[Alert], series: str) -> Alert:
    return next(a for a in alerts if a.series_id == series and a.kind == "drift")


def test_the_law_is_the_measured_one() -> None:
    assert expected_false_per_week(FROM, 10_000, 1) == RATE
    assert expected_false_per_week(FROM, 20_000, 3) == pytest.approx(6 * RATE)
    assert expected_false_per_week(FROM + 1 / 0.9, 10_000, 1) == pytest.approx(RATE / np.e)


@given(st.floats(1e-3, 1e3), st.floats(1, 1e12), st.floats(1, 1e5))
def test_at_the_threshold_the_budget_is_spent_and_never_exceeded(pages: float, events: float, lanes: float) -> None:
    least = threshold(pages, events, lanes)
    spent = expected_false_per_week(least, events, lanes)
    assert spent == pytest.approx(pages) if least > FROM else spent <= pages


@pytest.mark.parametrize(("pages", "span_ms"), [(1.0, 1_000), (0.01, 1_000), (1.0, 10**8), (1e9, 1)])
def test_the_budget_only_raises_the_floor(pages: float, span_ms: int) -> None:
    policy = PolicySettings(false_pages_per_model_week=pages)
    found = budget(policy, (5_000, 10_000), span_ms, 40, START)
    assert found.events_per_week == pytest.approx(10_000 * WEEK_S * 1000 / span_ms)
    wanted = threshold(pages, found.events_per_week, 40)
    assert found.threshold == pytest.approx(max(policy.threshold, wanted), abs=1e-3)
    assert found.expected_false_per_week is not None
    assert found.expected_false_per_week <= pages


def test_a_reference_without_length_tells_no_rate() -> None:
    found = budget(PolicySettings(), (5_000, 5_000), 0, 40, START)
    assert (found.threshold, found.expected_false_per_week) == (16.0, None)


def test_a_model_s_alerts_tell_the_threshold_of_its_rate_and_breadth() -> None:
    alerts = detect(FAST)
    events = WEEK_S * 1000 / GAP_MS
    whole, part = shift(alerts, "m//x"), shift(alerts, "m/d=a/x")
    for alert, lanes in ((whole, 3 * 2), (part, 3 * 2)):
        assert alert.threshold == pytest.approx(threshold(1.0, events, lanes), abs=0.02)
        assert alert.threshold > 16
        assert alert.expected_false_per_week == pytest.approx(1.0, abs=0.02)
        assert alert.statistic >= alert.threshold


def test_a_smaller_budget_asks_for_more_evidence_and_a_slow_model_for_none() -> None:
    tree = Settings.model_validate(SMALL.model_dump() | {"policy": {"false_pages_per_model_week": 0.001}})
    strict, usual = shift(detect(FAST, tree=tree), "m//x"), shift(detect(FAST), "m//x")
    assert strict.threshold - usual.threshold == pytest.approx(np.log(1000) / 0.9, abs=0.01)
    assert strict.detected_at >= usual.detected_at
    slow = [event | {"occurred_at": START + i * 60_000} for i, event in enumerate(fast())]
    assert shift(detect(records(slow)), "m//x").threshold == 16.0


@settings(max_examples=10, deadline=None)
@given(st.lists(st.integers(0, 900), max_size=8).map(sorted))
def test_the_threshold_does_not_depend_on_where_batches_end_nor_on_the_exchange(cuts: list[int]) -> None:
    assert [alert.to_cloudevent() for alert in detect(FAST, cuts)] == TOLD
    assert sorted(alert.to_cloudevent() for alert in detect(FAST, cuts, exchange=True)) == sorted(TOLD)


def test_dimensions_that_are_not_monitored_take_no_share() -> None:
    tree = Settings.model_validate(SMALL.model_dump() | {"segments": ["other"]})
    assert assembled(tree)[-1] == 3


def assembled(tree: Settings) -> list[int]:
    assembler = Assembler(tree)
    for record in FAST:
        assembler.add(record)
    (block,) = assembler.take().blocks
    breadth: list[int] = block.breadth.tolist()
    return breadth


def test_breadth_counts_what_came_until_each_row() -> None:
    breadth = assembled(SMALL)
    assert breadth[149:151] == [4, 6]
    assert (breadth[0], breadth[-1]) == (4, 6)


def test_an_embedding_counts_as_the_series_that_watch_it() -> None:
    assembler = Assembler(SMALL)
    event = {"model": "m", "features": {"x": 1}, "segments": {"d": "a"}, "embeddings": {"photo": [1.0, 2.0]}}
    assembler.add(Record(json.dumps(event).encode(), EVENTS, 0, START))
    (block,) = assembler.take().blocks
    assert block.breadth.tolist() == [2 * (1 + len(embedding.MEASURES))]


def test_breadth_is_bounded() -> None:
    counted = Breadth().of([{f"f{i}"} for i in range(2 * NAMES_MAX)], [{}] * (2 * NAMES_MAX))
    assert counted[-1] == NAMES_MAX


def test_a_block_of_an_earlier_release_counts_as_a_single_series() -> None:
    assembler = Assembler(SMALL)
    assembler.add(Record(json.dumps(fast(1)[0]).encode(), EVENTS, 0, START))
    (message,) = wire.encode(assembler.take().blocks[0])
    length = struct.unpack("<I", message[4:8])[0]
    head = orjson.loads(message[8 : 8 + length])
    del head["breadth"]
    text = orjson.dumps(head)
    body = message[:4] + struct.pack("<I", len(text)) + text + message[8 + length : -4]
    old = wire.decode(body + struct.pack("<I", zlib.crc32(body)), muted=False)
    assert old.breadth.tolist() == [1]


def test_it_is_said_in_words() -> None:
    told = in_words(PolicySettings())
    assert told.startswith("at most 1 false page per model and week, over all its series")
    free = float(told.split("up to ")[1].split(" million")[0]) * 1e6
    assert expected_false_per_week(16.0, free, 1) == pytest.approx(1.0, rel=1e-3)
