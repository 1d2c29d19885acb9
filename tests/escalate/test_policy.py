from dataclasses import replace

import pytest

from streamdrift.alerts import Alert
from streamdrift.escalate import policy
from streamdrift.escalate.policy import Decision, Incident, apply, blast_radius, choose, headline
from streamdrift.settings import EscalateSettings
from tests.escalate.conftest import MINUTE, NOW, ONSET, make_alert

SETTINGS = EscalateSettings()
LATE = ONSET + 600 * MINUTE


class Book:
    """All incidents so far, as the worker keeps them."""

    def __init__(self, settings: EscalateSettings = SETTINGS) -> None:
        self.settings = settings
        self.incidents: dict[str, Incident] = {}

    def take(self, alert: Alert, now_ms: int | None = None) -> Decision:
        opened = [i for i in self.incidents.values() if i.model == alert.model_name]
        decision = apply(choose(opened, alert, self.settings), alert, self.settings, now_ms)
        if decision.incident is not None:
            self.incidents[decision.incident.incident_id] = decision.incident
        return decision


def told(decision: Decision) -> tuple[str, str, str | None]:
    return decision.action, decision.reason, decision.page


# Grouping ------------------------------------------------------------------------------------------------------------


def test_a_feature_that_is_noticed_again_soon_is_the_same_incident_whenever_it_began() -> None:
    book = Book()
    assert told(book.take(make_alert("a", onset_at=0))) == ("open", "new_incident", "trigger")
    assert told(book.take(make_alert("a", "carrier=UA", "mean_shift", at=59, onset_at=LATE)))[0] == "join"
    assert told(book.take(make_alert("a", "carrier=B6", "new_category", at=118, onset_at=2 * LATE)))[0] == "join"
    assert told(book.take(make_alert("a", "carrier=HA", "frozen", at=300, onset_at=4 * LATE)))[0] == "open"
    assert len(book.incidents) == 2


def test_what_is_noticed_together_and_began_apart_in_other_features_is_two_incidents() -> None:
    book = Book()
    book.take(make_alert("a", onset_at=ONSET))
    assert told(book.take(make_alert("b", at=1, onset_at=ONSET + 61 * MINUTE)))[0] == "open"
    later = (ONSET + 62 * MINUTE, ONSET + 90 * MINUTE)
    assert told(book.take(make_alert("c", at=2, onset_at=later[0], onset_range=later)))[0] == "join"
    unsure = (ONSET + 30 * MINUTE, ONSET + 300 * MINUTE)
    assert told(book.take(make_alert("d", at=3, onset_at=ONSET + 200 * MINUTE, onset_range=unsure)))[0] == "join"
    assert len(book.incidents) == 2


def test_alerts_of_one_change_point_are_one_incident_however_late_they_are_noticed() -> None:
    book = Book()
    book.take(make_alert("a"))
    assert told(book.take(make_alert("b", at=600, onset_at=ONSET + 50 * MINUTE))) == ("join", "no_growth", None)


def test_the_same_fault_of_the_same_feature_is_one_incident_wherever_it_is_seen() -> None:
    book = Book()
    book.take(make_alert())
    assert told(book.take(make_alert(segment="carrier=UA", at=900, onset_at=LATE)))[0] == "join"
    assert (
        told(book.take(make_alert(reason="mean_shift", segment="carrier=B6", at=2900, onset_at=2 * LATE)))[0] == "open"
    )


def test_a_series_that_fires_is_found_in_any_open_incident() -> None:
    book = Book()
    first = book.take(make_alert("a", onset_at=0)).incident
    book.take(make_alert("b", at=300, onset_at=LATE))
    again = book.take(make_alert("a", reason="new_category", at=310, onset_at=2 * LATE))
    assert again.incident is not None
    assert first is not None
    assert again.incident.incident_id == first.incident_id


def test_models_do_not_mix() -> None:
    book = Book()
    book.take(make_alert())
    assert told(book.take(make_alert(model="fraud", at=1)))[0] == "open"


def test_the_same_alerts_give_the_same_ids() -> None:
    assert Book().take(make_alert()).incident == Book().take(make_alert()).incident


# Growth --------------------------------------------------------------------------------------------------------------


def test_joining_pages_nobody_but_growth_does() -> None:
    book = Book()
    first = book.take(make_alert("a")).incident
    assert told(book.take(make_alert("b", at=1))) == ("join", "no_growth", None)
    assert told(book.take(make_alert("c", at=2))) == ("join", "no_growth", None)
    grown = book.take(make_alert("d", at=3))
    assert told(grown) == ("grow", "features", "trigger")
    assert told(book.take(make_alert("e", at=4, severity="critical"))) == ("grow", "severity", "trigger")
    assert told(book.take(make_alert("f", at=5, severity="critical"))) == ("join", "no_growth", None)
    assert first is not None
    assert grown.incident is not None
    assert grown.incident.dedup_keys == (first.incident_id, f"{first.incident_id}.2")


def test_from_a_segment_to_all_traffic_is_growth() -> None:
    book = Book()
    book.take(make_alert(segment="origin=EWR"))
    book.take(make_alert(segment="origin=JFK", at=1))
    assert told(book.take(make_alert(segment="", at=2))) == ("grow", "all_traffic", "trigger")
    assert told(book.take(make_alert(segment="origin=LGA", at=3))) == ("join", "no_growth", None)


def test_from_a_small_segment_to_a_large_one_is_growth() -> None:
    book = Book()
    book.take(make_alert(segment="carrier=HA", traffic_share=0.01))
    assert told(book.take(make_alert(segment="origin=EWR", at=1))) == ("grow", "traffic_share", "trigger")


def test_what_shrinks_and_grows_again_to_the_same_size_pages_once() -> None:
    book = Book()
    alerts = [make_alert("a"), *(make_alert(name, at=1) for name in "bcd")]
    assert [told(book.take(alert))[2] for alert in alerts] == ["trigger", None, None, "trigger"]
    for alert in alerts[1:]:
        assert told(book.take(make_alert(closes=alert, at=2)))[0] == "join"
    again = [make_alert(name, at=3) for name in "bcd"]
    assert [told(book.take(alert))[2] for alert in again] == [None, None, None]


# Who is not told -----------------------------------------------------------------------------------------------------


def test_an_old_alert_is_recorded_and_pages_nobody() -> None:
    book, now = Book(), int(NOW * 1000)
    assert told(book.take(make_alert("a", at=-1441), now)) == ("open", "too_old", None)
    assert told(book.take(make_alert("b", at=-1440), now)) == ("grow", "first_page", "trigger")
    assert told(book.take(make_alert("c", at=-1441), now)) == ("join", "too_old", None)


def test_an_alert_below_the_severity_is_recorded_and_pages_nobody() -> None:
    book = Book()
    assert told(book.take(make_alert("a", severity="info"))) == ("open", "below_severity", None)
    assert told(book.take(make_alert("b", severity="info", at=1))) == ("join", "below_severity", None)
    grown = book.take(make_alert("c", at=2))
    assert told(grown) == ("grow", "first_page", "trigger")
    assert grown.incident is not None
    assert blast_radius(grown.incident).features == ("c",)


def test_duplicates_and_what_is_overtaken_change_nothing() -> None:
    book = Book()
    first = make_alert(at=5)
    book.take(first)
    before = dict(book.incidents)
    assert told(book.take(first)) == ("ignore", "duplicate", None)
    assert told(book.take(make_alert(at=4))) == ("ignore", "stale", None)
    assert book.incidents == before


# Resolved ------------------------------------------------------------------------------------------------------------


def test_an_incident_ends_with_its_last_alert() -> None:
    book = Book()
    a, b = make_alert("a"), make_alert("b", at=1)
    book.take(a)
    book.take(b)
    assert told(book.take(make_alert(closes=a, at=900))) == ("join", "partly_resolved", None)
    end = book.take(make_alert(closes=b, at=901))
    assert told(end) == ("resolve", "all_resolved", "resolve")
    assert end.incident is not None
    assert end.incident.status == "resolved"
    assert end.incident.resolved == {(a.series_id, a.reason), (b.series_id, b.reason)}
    assert end.incident.updated_at == int(NOW * 1000) + 901 * MINUTE


def test_a_series_that_fires_for_two_reasons_is_resolved_with_the_second() -> None:
    book = Book()
    null, shift = make_alert(), make_alert(reason="mean_shift", at=1)
    book.take(null)
    book.take(shift)
    assert told(book.take(make_alert(closes=null, at=2))) == ("join", "partly_resolved", None)
    assert told(book.take(make_alert(closes=shift, at=3))) == ("resolve", "all_resolved", "resolve")


def test_what_may_not_open_a_page_does_not_hold_one_open() -> None:
    book = Book()
    warning = make_alert("a")
    book.take(warning)
    book.take(make_alert("b", severity="info", at=1))
    assert told(book.take(make_alert(closes=warning, at=2))) == ("resolve", "all_resolved", "resolve")


def test_an_incident_that_paged_nobody_ends_without_a_page() -> None:
    book = Book()
    info = make_alert(severity="info")
    book.take(info)
    assert told(book.take(make_alert(closes=info, at=1))) == ("resolve", "all_resolved", None)


def test_the_end_of_an_old_page_is_told_however_late() -> None:
    book = Book()
    alert = make_alert()
    book.take(alert, int(NOW * 1000))
    assert told(book.take(make_alert(closes=alert, at=1), int(NOW * 1000) + 10**9))[2] == "resolve"


def test_the_end_of_what_never_began_is_ignored() -> None:
    assert told(Book().take(make_alert(closes=make_alert(), at=1))) == ("ignore", "unknown_series", None)


def test_the_end_of_an_earlier_alert_leaves_the_later_one() -> None:
    book = Book()
    first, second = make_alert(), make_alert(at=1)
    book.take(first)
    book.take(second)
    assert told(book.take(make_alert(closes=first, at=2))) == ("ignore", "superseded", None)


def test_a_series_that_fires_again_after_its_end_counts_again() -> None:
    book = Book()
    a, b = make_alert("a"), make_alert("b", at=1)
    book.take(a)
    book.take(b)
    book.take(make_alert(closes=a, at=2))
    again = make_alert("a", at=3)
    assert told(book.take(again))[0] == "join"
    assert told(book.take(make_alert(closes=b, at=4)))[0] == "join"
    assert told(book.take(make_alert(closes=again, at=5)))[0] == "resolve"


# Bounds --------------------------------------------------------------------------------------------------------------


def test_alerts_beyond_the_bound_still_keep_the_incident_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy, "ALERTS_PER_INCIDENT_MAX", 3)
    book = Book()
    alerts = [make_alert(f"f{i}", at=i) for i in range(5)]
    for alert in alerts:
        decision = book.take(alert)
    assert decision.incident is not None
    assert (len(decision.incident.alerts), len(decision.incident.beyond)) == (3, 2)
    assert headline(decision.incident).endswith("3 features, 1 segment and 2 more series")
    actions = [told(book.take(make_alert(closes=alert, at=10)))[0] for alert in alerts]
    assert actions == ["join"] * 4 + ["resolve"]


def test_the_gravest_alert_finds_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy, "ALERTS_PER_INCIDENT_MAX", 3)
    book = Book()
    for i in range(4):
        book.take(make_alert(f"f{i}", at=i))
    decision = book.take(make_alert("grave", severity="critical", at=5))
    assert told(decision) == ("grow", "severity", "trigger")
    assert decision.incident is not None
    assert "grave" in {alert.feature for alert in decision.incident.alerts}


def test_series_have_a_bound_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy, "SERIES_PER_INCIDENT_MAX", 3)
    book = Book()
    for i in range(3):
        book.take(make_alert(f"f{i}", at=i))
    before = dict(book.incidents)
    assert told(book.take(make_alert("f3", at=4))) == ("ignore", "incident_full", None)
    assert book.incidents == before


def test_a_decision_leaves_the_incident_that_it_was_given_alone() -> None:
    book = Book()
    incident = book.take(make_alert("a")).incident
    assert incident is not None
    copy = replace(incident)
    apply(incident, make_alert("b", at=1), SETTINGS)
    assert incident == copy
