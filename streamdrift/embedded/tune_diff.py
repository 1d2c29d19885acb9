"""`streamdrift tune --diff`: the same history under two settings files, compared."""

from __future__ import annotations

from collections.abc import Sequence

from streamdrift.alerts import Alert
from streamdrift.demo.timeline import Timeline
from streamdrift.detect.bank import Bank
from streamdrift.embedded.history import History, Replayed, read
from streamdrift.embedded.outputs import console
from streamdrift.errors import InputProblem
from streamdrift.recorded import learn_baseline
from streamdrift.settings import EscalateSettings, Loaded, Settings
from streamdrift.settings.identity import config_hash
from streamdrift.telemetry import Metrics
from streamdrift.transports.files.sink import standard_output
from streamdrift.tune.difference import Episodes, compare
from streamdrift.tune.findings import Watched, watched, weeks_watched
from streamdrift.tune.markdown import changed, heading, section
from streamdrift.tune.tally import Tally

Read = tuple[Replayed, dict[str, Episodes], dict[str, list[Watched]]]


def diff(history: History, old: Loaded, new: Loaded) -> int:
    """Print as Markdown what the change from one tree of settings to the other would have changed."""
    changes = changed(old, new)
    out = standard_output()
    out.write(heading(history.name, changes))
    if not changes:
        out.write("\nNo setting differs: nothing would have changed.\n")
        return 0
    if _decides(old.settings) == _decides(new.settings):
        out.write("\nNone of these settings decides about alerts or pages: nothing would have changed.\n")
        return 0
    timeline = Timeline(console(stderr=True), None)
    try:
        before, after = _read(history, old.settings, timeline), _read(history, new.settings, timeline)
    finally:
        timeline.close()
    for model in sorted(before[0].seen):
        out.write("\n" + _model(model, before, after))
    return 0


def _decides(settings: Settings) -> tuple[str, object]:
    escalate = settings.escalate
    return config_hash(settings), (escalate.severity_min, escalate.incident_window_s)


def _read(history: History, settings: Settings, timeline: Timeline) -> Read:
    bank = learn_baseline(Bank(settings, config_hash(settings)), settings, Metrics())
    episodes: dict[str, Episodes] = {}

    def told(_bank: int, _batch: int, alerts: Sequence[Alert]) -> None:
        for alert in alerts:
            mine = episodes.get(alert.model_name)
            if mine is None:
                mine = episodes[alert.model_name] = Episodes(Tally(settings.escalate))
            mine.take([alert])

    replayed = read(history, settings, [bank], told, timeline.progress)
    if not replayed.seen:
        whose = "" if history.model is None else f" of model {history.model!r}"
        raise InputProblem(f"{history.name} has no event{whose} that can be read; there is nothing to compare")
    return replayed, episodes, {model: watched(bank, model) for model in replayed.seen}


def _model(model: str, before: Read, after: Read) -> str:
    seen = before[0].seen[model]
    old, new = (episodes.get(model, Episodes(Tally(EscalateSettings()))) for _, episodes, _ in (before, after))
    weeks = weeks_watched([*before[2][model], *after[2].get(model, [])], seen)
    return section(model, seen, weeks, old, new, compare(old, new))
