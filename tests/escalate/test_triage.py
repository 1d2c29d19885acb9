from dataclasses import replace
from typing import Any

import pytest

from streamdrift.alerts import Alert
from streamdrift.escalate.policy import Incident, blast_radius, headline
from tests.escalate.conftest import MINUTE, NOW, ONSET, make_alert


def incident(*alerts: Alert, **other: Any) -> Incident:
    moment = int(NOW * 1000)
    fields: dict[str, Any] = {"status": "open", "resolved": frozenset()} | other
    return Incident(
        "c0ffee",
        alerts[0].model_name,
        severity="warning",
        opened_at=moment,
        updated_at=moment,
        onset_at=ONSET,
        alerts=alerts,
        **fields,
    )


def shift(feature: str = "seats", segment: str = "", **other: Any) -> Alert:
    sides: dict[str, Any] = {
        "reference": {"mean": 151.2, "sd": 83.0},
        "current": {"n": 5000, "mean": 113.0, "sd": 80.0},
    }
    fields: dict[str, Any] = {"effect_size": -0.46, "effect_unit": "sd"} | sides | other
    return make_alert(feature, segment, "mean_shift", **fields)


def gone(segment: str = "carrier=EV", **other: Any) -> Alert:
    sides = {"reference": {"n": 5000, "share": 0.28}, "current": {"n": 192, "share": 0.0}}
    fields: dict[str, Any] = {"severity": "critical", "effect_size": 0.001, "effect_unit": "ratio"} | sides | other
    return make_alert("traffic.rate", segment, "silence", **fields)


# Where ---------------------------------------------------------------------------------------------------------------


def where(*alerts: Alert) -> dict[str, str]:
    return blast_radius(incident(*alerts)).segment


def test_one_alert_is_its_own_place() -> None:
    assert where(make_alert(segment="origin=EWR")) == {"origin": "EWR"}
    assert where(make_alert(segment="")) == {}


def test_all_traffic_has_it_where_its_effect_is_that_of_its_children() -> None:
    children = [make_alert(segment=f"origin={origin}", effect_size=0.1) for origin in ("EWR", "JFK")]
    assert where(*children, make_alert(segment="", effect_size=0.09)) == {}


def test_a_diluted_effect_in_all_traffic_is_that_of_the_child() -> None:
    whole = make_alert(segment="", effect_size=0.037)
    assert where(whole, make_alert(segment="origin=EWR", effect_size=0.102)) == {"origin": "EWR"}


def test_effects_told_by_few_events_are_compared_as_far_as_they_go() -> None:
    few = {"n": 32, "mean": 113.0}
    children = [
        shift(segment=f"origin={origin}", effect_size=size, current=few)
        for origin, size in (("EWR", -0.8), ("LGA", -1.3))
    ]
    children = [*children, shift(segment="origin=JFK", effect_size=-0.75, current=few)]
    assert where(*children, shift(effect_size=-0.76, current={"n": 368, "mean": 1.0})) == {}


def test_a_change_that_began_in_one_child_alone_is_that_childs() -> None:
    few = {"n": 16, "null_rate": 0.125}
    ewr = make_alert(segment="origin=EWR", effect_size=0.0625, current={"n": 48, "null_rate": 0.0625})
    whole = make_alert(segment="", at=14, effect_size=0.125, current=few)
    carriers = [
        make_alert(segment=f"carrier={name}", at=100, effect_size=size, current={"n": 32}, traffic_share=0.16)
        for name, size in (("EV", 0.156), ("UA", 0.083))
    ]
    assert where(ewr, whole) == {"origin": "EWR"}
    assert where(ewr, whole, *carriers) == {"origin": "EWR"}
    assert where(ewr, whole, *carriers, make_alert(segment="origin=JFK", at=120, effect_size=0.1)) == {}


def test_children_alike_go_by_their_share_of_the_traffic() -> None:
    small = make_alert(segment="origin=LGA", traffic_share=0.3)
    assert where(small, make_alert(segment="origin=EWR", traffic_share=0.36)) == {"origin": "EWR"}


def test_a_share_that_fell_further_is_the_larger_effect() -> None:
    fell = gone("carrier=UA", effect_size=0.74)
    assert where(fell, gone("carrier=EV", effect_size=0.03, traffic_share=0.1)) == {"carrier": "EV"}


# Which leads ---------------------------------------------------------------------------------------------------------


def lead(*alerts: Alert) -> str:
    return blast_radius(incident(*alerts)).lead.feature


def test_a_fault_leads_before_a_drift_then_the_strongest_then_the_earliest() -> None:
    fault = make_alert("null", statistic=17.0)
    assert lead(shift("drift", statistic=900.0), fault) == "null"
    assert lead(make_alert("weak", statistic=20.0), make_alert("strong", statistic=30.0)) == "strong"
    assert lead(make_alert("late", onset_at=ONSET + 1), make_alert("early")) == "early"


def test_traffic_leads_alone_or_far_ahead_or_graver() -> None:
    mild = {"severity": "warning"}
    assert lead(gone()) == "traffic.rate"
    assert lead(gone(**mild, statistic=40.0), shift("seats", statistic=32.0)) == "seats"
    assert lead(gone(**mild, statistic=64.0), shift("seats", statistic=32.0)) == "traffic.rate"
    assert lead(gone(statistic=17.0), shift("seats", statistic=32.0)) == "traffic.rate"


def test_what_is_over_and_what_is_slight_does_not_lead() -> None:
    strong, weak = make_alert("strong", statistic=900.0), make_alert("weak")
    assert blast_radius(incident(strong, weak, resolved=frozenset([(strong.series_id, strong.reason)]))).lead == weak
    assert lead(make_alert("strong", statistic=900.0, severity="info"), weak) == "weak"


def test_a_resolved_incident_tells_of_all_that_it_had() -> None:
    alerts = make_alert("strong", statistic=900.0), make_alert("weak")
    over = incident(*alerts, status="resolved", resolved=frozenset((a.series_id, a.reason) for a in alerts))
    assert blast_radius(over).features == ("strong", "weak")


# In words ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("alert", "line"),
    [
        (
            make_alert(),
            (
                "flight-delay: null_rate on dep_delay in origin=EWR (36 % of traffic) since 2013-04-17 08:00 UTC; "
                "0.1 % → 10.2 % null; 1 feature, 1 segment"
            ),
        ),
        (
            shift(),
            (
                "flight-delay: mean_shift on seats in all traffic since 2013-04-17 08:00 UTC; "
                "mean 151 → 113 (−0.46 sd); 1 feature, 1 segment"
            ),
        ),
        (
            shift(effect_robust=-2.31),
            (
                "flight-delay: mean_shift on seats in all traffic since 2013-04-17 08:00 UTC; "
                "mean 151 → 113 (−0.46 sd, robust −2.31 sd); 1 feature, 1 segment"
            ),
        ),
        (
            shift(effect_robust=-0.6),  # too close to be of interest
            (
                "flight-delay: mean_shift on seats in all traffic since 2013-04-17 08:00 UTC; "
                "mean 151 → 113 (−0.46 sd); 1 feature, 1 segment"
            ),
        ),
        (
            make_alert(
                "traffic.duplicates",
                "",
                "duplicate_events",
                reference={"n": 5000, "duplicate_rate": 0.01},
                current={"n": 160, "duplicate_rate": 0.5},
            ),
            (
                "flight-delay: duplicate_events on traffic.duplicates in all traffic since 2013-04-17 08:00 UTC; "
                "1.0 % → 50 % duplicates; 1 feature, 1 segment"
            ),
        ),
        (
            make_alert(
                "seats",
                "",
                "variance_shift",
                effect_unit="ratio",
                effect_size=3.0,
                effect_robust=1.1,
                reference={"sd": 10},
                current={"sd": 30},
            ),
            (
                "flight-delay: variance_shift on seats in all traffic since 2013-04-17 08:00 UTC; "
                "sd 10 → 30 (robust × 1.1); 1 feature, 1 segment"
            ),
        ),
        (
            gone(),
            (
                "flight-delay: silence on traffic.rate in carrier=EV (36 % of traffic) since 2013-04-17 08:00 UTC; "
                "28 % → 0 % of traffic; 1 feature, 1 segment"
            ),
        ),
    ],
)
def test_the_headline_is_in_human_units(alert: Alert, line: str) -> None:
    assert headline(incident(alert)) == line


def test_what_shows_the_same_change_is_not_told_as_another() -> None:
    diluted = make_alert(segment="", effect_size=0.037, severity="info", current={"n": 1500, "null_rate": 0.038})
    told = headline(incident(diluted, make_alert(effect_size=0.102, current={"n": 500, "null_rate": 0.103})))
    assert " in origin=EWR (36 % of traffic) " in told
    assert told.endswith("1 feature, 1 segment, also seen in 1 more")


def test_two_places_are_both_named() -> None:
    origins = [make_alert(segment=f"origin={name}", traffic_share=0.1) for name in ("EWR", "JFK", "LGA", "PHL")]
    assert " in origin=EWR and origin=JFK (20 % of traffic) since " in headline(incident(*origins[:2]))
    assert " in origin=EWR, origin=JFK and 2 more (40 % of traffic) " in headline(incident(*origins))
    assert blast_radius(incident(*origins)).segments == tuple({"origin": o} for o in ("EWR", "JFK", "LGA", "PHL"))


def test_a_wide_onset_is_told_with_its_range() -> None:
    narrow = make_alert(onset_range=(ONSET - 60_000, ONSET + 60_000))
    assert " since 2013-04-17 08:00 UTC; " in headline(incident(narrow))
    wide = make_alert(onset_range=(ONSET - 25 * 60_000, ONSET + 20 * 60_000))
    assert " since 2013-04-17 08:00 UTC, between 07:35 and 08:20; " in headline(incident(wide))
    days = make_alert(onset_range=(ONSET - 20 * 3_600_000, ONSET + 60_000))
    assert " UTC, between 2013-04-16 12:00 and 08:01; " in headline(incident(days))


def test_hostile_and_long_names_stay_on_one_short_line() -> None:
    told = headline(incident(make_alert("f\n\u202e\x1b[31m" * 99, "dim=" + "\r\nx" * 99, "r" * 99, model="m" * 999)))
    assert told.isprintable()
    assert len(told) < 250


@pytest.mark.parametrize("side", [{}, {"n": None, "mean": "x", "null_rate": float("nan")}, {"n": -5, "share": True}])
@pytest.mark.parametrize("unit", ["sd", "share", "ks", "ratio", "furlongs"])
@pytest.mark.parametrize("effect", [0.0, -1e308, 1e308])
def test_thin_alerts_are_told_somehow(side: dict[str, Any], unit: str, effect: float) -> None:
    for alert in (make_alert(), shift(), gone()):
        thin = make_alert(
            alert.feature,
            reason=alert.reason,
            role=alert.role,
            kind=alert.kind,
            effect_size=effect,
            effect_unit=unit,
            reference=side,
            current=side,
            threshold=0.0,
        )
        found = incident(thin, make_alert("other", current=side))
        assert len(headline(found)) < 250
        assert blast_radius(found).lead in found.alerts


@pytest.mark.parametrize(
    ("alerts", "first"),
    [
        ([make_alert("mcc"), make_alert("amount", onset_at=ONSET + 6 * MINUTE)], "mcc"),
        ([make_alert("mcc"), make_alert("amount", onset_at=ONSET + 4 * MINUTE)], None),  # too near to tell
        ([make_alert("mcc"), make_alert("mcc", "origin=JFK", onset_at=ONSET + 600 * MINUTE)], None),  # one alone
        (
            [
                make_alert("mcc", onset_range=(ONSET - 60 * MINUTE, ONSET + 20 * MINUTE)),
                make_alert("amount", onset_at=ONSET + 15 * MINUTE),
            ],
            None,  # its own may be later
        ),
        (
            [
                make_alert("amount", onset_at=ONSET + 15 * MINUTE),
                make_alert("mcc", onset_at=ONSET + 30 * MINUTE),
                make_alert("mcc", "", onset_at=ONSET),
            ],
            "mcc",  # wherever it moved
        ),
    ],
)
def test_which_feature_moved_first_is_said_where_the_change_points_tell(alerts: list[Alert], first: str | None) -> None:
    told = headline(incident(*alerts))
    assert (f"; {first} moved first" in told) == (first is not None)
    assert ("moved first" in told) == (first is not None)


def test_the_rest_of_the_model_is_told_of_where_it_is_known() -> None:
    here = incident(make_alert())
    assert "quiet" not in headline(here)
    assert headline(here, 0).endswith("; 1 feature, 1 segment; everything else quiet")
    assert headline(here, 1).endswith("; 1 other incident of the model open")
    assert "quiet" not in headline(incident(make_alert(), make_alert("seats", severity="info")), 0)
    assert "quiet" not in headline(replace(here, status="resolved"), 0)
