"""Pictures of many series at once: the strip of incidents over the run's time, and the heat map of one incident."""

from __future__ import annotations

from streamdrift.escalate.policy import Incident
from streamdrift.report.markup import Markup, label, tag
from streamdrift.report.model import HeatMap, RunReport
from streamdrift.report.words import day, moment

LANES_MAX = 30
ROWS_MAX = 40
COLUMNS_MAX = 40
STEPS = 9
DAY_MS = 86_400_000
LANE, TOP = 26, 26


def timeline(report: RunReport) -> Markup:
    """Every incident from onset to recovery; the pale part is the time until it was noticed."""
    start, end = report.first_event, max(report.last_event, report.first_event + 1)
    shown = report.incidents[:LANES_MAX]
    height = TOP + LANE * max(1, len(shown)) + 8
    lanes = [
        _lane(number, item.incident, TOP + LANE * (number - 1), start, end)
        for number, item in enumerate(shown, start=1)
    ]
    if not shown:
        y = TOP + LANE / 2
        lanes = [tag("line", x1="0%", x2="100%", y1=y, y2=y, class_="calm")]
    rest = len(report.incidents) - len(shown)
    return tag(
        "div",
        tag(
            "svg",
            _ticks(start, end, height),
            lanes,
            width="100%",
            height=height,
            role="img",
            aria_label="incidents over time",
        ),
        tag("p", f"{rest} later incidents are not drawn", class_="more") if rest else None,
        class_="timeline",
    )


def _lane(number: int, incident: Incident, y: int, start: int, end: int) -> Markup:
    last = incident.updated_at if incident.status == "resolved" else end
    onset, noticed, over = (_place(ms, start, end) for ms in (incident.onset_at, incident.opened_at, last))
    told = f"{number}: since {moment(incident.onset_at)}, noticed {moment(incident.opened_at)}, "
    told += f"resolved {moment(last)}" if incident.status == "resolved" else "still open"
    return tag(
        "a",
        tag("title", told),
        tag(
            "rect", x=f"{onset:.2f}%", y=y + 5, width=f"{max(0.3, noticed - onset):.2f}%", height=12, class_="unnoticed"
        ),
        tag(
            "rect",
            x=f"{noticed:.2f}%",
            y=y + 5,
            width=f"{max(0.5, over - noticed):.2f}%",
            height=12,
            class_=f"bar {incident.severity}",
        ),
        tag("text", str(number), x=f"{onset:.2f}%", dx=-7, y=y + 15.5, text_anchor="end"),
        href=f"#incident-{number}",
    )


def _place(ms: int, start: int, end: int) -> float:
    return 100 * min(1.0, max(0.0, (ms - start) / (end - start)))


def _ticks(start: int, end: int, height: int) -> list[Markup]:
    """Five to six whole days (parts of the run, where it is short)."""
    step = max(1, -(-(end - start) // 5))
    if step > DAY_MS:
        step = -(-step // DAY_MS) * DAY_MS
        first = -(-start // DAY_MS) * DAY_MS
    else:
        first = start
    ticks = []
    for ms in range(first, end + 1, step):
        x = f"{_place(ms, start, end):.2f}%"
        far = _place(ms, start, end)
        anchor = "start" if far < 6 else "end" if far > 94 else "middle"
        name = day(ms, year=False) if step >= DAY_MS else moment(ms, year=False)
        ticks.append(tag("line", x1=x, x2=x, y1=18, y2=height, class_="tick"))
        ticks.append(tag("text", name, x=x, y=12, text_anchor=anchor, class_="date"))
    return ticks


def heat_map(heat: HeatMap, incident: Incident) -> Markup:
    """Features by segments; first the rows with alerts, then the most moved. A series that raised an alert has a frame."""
    alerted = {(alert.feature, _segment(alert.segment)) for alert in incident.alerts}
    told = {feature for feature, _ in alerted}
    moved = [max((value or 0.0 for value in row), default=0.0) for row in heat.values]
    rows = sorted(range(len(heat.features)), key=lambda i: (heat.features[i] not in told, -moved[i], i))
    columns = range(min(len(heat.segments), COLUMNS_MAX))
    head = tag(
        "tr",
        tag("th"),
        (tag("th", tag("span", label(heat.segments[j]) or "all traffic"), scope="col") for j in columns),
    )
    body = [_row(heat, i, columns, alerted) for i in rows[:ROWS_MAX]]
    hidden = [f"{len(rows) - ROWS_MAX} features that moved less"] if len(rows) > ROWS_MAX else []
    hidden += [f"{len(heat.segments) - COLUMNS_MAX} segments"] if len(heat.segments) > COLUMNS_MAX else []
    more = tag("p", f"not shown: {' and '.join(hidden)}", class_="more") if hidden else None
    return tag(
        "figure",
        tag("figcaption", tag("b", "How far each feature moved, by segment")),
        _scale(),
        tag("div", tag("table", tag("thead", head), tag("tbody", body)), class_="scroll", tabindex="0"),
        more,
        class_="heat",
    )


def _row(heat: HeatMap, i: int, columns: range, alerted: set[tuple[str, str]]) -> Markup:
    feature = heat.features[i]
    cells = []
    for j in columns:
        segment = heat.segments[j]
        framed = " alerted" if (feature, segment) in alerted else ""
        cells.append(
            _cell(
                heat.values[i][j], f"{label(feature)}, {label(segment) or 'all traffic'}", _measure(heat, i, j), framed
            )
        )
    return tag("tr", tag("th", label(feature), scope="row"), cells)


def _cell(value: float | None, name: str, measure: str, framed: str) -> Markup:
    if value is None or not 0 <= value <= 1:  # NaN too
        return tag("td", class_=f"none{framed}", title=f"{name}: no data")
    written = f"{value:.2f}".removeprefix("0") if value < 0.995 else "1"
    return tag(
        "td",
        written if value >= 0.095 else "",
        class_=f"h{min(STEPS - 1, int(value * STEPS))}{framed}",
        title=f"{name}: {measure} {value:.2f}",
    )


def _measure(heat: HeatMap, i: int, j: int) -> str:
    return heat.measures[i][j] if heat.measures else "KS distance"


def _scale() -> Markup:
    steps = (tag("i", class_=f"h{k}") for k in range(STEPS))
    return tag(
        "p",
        tag("span", "as ever ", tag("span", steps, class_="ramp"), " moved wholly"),
        tag("span", tag("i", class_="none"), " no data"),
        tag("span", tag("i", class_="h0 alerted"), " alert"),
        class_="legend",
    )


def _segment(segment: dict[str, str]) -> str:
    return ",".join(f"{k}={v}" for k, v in sorted(segment.items()))
