"""`streamdrift escalate check`: are the routes right, and where would an alert go. Writes nothing, tells nobody."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import orjson

from streamdrift.alerts import Alert, series_id
from streamdrift.embedded.rebaseline import moment, segment
from streamdrift.errors import Fatal, InputProblem, Rejected, Retriable, SettingsProblem
from streamdrift.escalate import reading, routes_file
from streamdrift.escalate.ledger import Ledger
from streamdrift.escalate.receivers import build_receivers
from streamdrift.escalate.routing.check import course
from streamdrift.escalate.routing.document import Routes
from streamdrift.escalate.routing.quiet import Silence
from streamdrift.escalate.words import duration, named
from streamdrift.settings import Settings
from streamdrift.telemetry import Metrics

TOLD, NOBODY = 0, 1
"""Exit codes: whether somebody would be told of each alert."""
ALERTS_MAX = 1_000
FILE_BYTES_MAX = 64_000_000
TITLE_MAX = 80


@dataclass(frozen=True, slots=True)
class Check:
    """What is asked for, as it was typed. Without file and model, the routes alone."""

    file: str | None = None
    model: str | None = None
    severity: Literal["info", "warning", "critical"] = "warning"
    reason: str = "mean_shift"
    segment: str = ""
    feature: str = "any"
    effect: float = 0.0
    at: str | None = None
    as_json: bool = False


def check(options: Check, settings: Settings, now: float) -> tuple[str, int]:
    """Return what is to be printed, and the exit code.

    Raises
    ------
    SettingsProblem
        The routes or an argument are wrong.
    InputProblem
        The file of alerts can't be read, or has something else in it.
    """
    receivers = [receiver.name for receiver in build_receivers(settings, Metrics())]
    routes = routes_file.load(settings.escalate, receivers)
    at = now if options.at is None else moment(options.at) / 1000
    alerts = _alerts(options, at)
    silences, unknown = _silences(settings, at)
    found = [course(alert, routes, silences, receivers, settings.escalate, at) for alert in alerts]
    code = TOLD if all(one["anybody_told"] for one in found) else NOBODY
    if options.as_json:
        told = {"receivers": receivers, "silences_unknown": unknown or None, "alerts": found}
        return orjson.dumps(told, option=orjson.OPT_INDENT_2).decode(), code
    blocks = [_text(one) for one in found] or [_summary(routes, receivers, settings)]
    return "\n\n".join(blocks) + (f"\n\nsilences were not looked at: {unknown}" if unknown and alerts else ""), code


def _silences(settings: Settings, at: float) -> tuple[list[Silence], str]:
    """Those of the ledger; or none, and why they could not be had."""
    try:
        with closing(Ledger(settings.escalate.ledger, shared=True)) as ledger:
            return ledger.silences.lasting(at), ""
    except (Fatal, Retriable) as e:
        return [], str(e)


# Alerts --------------------------------------------------------------------------------------------------------------


def _alerts(options: Check, at: float) -> list[Alert]:
    if options.file is not None and options.model is not None:
        raise SettingsProblem("--alert and --model both say what to look at; give one of them")
    if options.file is not None:
        return _read(options.file)
    return [] if options.model is None else [_made(options, options.model, at)]


def _read(name: str) -> list[Alert]:
    """Alerts as messages, one a line, or one in the whole file."""
    try:
        with Path(name).open("rb") as file:
            raw = file.read(FILE_BYTES_MAX + 1)
    except (OSError, ValueError) as e:
        raise InputProblem(f"--alert {name} can't be read: {getattr(e, 'strerror', None) or e}") from None
    lines = [(number, line) for number, line in enumerate(raw.splitlines(), 1) if line.strip()]
    if not lines or len(raw) > FILE_BYTES_MAX or len(lines) > ALERTS_MAX:
        raise InputProblem(f"--alert {name} has no alert in it, or more than {ALERTS_MAX}; one a line is read")
    try:
        orjson.loads(raw)
    except orjson.JSONDecodeError:
        return [_alert(line, f"{name} line {number}") for number, line in lines]
    return [_alert(raw, name)]


def _alert(value: bytes, where: str) -> Alert:
    try:
        return reading.read(value.strip())
    except Rejected as e:
        raise InputProblem(
            f"--alert {where} is no alert: {e.detail}; `streamdrift replay --alerts` writes some"
        ) from None


def _made(options: Check, model: str, at: float) -> Alert:
    """An alert that has what was asked for, and of the rest what matters to no route."""
    where = segment(options.segment) if options.segment else {}
    now_ms = round(at * 1000)
    return Alert(
        series_id=series_id(model, where, options.feature),
        status="firing",
        kind="drift",
        reason=options.reason,
        severity=options.severity,
        model={"name": model, "version": None},
        segment=where,
        feature=options.feature,
        role="feature",
        detector="check",
        detectors=("check",),
        detected_at=now_ms,
        onset_at=now_ms,
        events_since_onset=1,
        events_seen=1,
        statistic=0.0,
        threshold=0.0,
        effect_size=options.effect,
        effect_unit="sd",
        reference={},
        current={},
        traffic_share=1.0 if not where else 0.1,
        config_hash="check",
    )


# In words ------------------------------------------------------------------------------------------------------------


def _text(found: dict[str, Any]) -> str:
    where = named(found["segment"], TITLE_MAX) if found["segment"] else "all traffic"
    team = f", team {named(found['team'], TITLE_MAX)}" if found["team"] else ""
    what = f"{named(found['model'], TITLE_MAX)}: {found['severity']} {named(found['reason'], TITLE_MAX)}"
    lines = [f"{what} on {named(found['feature'], TITLE_MAX)} in {where}{team}"]
    if not found["pages"]:
        lines.append(f"  pages nobody: {found['why']} (escalate.severity_min)")
    if found["withheld_by"]:
        lines.append(f"  withheld while this lasts: {', '.join(found['withheld_by'])}; then:")
    for leg in found["routes"]:
        lines.append(f"  {leg['route']}")
        lines.append(f"    {'at once':14} {_who(leg)}")
        lines += [f"    {'after ' + duration(step['after_s']):14} {_who(step)}" for step in leg["steps"]]
    if found["may_be_inhibited_by"]:
        lines.append(
            f"  withheld while an incident is open that inhibits it: {', '.join(found['may_be_inhibited_by'])}"
        )
    return "\n".join(lines)


def _who(told: dict[str, Any]) -> str:
    who = ", ".join(told["receivers"]) or "nobody"
    called = told["on_call"]
    if called is None:
        return who
    return f"{who}; on call: {called['name'] or 'nobody yet'} ({called['list']})"


def _summary(routes: Routes, receivers: list[str], settings: Settings) -> str:
    place = settings.escalate.routes
    if place is None:
        head = "no routes are set (escalate.routes): every receiver is told of everything"
    else:
        counts = {
            "teams": len(routes.teams),
            "on-call lists": len(routes.on_call),
            "maintenance windows": len(routes.maintenance),
            "inhibitions": len(routes.inhibit),
        }
        head = f"{place} is valid: " + ", ".join(f"{count} {name}" for name, count in counts.items())
    return f"{head}\nreceivers set up: {', '.join(receivers) or 'none: nobody would be paged'}"
