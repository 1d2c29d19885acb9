from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamdrift.alerts import Alert
from streamdrift.blocks.column import Floats
from streamdrift.detect.frozen import Freeze, Frozen
from streamdrift.settings import Settings
from tests.detect.test_bank import START, detect, records

TREE = Settings.model_validate({"reference": {"events": 1_000}})


def alerts_of(values: Floats) -> list[Alert]:
    events = [
        {"model": "m", "occurred_at": START + i * 1_000, "features": {"x": float(v)}}
        for i, v in enumerate(values.tolist())
    ]
    return [a for a in detect(records(events), tree=TREE) if a.status == "firing"]


def stream(seed: int, n: int = 4_000) -> Floats:
    return np.random.default_rng(seed).standard_normal(n)


@pytest.mark.parametrize(
    ("fault", "reason", "fact"),
    [
        (lambda v, hit: np.where(hit, v * 60, v), "unit_change", ("factor", 60)),
        (lambda v, hit: np.where(hit, v * 1_000, v), "unit_change", ("factor", 1_000)),
        (lambda v, hit: np.where(hit, -999.0, v), "out_of_range", ("value", -999)),
        (
            lambda v, hit: np.where(hit, np.sign(v) * 10 ** np.random.default_rng(1).uniform(2, 12, len(v)), v),
            "outliers",
            None,
        ),
    ],
)
def test_values_far_out_are_named_and_blind_nothing(fault, reason: str, fact: tuple[str, float] | None) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
    named = []
    for seed in range(5):
        values = stream(seed)
        hit = np.random.default_rng([seed, 1]).random(len(values)) < 0.1
        hit[:1_500] = hit[2_000:] = False
        values = fault(values, hit)
        values[3_000:] += 1
        alerts = alerts_of(values)
        assert alerts[0].kind == "anomaly"
        assert alerts[0].events_seen <= 1_500 + 200
        named.append(alerts[0].reason)
        if fact and alerts[0].reason == reason:
            # a handful of values can't tell near factors apart
            assert 0.3 * abs(fact[1]) < abs(alerts[0].current[fact[0]]) < 3 * abs(fact[1])
        drift = [a for a in alerts if a.kind == "drift"]
        assert [a.reason for a in drift][:1] == [
            "mean_shift"
        ]  # not told of the fault, and told of the change behind it
        assert 3_000 < drift[0].events_seen <= 3_200
    assert named.count(reason) >= 3  # five values do not always tell a factor from chance


def test_all_values_in_another_unit_are_one_alert() -> None:
    values = stream(1) * 10 + 100
    values[2_000:] *= 60
    alerts = alerts_of(values)
    assert {(a.reason, a.current["factor"]) for a in alerts} == {("unit_change", 60)}
    assert all(a.updates == alerts[0].alert_id for a in alerts[1:])


@pytest.mark.parametrize("kind", ["normal", "t3", "lognormal", "steps", "zeros"])
def test_honest_values_are_no_faults(kind: str) -> None:
    found = []
    for seed in range(20):
        rng = np.random.default_rng([seed, len(kind)])
        values = {
            "normal": rng.standard_normal(6_000),
            "t3": rng.standard_t(3, 6_000),
            "lognormal": rng.lognormal(0, 1.5, 6_000),
            "steps": np.repeat(rng.standard_normal(400), 15),
            "zeros": np.where(rng.random(6_000) < 0.9, 0.0, rng.random(6_000)),
        }[kind]
        found += [a.reason for a in alerts_of(values) if a.kind == "anomaly"]
    assert not found


def test_a_frozen_value_is_told_once_and_thaws() -> None:
    values = stream(3)
    values[2_000:2_400] = values[1_999]
    events = [{"model": "m", "occurred_at": START + i, "features": {"x": float(v)}} for i, v in enumerate(values)]
    alerts = [a for a in detect(records(events), tree=TREE) if a.reason == "frozen_value"]
    assert [a.status for a in alerts] == ["firing", "resolved"]
    assert alerts[0].onset_at == START + 1_999
    assert alerts[0].events_seen == 2_019
    assert alerts[0].current["value"] == pytest.approx(values[1_999], rel=1e-5)
    assert alerts[1].events_seen <= 2_400 + 64
    assert alerts[1].resolves == alerts[0].alert_id


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(1, 60)), max_size=12),
    st.lists(st.integers(0, 400), max_size=6).map(sorted),
)
def test_runs_are_those_of_one_pass_whatever_the_cuts(runs: list[tuple[int, int]], cuts: list[int]) -> None:
    values = np.concatenate([np.empty(0), *[np.full(n, float(v)) for v, n in runs]])
    times = np.arange(len(values))
    reference = np.arange(100.0)
    whole, parts = Frozen(reference), Frozen(reference)
    expected = whole.update(values, times)
    got: list[Freeze] = []
    edges = [0, *[min(c, len(values)) for c in cuts], len(values)]
    for begin, end in itertools.pairwise(edges):
        found = parts.update(values[begin:end], times[begin:end])
        got += [Freeze(f.opens, begin + f.end, f.value, f.run, f.onset) for f in found]
    assert got == expected
