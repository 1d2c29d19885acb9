"""`streamdrift replay`: the pipeline over recorded events. What was found before a fault is written all the same."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass

import orjson
import structlog

from streamdrift.alerts import Alert
from streamdrift.demo.timeline import Timeline
from streamdrift.embedded.budgets import Budgets
from streamdrift.embedded.incidents import IncidentBook
from streamdrift.embedded.interrupt import Interrupt, Interruptible
from streamdrift.embedded.outputs import STDIO, check, console, writable, write_text
from streamdrift.embedded.run import EmbeddedRun
from streamdrift.embedded.summary import Summary
from streamdrift.errors import Fatal, Interrupted, Rejected
from streamdrift.events import change
from streamdrift.events.change import REBASELINE, Change
from streamdrift.events.inference import Limits
from streamdrift.ports import Clock, Sink, Source
from streamdrift.report import render
from streamdrift.settings import Settings
from streamdrift.settings.identity import config_hash
from streamdrift.telemetry import Metrics
from streamdrift.transports.files import FileSink, FileSource
from streamdrift.transports.files.sink import standard_output

CHANGES_MAX = 100_000


@dataclass(frozen=True, slots=True)
class Replay:
    """What is asked for: names of files, or ``-`` for standard input and output."""

    paths: tuple[str, ...]
    alerts: str | None = None
    rejected: str | None = None
    labels: str | None = None
    changes: str | None = None
    report: str | None = None
    summary: str | None = None

    def command(self) -> str:
        """The command line that does this again."""
        given = {"labels": self.labels, "changes": self.changes, **self.outputs()}.items()
        return shlex.join(["streamdrift", "replay", *self.paths, *(a for n, v in given if v for a in (f"--{n}", v))])

    def outputs(self) -> dict[str, str | None]:
        """What is written, by the name of its option."""
        return {"alerts": self.alerts, "rejected": self.rejected, "report": self.report, "summary": self.summary}


def replay(options: Replay, settings: Settings, clock: Clock, interrupt: Interrupt) -> int:
    """Run it; see the command line's contract for outputs and exit codes."""
    check([path for path in (*options.paths, options.labels, options.changes) if path], options.outputs())
    topics, size = settings.topics, settings.max_event_bytes
    changes = list(_changes(options.changes, settings))
    source = FileSource(options.paths, size)
    labels = FileSource((options.labels,), size) if options.labels else None
    for path in (options.summary, options.report):
        writable(path)
    routes = {topics.alerts: options.alerts, topics.rejected: options.rejected}
    sink: Sink = FileSink({topic: path for topic, path in routes.items() if path})
    taken = STDIO in options.outputs().values()
    lines = console(stderr=taken)
    timeline = Timeline(lines, None, bar=not (taken and standard_output().isatty()))
    played = _Played(options, settings, timeline, sink, labels)
    for order in changes:
        if order.kind == REBASELINE:
            played.run.direct.bank.rebaseline(order)
    named, began = ", ".join(options.paths), clock.monotonic()
    with closing(played.budgets or sink), closing(source):
        try:
            fault = played.read(Interruptible(source, interrupt))
        finally:
            timeline.close()
        summary = Summary(played.run, played.book, clock.monotonic() - began)
        unread = _write(options.summary, lambda: orjson.dumps(summary.counts()).decode() + "\n")
        undrawn = _write(options.report, lambda: render(summary.report("Replay", named, options.command(), changes)))
        lines.print(summary.sentence(), soft_wrap=True)
        for line in played.budgets.lines() if played.budgets is not None else ():
            lines.print(line, soft_wrap=True, markup=False)
        if options.report not in {None, STDIO} and undrawn is None:
            lines.print(f"report: {options.report}", soft_wrap=True)
    faults = [f for f in (fault, unread, undrawn) if f is not None]
    if faults:
        raise type(faults[0])("\n  also: ".join(map(str, faults)))
    return 0


class _Played:
    def __init__(
        self, options: Replay, settings: Settings, timeline: Timeline, sink: Sink, labels: Source | None
    ) -> None:
        self._options, self._timeline = options, timeline
        self.book = IncidentBook(settings, timeline.incident)
        self.budgets: Budgets | None = None
        if settings.slo.files:  # what is counted for them is held against them
            settings = settings.model_copy(update={"slo": settings.slo.model_copy(update={"publish": True})})
            sink = self.budgets = Budgets(sink, settings, self._alerts)
        self.run = EmbeddedRun(
            settings, config_hash(settings), Metrics(), sink, self._alerts, timeline.progress, labels
        )

    def read(self, source: Source) -> Fatal | None:
        """Read to the end, or to a fault, which is told after all that was good before it."""
        try:
            self.run.run(source)
            self.run.finish()
        except KeyboardInterrupt:
            self.run.flush()
            return Interrupted(f"interrupted after {self.run.read:,} events; what they gave is written")
        except Fatal as e:
            with suppress(Fatal):  # it may be an output that fails
                self.run.finish()
            return e
        return None

    def _alerts(self, alerts: Sequence[Alert]) -> None:
        heat = {name: self.run.heat(name) for name in {a.model_name for a in alerts}} if self._options.report else {}
        for alert in alerts:
            self.book.take(alert, heat.get(alert.model_name))


def _write(path: str | None, text: Callable[[], str]) -> Fatal | None:
    """Write one output where it is asked for; return what prevented it, so that the next one is tried all the same."""
    try:
        if path is not None:
            write_text(path, text())
    except Fatal as e:
        return e
    return None


def _changes(path: str | None, settings: Settings) -> Iterator[Change]:
    """Read the change events; an unreadable one is logged and passed over."""
    if path is None:
        return
    log = structlog.get_logger("streamdrift")
    limits = Limits.of(settings)
    source, read = FileSource((path,), settings.max_event_bytes), 0
    while not source.exhausted() and read < CHANGES_MAX:
        for record in source.poll(1_000, 0.0):
            read += 1
            try:
                yield change.decode(record, limits)
            except Rejected as e:
                where = f"{path} line {record.offset}"
                log.warning("not a change event; passed over", where=where, reason=e.reason, detail=e.detail)
    if not source.exhausted():
        log.warning("only the first change events were read", where=path, read=read)
