"""Post-mortems: what is claimed rests on entries that are there, or is said to be unknown; nobody is blamed."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamdrift.alerts import Alert, series_id
from streamdrift.escalate import events
from streamdrift.escalate.incident import Incident
from streamdrift.escalate.learnt import confirmed, no_deployment
from streamdrift.escalate.policy import apply, choose
from streamdrift.escalate.postmortem.checks import proposed
from streamdrift.escalate.postmortem.claims import Claim
from streamdrift.escalate.postmortem.draft import ENTRIES_SHOWN, Draft, draft
from streamdrift.escalate.postmortem.record import Cause, Record
from streamdrift.escalate.receivers.documents import Code, Document, Table, from_json, to_json
from streamdrift.escalate.receivers.formats import to_adf, to_markdown, to_text, to_xhtml
from streamdrift.escalate.suspects import suspects
from streamdrift.escalate.timeline import Entry, Kind
from streamdrift.events.change import Change
from streamdrift.settings import EscalateSettings
from tests.escalate.conftest import MINUTE, NOW, ONSET, make_alert
from tests.escalate.hostile import HOSTILE
from tests.escalate.test_safe_text import ALLOWED_TAGS, JSON, Tags, harmless, texts

AT = int(NOW * 1000)
SETTINGS = EscalateSettings()
CHANGE = Change(
    "fs-12",
    ONSET - 5 * MINUTE,
    "feature-store",
    "dep_delay joined anew",
    ("flight-delay",),
    ("dep_delay",),
    {},
    None,
    "alice",
)


class Course:
    """An incident and its timeline, as the worker writes them."""

    def __init__(self) -> None:
        self.incident: Incident | None = None
        self.entries: list[Entry] = []

    def take(self, *alerts: Alert) -> Course:
        for alert in alerts:
            before = self.incident
            chosen = choose([before], alert, SETTINGS) if before is not None else None
            decision = apply(chosen, alert, SETTINGS)
            if decision.action == "ignore" or decision.incident is None or (before is not None and chosen is None):
                continue
            self.incident = decision.incident
            for event in events.of_decision(chosen, decision, alert, 0):
                self.add(event.kind, event.text, alert.detected_at, **event.detail)
        return self

    def add(self, told_kind: Kind, told_text: str, at: int = AT, **detail: Any) -> Entry:
        assert self.incident is not None
        self.entries.append(Entry(self.incident.incident_id, len(self.entries) + 1, at, told_kind, told_text, detail))
        return self.entries[-1]

    def suspect(self, *changes: Change) -> None:
        assert self.incident is not None
        for found in suspects(self.incident, changes):
            event = events.suspect(found)
            self.add(event.kind, event.text, **event.detail)

    def record(self, **other: Any) -> Record:
        assert self.incident is not None
        made = Record(self.incident, tuple(self.entries), AT + 60 * MINUTE, actions=proposed(self.incident))
        return replace(made, **other)

    def draft(self, **other: Any) -> Draft:
        return draft(self.record(**other))


def in_origin(origin: str, *given: Any, **other: Any) -> Alert:
    """An alert in a segment of any name."""
    made = make_alert(*given, **other)
    where = {"origin": origin[:2_000]}
    return replace(made, segment=where, series_id=series_id(made.model_name, where, made.feature))


def told(made: Draft, section: str) -> dict[str, str]:
    """A section's claims by what they are about."""
    (found,) = [one for one in made.sections if one.title.startswith(section)]
    return {claim.about: claim.sentence for claim in found.claims}


@pytest.fixture
def course() -> Course:
    """Detected, suspected, paged, acknowledged, mitigated, over."""
    alert = make_alert(onset_range=(ONSET - 20 * MINUTE, ONSET + 5 * MINUTE))
    made = Course().take(alert)
    made.suspect(CHANGE)
    made.add("note", no_deployment("no deployment in the last 7 days before it").text, no_deployment=True)
    made.add("delivered", "page delivered to pagerduty", AT + MINUTE, receiver="pagerduty", action="trigger")
    made.add("acknowledged", "acknowledged", AT + 15 * MINUTE)
    made.add("mitigation_approved", "roll-back to 6 approved by alice", AT + 20 * MINUTE, approved_by="alice")
    made.add("mitigation_sent", "roll-back to 6: the serving side took it", AT + 21 * MINUTE)
    made.add("mitigation_verified", "roll-back to 6 verified", AT + 40 * MINUTE)
    return made.take(make_alert(closes=alert, at=45))


# What is claimed -----------------------------------------------------------------------------------------------------


def test_the_detection_gap_is_told_with_its_range(course: Course) -> None:
    found = told(course.draft(), "Detect")
    assert found["Detection gap"] == (
        "Detection gap: drift began 2013-04-17 08:00 UTC (between 07:40 and 08:05), first alert 10:00, first page delivered "
        "10:01, acknowledged 10:15 (#1, #5, #6)"
    )
    assert "160 events that were evidence enough (#1)" in found["Onset to first alert"]
    assert found["First page to acknowledgement"] == "First page to acknowledgement: 14 min (#5, #6)"


def test_impact_has_how_much_of_what_for_how_long(course: Course) -> None:
    found = told(course.draft(), "Impact")
    assert found["Traffic"] == "Traffic: 36 % of the model's: origin=EWR (#1)"
    assert found["Duration"] == "Duration: 2 h 45 min (#1, #11)"
    assert found["Pages"] == "Pages: 1 delivered, to pagerduty (#2, #5)"
    assert found["Events"].startswith("Events: 160 of dep_delay in origin=EWR since the onset")


def test_suspects_have_what_speaks_for_and_against_and_are_no_causes(course: Course) -> None:
    found = told(course.draft(), "Triage")
    suspect = found["suspect feature-store fs-12"]
    assert "for: " in suspect and "it names dep_delay" in suspect and "against: " in suspect  # noqa: PT018 - one sentence
    assert found["A deployment"] == "A deployment: no deployment in the last 7 days before it (#4)"
    assert found["The rest of the model"].endswith("(#2)")
    whole = to_text(course.draft().document())
    assert not re.search(r"(?i)\bcauses?d?\b", whole), "nothing is called a cause that nobody confirmed"


def test_a_confirmed_cause_is_told_and_cited(course: Course) -> None:
    cause = Cause("", AT, "the join lost its key", "fs-12", "feature-store")
    entry = course.add("note", confirmed(cause).text, AT + 50 * MINUTE)
    made = course.draft(cause=replace(cause, seq=entry.seq))
    expected = "Cause, as confirmed: feature-store fs-12: the join lost its key (#12, #3)"
    assert expected in [claim.sentence for claim in made.claims]
    assert told(made, "RCA")["2. Why did dep_delay move?"] == f"2. Why did dep_delay move? {expected}"


def test_each_why_cites_or_says_unknown_and_what_would_tell(course: Course) -> None:
    made = course.draft()
    whys = next(one.claims for one in made.sections if one.title.startswith("RCA"))
    assert len(whys) == 5
    assert "unknown: none of the suspects (fs-12) is confirmed; what would tell: " in whys[1].said
    assert "unknown: no entry tells of a check" in whys[2].said
    assert (
        whys[4].said
        == "acknowledged 2013-04-17 10:15 UTC, first step against it 2013-04-17 10:21 UTC, over 2013-04-17 10:45 UTC"
    )


def test_what_was_done_is_read_from_the_timeline_without_persons(course: Course) -> None:
    made = course.draft()
    found = told(made, "Mitigate")
    assert found["2013-04-17 10:20"] == "2013-04-17 10:20: roll-back to 6 approved by somebody (#7)"
    assert "alice" not in to_text(made.document())
    assert "alice" not in str(made.to_json())


def test_what_was_only_offered_or_tried_is_no_mitigation() -> None:
    made = Course().take(alert := make_alert())
    made.add("mitigation_proposed", "could roll back")
    made.add("mitigation_sent", "roll back (dry run)", dry_run=True)
    found = [claim.said for claim in made.take(make_alert(closes=alert, at=5)).draft().claims]
    assert "could roll back" in found
    assert any(said.startswith("unknown: no mitigation that was carried out") for said in found)
    assert any("nothing on the timeline says what ended it" in said for said in found)


def test_what_is_not_over_says_so() -> None:
    made = Course().take(make_alert()).draft()
    text = to_text(made.document())
    assert made.goes_on
    assert "The incident is not over" in text
    assert "It is not over: it is open, and this draft is of 2013-04-17 11:00 UTC (#2)" in text
    assert "3 h so far" in told(made, "Impact")["Duration"]
    assert "unknown: no mitigation that was carried out is on the timeline" in text
    assert "never acknowledged" in text


def test_without_a_timeline_claims_rest_on_the_alerts() -> None:
    made = Course().take(alert := make_alert()).draft(entries=())
    assert "It has no entries" in to_text(made.document())
    cites = {cite for claim in made.claims for cite in claim.cites}
    assert cites == {f"alert {alert.alert_id}"}
    assert all(claim.cites or claim.unknown for claim in made.claims)


def test_a_claim_that_rests_on_nothing_is_refused(monkeypatch: pytest.MonkeyPatch, course: Course) -> None:
    from streamdrift.escalate.postmortem import draft as module
    from streamdrift.escalate.postmortem.claims import Section

    for claim, words in ((Claim("so it was"), "rests on nothing"), (Claim("so", ("c0ffee#99",)), "not there")):
        monkeypatch.setattr(module, "impact", lambda _, claim=claim: Section("Impact", (claim,)))
        with pytest.raises(ValueError, match=words):
            course.draft()


def test_a_long_timeline_keeps_what_is_cited_and_what_became_of_it() -> None:
    made = Course().take(first := make_alert())
    for i in range(1_600):
        made.add("grew", f"grew {i}", AT + i, alert_id=f"{i}")
    made.add("acknowledged", "acknowledged", AT + MINUTE)
    made.take(make_alert(closes=first, at=5))
    document = made.draft().document()
    rows = next(block.rows for block in document.blocks if isinstance(block, Table) and len(block.head) == 4)
    assert len(rows) <= ENTRIES_SHOWN
    assert [row[2] for row in rows][-3:] == ["acknowledged", "recovered", "resolved"]
    assert "entries that nothing above rests on are left out" in to_text(document)


# Whatever happens ----------------------------------------------------------------------------------------------------

LABELS = st.sampled_from([*JSON, "dep_delay", "seats"]).map(lambda text: text[:300] or "x")
REASONS = st.sampled_from(["null_rate", "mean_shift", "new_category", "silence", "something_new", "performance_drop"])
KINDS = st.sampled_from(
    [
        "silenced",
        "acknowledged",
        "delivered",
        "undelivered",
        "mitigation_sent",
        "mitigation_reverted",
        "note",
        "suspect",
    ]
)


@st.composite
def courses(draw: Any) -> tuple[Course, Cause | None]:
    made, firing = Course(), list[Alert]()
    steps = draw(
        st.lists(st.tuples(st.integers(0, 3), LABELS, REASONS, KINDS, st.integers(0, 90)), min_size=1, max_size=10)
    )
    label = steps[0][1]
    made.take(first := in_origin(label, label, "", reason=steps[0][2], model=label))
    firing.append(first)
    for what, name, reason, kind, later in steps[1:]:
        if what == 0:
            firing.append(in_origin(name, name, "", reason=reason, at=later, model=label, severity="critical"))
            made.take(firing[-1])
        elif what == 1 and firing:
            made.take(make_alert(closes=firing.pop(), at=later))
        elif what == 2:
            made.suspect(Change(name, ONSET - later * MINUTE, reason, name, (), (), {}, None, name))
        else:
            made.add(kind, name, AT + later * MINUTE, receiver=name, action="trigger", by=name, why=[name], score=name)
    if draw(st.booleans()):
        return made, Cause("", AT, label, draw(st.sampled_from([None, label])), reason_of(draw), len(made.entries))
    return made, None


def reason_of(draw: Any) -> str:
    found: str = draw(REASONS)
    return found


@settings(max_examples=50, deadline=None)
@given(courses())
def test_every_claim_cites_an_entry_that_is_there_or_says_unknown(drawn: tuple[Course, Cause | None]) -> None:
    course, cause = drawn
    known = {entry.entry_id for entry in course.entries}
    made = course.draft(cause=cause)
    for claim in made.claims:
        assert set(claim.cites) <= known
        assert claim.cites or claim.said.startswith("unknown: "), claim.text
    document = made.document()
    assert from_json(to_json(document)) == document
    for text in (to_text(document), to_markdown(document), to_xhtml(document), *texts(to_adf(document))):
        harmless(text)


# Hostile labels ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("label", [label for label in JSON if label], ids=lambda label: ascii(label)[:30])
def test_hostile_labels_do_nothing_in_any_format(label: str) -> None:
    categories = {"categories": {label: 0.9, "b": 0.1}, "n": 5_000, "unseen_rate": 0.0}
    alert = in_origin(label, label, "", "new_category", model=label[:2_000], reference=categories)
    made = Course().take(alert)
    made.suspect(Change(label, ONSET, label, label, (), (), {}, None, None))
    made.add("mitigation_sent", label, by=label)
    document = made.draft(cause=Cause("", AT, label, label, label, 1)).document()
    page = to_xhtml(document)
    tags = Tags()
    tags.feed(page)
    assert not tags.attributes
    assert tags.tags <= ALLOWED_TAGS | {"pre"}
    assert_markdown_is_inert(to_markdown(document), document)


def assert_markdown_is_inert(text: str, document: Document) -> None:
    from markdown_it import MarkdownIt

    tokens = MarkdownIt("commonmark", {"html": True}).enable("table").enable("strikethrough").parse(text)
    kinds = {child.type for token in tokens for child in (token, *(token.children or ()))}
    assert not kinds & {"link_open", "image", "html_block", "html_inline", "code_inline", "blockquote_open", "hr"}
    assert sum(token.type == "fence" for token in tokens) == sum(isinstance(b, Code) for b in document.blocks)
    assert sum(token.type == "heading_open" for token in tokens) == 9


def test_the_contract_is_yaml_whatever_the_names_are() -> None:
    import yaml

    for label in [label for label in HOSTILE if label and label != "\ud800"]:
        categories = {"categories": {label: 0.9, "b": 0.1}, "n": 5_000}
        alert = in_origin(label, label, "", "new_category", model=label, reference=categories)
        document = Course().take(alert).draft().document()
        (snippet,) = [block.text for block in document.blocks if isinstance(block, Code)]
        read = yaml.safe_load(to_text(Document("", (Code(snippet),))))
        ((name,), (check,)) = (
            [p["name"] for p in read["schema"][0]["properties"]],
            read["schema"][0]["properties"][0]["quality"],
        )
        assert name[:20] == read["schema"][0]["name"][:20]
        assert check["mustBe"] == 0
        assert len(check["arguments"]["validValues"]) == 2


def test_titles_keep_the_id(course: Course) -> None:
    incident = replace(course.record().incident, model="x" * 5_000)
    made = course.draft(incident=incident)
    assert made.title.startswith(f"Post-mortem {incident.incident_id}: xxx")
    assert len(made.title) < 255


@pytest.mark.parametrize(
    "text", ["```\n# heading", "````` x\n<b>", "~~~\n[x](https://evil.example)", "", "a\n\n\n# b", *JSON]
)
def test_what_is_to_be_copied_ends_where_it_ends(text: str) -> None:
    from markdown_it import MarkdownIt

    document = Document("t", (Code(text), Code("next")))
    tokens = MarkdownIt("commonmark", {"html": True}).parse(to_markdown(document))
    assert [token.type for token in tokens if token.type != "inline"] == [
        *("heading_open", "heading_close", "fence", "fence")
    ]
    tags = Tags()
    tags.feed(to_xhtml(document))
    assert (tags.tags, tags.attributes) == ({"pre"}, set())
    for shown in (to_text(document), *texts(to_adf(document))):
        harmless(shown)
