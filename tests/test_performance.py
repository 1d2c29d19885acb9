"""Performance by delayed labels, from records to alerts."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamdrift.alerts import Alert
from streamdrift.pipeline import Assemble, Detect, Direct
from streamdrift.ports import Partition, Record
from streamdrift.telemetry import Metrics
from tests.detect.test_bank import SMALL, START

EVENTS, LABELS = Partition(SMALL.topics.events, 0), Partition(SMALL.topics.labels, 0)
BLOCKS = Partition(SMALL.topics.blocks, 0)
N, WRONG, RIGHT_AGAIN = 3_000, 1_000, 1_400
"""Events, and those between which the labels, in two regions of three, are the opposite of what is true."""


def recorded(n: int = N, wrong_until: int = RIGHT_AGAIN, *, corrected: bool = False) -> list[Record]:
    """Events, each label a minute after its event; after that the wrong labels, if they are corrected."""
    rng = np.random.default_rng(4)
    p, u, regions = rng.uniform(0.05, 0.95, n), rng.random(n), rng.choice(["eu", "us", "asia"], n)
    messages: list[tuple[int, Partition, dict[str, object]]] = []
    for i in range(n):
        time, truth = START + i * 1_000, bool(u[i] < p[i])
        wrong = WRONG <= i < wrong_until and regions[i] != "asia"
        told = {"label": bool(p[i] > 0.5), "score": float(p[i])}
        event = {"model": "m", "prediction_id": f"p{i}", "segments": {"region": str(regions[i])}, "prediction": told}
        label = {"model": "m", "prediction_id": f"p{i}"}
        messages.append((time, EVENTS, event | {"occurred_at": time}))
        messages.append((time + 60_000, LABELS, label | {"label": truth ^ wrong, "observed_at": time + 60_000}))
        if wrong and corrected:
            late = START + (n + i) * 1_000
            messages.append((late, LABELS, label | {"label": truth, "observed_at": late}))
    messages.sort(key=lambda message: message[0])
    offsets = {EVENTS: 0, LABELS: 0}
    records = []
    for time, partition, message in messages:
        records.append(Record(json.dumps(message).encode(), partition, offsets[partition], time))
        offsets[partition] += 1
    return records


def direct(records: Sequence[Record], cuts: Iterable[int] = ()) -> list[Alert]:
    stage, alerts, begin = Direct(SMALL, "config", Metrics(), labels=True), [], 0
    for end in [*cuts, len(records)]:
        alerts += stage.process(records[begin:end]).alerts
        begin = end
    return alerts


def by_exchange(records: Sequence[Record], cuts: Iterable[int] = ()) -> list[Alert]:
    assemble, detect = Assemble(SMALL, Metrics(), labels=True), Detect(SMALL, "config", Metrics())
    alerts, begin, offset = [], 0, 0
    for end in [*cuts, len(records)]:
        blocks = []
        for message in assemble.process(records[begin:end]).messages:
            blocks.append(Record(message.value, BLOCKS, offset, records[end - 1].timestamp_ms, message.key))
            offset += 1
        alerts += detect.process(blocks).alerts
        begin = end
    return alerts


RECORDS = recorded()
EXPECTED = [alert.to_cloudevent() for alert in direct(RECORDS)]
FOUND = [alert for alert in map(Alert.from_cloudevent, EXPECTED) if alert.role == "performance"]


def test_a_model_that_errs_more_is_told_by_error_and_loss_where_it_does() -> None:
    firing = {(a.feature, a.segment.get("region", ""), a.reason) for a in FOUND if a.status == "firing"}
    assert {
        region for feature, region, reason in firing if (feature, reason) == ("performance.loss", "performance_drop")
    } == {
        "",
        "eu",
        "us",
    }
    assert "performance.error" in {feature for feature, _, reason in firing if reason == "performance_drop"}
    assert not [where for _, where, _ in firing if where == "asia"]
    assert "performance_drop" not in {reason for feature, _, reason in firing if feature == "performance.calibration"}


def test_what_is_over_is_resolved_by_the_labels_that_came_later() -> None:
    opened = {a.alert_id for a in FOUND if a.status == "firing" and a.feature == "performance.error"}
    assert opened <= {a.resolves for a in FOUND if a.status == "resolved"}


@settings(max_examples=8, deadline=None)
@given(st.lists(st.integers(0, len(RECORDS)), max_size=8).map(sorted))
def test_where_batches_end_changes_not_one_bit(cuts: list[int]) -> None:
    assert [alert.to_cloudevent() for alert in direct(RECORDS, cuts)] == EXPECTED


@pytest.mark.parametrize("size", [500, 4_000])
def test_the_exchange_tells_the_same(size: int) -> None:
    found = by_exchange(RECORDS, range(size, len(RECORDS), size))
    assert sorted(a.alert_id for a in found) == sorted(Alert.from_cloudevent(a).alert_id for a in EXPECTED)


def test_labels_ahead_of_their_events_tell_the_same() -> None:
    ahead = [r for r in RECORDS if r.partition == LABELS] + [r for r in RECORDS if r.partition == EVENTS]
    found = [a.alert_id for a in direct(ahead) if a.role == "performance"]
    assert found == [a.alert_id for a in FOUND]


def test_corrections_of_wrong_labels_resolve_the_alert_that_they_made() -> None:
    def told(records: Sequence[Record]) -> list[str]:
        series = "m/region=eu/performance.error"
        return [a.status for a in direct(records) if a.series_id == series]

    assert told(recorded(6_000, 6_000)) == ["firing"]
    assert told(recorded(6_000, 6_000, corrected=True)) == ["firing", "resolved"]


def test_what_became_of_labels_is_a_metric() -> None:
    metrics = Metrics()
    stage = Direct(SMALL, "config", metrics, labels=True)
    repeated = Record(RECORDS[-1].value, LABELS, 10**6, 0)
    stray = Record(b'{"model":"m","prediction_id":"stray","label":1,"observed_at":0}', LABELS, 10**6 + 1, 0)
    stage.process([*RECORDS, repeated, stray, Record(b"nonsense", LABELS, 10**6 + 2, 0)])

    def value(name: str, **labels: str) -> float | None:
        return metrics.registry.get_sample_value(f"streamdrift_{name}", labels)

    counted = {outcome: value("labels_total", outcome=outcome) for outcome in ("joined", "duplicate", "orphan")}
    assert counted == {"joined": N, "duplicate": 1, "orphan": 1}
    assert value("predictions_kept") == N
    assert value("rejected_total", reason="not_json") == 1
