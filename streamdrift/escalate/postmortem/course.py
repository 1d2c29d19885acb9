"""Detect, Triage, Mitigate: how it was noticed, what was looked at, what was done."""

from __future__ import annotations

from typing import Any

from streamdrift.escalate.postmortem.blameless import told
from streamdrift.escalate.postmortem.claims import Claim, Section
from streamdrift.escalate.postmortem.record import Record, clock, ids
from streamdrift.escalate.timeline import KINDS, Entry
from streamdrift.escalate.words import duration, named, onset_range

MITIGATIONS = tuple(kind for kind in KINDS if kind.startswith("mitigation_"))
FOLLOWERS_MAX = 8
QUIET = "everything else quiet"


# Detect --------------------------------------------------------------------------------------------------------------


def detect(record: Record) -> Section:
    """The detection gap: onset, first alert, first page delivered, acknowledged; and what each step took."""
    began = record.incident.onset_at
    alert = record.of("detected")[:1]
    page, paged = record.of("delivered", action="trigger")[:1], record.of("paged")[:1]
    known = record.of("acknowledged")[:1]
    first_at = alert[0].at if alert else record.incident.opened_at
    between = onset_range(record.onset)
    line = f"drift began {clock(began)} UTC" + (f" ({between})" if between else "")
    line += f", first alert {clock(first_at, began)}"
    line += f", first page delivered {clock(page[0].at, began)}" if page else ", no page delivered"
    line += f", acknowledged {clock(known[0].at, began)}" if known else ", never acknowledged"
    whole = record.of_alert(record.onset) + ids((*alert, *page, *known))
    claims = [
        Claim(line, tuple(dict.fromkeys(whole)), "Detection gap"),
        Claim(_first_alert(record, first_at), ids(alert) or record.of_alert(record.onset), "Onset to first alert"),
    ]
    if page:
        claims.append(Claim(_span(first_at, page[0].at), ids((*paged, *page)), "First alert to first page"))
    if page and known:
        claims.append(Claim(_span(page[0].at, known[0].at), ids((*page, *known)), "First page to acknowledgement"))
    elif known:
        claims.append(Claim(_span(first_at, known[0].at), ids((*alert, *known)), "First alert to acknowledgement"))
    withheld = record.of("silenced")
    if withheld:
        claims.append(Claim(told(withheld[-1]), ids(withheld), "Withheld"))
    return Section("Detect", tuple(claims), ("", "", "Evidence"))


def _first_alert(record: Record, first_at: int) -> str:
    span, events = _span(record.incident.onset_at, first_at), record.first_events
    return f"{span}: so long took the {events:,} events that were evidence enough" if events else span


# Triage --------------------------------------------------------------------------------------------------------------


def triage(record: Record) -> Section:
    """The suspects with what speaks for and against each, and what was ruled out."""
    claims = [_suspect(entry) for entry in record.suspects]
    claims += [_suspected_not(entry) for entry in record.of("note") if entry.detail.get("no_deployment")]
    for cell in record.radius.cells:
        if cell.follows and len(claims) < FOLLOWERS_MAX + len(record.suspects):
            said = f"it moved with {named(cell.follows, 40)}, from which it is computed, and not before"
            claims.append(Claim(said, record.of_alert(cell.alert), f"{named(cell.alert.feature, 40)} as the origin"))
    quiet = [entry for entry in record.of("paged") if QUIET in entry.text][-1:]
    if quiet:
        claims.append(Claim("nothing else of the model fired when it was paged", ids(quiet), "The rest of the model"))
    if not record.suspects:
        claims.insert(
            0,
            Claim(
                "no change upstream is on the timeline",
                ids(record.of("detected")[:1]),
                "Suspects",
                unknown="what those who make the data changed before the onset; the changes topic would bring it here",
            ),
        )
    return Section("Triage", tuple(claims), ("", "For and against", "Evidence"))


def _suspect(entry: Entry) -> Claim:
    detail = entry.detail
    why, against = _phrases(detail.get("why")), _phrases(detail.get("against"))
    said = f"for: {why or 'nothing'}; against: {against or 'nothing that is known'}"
    name = f"suspect {named(str(detail.get('kind', '')), 24)} {named(str(detail.get('change_id', '')), 64)}"
    return Claim(f"{named(str(detail.get('summary', '')), 160)}. {said}", (entry.entry_id,), name)


def _suspected_not(entry: Entry) -> Claim:
    return Claim(entry.text, (entry.entry_id,), "A deployment")


def _phrases(given: Any) -> str:
    return ", ".join(named(str(one), 200) for one in given) if isinstance(given, list) else ""


# Mitigate ------------------------------------------------------------------------------------------------------------


def mitigate(record: Record) -> Section:
    """What was done against it, and how it ended."""
    done = record.of(*MITIGATIONS)
    claims = [Claim(told(entry), (entry.entry_id,), _when(entry, record)) for entry in done]
    if not record.acted:
        claims.append(
            Claim(
                "no mitigation that was carried out is on the timeline",
                unknown="whether something was rolled back, switched off or waited for",
            )
        )
    claims += [
        Claim(told(entry), (entry.entry_id,), _when(entry, record))
        for entry in record.of("recovered", "resolved", "reopened")
    ]
    if record.incident.is_open:
        latest = ids(record.entries[-1:]) or record.of_alert(record.lead)
        claims.append(Claim(f"it is {record.incident.status}", latest, clock(record.now)))
    return Section("Mitigate", tuple(claims), ("When (UTC)", "", "Evidence"))


def _when(entry: Entry, record: Record) -> str:
    del record
    return clock(entry.at)


def _span(begin: int, end: int) -> str:
    """How long, in words; what came before it, as a page of a clock that runs behind, took no time."""
    return duration(max(0, end - begin) / 1000) or "0 s"
