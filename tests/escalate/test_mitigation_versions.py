"""Which version is the older one, and whether it reads what broke, from what is known and nothing else."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from streamdrift.alerts import Alert
from streamdrift.escalate.changes import Changes
from streamdrift.escalate.database import Database
from streamdrift.escalate.incident import Incident
from streamdrift.escalate.mitigation.offers import Past, offers
from streamdrift.escalate.mitigation.versions import Known, check, previous, serving
from streamdrift.escalate.places import place_of
from streamdrift.escalate.policy import apply
from streamdrift.events import change
from streamdrift.events.change import Change
from streamdrift.settings import EscalateSettings
from tests.escalate.conftest import NOW, ONSET, make_alert
from tests.escalate.mitigations import DAY, NEW, OLD, deployment, settings_of
from tests.test_schemas import LIMITS, record

HOUR = 3_600_000


def incident_of(*alerts: Alert) -> Incident:
    found: Incident | None = None
    for alert in alerts or (make_alert(),):
        found = apply(found, alert, EscalateSettings()).incident
    assert found is not None
    return found


def of_version(version: str | None, feature: str = "dep_delay", **other: Any) -> Alert:
    return replace(make_alert(feature, **other), model={"name": "flight-delay", "version": version})


def judged(known: Known, *alerts: Alert, target: str = "6", current: str = "7") -> tuple[str, str]:
    found = check(incident_of(*alerts), target, current, known)
    return found.verdict, "; ".join(found.why)


# Which one -----------------------------------------------------------------------------------------------------------


def test_the_version_before_is_the_one_that_was_seen_before() -> None:
    incident = incident_of()
    assert (serving(incident, Known()), previous("7", incident, Known())) == ("7", None)
    assert previous("7", incident, Known((OLD, NEW))) == "6"
    back = deployment("5", ONSET - 8 * DAY)
    assert previous("7", incident, Known((OLD, back, NEW))) == "5"
    assert previous("7", incident, Known((), [of_version("6", at=-9_000)])) == "6"
    assert previous("7", incident, Known((), [of_version(None, at=-9_000)])) is None


def test_what_was_deployed_since_the_last_alert_is_what_serves() -> None:
    incident, later = incident_of(), deployment("8", round(NOW * 1000) + HOUR)
    assert serving(incident, Known((OLD, NEW, later))) == "8"
    assert previous("8", incident, Known((OLD, NEW, later))) == "7"
    assert serving(incident_of(of_version(None)), Known()) is None
    assert serving(incident_of(of_version(None)), Known((OLD, NEW))) == "7"


# Whether it helps ----------------------------------------------------------------------------------------------------


def test_what_it_reads_decides_where_its_deployment_says_so() -> None:
    assert judged(Known((OLD, NEW))) == ("clear", "version 6 does not read dep_delay (deploy-6 says what it reads)")
    reads = replace(OLD, reads=("dep_delay",))
    assert judged(Known((reads, NEW))) == ("hit", "version 6 reads dep_delay as well (deploy-6 says what it reads)")
    nothing = replace(OLD, reads=())
    assert judged(Known((nothing, NEW)))[0] == "clear"
    again = replace(OLD, change_id="again", time=ONSET - 3 * DAY, reads=("dep_delay",))
    assert judged(Known((OLD, again, NEW)))[0] == "hit"  # the later one counts


def test_each_of_the_features_that_broke_counts() -> None:
    both = (make_alert(), make_alert("seats", at=1))
    assert judged(Known((OLD, NEW)), *both)[1].startswith("version 6 reads seats as well")
    over = make_alert(closes=both[1], at=2)
    assert judged(Known((OLD, NEW)), *both, over)[0] == "clear"  # what recovered is not broken


@pytest.mark.parametrize(
    ("feature", "role"), [("embedding.photo.norm", "embedding"), ("comment.words", "feature"), ("photo", "feature")]
)
def test_what_is_derived_from_a_feature_is_read_with_it(feature: str, role: Any) -> None:
    old = replace(OLD, reads=("photo", "comment"))
    assert judged(Known((old, NEW)), make_alert(feature, role=role))[0] == "hit"
    assert judged(Known((replace(OLD, reads=("pho", "com")), NEW)), make_alert(feature, role=role))[0] == "clear"


def test_without_it_nothing_is_known_and_that_is_said() -> None:
    silent = replace(OLD, reads=None)
    expected = ("unknown", "whether version 6 reads dep_delay is not known")
    assert judged(Known((silent, NEW))) == expected
    assert judged(Known()) == expected
    assert judged(Known((replace(OLD, version="60"), NEW))) == expected


def test_alerts_of_the_older_version_tell() -> None:
    seen = of_version("6", at=-9_000)
    assert judged(Known((), [seen])) == ("hit", "dep_delay had an alert under version 6, so it comes with that, too")
    assert judged(Known((OLD, NEW), [seen]))[0] == "hit"  # whatever its deployment says
    assert judged(Known((), [of_version("6", "seats", at=-9_000)]))[0] == "unknown"
    mixed = (make_alert(), of_version("6", "seats", at=1))
    assert judged(Known((OLD, NEW)), *mixed) == ("hit", "alerts of this incident are of version 6 itself")


def test_what_began_while_it_served_is_not_mended_by_it() -> None:
    late = deployment("7", ONSET + 90 * 60_000)
    assert judged(Known((OLD, late))) == ("hit", "version 6 served when it began")
    near = deployment("7", ONSET + 30 * 60_000)  # an onset without a range may be early by that
    assert judged(Known((OLD, near)))[0] == "clear"
    ranged = make_alert(onset_range=(ONSET - 60_000, ONSET + 60_000))
    assert judged(Known((OLD, near)), ranged)[0] == "hit"
    assert judged(Known((OLD,)))[0] == "clear"  # when 7 came is not known


def test_where_only_outputs_moved_a_rollback_may_help() -> None:
    output = make_alert("prediction.score", role="prediction")
    assert judged(Known(), output) == ("clear", "no input that is watched moved, only what the model puts out")
    assert judged(Known(), output, make_alert(at=1))[0] == "unknown"
    assert judged(Known(), make_alert("traffic.rate", reason="volume_drop"))[0] == "unknown"


def test_series_beyond_those_that_are_kept_are_not_known() -> None:
    incident = replace(incident_of(), beyond=frozenset({"one more"}))
    assert check(incident, "6", "7", Known((OLD, NEW))).verdict == "unknown"


def test_what_was_rolled_back_from_needs_a_person() -> None:
    known = Known((OLD, NEW), (), {"6": ONSET - 2 * DAY})
    assert judged(known) == ("unknown", "version 6 was rolled back from on 2013-04-15 08:00 UTC")


# Offers --------------------------------------------------------------------------------------------------------------


def test_no_rollback_is_offered_to_nowhere_or_to_what_serves() -> None:
    settings = settings_of(offers=("*=roll_back",)).escalate.mitigation

    def refused(target: str | None = None) -> str:
        return offers(incident_of(), settings, Known(), Past(), NOW, target=target)[0].refused

    assert refused() == "no older version is known; name it with --to"
    assert refused("7") == "version 7 is the one that serves"
    assert refused("6") == ""


def test_a_segment_is_stopped_only_where_alerts_fire() -> None:
    settings = settings_of(offers=("*=stop_segment",)).escalate.mitigation

    def refused(*alerts: Alert, segment: dict[str, str] | None = None) -> str:
        return offers(incident_of(*alerts), settings, Known(), Past(), NOW, segment=segment)[0].refused

    assert refused() == ""
    assert refused(make_alert(segment="")) == "it is in all traffic"
    assert refused(segment={"origin": "JFK"}) == "no alert of it fires in origin=JFK"
    assert refused(make_alert(), make_alert(segment=""), segment={"origin": "EWR"}) == ""


@pytest.mark.parametrize(
    ("rules", "model", "expected"),
    [
        (("fraud-*=shadow", "*=fallback"), "fraud-eu", ["shadow"]),
        (("fraud-*=shadow", "*=fallback"), "shop", ["fallback"]),
        (("fraud-*=", "*=fallback"), "fraud-eu", []),
        ((), "shop", []),
        (("a=b=shadow, fallback",), "a=b", ["shadow", "fallback"]),
    ],
)
def test_the_settings_say_what_is_offered_for_which_model(
    rules: tuple[str, ...], model: str, expected: list[str]
) -> None:
    incident = replace(incident_of(), model=model)
    found = offers(incident, settings_of(offers=rules).escalate.mitigation, Known(), Past(), NOW)
    assert [offer.action for offer in found] == expected


# The changes that say it ---------------------------------------------------------------------------------------------


def change_of(**other: Any) -> Change:
    said = {"change_id": "c", "kind": "deployment", "summary": "s", "scope": {"models": ["m"]}}
    return change.decode(record(said | other), LIMITS)


def test_deployments_say_their_version_and_what_it_reads() -> None:
    said = change_of(version="12", reads=["a", "b"])
    assert (said.version, said.reads) == ("12", ("a", "b"))
    assert change_of(version=12, reads=[]).version == "12"
    assert change_of(reads=[]).reads == ()
    assert (change_of().version, change_of().reads) == (None, None)


@pytest.mark.parametrize(
    "other", [{"version": {"from": 1}}, {"version": True}, {"version": ""}, {"reads": "all"}, {"reads": [1]}]
)
def test_what_producers_had_of_their_own_under_these_names_is_passed_over(other: dict[str, Any]) -> None:
    said = change_of(**other)
    assert (said.version, said.reads) == (None, None)


def test_the_ledger_finds_the_deployments_of_a_model(tmp_path: Any) -> None:
    database = Database(place_of(tmp_path / "ledger.sqlite3"))
    changes = Changes(database)
    kept = [NEW, OLD, deployment("9", ONSET, model="another"), replace(NEW, change_id="x", kind="schema")]
    for one in [
        *kept,
        replace(NEW, change_id='"kind":"deployment"', kind="experiment"),
        replace(OLD, change_id="none", version=None),
    ]:
        changes.put(one)
    assert changes.deployed("flight-delay", 10) == [OLD, NEW]
    assert changes.deployed("flight-delay", 1) == [NEW]
    database.close()


def test_a_change_that_was_noted_by_an_older_streamdrift_is_read(tmp_path: Any) -> None:
    from sqlalchemy import text

    database = Database(place_of(tmp_path / "ledger.sqlite3"))
    body = (
        '{"author":null,"change_id":"c","features":["f"],"kind":"deployment","link":null,"models":["m"],"segments":{},'
        '"summary":"s","time":5}'
    )
    database.execute(text("INSERT INTO changes VALUES ('c', 5, :body)").bindparams(body=body))
    assert Changes(database).before(5) == [Change("c", 5, "deployment", "s", ("m",), ("f",), {}, None, None)]
    assert Changes(database).deployed("m", 5) == []
    database.close()
