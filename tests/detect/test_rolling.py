"""The rolling reference beside the fixed one: what each finds, one alert for both, and nothing learned in silence."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
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
from streamdrift.detect.explain import Change, severity
from streamdrift.detect.learning import Learned, calibrated
from streamdrift.detect.policy import Step
from streamdrift.detect.rebaseline import Order
from streamdrift.detect.rolling import Rolling
from streamdrift.detect.side_by_side import SideBySide
from streamdrift.detect.value_watch import ValueWatch, WatchSettings
from streamdrift.pipeline import Direct
from streamdrift.settings import Settings
from streamdrift.settings.identity import config_hash
from streamdrift.telemetry import Metrics
from streamdrift.transports.memory import MemoryBroker
from tests.detect.test_bank import SMALL, START, detected, records
from tests.test_pipeline import FakeClock, drain, published, worker

FULL = Settings.model_validate({"reference": {"mode": "rolling"}})
N = FULL.reference.events
SECOND = 1_000


def watched(
    values: Floats, tree: Settings = FULL, faults: Sequence[tuple[int, Change]] = (), broken: Sequence[str] = ()
) -> tuple[list[tuple[int, Change]], Rolling | None]:
    """Changes with the index of the value that decided each, and what watched; values come once a second."""
    window = WatchSettings(tree.detectors, tree.policy, tree.anomalies, tree.reference, tree.categories_max)
    n, times = tree.reference.events, np.arange(len(values)) * SECOND
    reference, own = baseline.build(NUMBER, values[:n], [], 0.0)
    calibration, clock = calibrated(reference, own, times[:n])
    first = ValueWatch(reference, calibration, clock, own, window)
    if tree.reference.mode == "fixed":
        return [(n + i, change) for i, change in first.update(values[n:], times[n:])], None
    none = np.zeros(n, bool)
    rolling = Rolling(
        first, Learned(NUMBER, n, none, none, reference, calibration, clock, own, times[:n]), window, set(broken)
    )
    return rolling.update(values[n:], times[n:], np.arange(n, len(values)), list(faults)), rolling


def opened(changes: Sequence[tuple[int, Change]]) -> list[tuple[int, str]]:
    return [(at, change.reference["which"]) for at, change in changes if change.step == "opens"]


def normal(n: int, seed: int) -> Floats:
    return np.random.default_rng(seed).standard_normal(n)


# What each finds -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_slow_drift_shows_against_the_first_reference_alone(seed: int) -> None:
    """One sd in 50,000 values: the rolling reference takes it in step by step, and can't be poisoned by it."""
    n = 60_000
    changes, rolling = watched(normal(n, seed) + np.clip((np.arange(n) - N) / 50_000, 0, 1))
    assert rolling is not None
    assert [which for _, which in opened(changes)] == ["first"]
    assert {change.reference["which"] for _, change in changes} == {"first"}
    assert all(change.step != "resolves" for _, change in changes)
    assert rolling.renewals > 40  # what the first one has open alone does not hold it up


@pytest.mark.parametrize("size", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("at", [N + 500, 20_000])
def test_a_sudden_change_is_one_alert_that_names_both(at: int, size: float) -> None:
    values = normal(30_000, 1) + size * (np.arange(30_000) >= at)
    changes, rolling = watched(values)
    fixed, _ = watched(values, Settings())
    assert rolling is not None
    assert [(found - at < 500, which) for found, which in opened(changes)] == [(True, "both")]
    assert opened(changes)[0][0] <= min(i for i, change in fixed if change.step == "opens")
    due = (at - N) // 1_000
    assert due - 3 <= rolling.renewals <= due  # some wait for a moment; and what is open is not learned
    assert N - 700 < len(rolling.kept) < N


def test_what_comes_and_goes_is_resolved_once_and_learned_around() -> None:
    at = np.arange(40_000)
    changes, rolling = watched(normal(40_000, 2) + ((at >= 20_000) & (at < 23_000)))
    assert rolling is not None
    assert [(c.step, c.lane) for _, c in changes if c.step != "looks"] == [("opens", "values"), ("resolves", "values")]
    assert rolling.renewals > 25
    assert len(rolling.kept) == N
    assert np.isclose(rolling.window.mean, 0, atol=0.06)


def test_what_is_open_is_not_renewed_until_it_has_recovered() -> None:
    """A burst of 64 values holds little evidence soon; still the window that must calm down fills once, not again and again."""
    at = np.arange(16_000)
    tree = FULL.model_copy(update={"policy": FULL.policy.model_copy(update={"resolve_events": 4_000})})
    changes, _ = watched(normal(16_000, 2) + 2 * ((at >= 9_500) & (at < 9_564)), tree)
    (opens, ends) = (next(i for i, change in changes if change.step == step) for step in ("opens", "resolves"))
    assert 4_000 < ends - opens < 4_300


@pytest.mark.parametrize("seed", range(4))
def test_what_is_still_proving_itself_is_not_learned(seed: int) -> None:
    """Half a standard deviation takes longer to be proved than renewals are apart."""
    tree = Settings.model_validate({"reference": {"mode": "rolling", "renew_events": 100}})
    changes, _ = watched(normal(9_000, seed) + 0.5 * (np.arange(9_000) >= 8_000), tree)
    assert [which for _, which in opened(changes)] == ["both"]


@pytest.mark.parametrize("seed", [0, 1])
def test_a_change_after_an_old_drift_that_stays_open_is_news(seed: int) -> None:
    n, at = 70_000, 62_000
    values = normal(n, seed) + np.clip((np.arange(n) - N) / 50_000, 0, 1) + (np.arange(n) >= at)
    changes, _ = watched(values)
    (slow, first), (sudden, second) = opened(changes)
    assert (first, second) == ("first", "rolling")
    assert slow < at <= sudden < at + 200
    assert {change.lane for _, change in changes} == {"values", "rolling"}
    assert {bool(change.reference.get("first_moved")) for _, change in changes if change.lane == "rolling"} == {True}
    then = {change.reference["which"]: change.reference["mean"] for _, change in changes}
    assert then["first"] == pytest.approx(0, abs=0.05)
    assert then["rolling"] == pytest.approx(1, abs=0.1)


def test_traffic_that_wandered_off_long_ago_is_no_news_and_coming_back_is() -> None:
    """After a slow ramp the level stays; then it drops back at once: nothing new for the first, all of it for the rolling."""
    n = 75_000
    ramp = np.clip((np.arange(n) - N) / 50_000, 0, 1) * (np.arange(n) < 66_000)
    changes, _ = watched(normal(n, 0) + ramp)
    assert [which for _, which in opened(changes)] == ["first", "rolling"]
    assert opened(changes)[1][0] - 66_000 < 200


def test_what_the_first_reference_knows_as_normal_is_told_a_step_lower() -> None:
    """In its window the level changed to and fro; it has been calm since, and then comes back to where it was then."""
    at = np.arange(24_000)
    spells = ((at < N) & (at // 500 % 2 == 1)) | ((at >= 14_000) & (at < 14_064)) | (at >= 22_000)
    values = normal(24_000, 4) / 4 + spells
    changes, rolling = watched(values)
    assert rolling is not None
    assert [at for at, _ in opened(changes) if at < 22_000] == [pytest.approx(14_032, abs=40)]  # renewed since
    told = next(change for i, change in changes if change.step == "opens" and 22_000 <= i < 22_200)
    assert told.reference["which"] == "rolling"
    assert "first_moved" not in told.reference
    assert (told.effect_unit, told.effect_size > 2) == ("sd", True)
    assert severity("feature", told) == "warning"
    sudden = replace(told, reference={**told.reference, "which": "both"})
    moved = replace(told, reference={**told.reference, "first_moved": True})
    assert severity("feature", sudden) == severity("feature", moved) == "critical"
    assert severity("feature", replace(sudden, effect_size=0.4)) == "info"
    assert severity("feature", replace(told, effect_size=0.6)) == "info"


def test_nothing_is_learned_while_a_data_fault_is_open() -> None:
    values = normal(20_000, 1)
    opens, ends = change("opens", lane="missing"), change("resolves", lane="missing")
    _, whole = watched(values)
    _, broken = watched(values, faults=[(9_100, opens), (12_040, change("looks", lane="missing")), (14_100, ends)])
    _, never = watched(values, broken=["missing"])
    assert whole is not None
    assert broken is not None
    assert never is not None
    assert (whole.renewals, never.renewals) == (14, 0)
    assert 8 <= broken.renewals <= 10
    assert np.array_equal(never.kept, values[:N])
    assert never.window.n == N
    _, still = watched(values, faults=[(9_100, opens)])
    assert still is not None
    assert np.array_equal(still.kept, values[4_100:9_100])


# Levels --------------------------------------------------------------------------------------------------------------


def autoregressive(n: int, seed: int) -> Floats:
    values: Floats = lfilter([1.0], [1.0, -0.9], normal(n + 500, seed))[500:] * np.sqrt(1 - 0.81)
    return values


def heavy(n: int, seed: int) -> Floats:
    return np.exp(1.5 * normal(n, seed))


def season(n: int, seed: int) -> Floats:
    return normal(n, seed) + np.sin(2 * np.pi * np.arange(n) / 2_000)


@pytest.mark.parametrize("recipe", [normal, autoregressive, heavy, season])
def test_what_does_not_change_is_no_alarm(recipe: Callable[[int, int], Floats]) -> None:
    """Four series of 25,000 values: no alarm in ten stretches of 10,000 bounds the rate at .3 for each (95 %)."""
    for seed in range(4):
        changes, rolling = watched(recipe(30_000, 100 + seed))
        assert changes == []
        assert rolling is not None
        assert rolling.renewals >= 5


# In a bank -----------------------------------------------------------------------------------------------------------

ROLLING = Settings.model_validate(
    {
        "reference": {"events": 200, "mode": "rolling", "renew_events": 100},
        "detectors": {"ks": {"window_events": 100}},
    }
)


def run(
    events: Sequence[dict[str, Any]],
    cuts: Sequence[int] = (),
    orders: Sequence[Order] = (),
    tree: Settings = ROLLING,
    *,
    exchange: bool = False,
) -> list[Alert]:
    bank = Bank(tree, "config")
    for order in orders:
        bank.rebaseline(order)
    return detected(records(events), bank, cuts, tree, exchange=exchange)


def eventful(n: int = 3_000) -> list[dict[str, Any]]:
    """x jumps, comes back and drifts; w drifts, then falls; y is null for a while, then jumps; c changes its mix and has new names; b's share moves."""
    rng = np.random.default_rng(7)
    events = []
    for i in range(n):
        features: dict[str, Any] = {
            "x": float(rng.standard_normal() + 3 * (900 <= i < 1_300) + max(0, i - 1_800) / 400),
            "y": None if 700 <= i < 1_000 and rng.random() < 0.6 else float(rng.random() + 2 * (i >= 2_200)),
            "c": "new"
            if i >= 2_000 and rng.random() < 0.02
            else ["red", "green"][int(rng.random() < 0.4 + 0.4 * (i >= 1_500))],
            "w": float(rng.standard_normal() + min(i / 2_000, 1.2) - 2 * (i >= 2_700)),
            "b": bool(rng.random() < 0.3 + 0.4 * (i >= 1_600)),
        }
        if 400 <= i < 420:
            features["x"] = 1e6
        segments = {"d": "ab"[int(rng.integers(2))]}
        events.append({"model": "m", "occurred_at": START + i * SECOND, "segments": segments, "features": features})
    return events


ORDERS = [Order("r-1", START + 2_500_000, "rebaseline", "renew", (), ("x",), {}, None, None)]
EVENTS = eventful()
EXPECTED = [a.to_cloudevent() for a in run(EVENTS, orders=ORDERS)]


def test_the_stream_of_the_next_tests_has_all_of_it() -> None:
    alerts = [Alert.from_cloudevent(value) for value in EXPECTED]
    assert {"mean_shift", "category_shift", "null_rate"} <= {a.reason for a in alerts}
    assert {a.reference.get("which") for a in alerts} == {None, "first", "rolling", "both"}
    assert {a.status for a in alerts if a.kind == "drift"} == {"firing", "resolved"}
    assert len({a.alert_id for a in alerts}) == len(alerts)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(0, 3_000), max_size=12).map(sorted))
def test_where_batches_end_changes_not_one_bit(cuts: list[int]) -> None:
    assert [a.to_cloudevent() for a in run(EVENTS, cuts, ORDERS)] == EXPECTED


@settings(max_examples=5, deadline=None)
@given(st.lists(st.integers(0, 3_000), max_size=3).map(sorted))
def test_nor_does_the_exchange(cuts: list[int]) -> None:
    alerts = run(EVENTS, cuts, ORDERS, exchange=True)
    assert sorted(a.alert_id for a in alerts) == sorted(Alert.from_cloudevent(v).alert_id for v in EXPECTED)


def test_after_an_order_both_are_learned_anew_and_the_next_change_is_one_alert() -> None:
    rng = np.random.default_rng(5)
    events = [
        {"model": "m", "occurred_at": START + i * SECOND, "features": {"x": float(rng.standard_normal() + 3 * (i >= 600) + 3 * (i >= 1_500))}}
        for i in range(2_000)
    ]  # fmt: skip
    order = Order("r-1", START + 900_000, "rebaseline", "renew", (), (), {}, None, None)
    alerts = run(events, orders=[order])
    told = [(a.status, a.reference["which"]) for a in alerts if a.updates is None]
    assert told == [("firing", "both"), ("resolved", "both"), ("firing", "both")]
    assert alerts[-1].reference["mean"] == pytest.approx(3, abs=0.3)


def test_a_fault_that_is_open_holds_learning_up() -> None:
    """While y is null in half of its rows, what is left of it is not learned; that it moved is told once it is back."""
    rng = np.random.default_rng(6)
    events = []
    for i in range(2_500):
        broken = 800 <= i < 1_800
        value = (
            None
            if broken and rng.random() < 0.5
            else float(rng.standard_normal() + 0.004 * max(0, min(i, 1_800) - 800))
        )
        events.append({"model": "m", "occurred_at": START + i * SECOND, "features": {"y": value}})
    alerts = run(events)
    assert {a.reason for a in alerts} >= {"null_rate", "mean_shift"}
    assert {a.reference.get("which") for a in alerts if a.reason == "mean_shift"} == {"both"}


# Settings ------------------------------------------------------------------------------------------------------------


def test_the_fixed_mode_is_what_it_was() -> None:
    assert all("which" not in a.reference for a in run(EVENTS, tree=SMALL))
    dumped = Settings().model_dump(mode="json")
    assert config_hash(Settings.model_validate(dumped)) == config_hash(Settings()) != config_hash(FULL)
    assert config_hash(Settings.model_validate({"reference": {"mode": "rolling", "renew_events": 200}})) != config_hash(
        FULL
    )


def test_twice_as_many_lanes_share_the_budget() -> None:
    def threshold(mode: str) -> float:
        tree = Settings.model_validate(
            {"reference": {"events": 200, "mode": mode}, "policy": {"false_pages_per_model_week": 1e-6}}
        )
        bank = Bank(tree, "config")
        detected(records(EVENTS[:300]), bank, (), tree)
        return next(
            series.threshold for group, feature, series in bank.watched() if feature == "x" and not group.segment
        )

    assert threshold("rolling") - threshold("fixed") == pytest.approx(np.log(2) / 0.9, abs=0.002)


def test_raw_detectors_have_no_rolling_reference() -> None:
    tree = ROLLING.model_copy(update={"policy": ROLLING.policy.model_copy(update={"confirm": "off"})})
    alerts = run(EVENTS, tree=tree)
    assert alerts
    assert all("which" not in a.reference for a in alerts)


# One alert for both --------------------------------------------------------------------------------------------------


def change(step: Step, onset: int = 0, unit: str = "sd", lane: str = "values") -> Change:
    return Change(
        step, lane, "drift", "mean_shift", ("scan",), 20.0, 16.0, 1.0, unit, 1, onset, {"n": 5}, {}, (onset, onset)
    )


def took(shared: SideBySide, lane: str, now: int, one: Change, *, also: bool = False) -> tuple[str, str, str] | None:
    told = shared.take(lane, one, now, also=also, since=0)
    return None if told is None else (told.step, told.lane, told.reference["which"])


@pytest.mark.parametrize(("lane", "other"), [("values", "rolling"), ("rolling", "values")])
def test_a_lane_that_sees_it_later_joins_and_the_last_to_go_resolves(lane: str, other: str) -> None:
    shared = SideBySide()
    assert took(shared, lane, 10, change("opens", 5)) == ("opens", lane, {"values": "first"}.get(lane, lane))
    assert took(shared, other, 12, change("opens", 5)) == ("looks", lane, "both")
    assert took(shared, other, 13, change("looks")) is None
    assert took(shared, lane, 13, change("looks")) == ("looks", lane, "both")
    assert shared.rolling_is_open
    assert took(shared, lane, 14, change("resolves")) is None
    assert took(shared, lane, 15, change("opens", 15)) is None  # what is open by both is one, until both have recovered
    assert took(shared, lane, 16, change("resolves")) is None
    assert took(shared, other, 17, change("resolves")) == ("resolves", lane, "both")
    assert not shared.rolling_is_open


def test_a_change_that_may_have_begun_before_the_last_renewal_is_not_taken_for_news() -> None:
    shared = SideBySide()
    took(shared, "values", 10, change("opens", 5))
    told = shared.take("rolling", change("opens", 30), 40, also=True, since=30)
    assert told is not None
    assert (told.step, told.lane, told.reference["which"]) == ("looks", "values", "both")


def test_what_began_after_the_first_told_is_news_and_so_is_another_kind_of_change() -> None:
    for later in (change("opens", 11), change("opens", 5, "ratio")):
        shared = SideBySide()
        took(shared, "values", 10, change("opens", 5))
        assert not shared.rolling_is_open
        assert took(shared, "rolling", 20, later, also=True) == ("opens", "rolling", "rolling")
        assert took(shared, "values", 21, change("resolves")) == ("resolves", "values", "first")
        assert took(shared, "values", 22, change("opens", 22)) == ("looks", "rolling", "both")
        assert took(shared, "rolling", 23, change("resolves")) is None
        assert took(shared, "rolling", 24, change("opens", 24)) is None
        assert took(shared, "rolling", 25, change("resolves")) is None
        assert took(shared, "values", 26, change("resolves")) == ("resolves", "rolling", "both")


def test_cooldown_and_flapping_go_over_renewals() -> None:
    """What comes back within the cooldown after a renewal is told no second time."""
    at = np.arange(14_000)
    spells = ((at >= 10_000) & (at < 10_040)) | ((at >= 12_500) & (at < 12_540))
    values = normal(14_000, 3) + 2 * spells
    quiet = FULL.model_copy(update={"policy": FULL.policy.model_copy(update={"alert_cooldown_s": 3_000.0})})
    loud = FULL.model_copy(update={"policy": FULL.policy.model_copy(update={"alert_cooldown_s": 0.0})})
    assert [len(opened(watched(values, tree)[0])) for tree in (quiet, loud)] == [1, 2]


@pytest.mark.parametrize("split", [1_000, 1_700, 2_750])
def test_a_restart_rebuilds_both_references(split: int) -> None:
    def told(*stops: int) -> list[str]:
        broker, clock, begin = MemoryBroker(), FakeClock(), 0
        for end in (*stops, len(EVENTS)):
            for one in EVENTS[begin:end]:
                broker.append(ROLLING.topics.events, json.dumps(one).encode())
            drain(worker(Direct(ROLLING, "config", Metrics()), broker, clock))  # a process of its own each time
            begin = end
        return [alert.alert_id for alert in published(broker)]

    assert told(split) == told()
