"""Summary and Impact: what it was, and what it reached."""

from __future__ import annotations

from streamdrift.alerts import Alert, segment_name
from streamdrift.escalate.explanation import place
from streamdrift.escalate.incident import RANK
from streamdrift.escalate.postmortem.claims import Claim, Section
from streamdrift.escalate.postmortem.record import Record, clock, ids
from streamdrift.escalate.triage import headline, where
from streamdrift.escalate.words import duration, named, percent

NAMES_MAX = 12


def summary(record: Record) -> Section:
    """What it was, whether it is over, what brought it about as far as that is confirmed, and where the like was seen."""
    incident = record.incident
    claims = [Claim(headline(incident), record.of_alert(record.lead)), _standing(record), cause(record)]
    claims += [Claim(entry.text, (entry.entry_id,)) for entry in record.of("note") if "seen_before" in entry.detail]
    return Section("Summary", tuple(claims))


def _standing(record: Record) -> Claim:
    incident = record.incident
    ended = record.of("resolved")[-1:]
    if incident.is_open:
        latest = ids(record.entries[-1:]) or record.of_alert(record.lead)
        told = f"It is not over: it is {incident.status}, and this draft is of {clock(record.now)} UTC"
        return Claim(told, latest)
    over = record.over_at or incident.updated_at
    told = f"It was over at {clock(over)} UTC, {_span(over - incident.onset_at)} after its onset"
    return Claim(told, ids(ended) or record.of_alert(record.lead))


def cause(record: Record) -> Claim:
    """What brought it about, if a person confirmed that."""
    if record.cause is None:
        return Claim(
            "what brought it about is not confirmed",
            ids(record.suspects),
            unknown="somebody who confirms a change, or says what else it was",
        )
    found = record.cause
    what = f"{named(found.kind or '', 24)} {named(found.change_id, 64)}: " if found.change_id else ""
    cites = tuple(e.entry_id for e in record.entries if e.seq == found.seq) + _as_suspect(record, found.change_id)
    return Claim(f"Cause, as confirmed: {what}{named(found.text, 1_000)}", cites or record.of_alert(record.lead))


def _as_suspect(record: Record, change_id: str | None) -> tuple[str, ...]:
    return ids(e for e in record.suspects if change_id is not None and e.detail.get("change_id") == change_id)


def impact(record: Record) -> Section:
    """What it reached, for how long, and who was told."""
    incident, radius, lead = record.incident, record.radius, record.lead
    cells = [cell for cell in radius.cells if not cell.slight] or list(radius.cells)
    alerts = [cell.alert for cell in cells]
    places = list(dict.fromkeys(segment_name(cell.segment) for cell in cells))
    seen = f"{lead.events_since_onset:,} of {named(lead.feature, 40)} in {place(lead.segment)} since the onset when it was told last"
    ended = () if incident.is_open else ids(record.of("resolved")[-1:])
    claims = [
        Claim(
            f"{percent(1.0 if radius.all_traffic else radius.traffic_share)} of the model's: {where(radius)}",
            record.of_alert(lead),
            "Traffic",
        ),
        Claim(_names(radius.features), record.of_alert(*alerts), "Features"),
        Claim(_names(tuple(name or "all traffic" for name in places)), record.of_alert(*alerts), "Segments"),
        Claim(_lasted(record), record.of_alert(record.onset) + ended, "Duration"),
        Claim(f"{seen}, {lead.events_seen:,} seen in all", record.of_alert(lead), "Events"),
        Claim(f"{incident.severity}, at its highest", record.of_alert(*_gravest(record)), "Severity"),
        _pages(record),
    ]
    if incident.reopened:
        claims.append(
            Claim(
                f"{incident.reopened:,} {'time' if incident.reopened == 1 else 'times'}",
                ids(record.of("reopened")) or record.of_alert(lead),
                "Came back",
            )
        )
    return Section("Impact", tuple(claims), ("", "", "Evidence"))


def _gravest(record: Record) -> list[Alert]:
    most = max(RANK[alert.severity] for alert in record.incident.alerts)
    return [alert for alert in record.incident.alerts if RANK[alert.severity] == most][:1]


def _names(names: tuple[str, ...]) -> str:
    told = [named(name, 60) for name in names[:NAMES_MAX]]
    rest = len(names) - len(told)
    return f"{len(names):,}: {', '.join(told)}" + (f" and {rest:,} more" if rest > 0 else "")


def _lasted(record: Record) -> str:
    told = _span(record.lasted_ms)
    return told if record.over_at is not None else f"{told} so far"


def _pages(record: Record) -> Claim:
    pages = record.incident.pages
    told, given_up = record.of("delivered", action="trigger"), record.of("undelivered", action="trigger")
    receivers = sorted({str(entry.detail.get("receiver")) for entry in told})
    names = ", ".join(named(name, 40) for name in receivers[:NAMES_MAX])
    said = f"{len(told):,} delivered, to {names}" if told else "none delivered"
    said += f"; {len(given_up):,} given up" if given_up else ""
    paged = ids((*record.of("paged"), *told, *given_up))
    return Claim(said if pages else "none: nobody was paged", paged or record.of_alert(record.lead), "Pages")


def _span(ms: int) -> str:
    return duration(max(0, ms) / 1000) or "0 s"
