import math
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamdrift.alerts import Alert
from streamdrift.escalate.policy import Incident
from streamdrift.report import HeatMap, RunReport, charts, overview, render, words
from streamdrift.report.markup import Markup, tag, text
from tests.report.conftest import HOUR, ONSET

Make = Callable[..., Any]

HOSTILE = [
    "<script>alert(1)</script>",
    "</title><script>alert(1)</script>",
    "</style><img src=x onerror=alert(1)>",
    '" onmouseover="alert(1)',
    "' onmouseover='alert(1)",
    "<!-- ", "-->", "]]>", "&lt;b&gt;", "&#60;b&#62;",
    "javascript:alert(1)",
    "http://evil.example/x.png",
    "{feature} {0.__class__} %s $x",
    "\u202egnp.exe", "\u2066left\u2069", "\x00\x08\x1b[31m", "\ud800", "a\u0301\u0302" * 300,
    "x" * 5000, "", " ", "\n\n", "url(http://evil.example)", "Ünïcödé ✓ 日本 \u200bzero",
]  # fmt: skip


class Checked(HTMLParser):
    """Every element that is opened is closed in turn; nothing refers to the outside, nothing runs."""

    VOID = frozenset({"meta", "rect", "path", "line", "br"})
    ALLOWED = frozenset(
        re.findall(
            r"\w+",
            "html head title style body main header footer nav section article figure figcaption p h1 h2 h3 a b i small"
            " span div dl dt dd ol li table thead tbody tr th td svg text code meta rect path line",
        )
    )

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.told: list[str] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in self.ALLOWED
        for name, value in attrs:
            assert not name.startswith("on")
            assert name != "src"
            assert name != "href" or re.fullmatch(r"#incident-\d+", value or "")
            assert name != "style" or re.fullmatch(r"(width|left):\d+(\.\d+)?%", value or "")
        self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.told.append(data)


def told(page: str) -> str:
    return " ".join(" ".join(Checked(page).told).split())


def test_says_what_where_since_when_and_how_much(all_kinds: list[Alert], incident: Make, report: Make) -> None:
    page = told(render(report(incident(*all_kinds))))
    assert "1 incident in 59,149 events of recorded flights" in page
    for piece in ("17 Apr 2013, 08:00 UTC", "2 h later", "3 d 12 h after the onset", "0 % → 10.0 % null"):
        assert piece in page
    assert "mean 144 → 107 (−0.77 sd)" in page
    assert "16.1 % → 0 % of traffic" in page
    assert "streamdrift demo" in page


def test_every_kind_of_alert_has_its_picture(all_kinds: list[Alert]) -> None:
    pictures = [charts.figure(alert) for alert in all_kinds]
    assert [("<svg" in p, 'class="bars"' in p) for p in pictures if p is not None] == [
        (False, True),
        (True, False),
        (False, True),
        (False, True),
    ]


def test_needs_nothing_from_elsewhere(all_kinds: list[Alert], incident: Make, report: Make) -> None:
    page = render(report(incident(*all_kinds)))
    assert "default-src 'none'" in page.replace("&#x27;", "'")
    assert not re.search(r"https?://|@import|url\(|<script", page)
    assert len(page) < 100_000


def test_a_run_without_incidents_says_so(report: Make) -> None:
    page = told(render(report(rejected={"not_json": 3}, deliveries=())))
    assert "No incident in 59,149 events" in page
    assert "Nothing drifted" in page
    assert "3 events could not be read." in page
    assert "not_json: 3" in page


def test_an_open_incident_is_told_as_open(all_kinds: list[Alert], incident: Make, report: Make) -> None:
    page = told(render(report(incident(*all_kinds, status="open"))))
    assert "(1 still open)" in page
    assert "still open at the end of the run" in page


@pytest.mark.parametrize("label", HOSTILE)
def test_hostile_labels_stay_text(label: str, alert: Make, incident: Make, report: Make) -> None:
    sides = ({"n": 9, "categories": {label: 0.5, "b": 0.5}}, {"n": 9, "categories": {label: 1.0}})
    evil = alert(label, {label: label}, label or "x", sides, (0.5, label), label, detectors=(label,))
    heat = HeatMap((label,), (f"{label}={label}",), ((0.4,),), ((label,),))
    run: RunReport = report(
        incident(evil), heat=heat, title=label, generated_for=label, rejected={label: 1}, engine=label, command=label
    )
    run = replace(run, deliveries=tuple(replace(d, receiver=label, outcome=label) for d in run.deliveries))
    page = render(run)
    Checked(page)
    page.encode("utf-8")
    body = page.split("</style>")[1]
    assert not re.search("[\x00-\x08\x0b-\x1f\u202a-\u202e\u2066-\u2069]", body)


@given(st.text())
def test_text_comes_back_as_it_went_in_where_it_can_be_seen(value: str) -> None:
    escaped = text(value)
    assert "<" not in escaped
    assert '"' not in escaped
    parser = Checked(f"<p>{escaped}</p>")
    visible = [c for c in value if c.isprintable()]
    assert all(c in "".join(parser.told) for c in visible)


def test_markup_is_not_escaped_twice() -> None:
    assert tag("p", tag("b", "<"), [" & ", Markup("<i></i>")], None, data_x='"') == (
        '<p data-x="&quot;"><b>&lt;</b> &amp; <i></i></p>'
    )


BAD_SIDES: list[dict[str, Any]] = [
    {},
    {"n": None},
    {"n": math.nan, "mean": math.inf, "sd": -math.inf, "null_rate": math.nan},
    {"histogram": {}},
    {"histogram": {"edges": [1.0], "counts": [1]}},
    {"histogram": {"edges": [0.0, 1.0], "counts": [0, 0, 0]}},
    {"categories": {}},
    {"categories": {"a": None, "b": "x"}},
    {"histogram": None, "categories": None},
    {"share": 2.0, "rate": -1},
    {"gap_s": 5_000.0},
]


@pytest.mark.parametrize("then", BAD_SIDES)
@pytest.mark.parametrize("now", BAD_SIDES)
def test_an_alert_that_says_little_still_has_a_page(
    then: dict[str, Any], now: dict[str, Any], alert: Make, incident: Make, report: Make
) -> None:
    for role, effect in (("feature", (math.nan, "sd")), ("traffic", (0.0, "ratio")), ("feature", (1e300, "share"))):
        Checked(render(report(incident(alert(role=role, effect=effect, sides=(then, now))))))


def test_heat_map_shows_alerts_first_and_what_is_not_known(alert: Make, incident: Make) -> None:
    heat = HeatMap(("temp", "dep_delay", "seats"), ("", "origin=EWR"), ((0.9, 0.8), (0.03, 0.12), (None, math.nan)))
    drawn = overview.heat_map(heat, incident(alert()))
    assert re.findall(r'scope="row">(\w+)<', drawn) == ["dep_delay", "temp", "seats"]
    assert 'class="h1 alerted" title="dep_delay, origin=EWR: KS distance 0.12">.12<' in drawn
    assert drawn.count('title="seats') == 2
    assert drawn.count(": no data") == 2


def test_what_shows_the_same_is_listed_once_below_what_explains_it(alert: Make, incident: Make, report: Make) -> None:
    n = {"n": 1500}
    sides = [({"null_rate": 0.0} | n, {"null_rate": rate} | n) for rate in (0.1, 0.036)]
    child = alert(sides=sides[0], effect=(0.1, "share"), onset_range=(ONSET - 1_200_000, ONSET + 600_000))
    whole = alert(segment={}, sides=sides[1], effect=(0.036, "share"), detected_at=ONSET + HOUR)
    page = told(render(report(incident(child, whole, status="open"))))
    assert "What explains it" in page
    assert "100 % all traffic (diluted)" in page
    assert "all traffic (explained by origin=EWR)" in page
    assert page.index("2 alerts") < page.index("all traffic (explained by origin=EWR)")
    assert "17 Apr 2013, 08:00 UTC, between 07:40 and 08:10; noticed" in page
    assert "What explains it" not in told(render(report(incident(child))))


def test_a_change_of_all_children_is_titled_as_of_all_traffic(alert: Make, incident: Make, report: Make) -> None:
    children = [alert(segment={"origin": name}, traffic_share=0.33) for name in ("EWR", "JFK", "LGA")]
    page = told(render(report(incident(*children))))
    assert "dep_delay is null more often in all traffic" in page


def test_a_large_incident_stays_readable(alert: Make, incident: Make, report: Make) -> None:
    alerts = [alert(f"feature_{i}", {"shop": f"s{j}"}) for i in range(20) for j in range(10)]
    heat = HeatMap(
        tuple(f"feature_{i}" for i in range(200)),
        tuple(f"shop=s{j}" for j in range(100)),
        tuple(tuple(0.5 for _ in range(100)) for _ in range(200)),
    )
    page = render(report(*[incident(*alerts)] * 50, heat=heat))
    assert "not shown: 160 features that moved less and 60 segments" in told(page)
    assert "and 140 more" in told(page)
    assert "20 later incidents are not drawn" in told(page)


def test_the_strip_keeps_to_its_bounds(alert: Make, incident: Make, report: Make) -> None:
    odd: Incident = incident(alert(onset_at=-6 * 10**13, detected_at=2 * 10**14))
    for first, last in ((0, 0), (5, 4), (-6 * 10**13, 2 * 10**14), (0, 3_600_000)):
        run = report(odd, first_event=first, last_event=last)
        drawn = overview.timeline(run)
        assert all(0 <= float(x) <= 100 for x in re.findall(r'x[12]?="([\d.-]+)%"', drawn))
        Checked(render(run))


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (0.1875, "18.8 %"),
        (0.0, "0 %"),
        (1.0, "100 %"),
        (0.0004, "0.04 %"),
        (None, "?"),
        (math.nan, "?"),
        (-0.2, "−20 %"),
    ],
)
def test_percent(value: float | None, written: str) -> None:
    assert words.percent(value).replace("\u00a0", " ") == written


@pytest.mark.parametrize(
    ("seconds", "written"),
    [(304_200, "3 d 12 h"), (90, "1 min 30 s"), (0.5, "0.5 s"), (7200, "2 h"), (172_860, "2 d"), (math.inf, "?")],
)
def test_duration(seconds: float, written: str) -> None:
    assert words.duration(seconds).replace("\u00a0", " ") == written
