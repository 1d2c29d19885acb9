"""The incidents as they unfold: a line for each step, and on a terminal a progress bar below them."""

from __future__ import annotations

from datetime import UTC, datetime

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskProgressColumn, TextColumn
from rich.text import Text

from streamdrift.alerts import Alert
from streamdrift.escalate.policy import Incident, headline
from streamdrift.escalate.words import duration, effect
from streamdrift.report import words
from streamdrift.report.markup import label, visible

STEPS = {
    "open": ("opened", "bold red"),
    "grow": ("grew", "red"),
    "join": ("joined", "yellow"),
    "update": ("updated", "yellow"),
    "resolve": ("resolved", "green"),
}
DELIVERIES = {"trigger": "paged", "resolve": "closed"}
LINE_MAX = 400


class Timeline:
    """Prints to a console; colours, terminal or pipe are the console's to know.

    Parameters
    ----------
    total_events
        For the progress bar; None where it isn't known.
    bar
        False where something else writes to the same terminal, whose lines a bar would run into.
    """

    def __init__(self, console: Console, total_events: int | None, *, bar: bool = True) -> None:
        self._console = console
        self._progress: Progress | None = None
        if bar and console.is_terminal and not console.is_dumb_terminal:
            self._progress = Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=None),
                TaskProgressColumn(),
                _Rate(),
                console=console,
                transient=True,
                expand=True,
            )
            self._task = self._progress.add_task("", total=total_events)
            self._progress.start()

    def progress(self, n_events: int, event_time_ms: int) -> None:
        """Tell that so many events are done in all, up to this event time."""
        if self._progress is not None:
            self._progress.update(self._task, completed=n_events, description=words.day(event_time_ms))

    def incident(self, action: str, incident: Incident, at_ms: int) -> None:
        """Tell one decision of the incident policy; ``ignore`` is not told."""
        told = self._told(action, incident, at_ms)
        if told is not None:
            step, style = STEPS["update" if action == "join" and _newest(incident).updates else action]
            self._line(_clock(at_ms), step, style, told)

    def delivery(self, receiver: str, action: str, outcome: str, incident: Incident) -> None:
        """Tell what a receiver was sent, and what it said."""
        told = f"→ {receiver} ({outcome}): {words.headed(incident)}"
        self._line(" " * 16, DELIVERIES.get(action, action), "blue", told)

    def close(self) -> None:
        """Take the progress bar away; a second call does nothing."""
        if self._progress is not None:
            self._progress.stop()

    def _told(self, action: str, incident: Incident, at_ms: int) -> str | None:
        match action:
            case "open" | "grow":
                return headline(incident)
            case "resolve":
                return f"{words.headed(incident)}, after {duration((at_ms - incident.onset_at) / 1000)}"
            case "join":
                newest = _newest(incident)
                # what joins may also be a recovery of one series: that is told once all are well
                return f"{words.title(newest)}: {effect(newest)}" if newest.detected_at == at_ms else None
            case _:
                return None

    def _line(self, time: str, step: str, style: str, told: str) -> None:
        line = Text.assemble((time, "dim"), "  ", (f"{step:<9}", style), " ", visible(label(told, LINE_MAX)))
        encoding = self._console.encoding
        line.plain = line.plain.encode(encoding, "replace").decode(encoding)
        self._console.print(line, soft_wrap=True)


def _newest(incident: Incident) -> Alert:
    return max(incident.alerts, key=lambda alert: (alert.detected_at, alert.series_id))


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.0f} events/s", style="dim")


def _clock(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M")
