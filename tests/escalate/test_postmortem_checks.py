"""Corrective actions that alerts propose: bounds that the incident is beyond and the reference within."""

from __future__ import annotations

import math
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamdrift.escalate.incident import Incident
from streamdrift.escalate.policy import apply
from streamdrift.escalate.postmortem.checks import CHECKS_MAX, check_of, proposed
from streamdrift.escalate.postmortem.contract import contract
from streamdrift.settings import EscalateSettings
from tests.escalate.conftest import make_alert

QUANTILES = {"1": 900.0, "5": 950.0, "50": 1_013.27, "95": 1_050.0, "99": 1_080.0}


def incident(*alerts: Any) -> Incident:
    found: Incident | None = None
    for alert in alerts:
        found = apply(found, alert, EscalateSettings()).incident
    assert found is not None
    return found


def rule(reason: str, reference: dict[str, Any], current: dict[str, Any], **other: Any) -> dict[str, Any]:
    found = check_of(make_alert("f", reason=reason, reference=reference, current=current, **other))
    assert found is not None
    return {"check": found.kind, **found.rule}


@pytest.mark.parametrize("reason", ["null_rate", "missing_feature"])
def test_a_share_of_nulls_is_bounded_between_then_and_now(reason: str) -> None:
    found = rule(reason, {"n": 5_000, "null_rate": 0.001}, {"n": 500, "null_rate": 0.102})
    assert found == {"check": "null_share", "max": 0.01, "min_events": 111}


def test_a_share_that_was_nothing_is_bounded_by_what_the_reference_can_tell() -> None:
    found = rule("invalid_value", {"n": 10_000, "invalid_rate": 0.0}, {"n": 100, "invalid_rate": 0.25})
    assert found["check"] == "invalid_share"
    assert found["max"] == 0.005


def test_values_are_held_to_the_reference_quantiles_and_the_mean_half_way() -> None:
    reference = {"n": 5_000, "mean": 1_013.27, "sd": 8.0, "quantiles": QUANTILES}
    found = rule("mean_shift", reference, {"n": 200, "mean": 1_017.9, "sd": 8.0}, effect_unit="sd", effect_size=0.6)
    assert (found["check"], found["min"], found["max"]) == ("range", 900.0, 1_080.0)
    assert (found["mean_min"], found["mean_max"]) == (1_011.0, 1_015.6), "as exact as the shift asks for"
    assert rule("out_of_range", reference, {"n": 9, "far_out_rate": 0.2, "value": 1e6}).keys() == {
        *("check", "min", "max", "outside_share_max", "min_events")
    }


def test_units_are_checked_by_the_median() -> None:
    found = rule("unit_change", {"n": 500, "quantiles": QUANTILES}, {"n": 50, "far_out_rate": 0.9, "factor": 100.0})
    assert (found["median_min"], found["median_max"]) == (100.0, 10_000.0)


def test_categories_are_those_of_the_reference() -> None:
    reference = {"n": 500, "unseen_rate": 0.0, "categories": {"UA": 0.7, "DL": 0.3, "unseen": 0.0}}
    found = rule("new_category", reference, {"n": 50, "unseen_rate": 0.1})
    assert found == {"check": "allowed_values", "allowed": ["UA", "DL"], "complete": True}
    many = {"n": 500, "categories": {f"c{i}": 0.01 for i in range(40)} | {"other": 0.6}}
    found = rule("new_category", many, {"n": 50, "unseen_rate": 0.1})
    assert (len(found["allowed"]), found["complete"]) == (20, False)
    found = rule("category_shift", reference, {"n": 90, "categories": {"UA": 0.2, "DL": 0.5, "AA": 0.3}})
    assert found == {"check": "value_share", "value": "UA", "min": 0.45}


def test_traffic_has_freshness_and_volume() -> None:
    assert rule("silence", {"longest_gap_s": 900.0}, {"gap_s": 14_400.0})["max_gap_s"] == 3_600.0
    assert rule("volume_drop", {"rate": 4.0}, {"rate": 0.0})["min"] == 0.4
    assert rule("volume_surge", {"share": 0.1}, {"share": 0.4})["max"] == 0.2
    assert rule("duplicate_events", {"n": 100, "duplicate_rate": 0.0}, {"duplicate_rate": 0.36})["max"] == 0.06
    assert rule("frozen_value", {"longest_run": 4}, {"run": 100, "value": 1.0})["max"] == 20


def test_a_performance_holds_a_release() -> None:
    found = rule("performance_drop", {"mean": 0.1, "sd": 0.3}, {"mean": 0.2}, role="performance", effect_unit="sd")
    assert found == {"check": "release_gate", "max": 0.15}


@pytest.mark.parametrize("reason", ["segment_overflow", "something_new", "null_rate", "mean_shift", "silence"])
def test_what_tells_no_figures_proposes_nothing(reason: str) -> None:
    assert check_of(make_alert(reason=reason, reference={}, current={})) is None


def test_each_thing_is_proposed_once_under_a_stable_id() -> None:
    whole = incident(make_alert(), make_alert(segment="", at=1), make_alert("seats", at=2))
    first, second = proposed(whole), proposed(whole)
    assert first == second
    assert len({action.action_id for action in first}) == len(first) > 1
    assert all(action.alerts for action in first)
    later = incident(make_alert(), make_alert(segment="", at=1), make_alert("seats", at=2), make_alert("temp", at=3))
    assert {action.action_id for action in first} <= {action.action_id for action in proposed(later)}
    many = incident(*(make_alert(f"f{i}", at=i) for i in range(30)))
    assert len(proposed(many)) == CHECKS_MAX


def test_an_output_that_follows_a_feature_proposes_nothing_of_its_own() -> None:
    whole = incident(make_alert(), make_alert("score", reason="null_rate", role="prediction", at=1))
    assert [action.rule["feature"] for action in proposed(whole)] == ["dep_delay"]


def test_a_contract_has_what_belongs_into_one() -> None:
    silent = make_alert("traffic.rate", reason="silence", reference={"longest_gap_s": 60.0}, current={"gap_s": 960.0})
    import yaml

    read = yaml.safe_load(contract("flight-delay", proposed(incident(make_alert()))))
    (named,) = read["schema"]
    assert named["name"] == "flight-delay"
    (check,) = named["properties"][0]["quality"]
    assert (check["metric"], check["unit"], check["mustBeLessOrEqualTo"]) == ("nullValues", "percent", 1.0)
    (frequency,) = yaml.safe_load(contract("m", proposed(incident(silent))))["slaProperties"]
    assert (frequency["property"], frequency["value"], frequency["unit"]) == ("frequency", 240.0, "s")
    assert contract("m", ()) == ""


FIGURES = st.one_of(
    st.none(),
    st.floats(),
    st.floats(0, 1),
    st.integers(-(2**63), 2**63),
    st.text(max_size=3),
    st.booleans(),
    st.just({}),
)
KEYS = [
    *(
        "n",
        "mean",
        "sd",
        "null_rate",
        "invalid_rate",
        "duplicate_rate",
        "longest_run",
        "run",
        "factor",
        "rate",
        "share",
    ),
    *("gap_s", "longest_gap_s", "quantiles", "categories"),
]
WINDOWS = st.dictionaries(
    st.sampled_from(KEYS),
    st.one_of(FIGURES, st.dictionaries(st.sampled_from(["1", "50", "99", "a"]), FIGURES, max_size=4)),
    max_size=8,
)
REASONS = st.sampled_from(
    [
        *(
            "null_rate",
            "invalid_value",
            "duplicate_events",
            "new_category",
            "category_shift",
            "mean_shift",
            "unit_change",
        ),
        *("frozen_value", "silence", "volume_drop", "performance_drop", "embedding_shift"),
    ]
)


@settings(max_examples=50, deadline=None)
@given(REASONS, WINDOWS, WINDOWS)
def test_whatever_figures_an_alert_has_its_check_is_of_numbers(reason: str, then: Any, now: Any) -> None:
    found = check_of(make_alert(reason=reason, reference=then, current=now))
    if found is not None:
        for name, value in found.rule.items():
            assert not isinstance(value, float) or math.isfinite(value), name
        orjson.dumps(found.rule)
        assert "?" not in found.text


@settings(max_examples=50, deadline=None)
@given(st.floats(0, 1), st.floats(0, 1), st.integers(1, 10**6))
def test_a_bound_on_a_share_is_between_then_and_now(then: float, now: float, n: int) -> None:
    found = check_of(make_alert(reference={"n": n, "null_rate": then}, current={"null_rate": now}))
    if then < now:
        assert found is not None
        assert then <= found.rule["max"] <= now
    else:
        assert found is None
