"""Five questions, each asked of the answer before; what no entry answers is unknown, and says what would tell.

They lead away from people: to what changed, what let it through, what noticed it late, what kept it going.
"""

from __future__ import annotations

from streamdrift.escalate.events import signal
from streamdrift.escalate.postmortem.claims import Claim, Section
from streamdrift.escalate.postmortem.overview import cause
from streamdrift.escalate.postmortem.record import Record, cited, clock, ids
from streamdrift.escalate.words import duration, effect, named

HEAD = ("Why", "Because", "Evidence")


def whys(record: Record) -> Section:
    """The analysis as a chain of five."""
    claims = (_paged(record), _moved(record), _let_through(record), _noticed(record), _lasted(record))
    return Section("RCA: 5 Whys", claims, HEAD)


def _paged(record: Record) -> Claim:
    lead = record.lead
    asked = "1. Why was anybody told?" if record.incident.pages else "1. Why is there an incident?"
    said = f"{signal(lead)}: {effect(lead)}, since {clock(lead.onset_at)} UTC"
    return Claim(said, cited(record.of_alert(lead) + ids(record.of("paged")[:1])), asked)


def _moved(record: Record) -> Claim:
    asked = f"2. Why did {named(record.lead.feature, 40)} move?"
    found = cause(record)
    if record.cause is not None:
        return Claim(found.text, found.cites, asked)
    suspects = record.suspects
    if suspects:
        names = ", ".join(named(str(entry.detail.get("change_id", "")), 64) for entry in suspects[:5])
        said = f"none of the suspects ({names}) is confirmed"
        return Claim(
            said, ids(suspects), asked, "somebody who confirms one of them, or what those who make the data know"
        )
    return Claim(
        "no change upstream is on the timeline",
        ids(record.of("detected")[:1]),
        asked,
        f"what changed before {clock(record.incident.onset_at)} UTC where {named(record.lead.feature, 40)} is made",
    )


def _let_through(record: Record) -> Claim:
    asked = "3. Why did it get as far as the model?"
    return Claim(
        "no entry tells of a check between its origin and the model",
        cited(cause(record).cites or record.of_alert(record.lead)),
        asked,
        "which checks are on the way, and whether they cover what is proposed below",
    )


def _noticed(record: Record) -> Claim:
    asked = "4. Why was it not noticed earlier?"
    alert = record.of("detected")[:1]
    at = alert[0].at if alert else record.incident.opened_at
    gap = duration(max(0, at - record.incident.onset_at) / 1000) or "0 s"
    cites = ids(alert) or record.of_alert(record.onset)
    if not record.first_events:
        return Claim(f"the first alert came {gap} after the onset", cites, asked, "the events between the two")
    took = f"{record.first_events:,} events were evidence enough"
    return Claim(f"the first to notice was the alert, {gap} after the onset: {took}", cites, asked)


def _lasted(record: Record) -> Claim:
    asked = "5. Why did it last as long as it did?"
    if record.over_at is None:
        latest = ids(record.entries[-1:]) or record.of_alert(record.lead)
        return Claim("it is not over", latest, asked, "its end")
    known, done = record.of("acknowledged")[:1], record.acted
    ended = record.of("recovered", "resolved")
    if not done:
        said = f"acknowledged {clock(known[0].at)} UTC, and " if known else "nobody acknowledged it, and "
        said += "nothing on the timeline says what ended it"
        return Claim(
            said, ids((*known, *ended)) or record.of_alert(record.lead), asked, "what was done, if anything was"
        )
    parts = [f"acknowledged {clock(known[0].at)} UTC"] if known else ["never acknowledged"]
    parts += [f"first step against it {clock(done[0].at)} UTC"]
    parts += [f"over {clock(record.over_at)} UTC"]
    return Claim(", ".join(parts), ids((*known, *done, *ended)), asked)
