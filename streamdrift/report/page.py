"""The page: what happened, once for the whole run and once per incident."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import resources

from streamdrift.alerts import Alert
from streamdrift.escalate.policy import Incident, blast_radius, headline
from streamdrift.escalate.triage import first, where
from streamdrift.escalate.words import onset_range
from streamdrift.report import charts, explained, overview, words
from streamdrift.report.markup import Markup, join, label, tag
from streamdrift.report.model import Delivery, IncidentReport, RunReport

FIGURES_MAX = 6
ALERTS_MAX = 60
DELIVERIES_MAX = 100
HEADLINE_MAX = 400
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
RANK = {"critical": 0, "warning": 1, "info": 2}


def render(report: RunReport) -> str:
    """Return one HTML document that needs nothing else: no script, no font, no picture from elsewhere."""
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("meta", name="generator", content="streamdrift"),
        tag("title", report.title),
        tag("style", Markup(resources.files("streamdrift.report").joinpath("report.css").read_text("utf-8"))),
    )
    incidents = [_incident(i, item, report) for i, item in enumerate(report.incidents, start=1)]
    body = tag("body", tag("main", _top(report), incidents or _calm(report), _deliveries(report), _foot(report)))
    return f"<!doctype html>\n{tag('html', head, body, lang='en')}\n"


def _top(report: RunReport) -> Markup:
    return tag(
        "header",
        tag("p", "streamdrift", class_="brand"),
        tag("h1", report.title),
        tag("p", _summary(report), class_="summary"),
        overview.timeline(report),
        _index(report.incidents),
    )


def _summary(report: RunReport) -> str:
    if not report.events:
        return f"No event could be read from {report.generated_for}."
    n = len(report.incidents)
    open_ones = sum(item.incident.status == "open" for item in report.incidents)
    first = f"{_count(n, 'incident')}{f' ({open_ones} still open)' if open_ones else ''}" if n else "No incident"
    rejected = sum(report.rejected.values())
    bad = f" {_count(rejected, 'event')} could not be read." if rejected else ""
    return (
        f"{first} in {_count(report.events, 'event')} of {report.generated_for}, "
        f"{words.day(report.first_event)} to {words.day(report.last_event)}; "
        f"{_count(report.series, 'series', 'series')} watched.{bad}"
    )


def _count(n: int, one: str, many: str | None = None) -> str:
    return f"{n:,} {one if n == 1 else many or one + 's'}"


def _index(incidents: tuple[IncidentReport, ...]) -> Markup | None:
    if not incidents:
        return None
    items = (
        tag("li", tag("a", _title(item.incident), href=f"#incident-{i}")) for i, item in enumerate(incidents, start=1)
    )
    return tag("nav", tag("ol", items), aria_label="incidents")


def _calm(report: RunReport) -> Markup:
    return tag(
        "section",
        tag("h2", "Nothing drifted"),
        tag(
            "p",
            f"None of {_count(report.series, 'series', 'series')} left what its reference window showed. "
            "A series is judged once its reference window is full.",
        ),
        class_="calm",
    )


# One incident --------------------------------------------------------------------------------------------------------


def _incident(number: int, item: IncidentReport, report: RunReport) -> Markup:
    incident = item.incident
    return tag(
        "article",
        tag("p", f"Incident {number} ", _status(incident), class_="kicker"),
        tag("h2", _title(incident)),
        tag("p", label(headline(incident), HEADLINE_MAX), class_="page"),
        _facts(incident, report),
        tag("div", _figures(incident), class_="figures"),
        overview.heat_map(item.heat, incident) if item.heat and item.heat.features else None,
        explained.table(incident),
        _alerts(incident),
        id=f"incident-{number}",
    )


def _title(incident: Incident) -> str:
    return label(words.headed(incident))


def _status(incident: Incident) -> list[Markup]:
    return [
        tag("span", incident.severity, class_=f"pill {incident.severity}"),
        tag("span", incident.status, class_=f"pill {incident.status}"),
    ]


def _facts(incident: Incident, report: RunReport) -> Markup:
    radius = blast_radius(incident)
    scope = where(radius)
    share = "" if radius.all_traffic else f" \u2013 {words.percent(radius.traffic_share)} of traffic"
    features = ", ".join(label(name) for name in radius.features[:6]) + (" \u2026" if len(radius.features) > 6 else "")
    rows = [
        ("What", f"{words.finding(radius.lead)} ({radius.lead.reason})"),
        ("Where", f"{label(scope)}{share}; {_count(len(radius.features), 'feature')}: {features}"),
        ("Since when", _when(incident, report)),
        ("How much", words.effect(radius.lead)),
    ]
    return tag("dl", (tag("div", tag("dt", name), tag("dd", told)) for name, told in rows), class_="facts")


def _when(incident: Incident, report: RunReport) -> str:
    between = onset_range(first(incident))
    told = f"{words.moment(incident.onset_at)} UTC{', ' if between else ''}{between}"
    told += f"; noticed {_after(incident.opened_at - incident.onset_at)}"
    if incident.status == "resolved":
        return f"{told}; resolved {words.moment(incident.updated_at)}, {words.duration((incident.updated_at - incident.onset_at) / 1000)} after the onset"
    return f"{told}; still open at the end of the run, {words.moment(report.last_event)}"


def _after(ms: int) -> str:
    return f"{words.duration(ms / 1000)} later" if ms > 0 else "at once"


def _ordered(alerts: Iterable[Alert], lead: Alert) -> list[Alert]:
    """The lead, then the gravest and the earliest."""
    return sorted(alerts, key=lambda a: (a != lead, RANK[a.severity], a.detected_at, a.series_id))


def _figures(incident: Incident) -> list[Markup]:
    """One picture per feature, of the alert that tells most."""
    drawn: dict[str, Markup] = {}
    for alert in _ordered(incident.alerts, blast_radius(incident).lead):
        if alert.feature not in drawn and len(drawn) < FIGURES_MAX and (picture := charts.figure(alert)) is not None:
            drawn[alert.feature] = picture
    return list(drawn.values())


def _alerts(incident: Incident) -> Markup:
    ordered = explained.ordered(incident)
    head = ("Noticed", "Feature", "Segment", "Reason", "How much", "Since", "Detectors")
    rows = [
        tag(
            "tr",
            (
                tag("td", tag("span", told), data_label=name)
                for name, told in zip(head, _told(alert, shown_by, incident), strict=True)
            ),
        )
        for alert, shown_by in ordered[:ALERTS_MAX]
    ]
    columns = tag("tr", (tag("th", name, scope="col") for name in head))
    rest = len(ordered) - len(rows)
    return tag(
        "section",
        tag("h3", _count(len(ordered), "alert")),
        tag("div", tag("table", tag("thead", columns), tag("tbody", rows), class_="alerts"), class_="scroll"),
        tag("p", f"and {rest} more", class_="more") if rest else None,
    )


def _told(alert: Alert, shown_by: str, incident: Incident) -> tuple[Markup | str, ...]:
    """One row; ``shown_by`` names the place whose change the alert shows, where that is another."""
    over = tag("small", " resolved") if incident.is_over(alert) else None
    return (
        words.moment(alert.detected_at, year=False),
        label(alert.feature),
        join(
            label(words.where(alert.segment)), tag("small", f" (explained by {label(shown_by)})") if shown_by else None
        ),
        join(label(alert.reason.replace("_", " ")), over),
        words.effect(alert),
        words.moment(alert.onset_at, year=False),
        label(", ".join(alert.detectors)),
    )


# The end -------------------------------------------------------------------------------------------------------------


def _deliveries(report: RunReport) -> Markup | None:
    if not report.deliveries:
        return None
    numbers = {item.incident.incident_id: i for i, item in enumerate(report.incidents, start=1)}
    rows = [
        tag("tr", (tag("td", told) for told in _delivery(item, numbers))) for item in report.deliveries[:DELIVERIES_MAX]
    ]
    head = tag("tr", (tag("th", name, scope="col") for name in ("When", "Incident", "Receiver", "Action", "Outcome")))
    rest = len(report.deliveries) - len(rows)
    return tag(
        "section",
        tag("h2", "Who was told"),
        tag("div", tag("table", tag("thead", head), tag("tbody", rows), class_="plain"), class_="scroll"),
        tag("p", f"and {rest} more", class_="more") if rest else None,
    )


def _delivery(item: Delivery, numbers: dict[str, int]) -> tuple[Markup | str, ...]:
    number = numbers.get(item.incident_id)
    link = tag("a", str(number), href=f"#incident-{number}") if number else label(item.incident_id)
    return words.moment(item.at, year=False), link, label(item.receiver), label(item.action), label(item.outcome)


def _foot(report: RunReport) -> Markup:
    rate = report.events / report.seconds if report.seconds > 0 else 0.0
    facts = [
        ("Command", tag("code", report.command) if report.command else ""),
        ("Took", f"{words.duration(report.seconds)}, {rate:,.0f} events per second" if rate else ""),
        ("Engine", report.engine),
        ("Settings", tag("code", report.config_hash) if report.config_hash else ""),
        ("Not read", ", ".join(f"{label(reason)}: {n:,}" for reason, n in sorted(report.rejected.items()))),
        *(("Note", note) for note in report.notes),
    ]
    rows = (tag("div", tag("dt", name), tag("dd", told)) for name, told in facts if told)
    note = "Times are event times in UTC. Then: the series\u2019 reference window. Now: its events when the alert was raised."
    return tag("footer", tag("p", note), tag("dl", rows, class_="facts"))
