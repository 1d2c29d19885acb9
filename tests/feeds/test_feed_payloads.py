"""What each sender's payload becomes: real ones from their documentation, and what is not as documented."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from streamdrift.errors import Rejected
from streamdrift.events import change, source_report
from streamdrift.events.inference import Limits
from streamdrift.feeds import drafts, mlflow, native, openlineage, pagerduty
from streamdrift.feeds.drafts import Message, Scope
from streamdrift.feeds.schemas import Schemas
from streamdrift.ports import Partition, Record
from streamdrift.settings import Settings, SourceSettings
from tests.feeds.hooks import payload
from tests.test_schemas import schema

NOW = 1_762_139_400.0
LIMITS = Limits.of(Settings())
NOWHERE = Scope()
PROFILE = {"profile": SourceSettings(name="bigquery/shop.features.user_profile", models=("shop",), features=("country",), fresh_s=3600)}  # fmt: skip
USERS = {"users": SourceSettings(name="shop.public.users", features=("country", "age"), null_share_max=0.1)}


def message(draft: Any) -> dict[str, Any]:
    made = drafts.made(draft, LIMITS, NOW)
    found: dict[str, Any] = json.loads(made.value)
    Draft202012Validator(schema("change-event")).validate(found)
    change.decode(Record(made.value, Partition("t", 0), 0, 0), LIMITS)
    return found


def lineage(name: str, sources: Any = None, seen: Schemas | None = None, **other: Any) -> list[dict[str, Any]]:
    found = openlineage.read(
        payload(name) | other, NOWHERE, sources or {}, seen or Schemas(), failed_only=bool(sources is None and other)
    )
    return [message(draft) for draft in found.drafts]


def test_our_own_change_is_published_as_it_came() -> None:
    given = payload("change")
    assert message(native.read(given, NOWHERE, NOW)) == given | {"occurred_at": "2013-04-26T05:50:00.000Z"}


def test_our_own_change_without_an_id_has_the_same_one_when_it_comes_again() -> None:
    given = {"kind": "deployment", "summary": "12 replaces 11", "occurred_at": "2025-11-03T02:00:00Z"}
    first, again = (message(native.read(dict(given), NOWHERE, now)) for now in (NOW, NOW + 86_400))
    assert first["change_id"] == again["change_id"]
    other = message(native.read(given | {"occurred_at": "2025-11-04T02:00:00Z"}, NOWHERE, NOW))
    assert other["change_id"] != first["change_id"]


def test_without_an_id_and_a_time_the_same_words_a_day_later_are_another_change() -> None:
    given = {"kind": "deployment", "summary": "fraud was deployed"}
    ids = [message(native.read(given, NOWHERE, now))["change_id"] for now in (NOW, NOW + 60, NOW + 86_400)]
    assert ids[0] == ids[1] != ids[2]


def test_the_url_says_what_the_sender_does_not() -> None:
    scope = Scope(("fraud",), ("mcc",), "schema")
    assert message(native.read({"summary": "s"}, scope, NOW))["scope"]["models"] == ["fraud"]
    assert message(native.read({"summary": "s"}, scope, NOW))["kind"] == "schema"
    assert message(native.read(payload("change"), scope, NOW))["scope"]["models"] == ["flight-delay"]
    assert message(pagerduty.read(payload("pagerduty_change"), scope, NOW))["scope"]["features"] == ["mcc"]


def test_a_long_id_is_hashed_and_not_cut() -> None:
    one, other = (
        message(native.read({"change_id": "x" * 300 + end, "kind": "schema", "summary": "s"}, NOWHERE, NOW))
        for end in "ab"
    )
    assert one["change_id"] != other["change_id"]


@pytest.mark.parametrize("kind", ["rebaseline", "source-report"])
def test_an_order_to_us_is_not_taken_from_the_network(kind: str) -> None:
    with pytest.raises(Rejected, match="isn't taken here"):
        drafts.made(native.read({"kind": kind, "summary": "s", "change_id": "c"}, NOWHERE, NOW), LIMITS, NOW)


def test_a_change_event_of_pagerduty() -> None:
    made = message(pagerduty.read(payload("pagerduty_change"), NOWHERE, NOW))
    assert made["occurred_at"] == "2020-07-17T08:42:58.315Z"
    assert made["kind"] == "deployment"
    assert made["summary"].startswith("Build Success: Increase snapshot create timeout")
    assert made["link"] == "https://acme.pagerduty.dev/build/2"
    assert made["scope"] == {"models": [], "features": [], "segments": {}}
    assert "routing_key" not in json.dumps(made)


def test_custom_details_of_pagerduty_say_what_it_touches() -> None:
    given = payload("pagerduty_change")
    given["payload"]["custom_details"] = {
        "model": "fraud",
        "features": ["mcc", "amount"],
        "kind": "configuration",
        "segments": {"country": "DE", "odd": [1]},
        "author": {"not": "text"},
    }
    made = message(pagerduty.read(given, NOWHERE, NOW))
    assert made["scope"] == {"models": ["fraud"], "features": ["mcc", "amount"], "segments": {"country": "DE"}}
    assert (made["kind"], made["author"]) == ("configuration", None)


def test_an_alias_in_mlflow_is_a_deployment_of_its_model() -> None:
    draft = mlflow.read(payload("mlflow_alias_created"), NOWHERE)
    made = message(draft)
    assert (made["kind"], made["summary"]) == ("deployment", "MLflow: champion of fraud is version 12")
    assert made["scope"]["models"] == ["fraud"]
    assert made["occurred_at"] == "2025-07-31T08:27:32.080Z"
    assert message(mlflow.read(payload("mlflow_alias_created"), NOWHERE))["change_id"] == made["change_id"]


def test_a_version_in_mlflow_serves_nobody_yet_and_other_events_change_nothing() -> None:
    assert message(mlflow.read(payload("mlflow_version_created"), NOWHERE))["kind"] == "experiment"
    other = {"entity": "budget_policy", "action": "exceeded", "timestamp": "2025-07-31T08:20:01Z", "data": {}}
    assert mlflow.read(other, NOWHERE) is None
    with pytest.raises(Rejected):
        mlflow.read({"data": {}}, NOWHERE)


def test_a_run_that_completed_is_a_change_of_the_pipeline_with_what_its_datasets_say() -> None:
    job, renamed, tests = lineage("openlineage_complete", PROFILE)
    assert (job["kind"], job["summary"]) == ("feature-pipeline", "job airflow/features.user_profile completed")
    assert job["scope"] == {"models": ["shop"], "features": ["country"], "segments": {}}
    assert job["occurred_at"] == "2025-11-03T02:10:31.081Z"
    assert renamed["kind"] == "schema"
    assert renamed["summary"] == "bigquery/shop.features.user_profile was renamed; it was shop.features.users"
    assert tests["summary"] == "postgres://warehouse.example:5432/shop.public.users: 1 tests failed: not_null(country)"
    assert tests["kind"] == "data-source"
    assert len({made["change_id"] for made in (job, renamed, tests)}) == 3
    assert lineage("openlineage_complete", PROFILE)[0]["change_id"] == job["change_id"]


def test_a_run_of_feast_that_failed_is_a_change_of_the_feature_store() -> None:
    (made,) = lineage("openlineage_fail")
    assert made["kind"] == "feature-store"
    assert made["summary"] == "job feast/shop/materialize_user_profile failed: offline store timed out"


def test_runs_that_completed_can_be_left_out() -> None:
    read = openlineage.read(payload("openlineage_complete"), NOWHERE, {}, Schemas(), failed_only=True)
    assert [draft["kind"] for draft in read.drafts] == ["schema", "data-source"]
    started = payload("openlineage_complete") | {"eventType": "START", "inputs": [], "outputs": []}
    assert openlineage.read(started, NOWHERE, {}, Schemas(), failed_only=False).drafts == []


def test_columns_that_changed_between_runs_are_a_change_of_the_schema() -> None:
    seen, given = Schemas(), payload("openlineage_complete")
    first = openlineage.read(given, NOWHERE, PROFILE, seen, failed_only=True)
    assert first.schemas == {
        "bigquery/shop.features.user_profile": {
            "user_id": "int64",
            "country": "string",
            "address": "struct",
            "address.zip": "string",
        }
    }
    seen.keep(first.schemas)
    columns = given["outputs"][0]["facets"]["schema"]["fields"]
    columns[1]["type"] = "int64"
    columns[2:] = [{"name": "age", "type": "int64"}]
    changed = openlineage.read(given, NOWHERE, PROFILE, seen, failed_only=True).drafts[1]
    assert (changed["kind"], changed["scope"]["models"]) == ("schema", ["shop"])
    assert changed["summary"].endswith("changed: + age; − address; − address.zip; country: string → int64")


def test_what_is_known_of_a_source_that_is_set_up_is_reported() -> None:
    given = payload("openlineage_complete")
    found = openlineage.read(given, NOWHERE, PROFILE | USERS, Schemas(), failed_only=True)
    written, users = found.reports
    assert (written.source, written.rows) == ("bigquery/shop.features.user_profile", 2000)
    assert written.newest_at == written.time == 1_762_135_831_081
    assert (users.source, users.newest_at, users.rows) == ("shop.public.users", None, 2000)
    assert users.null_shares == {"id": 0.0, "country": 0.32, "age": 0.01}
    assert openlineage.read(given, NOWHERE, {}, Schemas(), failed_only=True).reports == []
    (alone,) = openlineage.read(payload("openlineage_dataset"), NOWHERE, PROFILE, Schemas(), failed_only=True).reports
    assert alone.newest_at == 1_762_120_200_000
    assert alone.null_shares == {"country": 0.01}


def test_a_run_that_wrote_nothing_does_not_make_its_output_fresh() -> None:
    given = payload("openlineage_complete")
    given["outputs"][0]["outputFacets"]["outputStatistics"]["rowCount"] = 0
    assert openlineage.read(given, NOWHERE, PROFILE, Schemas(), failed_only=True).reports == []
    failed = payload("openlineage_complete") | {"eventType": "FAIL"}
    assert openlineage.read(failed, NOWHERE, PROFILE, Schemas(), failed_only=True).reports == []


def test_a_report_on_a_source_is_read_as_it_was_written() -> None:
    made = drafts.looked(payload("source"), LIMITS, NOW)
    Draft202012Validator(schema("change-event")).validate(json.loads(made.value))
    record = Record(made.value, Partition("t", 0), 0, 0)
    assert change.decode(record, LIMITS).kind == "source-report"
    read = source_report.decode(record, LIMITS)
    assert read.null_shares == {"country": 0.32, "age": 0.01}
    assert read.time - (read.newest_at or 0) == (5 * 60 + 10) * 60_000
    assert drafts.reported(read) == made


@pytest.mark.parametrize(
    "wrong",
    [
        {"source": None},
        {"source": ["x"]},
        {"newest_at": "yesterday"},
        {"rows": -1},
        {"rows": 1.5},
        {"null_shares": {"a": 2}},
        {"null_shares": {"a": None}},
        {"null_shares": [1]},
        {"null_shares": {str(n): 0 for n in range(201)}},
    ],
)
def test_a_report_that_can_not_be_read_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(Rejected):
        drafts.looked(payload("source") | wrong, LIMITS, NOW)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)
NAMES = ("change", "pagerduty_change", "mlflow_alias_created", "openlineage_complete", "openlineage_dataset", "source")


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    below = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [at, *(place for key, inner in below for place in places(inner, (*at, key)))]


@settings(max_examples=50)
@given(st.data())
def test_whatever_stands_in_a_payload_is_a_change_or_refused(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(NAMES))
    given = payload(name)
    *above, last = data.draw(st.sampled_from(places(given)[1:]))
    inner = given
    for key in above:
        inner = inner[key]
    inner[last] = data.draw(JSON)
    try:
        made = all_of(name, given)
    except Rejected as e:
        assert e.reason.replace("_", "").isalpha()
        return
    for one in made:
        assert len(one.value) < 300_000
        change.decode(Record(one.value, Partition("t", 0), 0, 0), LIMITS)


def all_of(name: str, given: Any) -> list[Message]:
    """Every message that a payload becomes."""
    if name == "source":
        return [drafts.looked(given, LIMITS, NOW)]
    if name.startswith("openlineage"):
        found = openlineage.read(given, NOWHERE, PROFILE | USERS, Schemas(), failed_only=False)
        return [*(drafts.made(draft, LIMITS, NOW) for draft in found.drafts), *map(drafts.reported, found.reports)]
    if name.startswith("mlflow"):
        alias = mlflow.read(given, NOWHERE)
        return [] if alias is None else [drafts.made(alias, LIMITS, NOW)]
    read = pagerduty.read if name.startswith("pagerduty") else native.read
    return [drafts.made(read(given, NOWHERE, NOW), LIMITS, NOW)]
