"""The composition root: builds the parts, joins them, runs them, takes them down. The one place with the real clock.

Signals: SIGTERM and SIGINT end a service as they should (stop polling, publish, commit, leave); a second one ends it at once.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import tomllib
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import structlog

from streamdrift import __version__, embedded, kernels
from streamdrift.detect.budget import in_words
from streamdrift.detect_service import Detecting
from streamdrift.errors import Fatal, InputProblem, OutOfReach, Retriable, SettingsProblem, Standby
from streamdrift.settings import Settings
from streamdrift.settings.fields import CONFIG, secret_values
from streamdrift.settings.identity import config_hash
from streamdrift.settings.load import Loaded, load
from streamdrift.settings.show import show, show_json
from streamdrift.settings.sources import CONFIG_BYTES_MAX, read_text
from streamdrift.telemetry import Health, Metrics, configure_logging, leave_out, serve
from streamdrift.transports import kafka
from streamdrift.transports.files.sink import standard_output

if TYPE_CHECKING:
    from streamdrift.embedded import Acknowledge as Acknowledge  # noqa: PLC0414 - the commands name it by app
    from streamdrift.embedded import Incidents as Incidents  # noqa: PLC0414 - the commands name it by app
    from streamdrift.embedded import Rebaseline as Rebaseline  # noqa: PLC0414 - the commands name it by app
    from streamdrift.embedded import Replay as Replay  # noqa: PLC0414 - the commands name it by app
    from streamdrift.embedded import Tune as Tune  # noqa: PLC0414 - the commands name it by app

POLL_S = 0.3
"""Longest wait of one poll: how soon a service notices that it should stop."""
BACKOFF_S = (1.0, 30.0)
"""First and longest wait before a stage is built anew after a passing fault."""
SETTLED_S = 60.0
"""A stage that worked for so long begins with the first wait again."""


def __getattr__(name: str) -> Any:
    """Return the options of an embedded command: the commands name them by this module."""
    return getattr(embedded, name)


class SystemClock:
    """The real clock. ``sleep`` ends early when the process is told to stop."""

    def __init__(self) -> None:
        self.stop = threading.Event()

    def now(self) -> float:
        """Seconds since the epoch."""
        return time.time()

    def monotonic(self) -> float:
        """Seconds that never go back."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait, or until the process is told to stop."""
        self.stop.wait(seconds)


def settings_of_process() -> Loaded:
    """Read the environment of this process."""
    return _installed(load(os.environ, root=Path.cwd()))


def _installed(loaded: Loaded) -> Loaded:
    """The same settings, whose secrets are said no more; a problem where they ask for an engine that isn't there."""
    leave_out(secret_values(loaded.settings))
    kernels.engine(loaded.settings.engine)
    return loaded


def config_show(*, as_json: bool) -> int:
    """Print every setting with its origin."""
    loaded = settings_of_process()
    facts = {
        "budget": in_words(loaded.settings.policy),
        "config_hash": config_hash(loaded.settings),
        "engine": kernels.engine(loaded.settings.engine).name,
        "version": __version__,
    }
    _print(show_json(loaded, facts) if as_json else show(loaded, facts))
    return 0


def config_check() -> int:
    """Validate the settings alone."""
    loaded = settings_of_process()
    _print(f"the settings are valid (config_hash {config_hash(loaded.settings)})")
    return 0


def topics_create() -> int:
    """Create the topics that are missing, and say what was found."""
    for topic in kafka.create_topics(settings_of_process().settings, SystemClock()):
        _print(str(topic))
    return 0


def state_hash(*, as_json: bool) -> int:
    """Print what the topic of state has, in short."""
    from streamdrift import state_hash as hashes  # noqa: PLC0415 - no other command needs it

    settings = _settings_of_run()
    state = hashes.read(settings, config_hash(settings), SystemClock())
    _print(hashes.as_json(state) if as_json else hashes.as_text(state))
    if (problem := state.problem()) is not None:
        raise InputProblem(problem)
    return 0


def replay(options: Replay) -> int:
    """Detect on recorded events. Ctrl-C ends the reading; what was found until then is told."""
    asked = embedded.interrupt.Interrupt()
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # as it is for jobs in the background of a script
        signal.signal(signal.SIGINT, asked)
    return embedded.replay.replay(options, _settings_of_run(), SystemClock(), asked)


def tune(options: Tune) -> int:
    """Replay a history, and say which settings keep the false-alarm budget, or what a change of them would change."""
    options.check()
    clock = SystemClock()
    if options.diff is not None:
        old, new = (_settings_in(path) for path in options.diff)
        _quiet_logs(new.settings)
        return embedded.tune_diff.diff(embedded.tune_options.history(options, new.settings, clock), old, new)
    outputs = embedded.tune.Outputs(options.out, options.json, options.force)
    outputs.check([*options.paths, *([options.labels] if options.labels else [])])
    loaded = settings_of_process()
    _quiet_logs(loaded.settings)
    path = os.environ.get(CONFIG)
    base = {} if path is None else tomllib.loads(read_text(Path.cwd() / path, CONFIG_BYTES_MAX))
    found = embedded.tune_options.history(options, loaded.settings, clock)
    return embedded.tune.tune(found, loaded, outputs, base, options.command())


def _settings_in(path: str) -> Loaded:
    """The settings of one file, with the environment over it as services have it."""
    try:
        return _installed(load({**os.environ, CONFIG: path}, root=Path.cwd()))
    except SettingsProblem as e:
        raise SettingsProblem(f"--diff {path}: {str(e).replace(f'{CONFIG}: ', '')}") from None


def demo(report: str) -> int:
    """Play the recorded flights with their incidents, from events to pages."""
    return embedded.demo.demo(report, _settings_of_run(), SystemClock())


def rebaseline(options: Rebaseline) -> int:
    """Order references to be learned anew: by a line in a file, or on the changes topic."""
    clock, settings = SystemClock(), _settings_of_run()
    _print(
        embedded.rebaseline.rebaseline(options, settings, round(clock.now() * 1000), _changes_topic(settings, clock))
    )
    return 0


def acknowledge(options: Acknowledge) -> int:
    """Note that an incident is known; as the new normal, its references are to be learned anew."""
    clock, settings = SystemClock(), _settings_of_run()
    _print(embedded.acknowledge.acknowledge(options, settings, clock.now(), _changes_topic(settings, clock)))
    return 0


def incidents(options: Incidents) -> int:
    """Show or change the incidents of the ledger."""
    clock, settings = SystemClock(), _settings_of_run()
    _print(embedded.incident_commands.incidents(options, settings, clock.now()))
    return 0


def command(run: Callable[[Settings, float], tuple[str, int]]) -> int:
    """Run what needs the settings and the time; print what it says, and return its exit code."""
    told, code = run(_settings_of_run(), SystemClock().now())
    _print(told)
    return code


def telling(run: Callable[[Settings, float, Callable[[bytes, bytes], str]], str]) -> int:
    """Run what needs the settings, the time, and perhaps the changes topic; print what it says."""
    clock, settings = SystemClock(), _settings_of_run()
    _print(run(settings, clock.now(), _changes_topic(settings, clock)))
    return 0


def _changes_topic(settings: Settings, clock: SystemClock) -> Callable[[bytes, bytes], str]:
    def publish(value: bytes, key: bytes) -> str:
        with closing(kafka.KafkaSink(settings.kafka, clock)) as sink:
            sink.send(settings.topics.changes, value, key)
            sink.flush(settings.kafka.request_timeout_s)
        return f"published to {settings.topics.changes}"

    return publish


def _settings_of_run() -> Settings:
    """The settings of a command that ends by itself: it tells its results, and logs only what is wrong."""
    settings = settings_of_process().settings
    _quiet_logs(settings)
    return settings


def _quiet_logs(settings: Settings) -> None:
    telemetry = settings.telemetry.model_copy(update={"log_level": "warning"})
    configure_logging(telemetry, sys.stderr, secret_values(settings))


def detect() -> int:
    """Run the consumer service until it is told to stop."""
    service = Service("detect")
    parts = Detecting(
        settings=service.settings,
        config_hash=service.config_hash,
        clock=service.clock,
        metrics=service.metrics,
        log=service.log,
        overcome=service.overcome,
        alive=service.health.beat,
        stopped=service.clock.stop.is_set,
        caught_up=service.caught_up,
    )
    for stage, build in parts.builders().items():
        service.add(stage, build)
    return service.run()


def escalate() -> int:
    """Run the escalation worker until it is told to stop."""
    from streamdrift.escalate_service import Escalating  # noqa: PLC0415 - `detect` does without the receivers' clients

    service = Service("escalate")
    parts = Escalating(service.settings, service.clock, service.metrics, service.log, service.overcome)
    service.add("escalate", parts.build)
    return service.run()


def changes_serve() -> int:
    """Take changes over HTTP until it is told to stop."""
    from streamdrift.changes_service import STAGE, Taking  # noqa: PLC0415 - no other command needs it

    service = Service(STAGE)
    parts = Taking(service.settings, service.clock, service.metrics, service.health, service.log)
    service.add(STAGE, parts.build)
    with parts.listening():
        return service.run()


@dataclass
class Service:
    """A process of worker loops, each in a thread of its own, with logs, metrics, probes and an orderly end."""

    name: str
    settings: Settings = field(init=False)

    def __post_init__(self) -> None:
        loaded = settings_of_process()
        self.settings = loaded.settings
        configure_logging(self.settings.telemetry, sys.stderr, secret_values(self.settings))
        self.log = structlog.get_logger("streamdrift").bind(service=self.name)
        self.clock = SystemClock()
        self.metrics = Metrics()
        self.health = Health(self.clock)
        self.config_hash = config_hash(self.settings)
        engine = kernels.engine(self.settings.engine).name
        self._facts = {"version": __version__, "engine": engine, "config_hash": self.config_hash}
        self.metrics.info.info(self._facts)
        self._builders: dict[str, Callable[[], Any]] = {}
        self._workers: dict[str, Any] = {}
        self._worked: set[str] = set()
        self._standing_by: set[str] = set()
        self._failure: Fatal | None = None
        self._lock = threading.Lock()

    def add(self, stage: str, build: Callable[[], Any]) -> None:
        """Register a worker; ``build`` is called in its thread, and again after a passing fault."""
        self._builders[stage] = build

    def overcome(self, error: Exception) -> None:
        """Note a fault that a transport got over by itself."""
        self.metrics.transport_errors.labels("kafka").inc()
        self.log.warning("fault overcome", reason=str(error))

    def caught_up(self, stage: str) -> bool:
        """Whether another stage of this process runs, and has nothing left to do."""
        worker = self._workers.get(stage)
        return worker is not None and worker.caught_up()

    def run(self) -> int:
        """Run until a signal comes or a stage can't go on."""
        self._signals()
        telemetry = self.settings.telemetry
        server = serve(telemetry.host, telemetry.port, self.metrics, self.health)
        self.log.info("starting", **self._facts, port=server.port)
        threads = [threading.Thread(target=self._loop, args=(s, b), name=s) for s, b in self._builders.items()]
        for thread in threads:
            thread.start()
        for thread in threads:
            while thread.is_alive():
                thread.join(0.5)  # short, so that signals are seen
        server.stop()
        if self._failure is not None:
            self.log.error("stopped", reason=str(self._failure))
            raise self._failure
        self.log.info("stopped", reason="told to")
        return 0

    def _signals(self) -> None:
        def stop(number: int, _frame: FrameType | None) -> None:
            if self.clock.stop.is_set():
                os._exit(128 + number)
            self.log.info("stopping", signal=signal.Signals(number).name)
            self.health.set_ready(False, "shutting down")
            self.clock.stop.set()

        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGINT, stop)

    def _loop(self, stage: str, build: Callable[[], Any]) -> None:
        wait = BACKOFF_S[0]
        while not self.clock.stop.is_set():
            began = self.clock.monotonic()
            try:
                self._work(stage, build)
            except Standby as e:
                self._stand_by(stage, e)
            except (Retriable, OutOfReach) as e:
                if isinstance(e, OutOfReach) and stage not in self._worked:
                    self._fail(e)
                    return
                if self.clock.monotonic() - began > SETTLED_S:
                    wait = BACKOFF_S[0]
                self.metrics.transport_errors.labels("kafka").inc()
                self.log.warning("building anew after a passing fault", stage=stage, reason=str(e), wait_s=wait)
                self.health.beat(stage)
                self.clock.sleep(wait)
                wait = min(2 * wait, BACKOFF_S[1])
            except Fatal as e:
                self._fail(e)
            except Exception as e:
                self.log.exception("bug", stage=stage)
                self._fail(Fatal(f"unexpected {type(e).__name__} in {stage}: {e}; the log has the traceback"))

    def _stand_by(self, stage: str, reason: Standby) -> None:
        """Wait for a turn: that is what the process is for, so it is ready, and said once."""
        if stage not in self._standing_by:
            self.log.info("standing by", stage=stage, reason=str(reason))
            self._standing_by.add(stage)
        self.health.beat(stage)
        self.health.set_ready(True)
        self.clock.sleep(reason.retry_after_s or BACKOFF_S[0])

    def _fail(self, failure: Fatal) -> None:
        with self._lock:
            self._failure = self._failure or failure
        self.health.set_ready(False, "failed")
        self.clock.stop.set()

    def _work(self, stage: str, build: Callable[[], Any]) -> None:
        worker = build()
        self._workers[stage] = worker
        self._worked.add(stage)
        self._standing_by.discard(stage)
        self.log.info("running", stage=stage)
        try:
            if len(self._workers) == len(self._builders):
                self.health.set_ready(True)
            while not self.clock.stop.is_set():
                worker.step(POLL_S)
                self.health.beat(stage)
            worker.commit()
        finally:
            del self._workers[stage]
            worker.close()
        self.health.finished(stage)


def _print(text: str) -> None:
    standard_output().write(text if text.endswith("\n") else f"{text}\n")
