import io
import re
from dataclasses import replace

import pytest
from rich.console import Console

from streamdrift.alerts import Alert, series_id
from streamdrift.demo.timeline import Timeline
from streamdrift.escalate.policy import Incident

ONSET = 1_366_185_600_000  # 17 April 2013, 08:00
MINUTE = 60_000


def alert(feature: str = "dep_delay", at: int = ONSET + 15 * MINUTE) -> Alert:
    where = {"origin": "EWR"}
    return Alert(
        series_id=series_id("flight-delay", where, feature),
        status="firing",
        kind="anomaly",
        reason="null_rate",
        severity="warning",
        model={"name": "flight-delay", "version": "7"},
        segment=where,
        feature=feature,
        role="feature",
        detector="scan",
        detectors=("scan",),
        detected_at=at,
        onset_at=ONSET,
        events_since_onset=160,
        events_seen=12_000,
        statistic=31.8,
        threshold=16.0,
        effect_size=0.1,
        effect_unit="share",
        reference={"n": 5000, "null_rate": 0.0},
        current={"n": 160, "null_rate": 0.1},
        traffic_share=0.36,
        config_hash="c0ffee",
    )


def incident(*alerts: Alert) -> Incident:
    return Incident(
        incident_id="inc-1",
        model="flight-delay",
        status="open",
        severity="warning",
        opened_at=alerts[0].detected_at,
        updated_at=alerts[-1].detected_at,
        onset_at=ONSET,
        alerts=alerts,
        resolved=frozenset(),
    )


def play(console: Console) -> str:
    first, second = alert(), alert("seats", ONSET + 30 * MINUTE)
    timeline = Timeline(console, 1000)
    timeline.progress(500, ONSET)
    timeline.incident("open", incident(first), first.detected_at)
    timeline.delivery("webhook", "trigger", "202", incident(first))
    timeline.incident("join", incident(first, second), second.detected_at)
    timeline.incident("join", incident(first, second), second.detected_at + MINUTE)
    timeline.incident("ignore", incident(first), first.detected_at)
    timeline.incident("resolve", incident(first, second), ONSET + 76 * 60 * MINUTE)
    timeline.progress(1000, ONSET + MINUTE)
    timeline.close()
    timeline.close()
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_plain_lines_on_a_pipe() -> None:
    lines = play(Console(file=io.StringIO(), width=40)).replace("\u00a0", " ").splitlines()
    assert re.fullmatch(r"2013-04-17 08:15  opened    flight-delay: .*dep_delay.*", lines[0])
    assert lines[1:3] == [
        "                  paged     → webhook (202): dep_delay is null more often in origin=EWR",
        "2013-04-17 08:30  joined    seats is null more often in origin=EWR: 0 % → 10.0 % null",
    ]
    assert re.fullmatch(r"2013-04-20 12:00  resolved  .* is null more often in origin=EWR, after 3 d 4 h", lines[3])
    assert len(lines) == 4


def test_an_update_is_told_as_one() -> None:
    console = Console(file=io.StringIO(), width=80)
    update = replace(alert(at=ONSET + 40 * MINUTE), updates=alert().alert_id, current={"n": 320, "null_rate": 0.15})
    Timeline(console, 1).incident("join", incident(update), update.detected_at)
    assert isinstance(console.file, io.StringIO)
    written = console.file.getvalue().replace("\u00a0", " ")
    assert written == "2013-04-17 08:40  updated   dep_delay is null more often in origin=EWR: 0 % → 15.0 % null\n"


def test_a_bar_on_a_terminal() -> None:
    written = play(Console(file=io.StringIO(), width=120, force_terminal=True, color_system="standard", _environ={}))
    assert "\x1b[" in written
    assert "17 Apr 2013" in written
    assert "100%" in written


@pytest.mark.parametrize("environment", [{"TERM": "dumb"}, {"TERM": "unknown"}])
def test_a_dumb_terminal_gets_plain_lines(environment: dict[str, str]) -> None:
    written = play(Console(file=io.StringIO(), width=120, force_terminal=True, _environ=environment))
    assert "%━" not in written
    assert len(written.splitlines()) == 4


def test_no_color_is_respected() -> None:
    environment = {"NO_COLOR": "1", "TERM": "xterm-256color"}
    written = play(Console(file=io.StringIO(), width=120, force_terminal=True, _environ=environment))
    assert not re.search(r"\x1b\[[\d;]*3[0-7]m", written)


def test_names_from_events_do_not_speak_to_the_terminal() -> None:
    console = Console(file=io.StringIO(), width=80)
    evil = incident(alert("\x1b]0;owned\x07[red]x[/red]\u202e\r\n"))
    timeline = Timeline(console, 1)
    timeline.delivery("webhook", "trigger", "202", evil)
    assert isinstance(console.file, io.StringIO)
    written = console.file.getvalue()
    assert "[red]x[/red]" in written
    assert not re.search("[\x00-\x09\x0b-\x1f\u202e]", written)
    assert written.count("\n") == 1


def test_an_ascii_terminal_gets_question_marks() -> None:
    raw = io.BytesIO()
    console = Console(file=io.TextIOWrapper(raw, encoding="ascii", write_through=True), width=80)
    Timeline(console, 1).delivery("webhook", "trigger", "202", incident(alert()))
    assert b"paged     ? webhook (202)" in raw.getvalue()
