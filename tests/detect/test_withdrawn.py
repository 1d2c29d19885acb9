"""What a model version did is over when others serve in its place, and there again when it serves again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamdrift.alerts import Alert
from streamdrift.detect.withdrawal import QUIET_ROWS
from tests.detect.test_bank import START
from tests.detect.test_life_cycle import event, run

Phase = tuple[int, str, float]
"""Rows, their version, and how far its scores are shifted."""
DRIFTED: list[Phase] = [(500, "7", 0.0), (500, "8", 0.0), (400, "8", 2.0)]
ROLLED_BACK: list[Phase] = [*DRIFTED, (1_500, "7", 0.0)]
TWO_STAY: list[Phase] = [*DRIFTED, *((1, "78"[i % 100 == 0], 2.0 * (i % 100 == 0)) for i in range(3_000))]
FIVE = [*DRIFTED, *((QUIET_ROWS // 2, f"v{i}", 0.0) for i in range(4)), (300, "8", 0.0), (400, "8", 2.0)]
FROZEN = [(500, "7", 0.0), (500, "8", 0.0), (60, "8", 99.0), (1_500, "7", 0.0), (60, "8", 99.0)]


def stream(phases: Sequence[Phase]) -> list[dict[str, Any]]:
    rng = np.random.default_rng(3)
    rows = [(version, shift) for n, version, shift in phases for _ in range(n)]
    scores = rng.standard_normal(len(rows))
    return [
        event(i, version, 0.5 if shift == 99.0 else float(score + shift))
        for i, ((version, shift), score) in enumerate(zip(rows, scores, strict=True))
    ]


def of_eight(phases: Sequence[Phase], cuts: Sequence[int] = (), **more: Any) -> list[Alert]:
    return [a for a in run(stream(phases), cuts, **more)[0] if a.series_id.endswith("@8")]


def row(alert: Alert) -> int:
    return (alert.detected_at - START) // 1_000


def test_a_drift_ends_when_its_version_is_rolled_back() -> None:
    told, *grown, over = of_eight(ROLLED_BACK)
    assert (told.status, told.reason) == ("firing", "mean_shift")
    assert all(alert.updates == told.alert_id for alert in grown)
    assert (over.status, over.resolves, over.current) == ("resolved", told.alert_id, {"n": 0, "ended": "withdrawn"})
    assert row(over) == sum(n for n, *_ in DRIFTED) - 1 + QUIET_ROWS
    assert over.model == {"name": "m", "version": "8"}
    assert all(alert.status == "firing" for alert in of_eight([*ROLLED_BACK[:-1], (900, "7", 0.0)]))


def test_it_is_told_again_when_the_version_serves_again_and_drifts_still() -> None:
    *_, over = of_eight(ROLLED_BACK)
    *_, again = of_eight([*ROLLED_BACK, (3_000, "8", 2.0)])
    assert (again.status, again.reason, again.resolves) == ("firing", "mean_shift", None)
    assert again.detected_at > over.detected_at
    assert again.alert_id not in {alert.alert_id for alert in of_eight(ROLLED_BACK)}


def test_mended_in_the_meantime_it_is_not() -> None:
    assert len(of_eight([*ROLLED_BACK, (6_000, "8", 0.0)])) == len(of_eight(ROLLED_BACK))


def test_a_version_that_serves_seldom_is_not_gone() -> None:
    """One event in a hundred is too few for the alert to end by others' events; that it comes at all says that it serves."""
    assert all(alert.current.get("ended") != "withdrawn" for alert in of_eight(TWO_STAY))


def test_what_loses_its_place_to_a_fifth_version_is_over() -> None:
    ends = [alert.current.get("ended") for alert in of_eight(FIVE) if alert.status == "resolved"]
    assert ends[0] == "withdrawn"


def test_a_frozen_value_is_told_anew() -> None:
    told = [(alert.reason, alert.status) for alert in of_eight(FROZEN) if alert.reason == "frozen_value"]
    assert told == [("frozen_value", "firing"), ("frozen_value", "resolved"), ("frozen_value", "firing")]


STREAMS = {"back": [*ROLLED_BACK, (2_500, "8", 2.0)], "five": FIVE, "frozen": FROZEN}
EXPECTED = {name: sorted(a.to_cloudevent() for a in run(stream(phases))[0]) for name, phases in STREAMS.items()}


@settings(max_examples=15, deadline=None)
@given(st.sampled_from(sorted(STREAMS)), st.lists(st.integers(0, 2_600), max_size=8).map(sorted), st.booleans())
def test_where_batches_end_and_the_exchange_change_not_one_bit(name: str, cuts: list[int], exchange: bool) -> None:
    found = run(stream(STREAMS[name]), cuts, exchange=exchange)[0]
    assert sorted(alert.to_cloudevent() for alert in found) == EXPECTED[name]


@pytest.mark.parametrize("phases", [ROLLED_BACK, FIVE])
def test_no_alert_ends_twice(phases: list[Phase]) -> None:
    ended = [alert.resolves for alert in of_eight(phases) if alert.resolves]
    assert len(ended) == len(set(ended))
