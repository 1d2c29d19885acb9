"""Incidents for a terminal: plain text, one line each in a list; all of one, wrapped to the terminal's width."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from streamdrift.escalate.events import signal
from streamdrift.escalate.incident import RANK, Incident
from streamdrift.escalate.outbox_rows import POSTMORTEM, Dead, Row, told_of
from streamdrift.escalate.timeline import Entry
from streamdrift.escalate.triage import headline
from streamdrift.escalate.words import effect, moment, named

ID = 8
"""Characters of an id in a list: a beginning that commands take."""
WIDTH = 80
"""Where the terminal's is not known, text is wrapped to this; lines of a list are left as long as they are."""
ALERTS_SHOWN = 50
KIND = 12
WHAT = {"trigger": "page", "resolve": "end", "acknowledge": "ack"}


def as_list(incidents: Sequence[Incident], kept: int, width: int | None) -> str:
    """Return one line each: those that go on first, the gravest of them before the others."""
    if not incidents:
        return "no incidents"
    ordered = sorted(incidents, key=_order)
    status = max(len(one.status) for one in ordered)
    severity = max(len(one.severity) for one in ordered)
    lines = [
        cut(f"{one.incident_id[:ID]}  {one.status:<{status}}  {one.severity:<{severity}}  {headline(one)}", width)
        for one in ordered
    ]
    going = sum(one.is_open for one in ordered)
    left = kept - len(ordered)
    more = f"; {left:,} more are over (--all)" if left > 0 else ""
    return "\n".join([*lines, "", f"{going:,} open, {len(ordered) - going:,} resolved{more}"])


def _order(incident: Incident) -> tuple[object, ...]:
    if incident.is_open:
        return False, -RANK.get(incident.severity, 0), -incident.updated_at, incident.incident_id
    return True, 0, -(incident.resolved_at or incident.updated_at), incident.incident_id


def as_detail(incident: Incident, entries: Sequence[Entry], deliveries: Sequence[Row], width: int | None) -> str:
    """Return all that is known of one."""
    columns = width or WIDTH
    lines = [f"incident {incident.incident_id}", *textwrap.wrap(headline(incident), columns), _standing(incident), ""]
    lines += ["timeline", *(line for entry in entries for line in _entry(entry, columns))]
    lines += [] if entries else ["  nothing: it is older than the timeline"]
    lines += ["", _alerts_head(incident), *_alerts(incident, columns), "", "deliveries"]
    lines += [line for row in deliveries for line in _delivery(row, columns)] or ["  none: nobody was paged"]
    return "\n".join(line.rstrip() for line in lines)


def _standing(incident: Incident) -> str:
    told = [
        incident.status,
        incident.severity,
        f"detected {moment(incident.opened_at)} UTC",
        _count(incident.pages, "page"),
    ]
    told += [f"opened again {_count(incident.reopened, 'time')}"] if incident.reopened else []
    told += [f"over {moment(incident.resolved_at)} UTC"] if incident.resolved_at is not None else []
    return ", ".join(told)


def _entry(entry: Entry, columns: int) -> list[str]:
    """``#3``, when, what kind, and the sentence, further lines below it."""
    head = f"  {f'#{entry.seq}':<4} {moment(entry.at)}  {entry.kind:<{KIND}} "
    return textwrap.wrap(head + entry.text, columns, subsequent_indent=" " * 7, break_on_hyphens=False)


def _alerts_head(incident: Incident) -> str:
    firing = len(incident.firing) + len(incident.beyond)
    return f"alerts: {firing:,} firing, {len(incident.alerts) + len(incident.beyond) - firing:,} over"


def _alerts(incident: Incident, columns: int) -> list[str]:
    lines: list[str] = []
    ordered = sorted(incident.alerts, key=lambda a: (incident.is_over(a), -RANK.get(a.severity, 0)))
    for alert in ordered[:ALERTS_SHOWN]:
        state = "over" if incident.is_over(alert) else "firing"
        said = f"  {state:<7} {alert.severity:<9} {signal(alert)}: {effect(alert)}, since {moment(alert.onset_at)}"
        lines += textwrap.wrap(said, columns, subsequent_indent=" " * 10)
    rest = len(ordered) - ALERTS_SHOWN + len(incident.beyond) if len(ordered) > ALERTS_SHOWN else len(incident.beyond)
    return [*lines, f"  and {rest:,} more (--json has those that are kept)"] if rest else lines


def _delivery(row: Row, columns: int) -> list[str]:
    what = "post-mortem" if row.dedup_key.endswith(POSTMORTEM) else WHAT.get(row.action, row.action)
    incident_id = told_of(row.incident_id)
    short = row.dedup_key.removesuffix(POSTMORTEM).replace(incident_id, incident_id[:ID])
    said = f"  {row.receiver:<14} {what:<5} {short:<{ID + 3}} {_state(row)}"
    return textwrap.wrap(said, columns, subsequent_indent=" " * 10)


def _state(row: Row) -> str:
    tried = _count(row.attempts, "attempt")
    outcome = named(row.outcome, 300)
    match row.state:
        case "dead":
            return f"dead after {tried}: {outcome}"
        case "pending":
            return f"waits, {tried}" + (f", last: {outcome}" if outcome else "")
        case _:
            return f"{outcome}, {tried}" if row.attempts else outcome


def as_dead(dead: Sequence[Dead], sent: Sequence[Dead], width: int | None) -> str:
    """Return the deliveries that were given up, and which of them are sent again."""
    if not dead:
        return "no dead deliveries"
    lines: list[str] = []
    for one in dead:
        what = "post-mortem" if one.is_postmortem else WHAT.get(one.action, one.action)
        lines.append(cut(f"{one.incident_id[:ID]}  {one.receiver}  {what}  {named(one.headline, 250)}", width))
        lines += textwrap.wrap(
            f"given up after {_count(one.attempts, 'attempt')}: {named(one.outcome, 300)}",
            (width or WIDTH),
            initial_indent=" " * (ID + 2),
            subsequent_indent=" " * (ID + 2),
        )
        lines += [f"{' ' * (ID + 2)}not sent again: {one.kept_back}"] if one.kept_back else []
    able = sum(one.kept_back is None for one in dead)
    if sent:
        end = f"{_count(len(sent), 'delivery', 'deliveries')} sent again: the worker makes the attempts"
    elif able:
        end = f"{_count(able, 'delivery', 'deliveries')} could be sent again: give the incident, or --all"
    else:
        end = "none of them can be sent again"
    return "\n".join([*lines, "", end])


def cut(line: str, width: int | None) -> str:
    """Return the line, as long as the terminal is wide.

    >>> cut("abcdef", 4), cut("abcdef", None)
    ('abc…', 'abcdef')
    """
    return line if width is None or len(line) <= width else line[: max(1, width - 1)] + "…"


def _count(n: int, one: str, many: str | None = None) -> str:
    return f"{n:,} {one if n == 1 else many or one + 's'}"
