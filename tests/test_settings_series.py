"""Which series gets what, and what of it is in the hash."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamdrift.settings import AdwinSettings, Override, Settings, config_hash, for_series
from streamdrift.settings.detection import DetectorSettings, PolicySettings
from streamdrift.settings.fields import LEAVES
from streamdrift.settings.identity import DECISIVE, INDIFFERENT, INDIFFERENT_FIELDS


def with_rules(base: dict[str, Any] | None = None, /, **rules: dict[str, Any]) -> Settings:
    return Settings.model_validate({**(base or {}), "overrides": rules})


def test_without_rules_the_base() -> None:
    settings = Settings()
    series = for_series(settings, "shop", "price", "")
    assert (series.detectors, series.policy, series.enabled) == (settings.detectors, settings.policy, True)


def test_a_rule_changes_only_what_it_sets() -> None:
    base = {"detectors": {"adwin": {"clock": 7, "delta": 0.5}}, "policy": {"threshold": 30, "resolve_events": 9}}
    settings = with_rules(base, eu={"adwin": {"delta": 0.1}, "policy": {"threshold": 20}})
    series = for_series(settings, "shop", "price", "country=DE")
    assert series.detectors.adwin == AdwinSettings(clock=7, delta=0.1)
    assert series.policy == PolicySettings(threshold=20, resolve_events=9)
    assert series.detectors.ks == settings.detectors.ks


def test_set_to_the_default_is_not_left_out() -> None:
    settings = with_rules({"detectors": {"adwin": {"delta": 0.5}}}, eu={"adwin": {"delta": 0.002}})
    assert for_series(settings, "m", "f", "").detectors.adwin.delta == 0.002


@pytest.mark.parametrize(
    ("rule", "series", "matches"),
    [
        ({}, ("shop", "price", "country=DE"), True),
        ({"model": "shop"}, ("shop", "price", ""), True),
        ({"model": "shop"}, ("Shop", "price", ""), False),
        ({"feature": "Price.USD"}, ("any", "Price.USD", ""), True),
        ({"feature": "Price.USD"}, ("any", "price.usd", ""), False),
        ({"segment": ""}, ("any", "f", ""), True),
        ({"segment": ""}, ("any", "f", "country=DE"), False),
        ({"segment": "country=DE"}, ("any", "f", "country=DE"), True),
        ({"segment": "country=DE"}, ("any", "f", ""), False),
        ({"segment": "k=a=b"}, ("any", "f", "k=a=b"), True),
        ({"model": "shop", "feature": "f", "segment": "a=b"}, ("shop", "f", "a=c"), False),
    ],
)
def test_what_a_rule_matches(rule: dict[str, Any], series: tuple[str, str, str], *, matches: bool) -> None:
    settings = with_rules(r={**rule, "enabled": False})
    assert for_series(settings, *series).enabled is not matches


def test_the_later_name_wins_whatever_the_order_of_writing() -> None:
    rules: dict[str, dict[str, Any]] = {
        "b": {"ks": {"alpha": 0.2}},
        "a": {"ks": {"alpha": 0.1, "window_events": 50}, "enabled": False},
    }
    for names in (("a", "b"), ("b", "a")):
        series = for_series(with_rules(**{name: rules[name] for name in names}), "m", "f", "")
        assert (series.detectors.ks.alpha, series.detectors.ks.window_events) == (0.2, 50)
        assert series.enabled is False  # b doesn't say, so a stands


def test_a_later_rule_can_turn_a_series_on_again() -> None:
    settings = with_rules(a={"enabled": False}, b={"feature": "price", "enabled": True})
    assert for_series(settings, "m", "price", "").enabled
    assert not for_series(settings, "m", "other", "").enabled


@given(
    st.dictionaries(
        st.sampled_from("abc"),
        st.fixed_dictionaries(
            {},
            optional={
                "adwin": st.fixed_dictionaries(
                    {}, optional={"delta": st.sampled_from([0.1, 0.2]), "clock": st.just(5)}
                ),
                "page_hinkley": st.fixed_dictionaries({}, optional={"threshold": st.sampled_from([1.0, 2.0])}),
            },
        ),
    )
)
def test_merging_models_is_merging_what_was_written(rules: dict[str, dict[str, dict[str, Any]]]) -> None:
    written: dict[str, dict[str, Any]] = {"adwin": {}, "page_hinkley": {}}
    for _, rule in sorted(rules.items()):
        for section, values in rule.items():
            written[section] |= values
    assert for_series(with_rules(**rules), "m", "f", "").detectors == DetectorSettings.model_validate(written)


def test_every_section_of_the_tree_is_decisive_or_indifferent() -> None:
    assert DECISIVE | INDIFFERENT | {"overrides"} == set(Settings.model_fields)
    assert not DECISIVE & INDIFFERENT


OTHER = {bool: False, int: 777, float: 0.77, str: "x", tuple: ("x",), Path: Path(__file__)}
VALID = {
    "policy.threshold": 77.0,
    "policy.update_factor": 7.7,
    "policy.flapping_openings": 77,
    "anomalies.silence_factor": 7.7,
}
CHOICES = {"policy.confirm": "off", "policy.require": "none", "reference.mode": "rolling"}


def indifferent(place: tuple[str, ...]) -> bool:
    return place[1:] in [(name,) for name in INDIFFERENT_FIELDS.get(place[0], ())]


@pytest.mark.parametrize("place", [p for p in LEAVES if p[0] in DECISIVE and not indifferent(p)], ids=".".join)
def test_each_decisive_setting_changes_the_hash(place: tuple[str, ...]) -> None:
    value: Any = CHOICES.get(".".join(place), OTHER[LEAVES[place].type])
    value = VALID.get(".".join(place), value)
    for name in reversed(place):
        value = {name: value}
    assert config_hash(Settings.model_validate(value)) != config_hash(Settings())


def test_how_things_travel_does_not_change_the_hash() -> None:
    other = {
        "engine": "reference",
        "exchange": "direct",
        "block_events_max": 64,
        "kafka": {"group": "x"},
        "topics": {"alerts": "x"},
        "escalate": {"ledger": "x"},
        "slo": {"publish": True},
        "telemetry": {"port": 0},
    }
    assert set(other) == INDIFFERENT
    fields = {"labels": {"enabled": False, "join_memory_max": 1, "spill_directory": "x"}}
    assert {section: set(values) for section, values in fields.items()} == INDIFFERENT_FIELDS
    assert config_hash(Settings.model_validate(other | fields)) == config_hash(Settings())


def test_rules_are_in_the_hash_by_what_they_set() -> None:
    plain = config_hash(with_rules(a={"adwin": {"clock": 16}}))
    assert plain != config_hash(Settings())
    assert plain == config_hash(Settings(overrides={"a": Override(adwin=AdwinSettings(clock=16))}))
    assert plain != config_hash(with_rules(a={"adwin": {"clock": 16, "delta": 0.002}}))
    assert plain != config_hash(with_rules(b={"adwin": {"clock": 16}}))


def test_the_hash_is_the_same_in_another_process() -> None:
    code = "from streamdrift.settings import *; print(config_hash(Settings(segments=('é', 'b'))))"
    command = [sys.executable, "-c", code]
    found = {
        subprocess.run(command, env={"PYTHONHASHSEED": seed}, check=True, capture_output=True, text=True).stdout.strip()
        for seed in ("0", "1")
    }
    assert found == {config_hash(Settings(segments=("é", "b")))}
    assert all(len(text) == 12 and int(text, 16) >= 0 for text in found)
