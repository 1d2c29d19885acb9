from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from streamdrift.alerts import Alert
from streamdrift.settings import EscalateSettings, Settings, load
from streamdrift.tune.difference import Episodes, compare
from streamdrift.tune.findings import Seen
from streamdrift.tune.markdown import changed, section
from streamdrift.tune.tally import Tally
from streamdrift.tune.toml import applied, chosen, document

HOUR = 3_600_000
DAY = 24 * HOUR


def alert(series: str, at: int, onset: int | None = None, **given: Any) -> Alert:
    model, segment, feature = series.split("/")
    dimension, _, value = segment.partition("=")
    base = Alert(
        series_id=series, status="firing", kind="drift", reason="mean_shift", severity="warning",
        model={"name": model, "version": None}, segment={dimension: value} if segment else {}, feature=feature,
        role="feature", detector="scan", detectors=("adwin", "scan"), detected_at=at,
        onset_at=at - HOUR if onset is None else onset, events_since_onset=16, events_seen=at // 1_000, statistic=20.0,
        threshold=16.0, effect_size=1.0, effect_unit="sd", reference={"n": 100}, current={"n": 16}, traffic_share=1.0,
        config_hash="c",
    )  # fmt: skip
    return replace(base, **given)


def resolved(opened: Alert, at: int) -> Alert:
    return replace(opened, status="resolved", detected_at=at, events_seen=at // 1_000, resolves=opened.alert_id)


def episodes(*alerts: Alert, escalate: EscalateSettings | None = None) -> Episodes:
    found = Episodes(Tally(escalate or EscalateSettings()))
    found.take(sorted(alerts, key=lambda a: a.detected_at))
    return found


def test_what_tells_of_the_same_change_is_matched_and_the_rest_is_gained_or_lost() -> None:
    first, second = alert("m//x", DAY), alert("m//x", 9 * DAY)
    minor = alert("m//y", DAY, severity="info")
    old = episodes(first, resolved(first, 2 * DAY), second, minor)
    new = episodes(replace(first, detected_at=DAY + HOUR, config_hash="d"), alert("m//z", 3 * DAY), minor)
    found = compare(old, new)
    assert [(a.alert.series_id, b.alert.detected_at - a.alert.detected_at) for a, b in found.moved] == [("m//x", HOUR)]
    assert [e.alert.series_id for e in found.gained] == ["m//z"]
    assert [(e.alert.series_id, e.alert.detected_at) for e in found.lost] == [("m//x", 9 * DAY)]
    assert found.same == 1


def test_one_long_alert_in_place_of_two_short_ones_is_matched_once() -> None:
    one, two = alert("m//x", DAY), alert("m//x", 3 * DAY)
    short = episodes(one, resolved(one, 2 * DAY), two)
    found = compare(episodes(replace(one, config_hash="d")), short)
    assert (found.same, len(found.gained), len(found.lost), len(found.moved)) == (1, 1, 0, 0)


def test_a_fault_is_never_matched_with_a_drift() -> None:
    fault = alert("m//x", DAY, kind="anomaly", reason="null_rate", effect_unit="share")
    found = compare(episodes(fault), episodes(alert("m//x", DAY)))
    assert (len(found.gained), len(found.lost)) == (1, 1)
    renamed = compare(episodes(alert("m//x", DAY)), episodes(alert("m//x", DAY, reason="variance_shift")))
    assert renamed.same == 1


def test_pages_are_those_of_the_incident_policy() -> None:
    together = [alert("m//x", DAY), alert("m//y", DAY + 60_000), alert("m//z", DAY, severity="info")]
    both = episodes(*together)
    assert (both.tally.total.alerts, both.tally.total.pages, both.tally.incidents) == (3, 1, 1)
    assert both.tally.detectors["adwin"].alerts == 3
    apart = episodes(alert("m//x", DAY), alert("m//y", 3 * DAY))
    assert (apart.tally.total.pages, apart.tally.incidents) == (2, 2)
    none = episodes(*together, escalate=EscalateSettings(severity_min="critical"))
    assert none.tally.total.pages == 0
    found = compare(
        apart, episodes(alert("m//x", DAY), alert("m//y", 3 * DAY), escalate=EscalateSettings(severity_min="critical"))
    )
    assert (found.pages_lost, found.pages_gained, len(found.moved)) == (2, 0, 2)


def test_names_from_the_events_are_no_markdown_and_figures_are_per_week() -> None:
    evil = alert("m/`d`|=<b>/x|y", DAY)
    old, new = episodes(), episodes(evil, alert("m//y", 20 * DAY))
    told = section("m", Seen(10, 0, 28 * DAY), 4.0, old, new, compare(old, new))
    assert "| alerts | 0 | 2 | 2 | 0 |" in told
    assert "| pages a week | 0.00 | 0.50 |" in told
    rows = [line for line in told.splitlines() if "x\\|y" in line]
    assert rows == ["| 1970-01-02 00:00 | `m/'d'\\|=<b>/x\\|y` | `mean_shift` | warning | yes |"]


def test_settings_that_differ_are_listed_and_secrets_are_not_shown(tmp_path: Path) -> None:
    old = load({"STREAMDRIFT_ESCALATE__PAGERDUTY__ROUTING_KEY": "old-key"}, root=tmp_path)
    new = load(
        {
            "STREAMDRIFT_ESCALATE__PAGERDUTY__ROUTING_KEY": "new-key",
            "STREAMDRIFT_POLICY__THRESHOLD": "20",
            "STREAMDRIFT_OVERRIDES__A__ENABLED": "false",
        },
        root=tmp_path,
    )
    found = {name: (a, b) for name, a, b in changed(old, new)}
    assert found["policy.threshold"] == ("16.0", "20.0")
    assert found["overrides.a.enabled"][1] == "false"
    assert found.keys() == {"policy.threshold", "overrides.a.enabled", "escalate.pagerduty.routing_key"}
    assert "key" not in "".join(found["escalate.pagerduty.routing_key"])


def test_the_file_keeps_what_the_operator_s_had_but_its_secrets(tmp_path: Path) -> None:
    base = {
        "segments": ["origin", 'a"b\\\x7f'],
        "kafka": {"sasl_password": "hunter2", "sasl_username": "me", "partitions": 3},
        "policy": {"resolve_events": 64},
        "overrides": {"zebra": {"feature": "x", "enabled": False}},
    }
    text = document(base, Settings(), {"policy": {"threshold": 20.0}}, ["found by: a\nb"])
    assert "hunter2" not in text
    assert "# kafka.sasl_password is a secret" in text
    assert base["kafka"]["sasl_password"] == "hunter2"  # type: ignore[index] # the caller's is left as it was
    path = tmp_path / "tuned.toml"
    path.write_text(text.replace('sasl_username = "me"\n', ""), encoding="utf-8")
    settings = load({"STREAMDRIFT_CONFIG": str(path)}, root=tmp_path).settings
    assert settings.segments == ("origin", 'a"b\\\x7f')
    assert (settings.policy.threshold, settings.policy.resolve_events, settings.kafka.partitions) == (20.0, 64, 3)
    assert settings.overrides["zebra"].enabled is False


def test_nothing_chosen_changes_nothing() -> None:
    assert chosen({}) == {}
    assert applied(Settings(), {}) == Settings()
