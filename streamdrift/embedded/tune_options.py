"""What `streamdrift tune` was asked for, and the history that it means."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from streamdrift.embedded.history import History
from streamdrift.embedded.outputs import STDIO
from streamdrift.errors import SettingsProblem
from streamdrift.ports import Clock, Source
from streamdrift.settings import Settings
from streamdrift.transports import kafka
from streamdrift.transports.files import FileSource

DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class Tune:
    """The command line."""

    paths: tuple[str, ...] = ()
    topic: str | None = None
    since: str | None = None
    until: str | None = None
    last_days: float | None = None
    labels: str | None = None
    model: str | None = None
    out: str | None = None
    force: bool = False
    json: str | None = None
    diff: tuple[str, str] | None = None

    def check(self) -> None:
        """Refuse what makes no sense together.

        Raises
        ------
        SettingsProblem
            With what to do instead.
        """
        problem = next(self._problems(), None)
        if problem is not None:
            raise SettingsProblem(problem)

    def _problems(self) -> Iterator[str]:
        timed = [name for name, value in self._times().items() if value is not None]
        if bool(self.paths) == (self.topic is not None):
            yield "tune needs a history: name files of recorded events, or one --topic (not both)"
        if STDIO in {*self.paths, self.labels}:
            yield "tune reads its history several times, and standard input (-) can be read only once: name a file"
        if timed and self.topic is None:
            yield f"--{timed[0]} goes with --topic; files are read whole"
        if self.last_days is not None and len(timed) > 1:
            yield "--last and --from or --to are two ways to say the same; give one"
        if self.last_days is not None and not (math.isfinite(self.last_days) and self.last_days > 0):
            yield f"--last {self.last_days:g} is no number of days above 0"
        if self.diff is not None and (self.out or self.json or self.force):
            yield "--diff compares two files and writes none: leave out --out, --json and --force"

    def _times(self) -> dict[str, object]:
        return {"from": self.since, "to": self.until, "last": self.last_days}

    def command(self) -> str:
        """The command line that does this again."""
        named = {**self._times(), "topic": self.topic, "labels": self.labels, "model": self.model, "out": self.out}
        given = (str(part) for name, value in named.items() if value is not None for part in (f"--{name}", value))
        return shlex.join(["streamdrift", "tune", *self.paths, *given])


def history(options: Tune, settings: Settings, clock: Clock) -> History:
    """Return the history, and how it is opened.

    Raises
    ------
    SettingsProblem
        A time can't be read.
    BrokerProblem
        The broker is out of reach, or has no such topic.
    """
    topic = options.topic
    if topic is None:
        return History(", ".join(options.paths), lambda: _files(options, settings), options.labels, options.model)
    since, until = _moment("from", options.since), _moment("to", options.until)
    if options.last_days is not None:
        since = round(clock.now() * 1000 - options.last_days * DAY_MS)
    bounds = kafka.bounds(settings.kafka, clock, topic, since, until)
    return History(
        f"topic {topic}", lambda: kafka.KafkaHistory(settings.kafka, bounds, clock), options.labels, options.model
    )


def _files(options: Tune, settings: Settings) -> Source:
    return FileSource(options.paths, settings.max_event_bytes)


def _moment(name: str, text: str | None) -> int | None:
    """Milliseconds since the epoch of RFC 3339, or of a date alone; without a zone it is UTC."""
    if text is None:
        return None
    try:
        told = datetime.fromisoformat(text)
    except ValueError:
        raise SettingsProblem(f"--{name} {text} is no time; write it as 2013-04-01T08:15:00Z or 2013-04-01") from None
    return round((told if told.tzinfo else told.replace(tzinfo=UTC)).timestamp() * 1000)
