from collections import Counter
from hashlib import blake2b
from itertools import pairwise
from typing import Any

import orjson
import pytest

from streamdrift.demo import flights
from streamdrift.demo.incidents import GONE, INCIDENTS, NULLS, UPSTREAM, events
from streamdrift.settings import Settings

DAY_MS = 86_400_000


@pytest.fixture(scope="module")
def raw() -> list[bytes]:
    return list(events())


@pytest.fixture(scope="module")
def played(raw: list[bytes]) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in raw]


@pytest.fixture(scope="module")
def recorded() -> list[flights.Departure]:
    return list(flights.departures())


def time_of(event: dict[str, Any]) -> int:
    return flights.milliseconds(event["occurred_at"].removesuffix("Z"))


def test_the_recording_is_whole_and_in_order(recorded: list[flights.Departure]) -> None:
    assert len(recorded) == flights.EVENTS
    assert all(a.time <= b.time for a, b in pairwise(recorded))
    assert Counter(d.origin for d in recorded).keys() == {"EWR", "JFK", "LGA"}
    assert all(d.features["dep_delay"] is not None for d in recorded)


def test_the_same_seed_gives_the_same_bytes(raw: list[bytes]) -> None:
    assert blake2b(b"\n".join(raw), digest_size=8).hexdigest() == "8bcfaf577248fe43"
    other = list(events(seed=8))
    assert len(other) == len(raw)
    assert other != raw


def test_incidents_stand_apart_and_recover_before_the_end(recorded: list[flights.Departure]) -> None:
    assert [i.onset for i in INCIDENTS] == sorted(i.onset for i in INCIDENTS)
    for incident in INCIDENTS:
        assert 3 * DAY_MS <= incident.end - incident.onset <= 4 * DAY_MS
    for one, next_one in pairwise(INCIDENTS):
        assert next_one.onset - one.end >= DAY_MS
    assert recorded[-1].time > INCIDENTS[-1].end


def test_reference_windows_are_full_before_the_first_incident(recorded: list[flights.Departure]) -> None:
    wanted = Settings().reference.events
    before = Counter(d.origin for d in recorded if d.time < INCIDENTS[0].onset)
    assert min(before.values()) >= 2 * wanted


def test_one_tenth_of_one_origin_loses_its_delay(played: list[dict[str, Any]]) -> None:
    hit = [e for e in played if e["features"]["dep_delay"] is None]
    assert {e["segments"]["origin"] for e in hit} == {"EWR"}
    assert all(NULLS.holds(time_of(e)) for e in hit)
    there = sum(e["segments"]["origin"] == "EWR" and NULLS.holds(time_of(e)) for e in played)
    assert len(hit) / there == pytest.approx(0.10, abs=0.02)


def test_the_upstream_output_is_a_quarter_off(played: list[dict[str, Any]], recorded: list[flights.Departure]) -> None:
    was = {f"f-{d.line}": d.features["sched_block_min"] for d in recorded}
    for event in played:
        factor = 0.75 if UPSTREAM.holds(time_of(event)) else 1.0
        before = was[event["prediction_id"]]
        assert isinstance(before, float)
        assert event["features"]["sched_block_min"] == before * factor


def test_one_carrier_is_gone_and_comes_back(played: list[dict[str, Any]], recorded: list[flights.Departure]) -> None:
    gone = {f"f-{d.line}" for d in recorded} - {e["prediction_id"] for e in played}
    expected = {f"f-{d.line}" for d in recorded if d.carrier == "EV" and GONE.holds(d.time)}
    assert gone == expected
    assert len(expected) > 300
    assert any(e["segments"]["carrier"] == "EV" for e in played if time_of(e) >= GONE.end)
