"""A reference's life: versions have their own, orders renew them, and the cut into batches changes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import lfilter

from streamdrift.alerts import Alert
from streamdrift.blocks.column import NUMBER, Floats
from streamdrift.detect import baseline
from streamdrift.detect.bank import Bank
from streamdrift.detect.calibration import calibrate, score_table
from streamdrift.detect.compared import compared
from streamdrift.detect.rebaseline import ORDERS_MAX, Order
from streamdrift.detect.series import Known
from streamdrift.detect.versions import VERSIONS_MAX
from streamdrift.detect.withdrawal import QUIET_ROWS
from streamdrift.settings import Settings
from tests.detect.test_bank import SMALL, START, detected, names, records

CHANGE = 600


def order(at: int, name: str = "r-1", **scope: Any) -> Order:
    told = {"models": (), "features": (), "segments": {}} | scope
    return Order(name, START + at * 1_000, "rebaseline", "renew", link=None, author=None, **told)


def run(
    events: Sequence[dict[str, Any]],
    cuts: Sequence[int] = (),
    orders: Sequence[Order] = (),
    tree: Settings = SMALL,
    *,
    exchange: bool = False,
) -> tuple[list[Alert], Bank]:
    bank = Bank(tree, "config")
    for one in orders:
        bank.rebaseline(one)
    return detected(records(events), bank, cuts, tree, exchange=exchange), bank


def event(i: int, version: str | None, score: float, **more: Any) -> dict[str, Any]:
    model = {"name": "m"} if version is None else {"name": "m", "version": version}
    return {"model": model, "occurred_at": START + i * 1_000, "prediction": {"score": score}, **more}


def deployed(shift: float, n: int = 1_200, share: float = 1.0, seed: int = 1) -> list[dict[str, Any]]:
    """Version 7; from the middle on a share of version 8, whose scores are shifted."""
    rng = np.random.default_rng(seed)
    events = []
    for i in range(n):
        new = i >= CHANGE and rng.random() < share
        events.append(event(i, "8" if new else "7", float(rng.standard_normal() + new * shift)))
    return events


# Versions ------------------------------------------------------------------------------------------------------------


def test_a_version_that_scores_otherwise_is_told_once_with_then_and_now() -> None:
    alerts, _ = run(deployed(2.0))
    (alert,) = alerts
    assert (alert.series_id, alert.feature, alert.role) == ("m//prediction.score@8", "prediction.score", "prediction")
    assert (alert.kind, alert.reason, alert.severity, alert.status) == ("drift", "version_shift", "warning", "firing")
    assert alert.model == {"name": "m", "version": "8"}
    assert alert.detected_at == START + (CHANGE + 199) * 1_000  # the row at which its reference was complete
    assert alert.onset_at == START + CHANGE * 1_000
    assert alert.events_seen == alert.events_since_onset == 200
    assert alert.effect_unit == "ks"
    assert alert.effect_size == pytest.approx(0.68, abs=0.08)
    assert (alert.reference["n"], alert.current["n"]) == (200, 200)
    assert alert.reference["mean"] == pytest.approx(0, abs=0.2)
    assert alert.current["mean"] == pytest.approx(2, abs=0.2)
    assert alert.reference["histogram"]["edges"] == alert.current["histogram"]["edges"]
    assert Alert.from_cloudevent(alert.to_cloudevent()) == alert


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("shift", [0.0, 0.3])
def test_a_version_that_scores_alike_or_nearly_so_is_none_of_anybodys_business(shift: float, seed: int) -> None:
    assert run(deployed(shift, seed=seed))[0] == []


def test_a_canary_is_told_from_the_version_beside_it() -> None:
    alerts, _ = run(deployed(2.0, n=4_000, share=0.1))
    assert names(alerts) == {("m//prediction.score@8", "version_shift")}


def test_without_versions_apart_a_deployment_is_a_shift() -> None:
    tree = Settings.model_validate(SMALL.model_dump() | {"reference": {"events": 200, "by_version": False}})
    assert names(run(deployed(2.0), tree=tree)[0]) == {("m//prediction.score", "mean_shift")}


def test_inputs_do_not_depend_on_the_version() -> None:
    rng = np.random.default_rng(1)
    events = [
        event(i, "7" if i < CHANGE else "8", 0.5, features={"x": float(rng.standard_normal() + 2 * (i >= CHANGE))})
        for i in range(1_200)
    ]
    assert ("m//x", "mean_shift") in names(run(events)[0])


def test_drift_within_a_new_version_is_found_by_its_own_reference() -> None:
    rng = np.random.default_rng(1)
    events = [event(i, "7" if i < 400 else "8", float(rng.standard_normal() + 3 * (i >= 900))) for i in range(1_200)]
    assert names(run(events)[0]) == {("m//prediction.score@8", "mean_shift")}


def test_labels_of_another_mix_are_a_share() -> None:
    rng = np.random.default_rng(1)
    events = [
        {
            "model": {"name": "m", "version": "7" if i < CHANGE else "8"},
            "occurred_at": START + i * 1_000,
            "prediction": {"label": "late" if rng.random() < (0.2 if i < CHANGE else 0.6) else "on time"},
        }
        for i in range(1_200)
    ]
    (alert,) = run(events)[0]
    assert (alert.reason, alert.effect_unit) == ("version_shift", "share")
    assert alert.effect_size == pytest.approx(0.4, abs=0.08)
    assert alert.current["categories"]["late"] == pytest.approx(0.6, abs=0.08)


def test_a_release_that_begins_to_name_its_version_is_a_new_one() -> None:
    events = [e | {"model": "m"} if e["model"]["version"] == "7" else e for e in deployed(2.0)]
    assert names(run(events)[0]) == {("m//prediction.score@8", "version_shift")}


def many_versions(rows_each: int, versions: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(3)
    return [event(i, f"v{i // rows_each}", float(rng.standard_normal())) for i in range(rows_each * versions)]


def test_versions_are_bounded_the_one_gone_longest_makes_room() -> None:
    alerts, bank = run(many_versions(QUIET_ROWS // 2, 8))
    assert bank.series == VERSIONS_MAX
    assert bank.limits_hit == {"model_versions_max": 8 - VERSIONS_MAX}
    assert alerts == []


def test_more_versions_side_by_side_than_there_is_room_for_are_passed_over_and_counted() -> None:
    rng = np.random.default_rng(4)
    events = [event(i, f"v{i % 6}", float(rng.standard_normal())) for i in range(1_200)]
    alerts, bank = run(events)
    assert bank.series == VERSIONS_MAX
    assert bank.limits_hit == {"model_versions_max": 400}
    assert alerts == []


def autoregressive(rng: np.random.Generator, phi: float, n: int) -> Floats:
    values: Floats = lfilter([1.0], [1.0, -phi], rng.standard_normal(n + 500))[500:] * np.sqrt(1 - phi * phi)
    return values


def window(values: Floats) -> Known:
    reference, counted = baseline.build(NUMBER, values, [], 0.0)
    return Known(reference, calibrate(score_table(reference.n)[reference.rank(counted)]).worth)


@pytest.mark.parametrize(("phi", "told_of_40"), [(0.0, 40), (0.5, 40), (0.9, 40), (0.95, 0)])
def test_what_depends_on_its_past_counts_for_less(phi: float, told_of_40: int) -> None:
    """Windows of 5,000 values, 40 pairs each, alike and one sd apart: no false one, and no power lost up to AR .9."""
    rng = np.random.default_rng(11)
    alike, apart = 0, 0
    for _ in range(40):
        then, now = (autoregressive(rng, phi, 5_000) for _ in range(2))
        alike += compared(window(then), window(now), 16.0, 0) is not None
        apart += compared(window(then), window(now + 1), 16.0, 0) is not None
    assert alike == 0
    assert apart >= told_of_40


# Re-baseline ---------------------------------------------------------------------------------------------------------


def moved(n: int = 2_000) -> list[dict[str, Any]]:
    """x and y move for good at row 600, x once more at row 1,500; two segments."""
    rng = np.random.default_rng(5)
    events = []
    for i in range(n):
        x = float(rng.standard_normal() + 3 * (i >= CHANGE) + 3 * (i >= 1_500))
        y = float(rng.standard_normal() + 3 * (i >= CHANGE))
        segment = {"d": "ab"[int(rng.integers(2))]}
        events.append(
            {"model": "m", "occurred_at": START + i * 1_000, "segments": segment, "features": {"x": x, "y": y}}
        )
    return events


def test_an_order_resolves_what_is_open_says_so_and_lets_the_series_learn_anew() -> None:
    alerts, _ = run(moved(), orders=[order(900, features=("x",), segments={"d": "a"})])
    mine = [a for a in alerts if a.series_id == "m/d=a/x"]
    assert [(a.status, a.reason) for a in mine] == [
        ("firing", "mean_shift"),
        ("resolved", "mean_shift"),
        ("firing", "mean_shift"),
    ]
    opened, resolved, again = mine
    assert resolved.resolves == opened.alert_id
    assert resolved.current["rebaseline"] == "r-1"
    assert START + 900_000 <= resolved.detected_at < START + 920_000
    assert again.onset_at == pytest.approx(START + 1_500_000, abs=60_000)
    assert again.reference["mean"] == pytest.approx(3, abs=0.3)
    assert not [a for a in alerts if a.status == "resolved" and a.series_id != "m/d=a/x"]
    plain, _ = run(moved())
    assert [a.alert_id for a in alerts if a.series_id != "m/d=a/x"] == [
        a.alert_id for a in plain if a.series_id != "m/d=a/x"
    ]


def test_an_order_for_the_model_reaches_every_series_and_the_rate() -> None:
    rng = np.random.default_rng(6)
    times = np.cumsum(rng.exponential(np.where(np.arange(4_000) < 1_500, 1_000, 100))).astype(int)
    events = [{"model": "m", "occurred_at": START + int(t), "features": {"x": 1.0}} for t in times]
    at = int(times[2_000]) // 1_000
    alerts, _ = run(events, orders=[order(at, models=("m",)), order(at, "other", models=("another",))])
    told = [(a.series_id, a.reason, a.status) for a in alerts]
    assert told == [
        ("m//traffic.rate", "volume_surge", "firing"),
        ("m//traffic.rate", "volume_surge", "resolved"),
    ]
    assert alerts[1].current["rebaseline"] == "r-1"
    assert alerts[1].resolves == alerts[0].alert_id


def test_an_order_is_taken_once_and_orders_are_bounded() -> None:
    bank = Bank(SMALL, "config")
    for i in range(ORDERS_MAX + 5):
        bank.rebaseline(order(i, f"r-{i}"))
        bank.rebaseline(order(i, f"r-{i}"))
    assert bank.limits_hit["rebaselines_max"] == 5


# Batches -------------------------------------------------------------------------------------------------------------


def eventful(n: int = 1_600) -> list[dict[str, Any]]:
    """Six versions, some side by side, two of them shifted; an input that moves; two segments."""
    rng = np.random.default_rng(7)
    events = []
    for i in range(n):
        version = f"v{(i // 250) if rng.random() < 0.8 else max(0, i // 250 - 1)}"
        score = float(rng.standard_normal() + 2 * (version in {"v1", "v4"}))
        features = {"x": float(rng.standard_normal() + 3 * (i > 500) + 3 * (i > 1_300))}
        more = {"features": features, "segments": {"d": "ab"[int(rng.integers(2))]}}
        told = event(i, version, score, **more)
        if rng.random() < 0.1:
            del told["prediction"]
        events.append(told)
    return events


ORDERS = [order(800, features=("x",), segments={"d": "a"}), order(800, "r-2", segments={"d": "b"}), order(1_000, "r-3")]
EVENTS = eventful()
EXPECTED = [a.to_cloudevent() for a in run(EVENTS, orders=ORDERS)[0]]


def test_the_stream_of_the_next_tests_has_all_of_it() -> None:
    alerts = [Alert.from_cloudevent(value) for value in EXPECTED]
    assert {"version_shift", "mean_shift"} <= {a.reason for a in alerts}
    assert {a.current["rebaseline"] for a in alerts if "rebaseline" in a.current} >= {"r-1", "r-2"}


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(0, 1_600), max_size=12).map(sorted))
def test_where_batches_end_changes_not_one_bit(cuts: list[int]) -> None:
    assert [a.to_cloudevent() for a in run(EVENTS, cuts, ORDERS)[0]] == EXPECTED


@settings(max_examples=5, deadline=None)
@given(st.lists(st.integers(0, 1_600), max_size=3).map(sorted))
def test_nor_does_the_exchange(cuts: list[int]) -> None:
    alerts, _ = run(EVENTS, cuts, ORDERS, exchange=True)
    assert sorted(a.alert_id for a in alerts) == sorted(Alert.from_cloudevent(v).alert_id for v in EXPECTED)
