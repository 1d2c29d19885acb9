"""What came out against what the generator knows: place, feature, suspect, pages, delays, false alarms, misses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from streamdrift.alerts import segment_name
from tests.incidents.house import Told
from tests.incidents.player import Played, of_cause


@dataclass(frozen=True)
class Page:
    """One page as the webhook got it."""

    at: int
    """Story's time when it was there."""
    dedup_key: str
    headline: str
    incident: dict[str, Any]

    @property
    def segment(self) -> dict[str, str]:
        return dict(self.incident["blast_radius"]["segment"])

    @property
    def segments(self) -> list[dict[str, str]]:
        return list(self.incident["blast_radius"]["segments"])

    @property
    def feature(self) -> str:
        return str(self.incident["blast_radius"]["feature"])

    @property
    def suspects(self) -> list[dict[str, Any]]:
        return list(self.incident.get("suspects", ()))


@dataclass
class Judged:
    """The answers.

    Attributes
    ----------
    detected_at, paged_at, resolved_at
        Of the guilty cause; None where it never came to that. Paged is when the page was with the receiver.
    triggers
        How often each receiver was called for each dedup key.
    false
        Incidents of no guilty cause.
    missed
        Features that are other than they were, without an alert.
    """

    mine: list[dict[str, Any]]
    pages: list[Page]
    detected_at: int | None
    paged_at: int | None
    resolved_at: int | None
    place: str
    lead: str
    suspect: str
    triggers: Counter[tuple[str, str]] = field(default_factory=Counter)
    false: list[dict[str, Any]] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)


def judge(played: Played) -> Judged:
    """Compare."""
    story = played.story
    mine = [one for one in played.incidents if of_cause(story, one)]
    ids = {one["incident_id"] for one in mine}
    pages = [page for page in pages_of(played.told) if page.incident["incident_id"] in ids]
    detected = [
        ms(alert["detected_at"])
        for one in mine
        for alert in one["held"]
        if alert["feature"].startswith(story.features) and ms(alert["detected_at"]) >= story.onset
    ]
    firsts = [ms_of(entry) for one in mine for entry in one["timeline"] if entry["kind"] == "detected"]
    over = [one for one in mine if one["status"] == "resolved"]
    ends = [ms_of(e) for one in over for e in one["timeline"] if e["kind"] == "resolved"]
    alerted = {alert["feature"] for one in mine for alert in one["held"]}
    first = pages[0] if pages else None
    return Judged(
        mine=mine,
        pages=pages,
        detected_at=min(detected, default=min(firsts, default=None)),
        paged_at=first.at if first else None,
        resolved_at=max(ends) if ends and len(over) == len(mine) else None,
        place=_place(played, first),
        lead=_lead(played, first),
        suspect=_suspect(played, first),
        triggers=triggers(played.told),
        false=[one for one in played.incidents if one["incident_id"] not in ids],
        missed=[name for name in story.features if not any(feature.startswith(name) for feature in alerted)],
    )


def _place(played: Played, page: Page | None) -> str:
    if page is None:
        return "nobody was paged"
    wanted = list(played.story.segments)
    said, right = names(page.segments), names(wanted)
    if all(segment in wanted for segment in page.segments):
        return (
            f"right: {said}" if len(page.segments) == len(wanted) else f"right, not all of it: {said} (true: {right})"
        )
    return f"wrong: {said} (true: {right})"


def _lead(played: Played, page: Page | None) -> str:
    if page is None:
        return "nobody was paged"
    may = played.story.features[: played.story.leads]
    return f"right: `{page.feature}`" if page.feature.startswith(may) else f"wrong: `{page.feature}`"


def _suspect(played: Played, page: Page | None) -> str:
    if page is None:
        return "nobody was paged"
    found = [one["change_id"] for one in page.suspects]
    guilty = played.story.guilty
    if guilty not in found:
        return f"missing: the page names {', '.join(found) or 'none'}"
    place = found.index(guilty) + 1
    return (
        f"right: `{guilty}` is the first of {len(found)}"
        if place == 1
        else f"wrong: `{guilty}` is number {place}, after `{found[0]}`"
    )


def names(segments: Sequence[dict[str, str]]) -> str:
    """Segments by name."""
    return ", ".join(f"`{segment_name(one)}`" if one else "all traffic" for one in segments)


def pages_of(told: Sequence[Told]) -> list[Page]:
    """Calls that came by the webhook."""
    found = [one for one in told if one.receiver == "webhook" and one.body["data"]["action"] == "trigger"]
    return [Page(one.at, d["dedup_key"], d["headline"], d["incident"]) for one in found for d in [one.body["data"]]]


def triggers(told: Sequence[Told]) -> Counter[tuple[str, str]]:
    """How often each receiver with dedup keys was called for each."""
    found: Counter[tuple[str, str]] = Counter()
    for one in told:
        if one.receiver == "webhook" and one.body["data"]["action"] == "trigger":
            found["webhook", one.body["data"]["dedup_key"]] += 1
        if one.receiver == "pagerduty" and one.body["event_action"] == "trigger":
            found["pagerduty", one.body["dedup_key"]] += 1
    return found


def ms(told: str) -> int:
    """Milliseconds of an RFC 3339 time."""
    return round(datetime.fromisoformat(told).timestamp() * 1000)


def ms_of(entry: dict[str, Any]) -> int:
    """When an entry of a timeline was."""
    return int(entry["at"])
