"""How a told difference between two model versions ends: alike again, withdrawn, accepted; and that it lasts is no end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamdrift.alerts import Alert
from streamdrift.blocks.assemble import Assembler
from streamdrift.detect.explain import Change
from streamdrift.detect.standing import Standing
from streamdrift.detect.withdrawal import QUIET_ROWS
from streamdrift.escalate.policy import Incident, apply, choose
from streamdrift.settings import Settings
from tests.detect.test_bank import SMALL, START, records
from tests.detect.test_life_cycle import event, order, run, window

Phase = tuple[int, dict[str, float], float]
"""Rows, each version's share of them, and how far version 8 is shifted."""
BEGINNING: list[Phase] = [(600, {"7": 1.0}, 0.0), (400, {"8": 1.0}, 2.0)]
TOLD = 600 + 199


def stream(phases: Sequence[Phase], seed: int = 1) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    events: list[dict[str, Any]] = []
    for rows, shares, shift in phases:
        for version in rng.choice(list(shares), rows, p=list(shares.values())):
            score = float(rng.standard_normal() + shift * (version == "8"))
            events.append(event(len(events), str(version), score))
    return events


def of_versions(events: Sequence[dict[str, Any]], **other: Any) -> list[Alert]:
    return [a for a in run(events, **other)[0] if a.reason == "version_shift"]


def row(alert: Alert) -> int:
    return (alert.detected_at - START) // 1_000


def test_that_it_lasts_is_no_recovery() -> None:
    (alert,) = of_versions(stream([*BEGINNING, (5_000, {"8": 1.0}, 2.0)]))
    assert (alert.status, row(alert)) == ("firing", TOLD)


def test_a_version_that_comes_to_score_like_the_one_before_is_resolved() -> None:
    told, over = of_versions(stream([*BEGINNING, (1_000, {"8": 1.0}, 0.0)]))
    assert (over.status, over.resolves, over.series_id) == ("resolved", told.alert_id, told.series_id)
    assert over.current["ended"] == "alike"
    assert over.effect_size < 0.15
    assert row(over) == TOLD + 400  # of the 200 values since it was told all, of the next 200 none was shifted
    assert over.model == {"name": "m", "version": "8"}
    assert over.current["n"] == over.events_since_onset == 200
    assert over.events_seen == told.events_seen + 400
    assert Alert.from_cloudevent(over.to_cloudevent()) == over


@pytest.mark.parametrize("shift", [0.5, 0.8])
def test_a_difference_that_became_smaller_still_stands(shift: float) -> None:
    """Half a standard deviation is a KS distance of .2: too little to be told, and too much to be over."""
    for seed in range(5):
        assert len(of_versions(stream([*BEGINNING, (3_000, {"8": 1.0}, shift)], seed))) == 1


def test_a_version_that_was_rolled_back_is_resolved_and_told_again_when_it_serves_again() -> None:
    back: list[Phase] = [*BEGINNING, (1_500, {"7": 1.0}, 0.0)]
    told, over = of_versions(stream(back))
    assert (over.status, over.resolves, over.current["ended"]) == ("resolved", told.alert_id, "withdrawn")
    assert row(over) == 999 + QUIET_ROWS
    assert over.onset_at == START + 999_000  # its last event
    assert over.model["version"] == "8"
    straggler: list[Phase] = [*back, (1, {"8": 1.0}, 2.0), (300, {"7": 1.0}, 0.0)]
    assert len(of_versions(stream(straggler))) == 2
    *_, again = of_versions(stream([*back, (400, {"8": 1.0}, 2.0)]))
    assert (again.status, row(again), again.resolves) == ("firing", 2_500 + 199, None)
    assert again.onset_at == START + 2_500_000
    assert len(of_versions(stream([*back, (400, {"8": 1.0}, 0.0)]))) == 2  # mended in the meantime


@pytest.mark.parametrize(("per_event", "quiet"), [(1.0, QUIET_ROWS), (20.0, QUIET_ROWS), (100.0, 2_000)])
def test_the_seldomer_a_version_comes_the_longer_it_must_be_gone(per_event: float, quiet: int) -> None:
    told, *_ = of_versions(stream(BEGINNING))
    assembler = Assembler(SMALL)
    for record in records(stream([(2_500, {"7": 1.0}, 0.0)])):
        assembler.add(record)
    (block,) = assembler.take().blocks
    known = window(np.random.default_rng(1).standard_normal(200))
    standing = Standing(told, known, known, 999, per_event)
    rows: list[int] = []

    def tell(row: int, change: Change, opened: Alert | None) -> Alert:
        assert opened == told
        assert change.current == {"n": 0, "ended": "withdrawn"}
        rows.append(row)
        return told

    standing.update(block, block.columns["prediction.score"], np.zeros(0, np.int64), (1_000, len(block)), tell)
    assert rows == [999 + quiet - 1_000]


def test_no_events_at_all_are_no_evidence() -> None:
    events = stream([*BEGINNING, (10, {"7": 1.0}, 0.0)])
    for late in events[-10:]:
        late["occurred_at"] += 10**9
    assert len(of_versions(events)) == 1


def test_an_order_to_learn_anew_accepts_it() -> None:
    told, over = of_versions(stream([*BEGINNING, (1_000, {"8": 1.0}, 2.0)]), orders=[order(1_200)])
    assert (over.status, over.resolves, over.current["rebaseline"]) == ("resolved", told.alert_id, "r-1")
    assert row(over) == 1_200


def test_labels_are_compared_by_their_shares() -> None:
    rng = np.random.default_rng(1)
    late = [0.2] * 600 + [0.8] * 400 + [0.2] * 600
    events = [
        {
            "model": {"name": "m", "version": "7" if i < 600 else "8"},
            "occurred_at": START + i * 1_000,
            "prediction": {
                "label": "late" if rng.random() < p else ["on time", "new"][i >= 600 and rng.random() < 0.01]
            },
        }
        for i, p in enumerate(late)
    ]
    told, over = of_versions(events)
    assert (told.effect_unit, over.effect_unit, over.current["ended"]) == ("share", "share", "alike")
    assert over.effect_size < 0.1


def test_its_end_ends_the_incident() -> None:
    tree, incidents = Settings().escalate, list[Incident]()
    for alert in of_versions(stream([*BEGINNING, (1_500, {"7": 1.0}, 0.0)])):
        decision = apply(choose(incidents, alert, tree), alert, tree)
        assert decision.incident is not None
        incidents = [decision.incident]
    assert (decision.action, decision.page, incidents[0].status) == ("resolve", "resolve", "resolved")


# Batches -------------------------------------------------------------------------------------------------------------

EVENTFUL = stream(
    [
        *BEGINNING,
        (1_100, {"7": 1.0}, 0.0),
        (300, {"8": 1.0}, 2.0),
        (300, {"7": 0.5, "8": 0.5}, 0.0),
        (500, {"8": 1.0}, 0.0),
        (300, {"9": 1.0}, 0.0),
        (250, {"8": 1.0}, 2.0),
        (1_100, {"10": 1.0}, 0.0),
        (200, {"11": 1.0}, 0.0),
        (200, {"12": 1.0}, 0.0),
    ]
)
EVICTED = stream([*BEGINNING, *((QUIET_ROWS // 2, {f"v{i}": 1.0}, 0.0) for i in range(5)), (300, {"8": 1.0}, 2.0)])
EXPECTED = {id(events): [a.to_cloudevent() for a in run(events)[0]] for events in (EVENTFUL, EVICTED)}


def test_the_streams_of_the_next_test_have_all_of_it() -> None:
    ends = [a.current.get("ended") for a in of_versions(EVENTFUL) if a.series_id.endswith("@8")]
    assert ends == [None, "withdrawn", None, "alike"]
    assert [a.current.get("ended") for a in of_versions(EVICTED)] == [None, None, "withdrawn", "withdrawn", None]


@settings(max_examples=12, deadline=None)
@given(st.sampled_from([EVENTFUL, EVICTED]), st.lists(st.integers(0, 3_500), max_size=12).map(sorted), st.booleans())
def test_where_batches_end_and_the_exchange_change_not_one_bit(
    events: list[dict[str, Any]], cuts: list[int], exchange: bool
) -> None:
    found = [a.to_cloudevent() for a in run(events, cuts, exchange=exchange)[0]]
    assert sorted(found) == sorted(EXPECTED[id(events)])
