"""A played incident from its first event to its end: real broker, real services, receivers that count."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.incidents.document import markdown
from tests.incidents.house import house
from tests.incidents.judged import judge
from tests.incidents.player import Pace, Player
from tests.incidents.recommender import Size, story
from tests.incidents.story import HOUR, MINUTE, at


@pytest.mark.broker
def test_a_recommender_that_fails_quietly_is_one_incident_told_once_and_resolved(
    broker: str, topic_prefix: str, tmp_path: Path
) -> None:
    played_story = story(Size(start=at("2026-03-08T20:00"), per_hour=500.0))
    pace = Pace(calm_ms=24 * HOUR, close_ms=HOUR, before_ms=50 * MINUTE)
    with house(broker, topic_prefix, tmp_path, played_story.start) as made:
        played = Player(played_story, made, pace).play()
    judged = judge(played)
    told = markdown(played)
    assert len(judged.mine) == 1, told
    assert not [one for one in judged.false if one["pages"]], told
    assert judged.place.startswith("right"), told
    assert judged.lead.startswith("right"), told
    assert judged.suspect.startswith("right"), told
    assert {receiver for receiver, _ in judged.triggers} == {"pagerduty", "webhook"}
    assert set(judged.triggers.values()) == {1}, told
    assert judged.mine[0]["status"] == "resolved", told
    assert judged.detected_at is not None
    assert judged.detected_at - played_story.onset < 3 * HOUR
