"""OpenSLO files: what is read of them, and in which words what is wrong is said."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml

from streamdrift.errors import SettingsProblem
from streamdrift.slo.burn import Objective
from streamdrift.slo.counts import HOUR_MS
from streamdrift.slo.openslo import Read, read

EXAMPLE = Path(__file__).resolve().parents[1] / "deploy" / "slo" / "flight-delay.yaml"
SLO: dict[str, Any] = {
    "apiVersion": "openslo/v1",
    "kind": "SLO",
    "metadata": {"name": "one"},
    "spec": {
        "budgetingMethod": "Occurrences",
        "timeWindow": [{"duration": "28d", "isRolling": True}],
        "indicator": {
            "metadata": {"name": "one"},
            "spec": {
                "ratioMetric": {
                    "rawType": "success",
                    "raw": {
                        "metricSource": {"type": "streamdrift", "spec": {"model": "m", "indicator": "valid-events"}}
                    },
                }
            },
        },
        "objectives": [{"target": 0.99}],
    },
}
THRESHOLD = {"metricSource": {"type": "streamdrift", "spec": {"model": "m", "indicator": "freshness"}}}
CONDITION: dict[str, Any] = {
    "kind": "AlertCondition",
    "metadata": {"name": "c"},
    "spec": {
        "severity": "ticket",
        "condition": {"kind": "burnrate", "op": "gt", "threshold": 2, "lookbackWindow": "2h", "alertAfter": "20m"},
    },
}


def changed(path: str, value: Any) -> dict[str, Any]:
    made = deepcopy(SLO)
    *way, last = path.split("/")
    place: Any = made
    for part in way:
        place = place[int(part)] if part.isdigit() else place[part]
    key: Any = int(last) if last.isdigit() else last
    if value is ...:
        del place[key]
    else:
        place[key] = value
    return made


def reading(*documents: dict[str, Any]) -> Read:
    return read([("slo.yaml", yaml.safe_dump_all(documents).encode())])


def only(*documents: dict[str, Any]) -> Objective:
    (found,) = reading(*documents).objectives
    return found


def test_the_example_is_read_without_a_warning() -> None:
    found = read([("f", EXAMPLE.read_bytes())])
    assert not found.warnings
    kinds = {one.indicator.kind for one in found.objectives}
    assert kinds == {"valid-events", "drift-free-series-minutes", "null-rate", "freshness", "performance"}


def test_json_is_read_as_yaml_is() -> None:
    (found,) = read([("slo.json", orjson.dumps(SLO))]).objectives
    assert found == only(SLO)
    assert (found.target, found.period_ms, len(found.pairs)) == (0.99, 28 * 24 * HOUR_MS, 3)


def test_indicators_policies_and_conditions_may_be_documents_of_their_own() -> None:
    slo = changed("spec/indicator", ...)
    slo["spec"] |= {"indicatorRef": "sli", "alertPolicies": ["policy", {"alertPolicyRef": "policy"}]}
    sli = {
        "apiVersion": "openslo/v1",
        "kind": "SLI",
        "metadata": {"name": "sli"},
        "spec": SLO["spec"]["indicator"]["spec"],
    }
    policy = {
        "apiVersion": "openslo/v1",
        "kind": "AlertPolicy",
        "metadata": {"name": "policy"},
        "spec": {"conditions": [{"conditionRef": "c"}]},
    }
    condition = {"apiVersion": "openslo/v1"} | CONDITION
    (pair,) = only(slo, sli, policy, condition).pairs
    assert (pair.long_ms, pair.short_ms, pair.factor, pair.severity, pair.strict) == (
        2 * HOUR_MS,
        HOUR_MS // 3,
        2.0,
        "warning",
        True,
    )
    with pytest.raises(SettingsProblem, match=r"spec.indicatorRef names no SLI of these files: 'sli'"):
        reading(slo, policy, condition)
    with pytest.raises(SettingsProblem, match=r"spec.alertPolicies\[0\] names no AlertPolicy of these files: 'policy'"):
        reading(slo, sli, condition)
    with pytest.raises(
        SettingsProblem, match=r"AlertPolicy policy\): spec.conditions\[0\] names no AlertCondition of these files: 'c'"
    ):
        reading(slo, sli, policy)


def test_a_policy_that_does_not_alert_leaves_the_budget_alone() -> None:
    policy = {
        "kind": "AlertPolicy",
        "metadata": {"name": "p"},
        "spec": {"alertWhenBreaching": False, "conditions": [CONDITION]},
    }
    assert only(changed("spec/alertPolicies", [policy])).pairs == ()
    assert only(changed("spec/alertPolicies", [])).pairs == ()


def test_what_changes_nothing_is_passed_over_with_a_warning() -> None:
    made = changed("metadata/labels", {"team": "a"})
    service = {"apiVersion": "openslo/v1", "kind": "Service", "metadata": {"name": "s"}, "spec": {}}
    assert reading(made, service).warnings == [
        "slo.yaml, document 2 (Service s): a Service is passed over",
        "slo.yaml, document 1 (SLO one): metadata.labels is passed over",
    ]


SOURCE = "spec/indicator/spec/ratioMetric/raw/metricSource"
WRONG: list[tuple[dict[str, Any], str]] = [
    (changed("apiVersion", "openslo/v2"), "apiVersion is not openslo/v1"),
    (changed("apiVersion", ...), "apiVersion is missing"),
    (changed("kind", "Dashboard"), "kind is none of SLO, SLI"),
    (changed("metadata", ["x"]), "metadata is not a mapping"),
    (changed("metadata/name", "a b"), "metadata.name is not 1 to 63 letters"),
    (changed("metadata/name", 7), "metadata.name is no text"),
    (changed("metadata/nmae", "x"), "metadata.nmae is not known; there may be displayName, name"),
    (changed("spec/budgetingMethod", "Timeslices"), "spec.budgetingMethod is 'Timeslices'; only Occurrences"),
    (changed("spec/objectives", []), "spec.objectives are not one"),
    (changed("spec/objectives", {"target": 0.9}), "spec.objectives is not a list"),
    (changed("spec/objectives", [{"target": 0.9}, {"target": 0.99}]), "write an SLO for each"),
    (changed("spec/objectives/0/target", 1), r"spec.objectives\[0\].target is not between 0 and 1: with all of it there is no budget"),
    (changed("spec/objectives/0/target", "0.9"), "target is no number"),
    (changed("spec/objectives/0/target", True), "target is no number"),
    (changed("spec/objectives/0/target", float("nan")), "target is no number"),
    (changed("spec/objectives/0/targetPercent", 99), "has not one of target and targetPercent"),
    (changed("spec/objectives/0/value", 3), "value is of no use with valid-events"),
    (changed("spec/objectives/0/timeSliceTarget", 0.9), "timeSliceTarget is not known"),
    (changed("spec/timeWindow/0/isRolling", False), "isRolling is not true; budgets are kept over rolling windows"),
    (changed("spec/timeWindow/0/duration", "1M"), "duration is not 1d to 92d"),
    (changed("spec/timeWindow/0/duration", "1000d"), "duration is not 1d to 92d"),
    (changed("spec/timeWindow/0/calendar", {}), "calendar is not known"),
    (changed("spec/indicatorRef", "x"), "spec has not one of indicator and indicatorRef"),
    (changed("spec/indicator", 7), "spec.indicator is not a mapping"),
    (changed("spec/indicator/spec", {"ratioMetric": {}, "thresholdMetric": {}}), "has not one of ratioMetric and thresholdMetric"),
    (changed("spec/indicator/spec/ratioMetric/good", {}), "good is not known; there may be raw, rawType"),
    (changed("spec/indicator/spec/ratioMetric/rawType", "failure"), "rawType is not success"),
    (changed(f"{SOURCE}/type", "prometheus"), "type is not streamdrift; other sources are not read"),
    (changed(f"{SOURCE}/spec/indicator", "latency"), "indicator is none of valid-events"),
    (changed(f"{SOURCE}/spec/indicator", "freshness"), "indicator is freshness, which belongs under a thresholdMetric"),
    (changed(f"{SOURCE}/spec/model", ...), "spec.model is missing"),
    (changed(f"{SOURCE}/spec/model", "x" * 3_000), "has a name that is too long"),
    (changed(f"{SOURCE}/spec/feature", "x"), "feature is not known"),
    (changed(f"{SOURCE}/spec/minimum", 1.5), "minimum is no whole number from 1"),
    (changed("spec/indicator/spec", {"thresholdMetric": THRESHOLD}), r"spec.objectives\[0\].value is missing"),
    (changed("spec/alertPolicies", [{"kind": "AlertPolicy", "spec": {"conditions": [], "alertWhenNoData": True}}]), "alertWhenNoData is true"),
    (changed("spec/alertPolicies", [7]), r"spec.alertPolicies\[0\] is not a mapping"),
]  # fmt: skip


@pytest.mark.parametrize(("document", "said"), WRONG, ids=[said[:40] for _, said in WRONG])
def test_what_is_wrong_is_said_with_file_document_and_path(document: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsProblem, match=said) as refused:
        reading({"apiVersion": "openslo/v1", "kind": "Service", "metadata": {"name": "s"}}, document)
    assert str(refused.value).startswith("slo.yaml, document 2")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"severity": "sev1"}, "severity is none of page, critical, ticket, warning"),
        ({"condition": {"kind": "ratio"}}, "kind is not burnrate"),
        ({"condition": {"op": "lt"}}, "op is neither gt nor gte"),
        ({"condition": {"threshold": 0.5}}, "threshold is not 0.9 or more"),
        ({"condition": {"lookbackWindow": "5m"}}, "lookbackWindow is not 12m to the objective's own window"),
        ({"condition": {"lookbackWindow": "60d"}}, "lookbackWindow is not 12m"),
        ({"condition": {"alertAfter": "3h"}}, "alertAfter is no time shorter than lookbackWindow"),
        ({"condition": {"for": "3h"}}, "for is not known"),
    ],
)
def test_conditions_are_checked(change: dict[str, Any], said: str) -> None:
    spec = {
        **CONDITION["spec"],
        **change,
        "condition": {**CONDITION["spec"]["condition"], **change.get("condition", {})},
    }
    policy = {"kind": "AlertPolicy", "spec": {"conditions": [CONDITION | {"spec": spec}]}}
    with pytest.raises(SettingsProblem, match=said) as refused:
        reading(changed("spec/alertPolicies", [policy]))
    assert "spec.alertPolicies[0].spec.conditions[0].spec." in str(refused.value)


@pytest.mark.parametrize(
    ("indicator", "goal", "said"),
    [
        ("freshness", {"value": 60}, "is 60 seconds, not 180 to 86400"),
        ("freshness", {"value": 600, "op": "lt"}, "op is not lte"),
        ("performance", {"value": 3}, "is 3; errors are counted up to 2 and to 5"),
        ("performance", {"value": -1}, "is -1; errors are counted up to 0 and to 0"),
        ("valid-events", {}, "is valid-events, which belongs under a ratioMetric"),
    ],
)
def test_thresholds_are_checked(indicator: str, goal: dict[str, Any], said: str) -> None:
    metric = {"metricSource": {"type": "streamdrift", "spec": {"model": "m", "indicator": indicator}}}
    made = changed("spec/indicator/spec", {"thresholdMetric": metric})
    made["spec"]["objectives"] = [{"target": 0.9} | goal]
    with pytest.raises(SettingsProblem, match=said):
        reading(made)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"", "has no document in it"),
        (b"a: [1", "is no YAML or JSON"),
        (b"a: \xff", "is not UTF-8: byte 4"),
        (b"- 1", "document 1: is not a mapping"),
        (b"a: 1\nb: 2\na: 3\n", "'a' stands twice in one mapping, at line 3"),
        (b"a: !!python/object/apply:os.system ['true']", "is no YAML or JSON"),
        (b"a: &x [*x]", "nested too deeply, or in itself"),
        (b"a: " + b"[" * 5_000, "nested too deeply|no YAML or JSON"),
        (b"a: &a [x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\n" + b"".join(b"c%d: &c%d [%s]\n" % (i, i, b",".join([b"*b" if i == 0 else b"*c%d" % (i - 1)] * 9)) for i in range(9)), "nested too deeply"),
        (b"x" * 1_000_001, "has more than 1,000,000 bytes"),
        (b"a: 2024-13-45", "is no YAML or JSON|apiVersion is missing"),
        (b"1: 2\napiVersion: openslo/v1\nkind: SLO\nmetadata: {name: a}", "has a name that is no text: 1"),
    ],
    ids=lambda value: value[:20] if isinstance(value, bytes) else "",
)  # fmt: skip
def test_files_that_are_none_are_refused_in_a_sentence(text: bytes, said: str) -> None:
    with pytest.raises(SettingsProblem, match=said) as refused:
        read([("slo.yaml", text)])
    assert str(refused.value).startswith("slo.yaml")
    assert "\n" not in str(refused.value)


def test_two_of_one_name_are_refused_over_all_files() -> None:
    text = yaml.safe_dump(SLO).encode()
    with pytest.raises(SettingsProblem, match=r"b, document 1 \(SLO one\): metadata.name is that of another SLO"):
        read([("a", text), ("b", text)])


def test_a_target_that_no_factor_can_reach_is_refused() -> None:
    low = changed("spec/objectives/0/target", 0.05)
    low["spec"]["timeWindow"][0]["duration"] = "30d"
    assert only(low).pairs[-1].factor == 1  # 95 % bad is what the slowest pair still sees
    policy = {"kind": "AlertPolicy", "spec": {"conditions": [deepcopy(CONDITION)]}}
    low["spec"]["alertPolicies"] = [policy]
    with pytest.raises(SettingsProblem, match="no burn rate reaches a factor"):
        reading(low)
