"""What a page says about the cells that explain an incident."""

import json

from streamdrift.alerts import Alert
from streamdrift.escalate import page
from streamdrift.escalate.explanation import CELLS_MAX, sentences
from streamdrift.escalate.policy import Incident, blast_radius
from streamdrift.escalate.suspects import suspects
from streamdrift.events.change import Change
from tests.escalate.conftest import ONSET, make_alert
from tests.escalate.test_triage import incident


def nulls(segment: str, rate: float, share: float = 1.0, n: int = 1500, **other: object) -> Alert:
    sides = {"reference": {"n": 5000, "null_rate": 0.0}, "current": {"n": n, "null_rate": rate}}
    return make_alert(segment=segment, effect_size=rate, traffic_share=share, **(sides | other))  # type: ignore[arg-type] # as given


def one_origin() -> Incident:
    score = make_alert(
        "prediction.score", "origin=EWR", "mean_shift", effect_size=0.6, effect_unit="sd", role="prediction"
    )
    return incident(
        score,
        nulls("", 0.036),
        nulls("carrier=UA", 0.05, 0.2),
        nulls("origin=EWR", 0.1, 0.36),
        nulls("carrier=B6", 0.03, 0.1),
    )


def test_the_parent_and_what_overlaps_are_told_with_the_cell_that_explains_them() -> None:
    assert sentences(one_origin()) == [
        (
            "null_rate on dep_delay in origin=EWR: 0 % → 10.0 % null, 100 % of its change; "
            "also seen in all traffic (diluted), carrier=UA, carrier=B6"
        ),
        "mean_shift on prediction.score in origin=EWR: +0.6 sd, follows dep_delay",
    ]


def test_a_page_has_them_for_programs_and_for_people() -> None:
    told = json.loads(page.compose(one_origin(), 0))["incident"]
    assert told["explanation"] == sentences(one_origin())
    first, second = told["explained_by"]
    assert (first["feature"], first["segment"], first["explains"], first["also_seen"]) == (
        "dep_delay",
        {"origin": "EWR"},
        1.0,
        3,
    )
    assert [seen["segment"] for seen in first["also_seen_in"]] == [{}, {"carrier": "UA"}, {"carrier": "B6"}]
    assert (second["follows"], second["contribution"], told["cells"]) == ("dep_delay", 0.0, 2)
    assert told["blast_radius"]["segments"] == [{"origin": "EWR"}]


def test_there_is_an_end_to_what_is_told() -> None:
    many = incident(*[make_alert(f"f{i}") for i in range(40)], *[nulls(f"d{i}=v", 0.01, 0.01) for i in range(150)])
    told = sentences(many)
    assert (len(told), told[-1]) == (CELLS_MAX + 1, f"and {len(blast_radius(many).cells) - CELLS_MAX} more")
    assert len(page.compose(many, 0)) < 500_000


def test_hostile_names_stay_on_one_line() -> None:
    evil = "x\n\u202e" * 99
    (told,) = sentences(incident(make_alert(evil, f"{evil}={evil}"), make_alert(evil, "", effect_size=0.03)))
    assert told.isprintable()
    assert len(told) < 400


def test_the_range_of_the_onset_goes_along() -> None:
    told = page.described(incident(make_alert(onset_range=(ONSET - 1_500_000, ONSET + 300_000))))
    assert told["onset_range"] == ["2013-04-17T07:35:00.000Z", "2013-04-17T08:05:00.000Z"]
    assert "onset_range" not in page.described(incident(make_alert()))


def test_a_change_in_any_of_the_places_is_a_suspect() -> None:
    two = incident(nulls("origin=EWR", 0.1, 0.1), nulls("origin=JFK", 0.1, 0.1))
    changes = [
        Change(name, ONSET, "deployment", "new gate", (), (), {"origin": name}, None, None)
        for name in ("EWR", "JFK", "LGA")
    ]
    assert {found.change.change_id for found in suspects(two, changes)} == {"EWR", "JFK"}
