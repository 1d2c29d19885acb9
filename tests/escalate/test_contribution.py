"""Constructed cases: what moved is known, alerts tell it as detectors would, from few events and with noise."""

import random
from collections.abc import Iterable, Mapping
from time import process_time
from typing import Any

import pytest

from streamdrift.alerts import Alert
from streamdrift.escalate.attribution import surprise
from streamdrift.escalate.contribution import Cell
from streamdrift.escalate.effects import displaced, measured
from streamdrift.escalate.ranking import ranked
from tests.escalate.conftest import ONSET, make_alert

REGIONS = {f"r{i:02}": 1 / 30 for i in range(30)}
THRESHOLD = 16.0
EVENTS_MAX = 4096
RUNS = 200
"""With 0.95 the standard error of a share is 0.015."""


def shift(segment: str, effect: float, share: float = 1.0, n: int = 400, *, feature: str = "x", **other: Any) -> Alert:
    sides = {"reference": {"n": 5000, "mean": 0.0, "sd": 1.0}, "current": {"n": n, "mean": effect}}
    evidence = max(THRESHOLD, effect * effect * n / 2)
    fields: dict[str, Any] = {"effect_size": effect, "effect_unit": "sd", "statistic": evidence} | sides | other
    return make_alert(feature, segment, "mean_shift", traffic_share=share, **fields)


def noticed(truth: Mapping[str, tuple[float, float]], seed: int, **other: Any) -> list[Alert]:
    """Alerts of segments whose true effect (in sd) and traffic share are given, at the evidence of a threshold.

    An effect d needs n = 2 T / d² events for T nats; it is then known to a standard error of 1/√n, and it was noticed
    after n / share events of the model. More than ``EVENTS_MAX`` events are not looked at.
    """
    generator = random.Random(seed)
    found = []
    for segment, (effect, share) in truth.items():
        n = 2 * THRESHOLD * generator.uniform(1.0, 1.6) / max(effect * effect, 1e-12)
        if n <= EVENTS_MAX:
            n = max(16.0, n)
            seen = abs(generator.gauss(effect, n**-0.5))
            found.append(shift(segment, seen, share, round(n), at=round(n / share), **other))
    return sorted(found, key=lambda alert: (alert.detected_at, alert.series_id))


def diluted(shares: Mapping[str, float], moved: Iterable[str], effect: float) -> dict[str, tuple[float, float]]:
    """Regions of which some moved, and all traffic."""
    moved = set(moved)
    truth = {f"region={r}": (effect if r in moved else 0.0, share) for r, share in shares.items()}
    return truth | {"": (effect * sum(shares[r] for r in moved), 1.0)}


def lead(alerts: list[Alert]) -> set[str]:
    """Segments that the first cell and those beside it name."""
    first = ranked(alerts)[0]
    return {name(first.segment), *(name(alert.segment) for alert in first.beside)}


def name(segment: dict[str, str]) -> str:
    return ",".join(f"{k}={v}" for k, v in segment.items())


def share_right(truths: Iterable[tuple[dict[str, tuple[float, float]], set[str]]]) -> float:
    right = [lead(noticed(truth, seed)) == expected for seed, (truth, expected) in enumerate(truths)]
    return sum(right) / len(right)


# One feature ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("effect", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("share", [0.01, 0.05, 0.1, 0.5])
def test_one_of_thirty_regions_is_named(share: float, effect: float) -> None:
    shares = {"r00": share} | {f"r{i:02}": (1 - share) / 29 for i in range(1, 30)}
    assert share_right([(diluted(shares, ["r00"], effect), {"region=r00"})] * RUNS) >= 0.95


@pytest.mark.parametrize("effect", [0.5, 1.0, 3.0])
def test_all_regions_are_all_traffic(effect: float) -> None:
    assert share_right([(diluted(REGIONS, REGIONS, effect), {""})] * RUNS) >= 0.95
    three = {"a": 0.4, "b": 0.35, "c": 0.25}
    assert share_right([(diluted(three, three, effect), {""})] * RUNS) >= 0.95


def test_children_that_have_all_the_traffic_are_all_of_it() -> None:
    truth = diluted(REGIONS, REGIONS, 1.0)
    del truth[""]
    assert share_right([(truth, {""})] * RUNS) >= 0.95


@pytest.mark.parametrize("effect", [0.5, 1.0, 3.0])
def test_two_regions_are_both_named(effect: float) -> None:
    truth = diluted(REGIONS, ["r03", "r17"], effect), {"region=r03", "region=r17"}
    assert share_right([truth] * RUNS) >= 0.95
    (first, second), others = ranked(noticed(truth[0], 1))[:2], ranked(noticed(truth[0], 1))[2:]
    assert first.explains + second.explains == pytest.approx(1.0, abs=0.01)
    assert others == ()


def test_a_device_that_comes_from_the_region_is_explained_by_it() -> None:
    """80 % of the events of region EU are of device ios, which has few others."""
    truth = {"region=EU": (1.0, 0.2), "device=ios": (0.73, 0.22), "device=web": (0.06, 0.7), "": (0.2, 1.0)}
    assert share_right([(truth, {"region=EU"})] * RUNS) >= 0.9
    exact = [shift(segment, effect, share, n=4000) for segment, (effect, share) in truth.items()]
    (cell,) = ranked(exact)
    assert cell.explains == 1.0
    assert [alert.segment for alert in cell.also] == [{}, {"device": "web"}, {"device": "ios"}]


def test_two_regions_are_named_and_not_the_device_that_most_of_their_events_have() -> None:
    truth = diluted(REGIONS, ["r03", "r17"], 1.0) | {"device=ios": (0.09, 0.6)}
    assert share_right([(truth, {"region=r03", "region=r17"})] * RUNS) >= 0.95


def test_a_diluted_parent_or_a_child_alone_is_its_own_place() -> None:
    for segment in ("", "region=r00"):
        (cell,) = ranked([shift(segment, 0.1, 0.03)])
        assert (name(cell.segment), cell.explains, cell.also, cell.contribution) == (segment, 1.0, (), 1.0)


def test_a_region_that_moved_more_than_all_traffic_did_is_a_cell_of_its_own() -> None:
    children = [shift(f"region=r{i:02}", 0.5, 1 / 30) for i in range(1, 12)]
    cells = ranked([shift("", 0.55, n=2000), shift("region=r00", 2.5, 1 / 30), *children])
    assert [name(cell.segment) for cell in cells] == ["", "region=r00"]
    assert len(cells[0].also) == 11


def test_another_region_that_moved_the_other_way_is_a_cell_of_its_own() -> None:
    cells = ranked([shift("region=a", 2.0, 0.3), shift("region=b", -1.0, 0.1), shift("", 0.5, n=2000)])
    assert [name(cell.segment) for cell in cells] == ["region=a", "region=b"]


def test_means_are_compared_in_units_of_the_feature() -> None:
    """The region's values scatter a tenth as much: ten of its own sd are one of all traffic's."""
    region = shift("region=a", 10.0, 0.1, reference={"sd": 0.1})
    everywhere = shift("", 0.1, n=4000, reference={"sd": 1.0})
    assert [(e.size, e.mass) for e in measured([region, everywhere])] == [
        (pytest.approx(1.0), pytest.approx(0.1)),
        (0.1, 0.1),
    ]
    assert [name(cell.segment) for cell in ranked([region, everywhere])] == ["region=a"]


def test_a_region_whose_share_of_nulls_rose_explains_those_of_all_traffic() -> None:
    truth = {"origin=EWR": (0.1, 0.36), "": (0.036, 1.0), "carrier=UA": (0.06, 0.2), "carrier=DL": (0.02, 0.2)}
    alerts = [
        make_alert(segment=s, effect_size=e, traffic_share=w, current={"n": 1500, "null_rate": e})
        for s, (e, w) in truth.items()
    ]
    (cell,) = ranked(alerts)
    assert name(cell.segment) == "origin=EWR"
    assert [name(alert.segment) for alert in cell.also] == ["", "carrier=DL", "carrier=UA"]


def test_an_alert_that_nobody_is_paged_for_is_explained_too() -> None:
    everywhere = shift("", 0.1, n=4000, severity="info")
    (cell,) = ranked([shift("region=a", 1.0, 0.1), everywhere])
    assert cell.also == (everywhere,)
    other = shift("region=b", 0.4, 0.1, severity="info")
    cells = ranked([shift("region=a", 1.0, 0.1), everywhere, other])
    assert [name(cell.segment) for cell in cells] == ["region=a", "region=b"]


def test_a_distribution_that_differs_in_all_traffic_is_that_of_the_region_whose_mean_moved() -> None:
    region = shift("region=a", 3.0, 0.1)
    everywhere = make_alert(
        "x", "", "distribution_shift", effect_size=0.09, effect_unit="ks", current={"n": 4000}, statistic=30.0
    )
    (cell,) = ranked([everywhere, region])
    assert (name(cell.segment), cell.also) == ("region=a", (everywhere,))


def test_segments_that_tell_of_scatter_or_of_their_mean_are_compared_by_means() -> None:
    """Recorded: half of all events moved by 3 sd, and were noticed while the windows still had others in them."""
    region = make_alert(
        "x", "region=r22", "variance_shift", at=0, effect_size=1.878, effect_unit="ratio", traffic_share=0.496,
        statistic=18.6, current={"n": 16, "mean": 2.18, "sd": 1.88}, reference={"n": 5000, "mean": 0.0, "sd": 1.0},
    )  # fmt: skip
    whole = shift("", 1.34, n=32, at=3, statistic=21.6)
    devices = [shift(f"device={d}", e, 0.33, n=32, at=10) for d, e in (("android", 1.53), ("ios", 1.24), ("web", 0.9))]
    (cell,) = ranked([region, whole, *devices])
    assert name(cell.segment) == "region=r22"


def test_where_every_device_moved_one_of_them_is_no_explanation() -> None:
    """Recorded: a tenth of the events of every device moved; the region that did had too few events to be noticed."""
    found = [("", 1.275, 256, 1.0), ("device=ios", 1.621, 80, 0.33), ("device=android", 1.381, 208, 0.33)]
    alerts = [
        make_alert(
            "f0", where, "variance_shift", at=i, effect_size=ratio, effect_unit="ratio", traffic_share=share, statistic=17.0,
            severity="warning" if ratio > 1.5 else "info", current={"n": n}, reference={"n": 5000},
        )
        for i, (where, ratio, n, share) in enumerate([*found, ("device=web", 1.259, 352, 0.34)])
    ]  # fmt: skip
    (cell,) = ranked(alerts)
    assert (name(cell.segment), cell.slight, len(cell.also)) == ("", False, 3)


# Between features ----------------------------------------------------------------------------------------------------


def cells_of(alerts: list[Alert]) -> list[tuple[str, str, str]]:
    return [(cell.alert.feature, name(cell.segment), cell.follows) for cell in ranked(alerts)]


def test_a_score_that_moves_where_a_feature_moved_follows() -> None:
    feature = [shift("origin=EWR", 1.0, 0.36), shift("", 0.36, n=2000)]
    score = [
        shift("origin=EWR", 1.5, 0.36, feature="prediction.score", role="prediction", statistic=90.0),
        shift("", 0.54, n=2000, feature="prediction.score", role="prediction", statistic=90.0),
    ]
    assert cells_of([*score, *feature]) == [("x", "origin=EWR", ""), ("prediction.score", "origin=EWR", "x")]
    assert [cell.contribution for cell in ranked([*score, *feature])] == [1.0, 0.0]


def test_a_score_that_moves_by_itself_leads() -> None:
    score = shift("origin=EWR", 0.6, 0.36, feature="prediction.score", role="prediction")
    assert cells_of([score])[0] == ("prediction.score", "origin=EWR", "")
    elsewhere = shift("origin=JFK", 0.5, 0.3)
    assert cells_of([score, elsewhere])[0] == ("prediction.score", "origin=EWR", "")
    later = shift("origin=EWR", 0.5, 0.36, onset_at=ONSET + 90 * 60_000)
    assert cells_of([score, later])[0] == ("prediction.score", "origin=EWR", "")
    perhaps = shift("origin=EWR", 0.5, 0.36, onset_at=ONSET + 90 * 60_000, onset_range=(ONSET, ONSET + 100 * 60_000))
    assert cells_of([score, perhaps])[0] == ("x", "origin=EWR", "")


@pytest.mark.parametrize(("ratio", "share", "follows"), [(2.0, 0.5, True), (3.5, 0.4, True), (3.0, 0.05, False)])
def test_a_surge_of_events_that_come_twice_follows_from_them(ratio: float, share: float, follows: bool) -> None:
    surge = make_alert(
        "traffic.rate", "", "volume_surge", effect_unit="ratio", effect_size=ratio, statistic=20.0,
        current={"n": 16, "rate": ratio},
    )  # fmt: skip
    twice = make_alert("traffic.duplicates", "", "duplicate_events", effect_size=share, current={"n": 160})
    told = cells_of([surge, twice])
    assert told[0 if follows else 1] == ("traffic.duplicates", "", "")
    assert told[1 if follows else 0] == ("traffic.rate", "", "traffic.duplicates" if follows else "")


def test_a_null_fault_in_one_origin_leads_before_all_that_it_moves() -> None:
    nulls = [make_alert(), make_alert(segment="", effect_size=0.037, current={"n": 1500, "null_rate": 0.037})]
    score = shift("origin=EWR", 3.0, 0.36, feature="prediction.score", role="prediction")
    weather = shift("", 0.8, feature="wind")
    assert cells_of([score, weather, *nulls]) == [
        ("dep_delay", "origin=EWR", ""),
        ("wind", "", ""),
        ("prediction.score", "origin=EWR", "dep_delay"),
    ]


def test_of_two_features_the_one_that_moved_more_of_the_traffic_leads() -> None:
    small, large = shift("origin=EWR", 0.6, 0.1, feature="small"), shift("origin=EWR", 0.6, 0.5, feature="large")
    cells = ranked([small, large])
    assert [cell.alert.feature for cell in cells] == ["large", "small"]
    assert sum(cell.contribution for cell in cells) == pytest.approx(1.0)


# All of it -----------------------------------------------------------------------------------------------------------


def everything(cells: Iterable[Cell]) -> list[Alert]:
    return [alert for cell in cells for alert in (cell.alert, *cell.also)]


@pytest.mark.parametrize("seed", range(30))
def test_every_alert_is_told_once(seed: int) -> None:
    generator = random.Random(seed)
    units = ("sd", "share", "ks", "ratio")
    alerts = {}
    for _ in range(generator.randrange(1, 120)):
        segment = generator.choice(["", "a=1", "a=2", "a=3", "b=1", "b=2", "c=1"])
        made = make_alert(
            generator.choice("xyz"),
            segment,
            generator.choice(["mean_shift", "null_rate", "silence", "distribution_shift"]),
            effect_size=generator.choice([0.0, -1.0, 1e308, float("nan"), generator.gauss(0, 1)]),
            effect_unit=generator.choice(units),
            severity=generator.choice(["info", "warning", "critical"]),
            traffic_share=generator.choice([0.0, 0.1, 0.9, 1.0]),
            statistic=generator.choice([0.0, 20.0, 1e300]),
            role=generator.choice(["feature", "prediction", "traffic"]),
            current=generator.choice([{}, {"n": 0}, {"n": 100, "share": 0.1}, {"n": "many"}]),
        )
        alerts[made.series_id, made.reason] = made
    cells = ranked(list(alerts.values()))
    assert sorted(map(id, everything(cells))) == sorted(map(id, alerts.values()))
    assert all(0 <= cell.explains <= 1 and 0 <= cell.contribution <= 1 and cell.surprise >= 0 for cell in cells)
    graver = [not cell.slight for cell in cells]
    assert graver == sorted(graver, reverse=True)
    again = ranked(list(alerts.values()))
    assert [cell.alert.series_id for cell in again] == [cell.alert.series_id for cell in cells]


def test_surprise_grows_with_what_is_explained_and_falls_with_the_traffic() -> None:
    assert surprise(0.1, 1.0) > surprise(0.1, 0.5) > surprise(0.3, 0.5) > surprise(0.5, 0.5) == 0.0


def test_displaced_is_a_share() -> None:
    for unit in ("sd", "share", "ks", "ratio"):
        for effect in (0.0, 1e-9, 0.5, 1.0, 1.0 + 1e-9, 3.0, 1e308, float("inf"), float("nan"), -2.0):
            for role in ("feature", "traffic"):
                assert 0 <= displaced(make_alert(effect_unit=unit, effect_size=effect, role=role)) <= 1


@pytest.mark.parametrize("features", [1, 100])
def test_ten_thousand_alerts_take_less_than_a_second(features: int) -> None:
    generator = random.Random(7)
    alerts = [
        shift(f"d{i % 10}=v{i}", generator.uniform(0.3, 3.0), generator.uniform(1e-4, 0.05), feature=f"f{i % features}")
        for i in range(10_000)
    ]
    assert seconds(alerts) < 1.0


def seconds(alerts: list[Alert]) -> float:
    began = process_time()
    cells = ranked(alerts)
    took = process_time() - began
    assert len(everything(cells)) == len(alerts)
    return took
