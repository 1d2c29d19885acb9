from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from streamdrift.alerts import Alert, series_id
from streamdrift.escalate.policy import Incident
from streamdrift.report import Delivery, HeatMap, IncidentReport, RunReport

ONSET = 1_366_185_600_000  # 17 April 2013, 08:00
HOUR = 3_600_000

NUMERIC = (
    {
        "n": 5000,
        "mean": 144.0,
        "sd": 47.8,
        "null_rate": 0.0,
        "histogram": {"edges": [60.0, 120.0, 180.0, 240.0], "counts": [25, 1800, 2000, 1150, 25]},
    },
    {
        "n": 512,
        "mean": 107.0,
        "sd": 36.0,
        "null_rate": 0.0,
        "histogram": {"edges": [60.0, 120.0, 180.0, 240.0], "counts": [70, 300, 130, 12, 0]},
    },
)
NULLS = ({"n": 5000, "null_rate": 0.0}, {"n": 160, "null_rate": 0.1})
CATEGORIES = (
    {"n": 5000, "null_rate": 0.0, "categories": {"UA": 0.38, "EV": 0.37, "B6": 0.25}},
    {"n": 128, "categories": {"UA": 0.6, "EV": 0.0, "B6": 0.4}},
)
TRAFFIC = ({"n": 5000, "share": 0.161}, {"n": 256, "share": 0.0})


def make_alert(
    feature: str = "dep_delay",
    segment: dict[str, str] | None = None,
    reason: str = "null_rate",
    sides: tuple[dict[str, Any], dict[str, Any]] = NULLS,
    effect: tuple[float, str] = (0.1, "share"),
    role: str = "feature",
    **other: Any,
) -> Alert:
    where = {"origin": "EWR"} if segment is None else segment
    made = Alert(
        series_id=series_id("flight-delay", where, feature),
        status="firing",
        kind="drift" if reason.endswith("_shift") else "anomaly",
        reason=reason,
        severity="warning",
        model={"name": "flight-delay", "version": "7"},
        segment=where,
        feature=feature,
        role=role,
        detector="scan",
        detectors=("adwin", "scan"),
        detected_at=ONSET + 2 * HOUR,
        onset_at=ONSET,
        events_since_onset=160,
        events_seen=12_000,
        statistic=31.8,
        threshold=16.0,
        effect_size=effect[0],
        effect_unit=effect[1],
        reference=sides[0],
        current=sides[1],
        traffic_share=0.36,
        config_hash="c0ffee",
    )
    return replace(made, **other)


def make_incident(*alerts: Alert, status: str = "resolved") -> Incident:
    return Incident(
        incident_id="inc-1",
        model="flight-delay",
        status="resolved" if status == "resolved" else "open",
        severity="warning",
        opened_at=min(a.detected_at for a in alerts),
        updated_at=ONSET + 84 * HOUR,
        onset_at=min(a.onset_at for a in alerts),
        alerts=alerts,
        resolved=frozenset((a.series_id, a.reason) for a in alerts if status == "resolved"),
    )


def make_report(*incidents: Incident, heat: HeatMap | None = None, **other: Any) -> RunReport:
    run = RunReport(
        title="Flights",
        generated_for="recorded flights",
        events=59_149,
        rejected={},
        series=228,
        seconds=6.1,
        first_event=ONSET - 900 * HOUR,
        last_event=ONSET + 600 * HOUR,
        incidents=tuple(IncidentReport(incident, heat) for incident in incidents),
        deliveries=tuple(Delivery(i.incident_id, "webhook", "trigger", "delivered", i.opened_at) for i in incidents),
        config_hash="c0ffee",
        engine="reference",
        command="streamdrift demo",
    )
    return replace(run, **other)


@pytest.fixture
def all_kinds() -> list[Alert]:
    return [
        make_alert(),
        make_alert("sched_block_min", {}, "mean_shift", NUMERIC, (-0.77, "sd")),
        make_alert("carrier", reason="category_shift", sides=CATEGORIES, effect=(0.37, "share")),
        make_alert("traffic.rate", {"carrier": "EV"}, "silence", TRAFFIC, (0.0, "ratio"), "traffic"),
    ]


@pytest.fixture
def alert() -> Callable[..., Alert]:
    return make_alert


@pytest.fixture
def incident() -> Callable[..., Incident]:
    return make_incident


@pytest.fixture
def report() -> Callable[..., RunReport]:
    return make_report
