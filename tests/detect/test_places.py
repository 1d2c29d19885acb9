"""Who gets the last places hangs on the order of events alone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from streamdrift.detect.bank import Bank
from streamdrift.detect.series import Series
from streamdrift.detect.versions import Versions
from streamdrift.pipeline import Direct
from streamdrift.ports import Partition, Record
from streamdrift.settings import EngineChoice, Settings
from streamdrift.telemetry import Metrics

EVENTS, LABELS = Partition("inference-events", 0), Partition("inference-labels", 0)
START = 1_700_000_000_000
N = 400


def traffic() -> list[Record]:
    """Models, features, segments, versions and embeddings that come in no order, and labels for some events."""
    rng = np.random.default_rng(3)
    records: list[Record] = []
    offsets = {EVENTS: 0, LABELS: 0}

    def add(place: Partition, event: dict[str, Any]) -> None:
        records.append(Record(json.dumps(event).encode(), place, offsets[place], START))
        offsets[place] += 1

    for i in range(N):
        model, time = "abcd"[int(rng.integers(4))], START + i * 1_000
        event: dict[str, Any] = {
            "prediction_id": f"p{i}",
            "model": {"name": model, "version": f"v{rng.integers(3)}"},
            "occurred_at": time,
            "segments": {f"d{rng.integers(2)}": f"{rng.integers(9)}"},
            "features": {f"f{rng.integers(12)}": float(j) for j in range(3)},
            "prediction": {"label": "late", "score": 0.5},
        }
        if i % 11 == 0:
            event["embeddings"] = {"e": [1.0, float(i), 2.0]}
        if i % 17 == 0:
            event["features"] = {"nothing": None}
        add(EVENTS, event)
        if i % 2:
            label = {"model": model, "prediction_id": f"p{i - rng.integers(3)}", "label": "late"}
            add(LABELS, label | {"observed_at": time})
    return records


RECORDS = traffic()


def tree(series_max: int, segments_max: int, engine: EngineChoice = "reference") -> Settings:
    return Settings.model_validate(
        {
            "series_max": series_max,
            "segments_per_model_max": segments_max,
            "engine": engine,
            "reference": {"events": 100, "by_version": True},
            "detectors": {"ks": {"window_events": 100}},
        }
    )


def holders(records: Sequence[Record], cuts: Sequence[int], found: Settings) -> tuple[list[Any], list[bytes]]:
    """Everything that got a place; and the alerts."""
    stage = Direct(found, "config", Metrics(), labels=True)
    alerts = [
        alert.to_cloudevent()
        for begin, end in pairwise([0, *cuts, len(records)])
        for alert in stage.process(records[begin:end]).alerts
    ]
    held = [
        (key, feature, _versions(one))
        for key in sorted(stage.bank.keys())
        for feature, one in sorted(stage.bank._groups[key].series.items())
    ]
    return held, alerts


def _versions(one: Series | Versions | None) -> object:
    if isinstance(one, Versions):
        return sorted(series.identity.suffix for series in one.all())
    return one is not None


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.integers(0, len(RECORDS)), max_size=6).map(sorted),
    st.one_of(st.integers(1, 60), st.integers(1, 400)),
    st.integers(1, 12),
)
@example([], 40, 500)
@example([], 150, 500)
@example([], 300, 3)
@example([], 10_000, 4)
def test_it_does_not_hang_on_how_events_are_cut_into_batches(cuts: list[int], series_max: int, segments: int) -> None:
    found = tree(series_max, segments)
    one_by_one = holders(RECORDS, range(1, len(RECORDS)), found)
    assert holders(RECORDS, cuts, found) == one_by_one


@pytest.mark.parametrize("series_max", [37, 211])
def test_both_engines_give_the_places_to_the_same(series_max: int) -> None:
    assert holders(RECORDS, [], tree(series_max, 5, "auto")) == holders(RECORDS, [100], tree(series_max, 5))


def test_a_batch_is_cut_no_more_often_than_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where everything has a place, or nothing has, it stays whole."""
    taken: list[int] = []
    update = Bank._update

    def counted(self: Any, blocks: Any, log: Any) -> Any:
        taken.append(len(blocks))
        return update(self, blocks, log)

    monkeypatch.setattr(Bank, "_update", counted)
    events = [record for record in RECORDS if record.partition == EVENTS]
    for series_max, parts in ((10_000, 1), (60, 2 * 9)):
        taken.clear()
        stage = Direct(tree(series_max, 500), "config", Metrics())
        stage.process(events)
        assert 1 <= len(taken) <= parts
        taken.clear()
        stage.process([Record(e.value, EVENTS, N + e.offset, START) for e in events])
        assert len(taken) == 1
