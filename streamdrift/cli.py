"""The commands, their arguments and exit codes. No logic: ``app`` does the work.

Exit codes: 0 done; 1 of `escalate check` alone: of some alert nobody would be told; 2 wrong settings or usage; 3 an input is
missing or unreadable, an output can't be written, or the broker can't be reached or refuses us; 130 interrupted.
"""

from __future__ import annotations

import argparse
import errno
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

import streamdrift
from streamdrift import cli_changes, cli_mitigation, cli_postmortem, cli_slo
from streamdrift.errors import Fatal, InputProblem

INTERRUPTED = 130
SILENCE_OPTIONS = ("silence", "lasts", "since", "until", "up_to", "comment", "author")
UNWRITTEN = {
    errno.ENOSPC: "no space left; free some and run it again",
    errno.EDQUOT: "the quota is used up; free some space and run it again",
    errno.EIO: "the device failed; write to another one",
}

EPILOG = """\
Settings come from the environment: STREAMDRIFT_DETECTORS__ADWIN__DELTA=0.01, or from the TOML file that
STREAMDRIFT_CONFIG names; `streamdrift config show` lists them all. Exit codes: 0 done, 2 wrong settings or usage,
3 input, output or broker out of reach, 130 interrupted."""

TUNE = """\
Replays a history with the settings in force, and shows for each model: what would have paged, by detector, segment and
series; which thresholds keep policy.false_pages_per_model_week; and the smallest shift that each series shows within an
hour. Every page counts, also one about a real change: leave out times of known incidents. The history is read up to
three times. --out writes settings that STREAMDRIFT_CONFIG can name: your own file's, with what was found laid over.

--diff OLD NEW replays under two settings files instead (the environment wins over both, as it does for the services) and
prints Markdown: alerts and pages gained, lost, told earlier or later. Exit code 0 also where much changed."""

STATE_HASH = """\
Reads the topic of state as `streamdrift detect` does at start, and writes nothing. Equal hashes say the same of all that may
come: compare with another deployment of the same input and settings. State of a worker that runs is as old as
kafka.state_flush_s; after an orderly stop it is complete. Exit code 3 where something can't be read."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"streamdrift: {message}\ntry: {self.prog} --help\n")


def parser() -> argparse.ArgumentParser:
    """Return the argument parser; the documentation's commands are checked against it."""
    top = _Parser(
        prog="streamdrift",
        description="Drift detection that stands beside production models.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"streamdrift {streamdrift.__version__}")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=_Parser)
    demo = commands.add_parser("demo", help="three incidents on recorded flights, from events to pages, with a report")
    demo.add_argument("--report", metavar="FILE", default="streamdrift-demo/report.html", help="default: %(default)s")
    _add_replay(commands.add_parser("replay", help="detect on recorded events: NDJSON (.gz, .zst), CSV, Parquet, or -"))
    _add_tune(
        commands.add_parser(
            "tune",
            help="what would have paged, and which settings keep the false-alarm budget",
            description=TUNE,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
    )
    commands.add_parser("detect", help="the consumer service: events topic in, alerts topic out")
    _add_escalate(commands.add_parser("escalate", help="the escalation worker: alerts topic in, pages out"))
    _add_rebaseline(commands.add_parser("rebaseline", help="let references be learned anew, from a moment on"))
    _add_acknowledge(commands.add_parser("acknowledge", help="an incident is known: no more pages; or the new normal"))
    _add_incidents(
        commands.add_parser(
            "incidents", help="the ledger: list, show, search, ack, resolve, postmortem, actions, redrive, silence"
        )
    )
    cli_slo.add(commands.add_parser("slo", help="objectives: how much of each error budget is left, what would page"))
    cli_changes.add(
        commands.add_parser("changes", help="upstream changes: take them over HTTP, or tell of one"), _Parser
    )
    config = commands.add_parser("config", help="show or check the settings").add_subparsers(
        dest="action", metavar="ACTION", required=True, parser_class=_Parser
    )
    show = config.add_parser("show", help="every setting, its value and where it came from; secrets masked")
    show.add_argument("--json", action="store_true", help="as one JSON document")
    config.add_parser("check", help="validate alone")
    state = commands.add_parser("state", help="what is put away of detection").add_subparsers(
        dest="action", metavar="ACTION", required=True, parser_class=_Parser
    )
    shortened = state.add_parser(
        "hash",
        help="what the topic of state has, in short: a hash per group of series",
        description=STATE_HASH,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    shortened.add_argument("--json", action="store_true", help="as one JSON document, with a hash per series")
    topics = commands.add_parser("topics", help="the topics").add_subparsers(
        dest="action", metavar="ACTION", required=True, parser_class=_Parser
    )
    topics.add_parser("create", help="create the topics that are missing")
    return top


def _add_replay(replay: argparse.ArgumentParser) -> None:
    replay.add_argument("paths", metavar="PATH", nargs="+", help="recorded events in order; - is standard input")
    replay.add_argument("--alerts", metavar="FILE", help="write alerts as NDJSON, as they happen; - is standard output")
    replay.add_argument("--rejected", metavar="FILE", help="write the events that could not be read, with the reason")
    replay.add_argument("--labels", metavar="PATH", help="delayed labels, NDJSON in order of observed_at")
    replay.add_argument("--changes", metavar="PATH", help="deployments and upstream changes, NDJSON")
    replay.add_argument("--report", metavar="FILE", help="write an HTML report of the incidents")
    replay.add_argument("--summary", metavar="FILE", help="write the counts as JSON; - is standard output")


def _add_tune(tune: argparse.ArgumentParser) -> None:
    tune.add_argument(
        "paths", metavar="PATH", nargs="*", help="recorded events in order, as for replay; read up to 3 times"
    )
    tune.add_argument("--topic", metavar="TOPIC", help="read Kafka history instead; commits nothing, joins no group")
    tune.add_argument("--from", dest="since", metavar="TIME", help="with --topic: records from this time on (RFC 3339)")
    tune.add_argument("--to", dest="until", metavar="TIME", help="with --topic: records before this time")
    tune.add_argument("--last", metavar="DAYS", type=float, help="with --topic: the last days")
    tune.add_argument("--labels", metavar="PATH", help="delayed labels, NDJSON in order of observed_at")
    tune.add_argument("--model", metavar="NAME", help="look at this model alone")
    tune.add_argument("--out", metavar="FILE", help="write the settings found as TOML; - is standard output")
    tune.add_argument("--force", action="store_true", help="write over the file of --out")
    tune.add_argument("--json", metavar="FILE", help="write all figures as JSON; - is standard output")
    tune.add_argument(
        "--diff",
        metavar=("OLD", "NEW"),
        nargs=2,
        help="two TOML files: print as Markdown what the change would have changed, and nothing else",
    )


def _add_rebaseline(order: argparse.ArgumentParser) -> None:
    order.add_argument("--model", metavar="NAME", required=True, help="the model")
    order.add_argument("--feature", metavar="NAME", help="one feature alone; all of the model without")
    order.add_argument("--segment", metavar="DIM=VALUE", help="one segment alone; all without")
    order.add_argument("--at", metavar="TIME", help="event time, RFC 3339 or epoch milliseconds; now without")
    order.add_argument("--changes", metavar="FILE", help="append to this file, for replay --changes, not to the topic")


def _add_acknowledge(known: argparse.ArgumentParser) -> None:
    known.add_argument("incident", metavar="INCIDENT", help="its id in the ledger, or the beginning of it")
    known.add_argument(
        "--new-normal", action="store_true", help="let its references be learned anew, as rebaseline does"
    )
    known.add_argument(
        "--at", metavar="TIME", help="from this event time on, RFC 3339 or epoch milliseconds; now without"
    )
    known.add_argument("--changes", metavar="FILE", help="append the order to this file, not to the topic")
    known.add_argument("--json", action="store_true", help="as one JSON document")


def _add_incidents(incidents: argparse.ArgumentParser) -> None:
    actions = incidents.add_subparsers(dest="action", metavar="ACTION", required=True, parser_class=_Parser)
    listed = actions.add_parser("list", help="a line for each, those that go on first")
    listed.add_argument("--all", action="store_true", help="also those that ended before the last 20")
    shown = actions.add_parser("show", help="its timeline, its alerts, and what became of each delivery")
    _add_acknowledge(actions.add_parser("ack", help="it is known; as `streamdrift acknowledge`"))
    resolved = actions.add_parser("resolve", help="it is over, whatever fires; receivers are told")
    resolved.add_argument("--reason", metavar="TEXT", required=True, help="why, for the timeline")
    redriven = actions.add_parser("redrive", help="deliveries that were given up: list them, or send them again")
    redriven.add_argument("incident", metavar="INCIDENT", nargs="?", help="send those of this incident again")
    redriven.add_argument("--receiver", metavar="NAME", help="those to this receiver alone")
    redriven.add_argument("--all", action="store_true", help="send all that are listed again")
    cli_postmortem.add_commands(actions)
    _add_silence(actions.add_parser("silence", help="what is expected pages nobody: add, list, end"))
    cli_mitigation.add(actions.add_parser("mitigate", help="what the serving side could do: show, approve, refuse"))
    for action in (shown, resolved):
        action.add_argument("incident", metavar="INCIDENT", help="its id, or the beginning of it")
    for action in (listed, shown, resolved, redriven):
        action.add_argument("--json", action="store_true", help="as one JSON document")


def _add_silence(silence: argparse.ArgumentParser) -> None:
    actions = silence.add_subparsers(dest="silencing", metavar="ACTION", required=True, parser_class=_Parser)
    added = actions.add_parser("add", help="withhold pages of what matches, until an end and up to a size")
    added.add_argument(
        "--match", metavar="LABEL=VALUE", action="append", default=[], help="also !=, ~ and !~; all hold"
    )
    added.add_argument("--for", dest="lasts", metavar="TIME", help="how long: 90m, 2h, 3d")
    added.add_argument("--from", dest="since", metavar="TIME", help="when it begins; now without")
    added.add_argument("--until", metavar="TIME", help="when it ends, RFC 3339 or epoch milliseconds")
    added.add_argument("--up-to", metavar="EFFECT", type=float, help="a larger effect pages all the same")
    added.add_argument("--comment", metavar="TEXT", required=True, help="why it is expected")
    added.add_argument("--author", metavar="HANDLE", required=True, help="whom to ask")
    listed = actions.add_parser("list", help="those that are not over")
    listed.add_argument("--all", action="store_true", help="also those that are")
    ended = actions.add_parser("end", help="end one now; what it withheld and is still open is paged once")
    ended.add_argument("silence", metavar="SILENCE", help="its id, or the beginning of it")
    for action in (added, listed, ended):
        action.add_argument("--json", action="store_true", help="as one JSON document")


def _add_escalate(escalate: argparse.ArgumentParser) -> None:
    actions = escalate.add_subparsers(dest="action", metavar="ACTION", parser_class=_Parser)
    check = actions.add_parser(
        "check",
        help="are the routes right, and where would an alert go",
        description="Reads escalate.routes and the ledger's silences; tells nobody. Exit code 1: of some alert nobody would be told.",
    )
    check.add_argument("--alert", metavar="FILE", help="alerts as messages, one a line, as replay --alerts writes them")
    check.add_argument("--model", metavar="NAME", help="or an alert of this model, with what follows")
    check.add_argument("--severity", choices=("info", "warning", "critical"), default="warning")
    check.add_argument("--reason", metavar="NAME", default="mean_shift", help="default: %(default)s")
    check.add_argument("--segment", metavar="DIM=VALUE", default="", help="all traffic without")
    check.add_argument("--feature", metavar="NAME", default="any", help="default: %(default)s")
    check.add_argument("--effect", metavar="SIZE", type=float, default=0.0, help="for bounds of silences")
    check.add_argument("--at", metavar="TIME", help="when, RFC 3339 or epoch milliseconds; now without")
    check.add_argument("--json", action="store_true", help="as one JSON document")


def run(arguments: Sequence[str]) -> int:
    """Run one command; every error ends in one sentence and its exit code, none in a traceback."""
    if sys.stderr is None:  # closed: what is said there must not go to standard output in its place
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123 - open until the process ends
    options = parser().parse_args(arguments)
    try:
        code = _dispatch(options)
        if sys.stdout is not None:
            sys.stdout.flush()  # at exit it would be too late to say what is wrong
    except Fatal as e:
        print(f"streamdrift: {_masked(str(e))}", file=sys.stderr)  # noqa: T201 - before and after logging there is only this
        _settle_output()
        return e.exit_code
    except KeyboardInterrupt:
        print("streamdrift: interrupted", file=sys.stderr)  # noqa: T201
        _settle_output()
        return INTERRUPTED
    except BrokenPipeError:  # whoever read our output went away, as `head` does
        _forget_output()
        return 0
    except OSError as e:
        if e.errno not in UNWRITTEN or e.filename is not None:
            raise
        _forget_output()
        print(f"streamdrift: standard output can't be written: {UNWRITTEN[e.errno]}", file=sys.stderr)  # noqa: T201
        return InputProblem.exit_code
    return code


def _masked(text: str) -> str:
    from streamdrift.telemetry import masked  # noqa: PLC0415 - as below

    return masked(text)


def _settle_output() -> None:
    """Write what standard output still holds; where that fails, the reason was told already."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except (OSError, ValueError):
        _forget_output()


def _forget_output() -> None:
    """What is still to be written goes nowhere: at exit it would fail once more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _dispatch(options: argparse.Namespace) -> int:
    import streamdrift.app as app  # noqa: PLC0415, PLR0402 - usage errors need not load numpy

    match options.command:
        case "replay":
            return app.replay(
                app.Replay(
                    tuple(options.paths),
                    alerts=options.alerts,
                    rejected=options.rejected,
                    labels=options.labels,
                    changes=options.changes,
                    report=options.report,
                    summary=options.summary,
                )
            )
        case "tune":
            return app.tune(
                app.Tune(
                    tuple(options.paths),
                    topic=options.topic,
                    since=options.since,
                    until=options.until,
                    last_days=options.last,
                    labels=options.labels,
                    model=options.model,
                    out=options.out,
                    force=options.force,
                    json=options.json,
                    diff=None if options.diff is None else tuple(options.diff),
                )
            )
        case "rebaseline" | "acknowledge" | "incidents" | "changes":
            return _order(options)
        case "demo":
            return app.demo(options.report)
        case "config" | "state" | "escalate" | "slo" if options.action:
            return _shown(options)
        case service:
            return {"detect": app.detect, "escalate": app.escalate, "topics": app.topics_create}[service]()


def _shown(options: argparse.Namespace) -> int:
    import streamdrift.app as app  # noqa: PLC0415, PLR0402 - as above

    match options.action:
        case _ if options.command == "slo":
            return cli_slo.run(options)
        case "check" if options.command == "escalate":
            return _check(options)
        case "show":
            return app.config_show(as_json=options.json)
        case "hash":
            return app.state_hash(as_json=options.json)
        case _:
            return app.config_check()


def _order(options: argparse.Namespace) -> int:
    import streamdrift.app as app  # noqa: PLC0415, PLR0402 - as above

    if options.command == "changes":
        return cli_changes.run(options)
    if options.command == "incidents" and options.action != "ack":
        return _incidents(options)
    if options.command != "rebaseline":
        asked = app.Acknowledge(options.incident, options.new_normal, options.at, options.changes, options.json)
        return app.acknowledge(asked)
    return app.rebaseline(app.Rebaseline(options.model, options.feature, options.segment, options.at, options.changes))


def _incidents(options: argparse.Namespace) -> int:
    import streamdrift.app as app  # noqa: PLC0415, PLR0402 - as above

    if options.action in {"silence", "mitigate"}:
        return _silence(options) if options.action == "silence" else cli_mitigation.run(options)
    if options.action in cli_postmortem.LEARNING:
        return cli_postmortem.run(options)
    from streamdrift.embedded.outputs import width  # noqa: PLC0415 - as above

    return app.incidents(
        app.Incidents(
            options.action,
            getattr(options, "incident", None),
            getattr(options, "reason", ""),
            getattr(options, "receiver", None),
            everything=getattr(options, "all", False),
            as_json=options.json,
            width=width(),
        )
    )


def _silence(options: argparse.Namespace) -> int:
    import streamdrift.app as app  # noqa: PLC0415, PLR0402 - as above
    from streamdrift.embedded.silence_commands import Silencing, silencing  # noqa: PLC0415 - as above

    given = {name: getattr(options, name) for name in SILENCE_OPTIONS if hasattr(options, name)}
    everything, match = getattr(options, "all", False), tuple(getattr(options, "match", ()))
    asked = Silencing(options.silencing, match=match, everything=everything, as_json=options.json, **given)
    return app.command(lambda settings, now: silencing(asked, settings, now))


def _check(options: argparse.Namespace) -> int:
    import streamdrift.app as app  # noqa: PLC0415, PLR0402 - as above
    from streamdrift.embedded.escalate_check import Check, check  # noqa: PLC0415 - as above

    asked = Check(
        options.alert,
        options.model,
        options.severity,
        options.reason,
        options.segment,
        options.feature,
        options.effect,
        options.at,
        as_json=options.json,
    )
    return app.command(lambda settings, now: check(asked, settings, now))
