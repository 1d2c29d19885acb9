"""The judge is not blind: what is lost, twice or different it finds, and a fault that never struck is none."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from streamdrift.alerts import Alert
from tests.detect.test_bank import detect, records
from tests.detect.test_bank import traffic as small_traffic
from tests.soak.launcher import POINTS
from tests.soak.schedule import INSTEAD, LONG, SHORT, schedule
from tests.soak.traffic import traffic
from tests.soak.verdict import BARS, Difference, Run, Said, compare, markdown

ALERTS: list[Alert] = detect(records(small_traffic(3_000)))
CALM = [Said.of(alert.to_cloudevent()) for alert in ALERTS]


def a_run(alerts: Difference, **changed: object) -> Run:
    run = Run(
        facts={"seed": 1, "commit": "c", "workers": 2, "brokers": 1, "events": 9, "seconds": 1, "exchange": "topic"},
        alerts=alerts,
        uncommitted=alerts,
        letters=Difference(),
        states={"compared": True, "hashes": 3, "different": 0, "differing": []},
        hanging=[],
        transactional=True,
        planned={"kill": 1},
        struck=Counter({"kill": 30, "crash:after_commit": 25, "stop": 24, "broker_kill": 6}),
        not_struck=[],
        exits=Counter(),
        stop_codes=[0, 0],
        drained=True,
    )
    return replace(run, **changed)  # type: ignore[arg-type]  # names and types are the test's own


def test_the_same_in_any_order_is_no_difference() -> None:
    assert len(CALM) > 10
    assert compare(CALM, CALM[::-1]).none
    assert not a_run(compare(CALM, CALM[::-1])).faults(bars=False)


def test_what_is_lost_twice_foreign_or_different_is_told_by_id() -> None:
    other = replace(ALERTS[4], traffic_share=0.123, effect_size=9.0)
    foreign = replace(ALERTS[5], events_seen=1)
    said = [*CALM[1:4], Said.of(other.to_cloudevent()), Said.of(foreign.to_cloudevent()), *CALM[6:], *CALM[7:9]]
    found = compare(CALM, said)
    assert found.lost == sorted([CALM[0].id, CALM[5].id])
    assert found.foreign == [foreign.alert_id]
    assert found.twice == {CALM[7].id: 2, CALM[8].id: 2}
    assert found.surplus == 2
    assert found.different == [CALM[4].id]
    assert found.fields == Counter({"data.traffic_share": 1, "data.effect_size": 1})
    assert len(a_run(found).faults(bars=False)) == 3


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"drained": False}, "catch up"),
        ({"hanging": ["worker-1 Ongoing"]}, "worker-1"),
        ({"states": {"compared": True, "hashes": 3, "different": 1, "differing": ["m/x"]}}, "1 places: ['m/x']"),
        ({"states": {"compared": False, "reason": "no state"}}, "not compared: no state"),
        ({"not_struck": ["disk_full: 0 of 1"]}, "disk_full"),
        ({"stop_codes": [0, 1]}, "[0, 1]"),
        ({"struck": Counter({"kill": 49, "stop": 24, "broker_kill": 6})}, "49 kill_9"),
        ({"struck": Counter({"kill": 50, "stop": 19, "broker_kill": 6})}, "19 stop"),
        ({"struck": Counter({"kill": 50, "stop": 20, "broker_kill": 4})}, "4 broker_kill"),
    ],
)
def test_nothing_that_must_not_be_passes(changed: dict[str, object], told: str) -> None:
    (fault,) = (f for f in a_run(compare(CALM, CALM), **changed).faults(bars=True) if "to be compared" not in f)
    assert told in fault
    assert not a_run(compare(CALM, CALM)).faults(bars=False)


def test_too_few_alerts_prove_nothing() -> None:
    assert [f for f in a_run(compare(CALM, CALM)).faults(bars=True) if "the bar is 300" in f]


def test_the_summary_is_for_people_too() -> None:
    text = markdown(a_run(compare(CALM, [*CALM, CALM[0]])).to_json(bars=False))
    assert "# Soak: FAILED" in text
    assert "1 came twice" in text
    assert f"| alerts | {len(CALM)} | {len(CALM) + 1} | 0 | 1 | 0 | 0 |" in text


def test_a_seed_gives_the_same_schedule_and_the_same_bytes() -> None:
    def once(seed: int) -> object:
        return schedule(seed, 60, LONG, workers=3, brokers=3, session_s=6)

    assert once(7) == once(7)
    assert once(7) != once(8)
    assert list(traffic(3, 600)) == list(traffic(3, 600))
    assert list(traffic(3, 600)) != list(traffic(4, 600))


def test_the_long_schedule_is_above_the_bars_and_comes_to_every_point() -> None:
    faults = schedule(1, 1_800, LONG, workers=3, brokers=3, session_s=6)
    kinds = Counter(fault.kind for fault in faults)
    assert kinds["kill"] + kinds["crash"] > BARS["kill_9"]
    assert kinds["stop"] > BARS["stop"]
    assert kinds["broker_kill"] > BARS["broker_kill"]
    assert {fault.point for fault in faults if fault.kind == "crash"} == set(POINTS)
    assert all(fault.seconds > 6 for fault in faults if fault.kind == "stop")
    assert set(INSTEAD) < set(POINTS)
    assert not set(INSTEAD) & set(INSTEAD.values())
    assert set(SHORT) <= set(LONG)
