"""`streamdrift replay`: the pipeline over recorded events. What was found before a fault is written all the same."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson
import structlog
from rich.console import Console

from streamdrift.alerts import Alert
from streamdrift.demo.timeline import Timeline
from streamdrift.embedded.incidents import IncidentBook
from streamdrift.embedded.run import EmbeddedRun
from streamdrift.embedded.summary import Summary
from streamdrift.errors import Fatal, InputProblem, Rejected
from streamdrift.escalate.policy import Decision
from streamdrift.events import change
from streamdrift.events.change import Change
from streamdrift.events.inference import Limits
from streamdrift.ports import Clock, Sink, Source
from streamdrift.report import render
from streamdrift.settings import Settings
from streamdrift.settings.identity import config_hash
from streamdrift.telemetry import Metrics
from streamdrift.transports.files import FileSink, FileSource

CHANGES_MAX = 100_000
STDIO = "-"


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
        options = ("alerts", "rejected", "labels", "changes", "report", "summary")
        given = [(name, getattr(self, name)) for name in options]
        return shlex.join(["streamdrift", "replay", *self.paths, *(a for n, v in given if v for a in (f"--{n}", v))])


def replay(options: Replay, settings: Settings, clock: Clock) -> int:
    """Run it; see the command line's contract for outputs and exit codes."""
    topics, size = settings.topics, settings.max_event_bytes
    changes = list(_changes(options.changes, settings))
    source = FileSource(options.paths, size)
    labels = FileSource((options.labels,), size) if options.labels else None
    routes = {topics.alerts: options.alerts, topics.rejected: options.rejected}
    sink = FileSink({topic: path for topic, path in routes.items() if path})
    stdout_taken = STDIO in {options.alerts, options.rejected, options.report, options.summary}
    console = Console(stderr=stdout_taken, highlight=False)
    timeline = Timeline(console, None)
    played = _Played(options, settings, timeline, sink, labels)
    began = clock.monotonic()
    try:
        return played.read(source)
    finally:
        timeline.close()
        summary = Summary(played.run, played.book, clock.monotonic() - began)
        _write(options, summary, changes, console)
        sink.close()
        source.close()


class _Played:
    def __init__(
        self, options: Replay, settings: Settings, timeline: Timeline, sink: Sink, labels: Source | None
    ) -> None:
        self._options, self._timeline = options, timeline
        self.book = IncidentBook(settings, self._decided)
        self.run = EmbeddedRun(
            settings, config_hash(settings), Metrics(), sink, self._alerts, timeline.progress, labels
        )

    def read(self, source: Source) -> int:
        """Read to the end; a fault of the input is told after all that was good before it."""
        try:
            self.run.run(source)
        except KeyboardInterrupt:
            self.run.flush()
            raise
        except Fatal:
            self.run.finish()
            raise
        self.run.finish()
        return 0

    def _alerts(self, alerts: Sequence[Alert]) -> None:
        heat = {name: self.run.heat(name) for name in {a.model_name for a in alerts}} if self._options.report else {}
        for alert in alerts:
            self.book.take(alert, heat.get(alert.model_name))

    def _decided(self, decision: Decision, alert: Alert) -> None:
        if decision.page and decision.incident is not None:
            self._timeline.incident(decision.action, decision.incident, alert.detected_at)


def _write(options: Replay, summary: Summary, changes: Sequence[Change], console: Console) -> None:
    if options.summary:
        write_text(options.summary, orjson.dumps(summary.counts()).decode() + "\n")
    if options.report:
        report = summary.report("Replay", ", ".join(options.paths), options.command(), changes)
        write_text(options.report, render(report))
    console.print(summary.sentence(), soft_wrap=True)
    if options.report and options.report != STDIO:
        console.print(f"report: {options.report}", soft_wrap=True)


def write_text(path: str, text: str) -> None:
    """Write a whole file, its folders made if need be; ``-`` is standard output.

    Raises
    ------
    InputProblem
        It can't be written.
    """
    if path == STDIO:
        sys.stdout.write(text)
        return
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(text, encoding="utf-8")
    except OSError as e:
        raise InputProblem(f"{path} can't be written: {e.strerror or e}; name another file, or make room") from None


def _changes(path: str | None, settings: Settings) -> Iterator[Change]:
    """Read the change events; an unreadable one is logged and passed over."""
    if path is None:
        return
    log = structlog.get_logger("streamdrift")
    limits = Limits(
        settings.max_event_bytes,
        settings.features_per_event_max,
        settings.segments_per_event_max,
        settings.text_length_max,
    )
    source, read = FileSource((path,), settings.max_event_bytes), 0
    while not source.exhausted() and read < CHANGES_MAX:
        for record in source.poll(1_000, 0.0):
            read += 1
            try:
                yield change.decode(record, limits)
            except Rejected as e:
                log.warning("not a change event; passed over", line=record.offset, reason=e.reason, detail=e.detail)
