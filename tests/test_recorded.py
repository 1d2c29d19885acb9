"""The recorded baseline: what is learned from it, and what is not told of it."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamdrift.alerts import Alert
from streamdrift.pipeline import Assemble, Detect, Direct
from streamdrift.settings import Settings, config_hash
from streamdrift.telemetry import Metrics
from streamdrift.transports.memory import MemoryBroker
from tests.command import START, event, read, streamdrift, written
from tests.test_pipeline import FakeClock, drain, published, worker

MONTH_S = 30 * 86_400
BASELINE = "STREAMDRIFT_REFERENCE__BASELINE"


def shop(n: int, first: int, shift: float = 0.0, seed: int = 1) -> list[bytes]:
    rng = np.random.default_rng(seed)
    return [event(first + i, x=float(rng.standard_normal() + shift), y=float(rng.random())) for i in range(n)]


@pytest.fixture
def month(tmp_path: Path) -> Path:
    return written(tmp_path / "month.ndjson", shop(700, 0))


def told(path: Path) -> list[tuple[str, str]]:
    return [(alert["data"]["series_id"], alert["data"]["reason"]) for alert in read(path)]


def test_the_first_live_events_are_judged_by_the_recorded_ones(tmp_path: Path, month: Path) -> None:
    live, alerts = written(tmp_path / "live.ndjson", shop(150, MONTH_S, shift=3, seed=2)), tmp_path / "alerts"
    assert streamdrift("replay", live, "--alerts", alerts).code == 0
    assert told(alerts) == []
    done = streamdrift("replay", live, "--alerts", alerts, "--summary", "-", settings={BASELINE: str(month)})
    assert done.code == 0, done.said
    assert told(alerts) == [("shop//x", "mean_shift"), ("shop/region=eu/x", "mean_shift")]
    assert done.summary["events"] == 150
    first = read(alerts)[0]["data"]
    assert first["reference"]["n"] == 200
    assert first["position"] == {"file": str(live), "line": first["position"]["line"]}
    assert first["traffic_share"] == 1


def test_where_the_recorded_events_end_nothing_is_told(tmp_path: Path, month: Path) -> None:
    """Neither the month between is silence, nor the live stream's first gap a change of rate."""
    live, alerts = written(tmp_path / "live.ndjson", shop(600, MONTH_S, seed=3)), tmp_path / "alerts"
    assert streamdrift("replay", live, "--alerts", alerts, settings={BASELINE: str(month)}).code == 0
    assert told(alerts) == []


def test_the_rate_is_learned_from_the_recorded_events(tmp_path: Path, month: Path) -> None:
    fast = [
        json.dumps({**json.loads(line), "occurred_at": START + MONTH_S * 1_000 + i * 100}).encode()
        for i, line in enumerate(shop(600, 0, seed=3))
    ]
    alerts = tmp_path / "alerts"
    done = streamdrift(
        "replay", written(tmp_path / "live.ndjson", fast), "--alerts", alerts, settings={BASELINE: str(month)}
    )
    assert done.code == 0
    assert told(alerts) == [("shop//traffic.rate", "volume_surge")]


def test_what_the_recorded_events_did_not_complete_is_learned_on(tmp_path: Path) -> None:
    short = written(tmp_path / "short.ndjson", shop(150, 0))
    live = written(tmp_path / "live.ndjson", shop(50, MONTH_S, seed=2) + shop(150, MONTH_S + 50, shift=3, seed=4))
    alerts = tmp_path / "alerts"
    assert streamdrift("replay", live, "--alerts", alerts, settings={BASELINE: str(short)}).code == 0
    assert ("shop//x", "mean_shift") in told(alerts)


def test_the_same_file_can_be_both(month: Path) -> None:
    done = streamdrift("replay", month, "--summary", "-", settings={BASELINE: str(month)})
    assert (done.code, done.summary["events"], done.summary["alerts"]) == (0, 700, 0)


def test_bad_lines_are_logged_and_counted_and_are_no_dead_letters(tmp_path: Path) -> None:
    lines = shop(300, 0)
    lines[10:10] = [b"nonsense", b'{"model":"shop"}']
    month, live = tmp_path / "month.ndjson.gz", written(tmp_path / "live.ndjson", shop(50, MONTH_S))
    month.write_bytes(gzip.compress(b"\n".join(lines)))
    done = streamdrift("replay", live, "--rejected", tmp_path / "letters", settings={BASELINE: str(month)})
    assert done.code == 0
    assert read(tmp_path / "letters") == []
    assert f"{month} line 11" in done.said
    assert "not_json" in done.said
    assert "no_signal" in done.said
    metrics = Metrics()
    Direct(Settings.model_validate({"reference": {"baseline": str(month)}}), "config", metrics)
    counted = [
        metrics.registry.get_sample_value("streamdrift_baseline_events_total", {"outcome": outcome})
        for outcome in ("read", "rejected")
    ]
    assert counted == [300, 2]


@pytest.mark.parametrize("command", [["replay", "-"], ["detect"], ["config", "check"]])
def test_a_baseline_that_is_not_there_is_told_in_a_sentence(tmp_path: Path, command: list[str]) -> None:
    done = streamdrift(*command, settings={BASELINE: str(tmp_path / "nowhere.ndjson")})
    assert done.code == 3
    assert "nowhere.ndjson can't be read: no such file or directory; correct reference.baseline" in done.said


def test_a_damaged_baseline_ends_the_run_before_it_begins(tmp_path: Path) -> None:
    month = tmp_path / "month.ndjson.gz"
    month.write_bytes(gzip.compress(b"\n".join(shop(300, 0)))[:-300])
    done = streamdrift("replay", "-", stdin=shop(1, 0)[0], settings={BASELINE: str(month)})
    assert done.code == 3
    assert "the recorded baseline can't be used" in done.said
    month.write_bytes(gzip.compress(b"nonsense\n"))
    done = streamdrift("replay", "-", stdin=shop(1, 0)[0], settings={BASELINE: str(month)})
    assert done.code == 3
    assert "has no inference event in it" in done.said


def test_it_counts_by_its_content(tmp_path: Path, month: Path) -> None:
    def named(path: Path) -> str:
        return config_hash(Settings.model_validate({"reference": {"baseline": str(path)}}))

    copy = written(tmp_path / "copy.ndjson", shop(700, 0))
    other = written(tmp_path / "other.ndjson", shop(701, 0))
    assert named(copy) == named(month) != named(other) != config_hash(Settings())


def tree(month: Path, **more: Any) -> Settings:
    reference = {"events": 200, "baseline": str(month)}
    return Settings.model_validate({"reference": reference, "detectors": {"ks": {"window_events": 100}}, **more})


def live(exchange: str, settings: Settings) -> list[Alert]:
    broker, clock = MemoryBroker(), FakeClock()
    for line in shop(300, MONTH_S, seed=2) + shop(300, MONTH_S + 300, shift=2, seed=4):
        broker.append(settings.topics.events, line)
    if exchange == "direct":
        drain(worker(Direct(settings, "config", Metrics()), broker, clock, settings))
    else:
        drain(worker(Assemble(settings, Metrics()), broker, clock, settings))
        drain(worker(Detect(settings, "config", Metrics()), broker, clock, settings))
    return published(broker)


@settings(max_examples=5, deadline=None)
@given(st.integers(16, 900))
def test_neither_the_exchange_nor_the_size_of_batches_changes_an_alert(
    tmp_path_factory: pytest.TempPathFactory, size: int
) -> None:
    month = written(tmp_path_factory.mktemp("month") / "month.ndjson", shop(450, 0))
    expected = sorted(a.alert_id for a in live("direct", tree(month)))
    assert expected
    batches = {"block_events_max": size, "kafka": {"poll_records_max": size}}
    for exchange in ("direct", "topic"):
        assert sorted(a.alert_id for a in live(exchange, tree(month, **batches))) == expected


def test_a_new_version_is_compared_with_the_recorded_one(tmp_path: Path) -> None:
    def scored(n: int, first: int, version: str, shift: float, seed: int) -> list[bytes]:
        scores = np.random.default_rng(seed).standard_normal(n) + shift
        events = [
            {"model": {"name": "shop", "version": version}, "occurred_at": START + (first + i) * 1_000}
            | {"prediction": {"score": float(score)}}
            for i, score in enumerate(scores)
        ]
        return [json.dumps(one).encode() for one in events]

    training = written(tmp_path / "training.ndjson", scored(300, 0, "7", 0, 1))
    for shift, expected in ((0, []), (2, [("shop//prediction.score@8", "version_shift")])):
        events, alerts = written(tmp_path / "live.ndjson", scored(400, MONTH_S, "8", shift, 2)), tmp_path / "alerts"
        assert streamdrift("replay", events, "--alerts", alerts, settings={BASELINE: str(training)}).code == 0
        assert told(alerts) == expected
