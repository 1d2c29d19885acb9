"""Sources that are stale, full of nulls or silent: suspects of incidents whose features they feed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamdrift.escalate.source_reports import SourceReports
from streamdrift.escalate.sources import Fault, faults, suspected
from streamdrift.escalate.suspects import Suspect
from streamdrift.events.source_report import SourceReport
from streamdrift.ports import Partition
from streamdrift.settings import Settings, SourceSettings
from tests.escalate.conftest import MINUTE, NOW, ONSET, KeepingReceiver, make_alert
from tests.escalate.test_suspects import MODEL, Told, incident, kinds

HOUR = 60 * MINUTE
NAME = "features.flights"
SOURCE = SourceSettings(
    name=NAME, models=(MODEL,), features=("dep_delay", "carrier"), fresh_s=3600, null_share_max=0.05, report_s=4 * 3600
)


def report(minutes: float, age_minutes: float | None = 10, **shares: float) -> SourceReport:
    """A report, so many minutes after the onset."""
    at = ONSET + round(minutes * MINUTE)
    return SourceReport(NAME, at, None if age_minutes is None else at - round(age_minutes * MINUTE), 2000, shares)


def found(*reports: SourceReport, source: SourceSettings = SOURCE, now: int = ONSET + HOUR) -> list[Fault]:
    return faults(source, reports, now)


def suspects_of(*reports: SourceReport, source: SourceSettings = SOURCE, now: int = ONSET + HOUR) -> list[Suspect]:
    def of(_name: str, until: int) -> Sequence[SourceReport]:
        return [one for one in reports if one.time <= until]

    return suspected(incident(), {"flights": source}, of, now)


def test_a_source_is_stale_from_when_its_newest_row_became_too_old() -> None:
    (fault,) = found(report(-120), report(-30, 310))
    assert (fault.wrong, fault.since, fault.until) == ("stale", ONSET - (340 - 60) * MINUTE, None)
    assert fault.evidence == "newest row 5 h 10 min old, expected 1 h"
    (over,) = found(report(-120, 90), report(-90, 120), report(-60, 5))
    assert (over.since, over.until) == (ONSET - 150 * MINUTE, ONSET - 60 * MINUTE)
    assert over.evidence.startswith("newest row 2 h old")


def test_too_many_nulls_are_told_by_column_the_worst_first() -> None:
    (fault,) = found(report(-90, country=0.01), report(-30, country=0.32, age=0.4, id=0.05))
    assert (fault.wrong, fault.since) == ("nulls", ONSET - 30 * MINUTE)
    assert fault.evidence == "age 40 % null, country 32 % null, allowed 5.0 %"
    only = SOURCE.model_copy(update={"columns": ("id",)})
    assert found(report(-30, country=0.32, id=0.01), source=only) == []


def test_a_source_that_is_not_heard_of_is_silent() -> None:
    (fault,) = found(report(-300))
    assert (fault.wrong, fault.since, fault.until) == ("silent", ONSET - 60 * MINUTE, None)
    assert fault.evidence == "no report for 6 h, expected every 4 h"
    (never,) = found()
    assert (never.since, never.evidence) == (None, "no report has come yet, expected every 4 h")
    (gap,) = found(report(-600), report(-10))
    assert gap.until == ONSET - 10 * MINUTE
    assert found(report(-10)) == []


def test_what_is_as_it_should_be_is_no_suspect() -> None:
    assert suspects_of(report(-120), report(0)) == []


def test_the_suspect_says_what_speaks_for_it_and_what_against() -> None:
    (suspect,) = suspects_of(report(-30, 310))
    assert suspect.sentence == (
        "suspect: data-source source:features.flights:stale: source features.flights: newest row 5 h 10 min old, expected 1 h; "
        "feeds dep_delay, carrier; for 4 h 40 min at the onset, it names dep_delay; but carrier that it names as well is quiet"
    )
    assert suspect.to_json()["kind"] == "data-source"
    (never,) = suspects_of()
    assert "how it was is not known" in never.against
    assert never.score < suspect.score


@pytest.mark.parametrize(
    ("more", "less"),
    [
        ([report(-5, 62)], [report(-5, 600)]),
        ([report(-30, 310)], [report(-30, 310), report(-10)]),
        ([report(-5, 62)], [report(20, 62)]),
    ],
)
def test_what_makes_a_source_more_suspicious(more: list[SourceReport], less: list[SourceReport]) -> None:
    (first,), (second,) = suspects_of(*more), suspects_of(*less)
    assert first.score > second.score > 0


@pytest.mark.parametrize(
    "other",
    [
        SOURCE.model_copy(update={"models": ("another",)}),
        SOURCE.model_copy(update={"features": ("distance",)}),
    ],
)
def test_a_source_that_feeds_something_else_is_innocent(other: SourceSettings) -> None:
    assert suspects_of(report(-30, 310), source=other) == []


def test_what_was_over_long_before_or_began_long_after_is_innocent() -> None:
    quiet = SOURCE.model_copy(update={"report_s": None})
    assert suspects_of(report(-40 * 60, 310), report(-25 * 60), source=quiet) == []
    assert suspects_of(report(70, 62), source=quiet, now=ONSET + 2 * HOUR) == []


REPORTS = st.lists(
    st.tuples(st.integers(-3_000, 200), st.none() | st.integers(0, 600), st.sampled_from([0.0, 0.04, 0.06, 1.0])),
    max_size=12,
    unique_by=lambda one: one[0],
)


@settings(max_examples=50)
@given(REPORTS)
def test_faults_begin_before_they_end_and_only_what_is_wrong_now_has_no_end(
    given_reports: list[tuple[int, int | None, float]],
) -> None:
    reports = sorted((report(at, age, country=share) for at, age, share in given_reports), key=lambda one: one.time)
    now = ONSET + 4 * HOUR
    for wrong in ("stale", "nulls", "silent"):
        mine = [fault for fault in faults(SOURCE, reports, now) if fault.wrong == wrong]
        assert all(fault.since is None or fault.until is None or fault.since <= fault.until for fault in mine)
        assert all(fault.until is not None for fault in mine[:-1])


def told_of(house: Told, one: SourceReport, **other: Any) -> None:
    event = {
        "change_id": f"report-{one.time}",
        "occurred_at": one.time,
        "kind": "source-report",
        "summary": "a report",
        "report": {"source": one.source, "newest_at": one.newest_at, "null_shares": one.null_shares},
    }
    house.broker.append("model-changes", json.dumps(event | other).encode())


@pytest.fixture
def told(place: Path | str, receiver: KeepingReceiver) -> Any:
    made = Told(place, (receiver,), Settings(sources={"flights": SOURCE}))
    yield made
    made.worker.close()


def test_a_page_names_a_source_that_was_stale(told: Told, receiver: KeepingReceiver) -> None:
    told.change(minutes=-5 * 60, change_id="deploy", kind="deployment", scope={"models": [MODEL]})
    told_of(told, report(-30, 62))
    told.step()
    told.crash()
    told.step(make_alert())
    suspects = receiver.pages[0].incident["suspects"]
    assert [one["change_id"] for one in suspects] == [f"source:{NAME}:stale", "deploy"]
    assert kinds(told).count("suspect") == 2


def test_the_first_report_that_says_so_is_on_the_timeline_of_what_goes_on(told: Told) -> None:
    told_of(told, report(-60))
    told.step(make_alert())
    assert kinds(told).count("suspect") == 0
    for minutes in (10, 20, 30):
        told_of(told, report(minutes, 300 + minutes))
        told.step()
    assert kinds(told).count("suspect") == 1
    told.broker.commit("streamdrift-escalate", {Partition("model-changes", 0): 0})
    told.crash()
    told.step()
    assert kinds(told).count("suspect") == 1
    assert told.count("source_reports_total", outcome="kept") == 4
    assert told.count("source_reports_total", outcome="known") == 4


def test_reports_on_others_and_broken_ones_are_passed_over(told: Told, receiver: KeepingReceiver) -> None:
    told_of(told, report(-30, 310), report={"source": "another", "newest_at": 1})
    told_of(told, report(-30, 310), report={"source": NAME, "rows": -1})
    told_of(told, report(-30, 310), report=None)
    told_of(told, report(-20))
    told.step(make_alert())
    assert receiver.pages[0].incident["suspects"] == []
    assert told.count("source_reports_total", outcome="unknown_source") == 1
    assert told.count("rejected_total") == 2


def test_reports_have_a_bound_and_an_age(told: Told) -> None:
    reports = SourceReports(told.ledger._database, reports_max=3)
    for minutes in range(10):
        assert reports.put(report(minutes, country=0.0))
        assert not reports.put(report(minutes, country=0.5))
    assert [one.time for one in reports.of(NAME, ONSET + HOUR)] == [ONSET + m * MINUTE for m in (7, 8, 9)]
    told.ledger.prune(NOW + 16 * 86_400)
    assert reports.of(NAME, ONSET + HOUR) == []
