"""`streamdrift tune`: replays a history, and says what would have paged, and which settings keep the budget.

The history is read at most three times: with the settings as they are; with higher thresholds, all at once, for the series
that had an alert; and with the settings that were chosen, where they are not among those.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from streamdrift.alerts import Alert
from streamdrift.demo.timeline import Timeline
from streamdrift.detect.bank import Bank
from streamdrift.embedded.history import History, Replayed, read
from streamdrift.embedded.outputs import STDIO, check, console, writable, write_text
from streamdrift.errors import InputProblem, SettingsProblem
from streamdrift.recorded import learn_baseline
from streamdrift.settings import Loaded, Settings
from streamdrift.settings.identity import config_hash
from streamdrift.telemetry import Metrics
from streamdrift.tune import toml
from streamdrift.tune.choice import Choice, Heard, allowed, choose_settings, noisy
from streamdrift.tune.findings import (
    Findings,
    Rung,
    Seen,
    Watched,
    expected,
    flags_by,
    rows,
    rung,
    sensitivities,
    watched,
    weeks_watched,
)
from streamdrift.tune.ladder import at, rungs
from streamdrift.tune.subset import SubsetBank
from streamdrift.tune.tally import Tally
from streamdrift.tune.text import text

WRITTEN = ("policy.threshold", "policy.false_pages_per_model_week")
"""Settings that the file has in any case."""


@dataclass(frozen=True, slots=True)
class Outputs:
    """Where what was found goes: names of files, ``-`` for standard output.

    Attributes
    ----------
    toml
        The settings.
    json
        All figures.
    force
        Whether a settings file that is there may be written over.
    """

    toml: str | None = None
    json: str | None = None
    force: bool = False

    def check(self, inputs: Sequence[str]) -> None:
        """Refuse, before hours are spent, what could not be written or should not be.

        Raises
        ------
        SettingsProblem
            The settings file exists, or two names are one.
        InputProblem
            A file can't be written.
        """
        check(inputs, {"out": self.toml, "json": self.json})
        if self.toml not in {None, STDIO} and not self.force and Path(str(self.toml)).exists():
            raise SettingsProblem(f"--out {self.toml} exists; name another file, or give --force to write over it")
        if STDIO == self.toml == self.json:
            raise SettingsProblem("--out and --json can't both be standard output (-); name a file for one")
        for path in (self.json, self.toml):
            fresh = path not in {None, STDIO} and not Path(str(path)).exists()
            writable(path)
            if fresh:
                Path(str(path)).unlink()  # should there be nothing to write in the end, nothing is left

    @property
    def taken(self) -> bool:
        """Whether standard output is."""
        return STDIO in {self.toml, self.json}


def tune(history: History, loaded: Loaded, outputs: Outputs, base: Mapping[str, Any], command: str) -> int:
    """Run it, print what was found, write what was asked for.

    Parameters
    ----------
    base
        What the operator's own TOML file has: the one that is written has it too.
    command
        The command line, for the comment in that file.
    """
    lines, settings = console(stderr=outputs.taken), loaded.settings
    search = Search(history, settings)
    try:
        findings = search.run()
    finally:
        search.close()
    changes = toml.chosen({one.model: one.choice for one in findings})
    lines.print(f"streamdrift tune: {search.sentence()}\n", soft_wrap=True, markup=False)
    lines.print(text(findings, search.how()), soft_wrap=True, markup=False)
    if outputs.toml is not None:
        head = [f"found by: {command}", *(_head(one) for one in findings)]
        write_text(outputs.toml, toml.document(dict(base), settings, changes, head))
        if outputs.toml != STDIO:
            lines.print(f"settings: {outputs.toml}", soft_wrap=True, markup=False)
        for origin in (loaded.origins[name] for name in WRITTEN):
            if origin.startswith("environment "):
                name = origin.removeprefix("environment ")
                lines.print(f"{name} is set, and wins over what a file says: unset it to use this one", soft_wrap=True)
    if outputs.json is not None:
        told = {"config_hash": config_hash(settings), "replays": search.replays, "changes": changes, "models": findings}
        write_text(outputs.json, orjson.dumps(told).decode() + "\n")
    return 0


def _head(f: Findings) -> str:
    best = f.frontier[-1] if f.choice.rules else next(r for r in f.frontier if r.threshold == f.choice.threshold)
    return f"{f.model}: {best.pages_per_week:.2g} pages a week on {f.weeks:.2g} weeks of history, budget {f.budget_per_week:g}"


class Search:
    """The readings of one history, and what they came to."""

    def __init__(self, history: History, settings: Settings) -> None:
        self._history, self._settings = history, settings
        self._timeline = Timeline(console(stderr=True), None)
        self._thresholds = rungs(settings)
        self._heard: dict[str, list[Heard]] = defaultdict(list)
        self._replayed = Replayed({}, 0)
        self._again = 0
        self.replays = 0

    def run(self) -> list[Findings]:
        """Find the settings of each model, in order of their names.

        Raises
        ------
        InputProblem
            There is no event, none of the model that was asked for, or there are too few for a single reference window.
        """
        bank = learn_baseline(Bank(self._settings, ""), self._settings, Metrics())
        self._replayed, (lowest,) = self._read(self._settings, [bank], [self._thresholds[0]])
        found = {model: watched(bank, model) for model in sorted(self._replayed.seen)}
        _enough(self._history, self._replayed, found, self._settings)
        found = {model: series for model, series in found.items() if series}
        self._climb(lowest)
        choices = {model: self._choose(model, series) for model, series in found.items()}
        tuned = toml.applied(self._settings, toml.chosen(choices))
        last = self._confirm(tuned, choices)
        return [self._findings(model, found[model], choices[model], tuned, last.get(model), bank) for model in found]

    def close(self) -> None:
        """Take the progress bar away."""
        self._timeline.close()

    def sentence(self) -> str:
        """What was read."""
        refused = sum(self._replayed.rejected.values())
        rejected = f", {refused:,} rejected" if refused else ""
        few = [model for model in self._replayed.seen if model not in self._heard]
        short = f"; too few events yet of {', '.join(sorted(few))}" if few else ""
        return f"{self._replayed.events:,} events of {self._history.name}{rejected}{short}"

    def how(self) -> str:
        """Which figures come from which reading."""
        if self._settings.policy.confirm == "off":
            return "One replay; without confirmation (policy.confirm = off) there is no threshold to tune."
        if len(self._thresholds) == 1:
            return f"One replay; no threshold above {self._thresholds[0]:g} is tried."
        lowest, n = f"{self._thresholds[0]:g}", self._again
        if not n:
            return f"One replay for all thresholds, exact: no series had an alert at {lowest}, so none has one above."
        replayed = "the one series with an alert" if n == 1 else f"the {n:,} series with an alert"
        third = "; the choice was replayed once more" if self.replays > 2 else ""
        were = "was" if n == 1 else "were"
        exact = "the others have none above, which is exact"
        return f"Thresholds above {lowest}: {replayed} at {lowest} {were} replayed again; {exact}{third}."

    def _read(
        self, settings: Settings, banks: Sequence[Bank], thresholds: Sequence[float]
    ) -> tuple[Replayed, list[dict[str, Heard]]]:
        """Read once; return what each bank said, by model."""
        heard: list[dict[str, Heard]] = [{} for _ in banks]

        def told(number: int, batch: int, alerts: Sequence[Alert]) -> None:
            for alert in alerts:
                mine = heard[number].get(alert.model_name)
                if mine is None:
                    mine = heard[number][alert.model_name] = Heard(thresholds[number], Tally(settings.escalate))
                mine.take(batch, [alert])

        self.replays += 1
        return read(self._history, settings, banks, told, self._timeline.progress), heard

    def _climb(self, lowest: dict[str, Heard]) -> None:
        """Hear what is told at each threshold, the configured one first."""
        self._alerting = frozenset(name for heard in lowest.values() for name in heard.tally.series)
        self._features = frozenset(name for heard in lowest.values() for name in heard.tally.features)
        self._again = len(self._alerting)
        above = self._thresholds[1:]
        climbed: list[dict[str, Heard]] = [{} for _ in above]
        if self._alerting and above:
            banks = [self._subset(at(self._settings, threshold)) for threshold in above]
            _, climbed = self._read(self._settings, banks, above)
        for model in self._replayed.seen:
            for threshold, heard in zip(self._thresholds, [lowest, *climbed], strict=True):
                self._heard[model].append(heard.get(model, Heard(threshold, Tally(self._settings.escalate))))

    def _subset(self, settings: Settings) -> Bank:
        """A bank of the series that a higher threshold can change."""
        return learn_baseline(SubsetBank(settings, "", self._alerting, self._features), settings, Metrics())

    def _choose(self, model: str, series: list[Watched]) -> Choice:
        weeks = weeks_watched(series, self._replayed.seen[model])
        return choose_settings(self._heard[model], self._pages_max(weeks), weeks, len(series), self._settings.escalate)

    def _pages_max(self, weeks: float) -> float:
        return allowed(self._settings.policy.false_pages_per_model_week, weeks)

    def _confirm(self, tuned: Settings, choices: Mapping[str, Choice]) -> dict[str, Heard]:
        """Replay what was chosen, where no reading had just that."""
        if not any(choice.rules for choice in choices.values()):
            return {}
        _, (heard,) = self._read(tuned, [self._subset(tuned)], [self._thresholds[0]])
        silent = {model: Heard(self._thresholds[0], Tally(self._settings.escalate)) for model in choices}
        return {model: {**silent, **heard}[model] for model, choice in choices.items() if choice.rules}

    def _findings(
        self, model: str, series: list[Watched], choice: Choice, tuned: Settings, last: Heard | None, bank: Bank
    ) -> Findings:
        seen, heard, settings = self._replayed.seen[model], self._heard[model], self._settings
        weeks = weeks_watched(series, seen)
        pages_max = self._pages_max(weeks)
        frontier: list[Rung] = [rung(one, 0, weeks, pages_max) for one in heard]
        if last is not None:
            frontier.append(rung(last, len(choice.rules), weeks, pages_max))
        asked = [one.budget.threshold for one in series]
        held = sum(group.model == model for group, _, _ in bank.watched())
        return Findings(
            model,
            seen.events,
            seen.first,
            seen.last,
            weeks,
            len(series),
            held - len(series),
            settings.policy.false_pages_per_model_week,
            (min(asked), max(asked)),
            expected(series),
            dict(heard[0].tally.reasons),
            rows(heard[0].tally.detectors, flags_by(series, lambda one: one.flags.items())),
            rows(heard[0].tally.segments, flags_by(series, lambda one: [(one.segment, sum(one.flags.values()))])),
            tuple(frontier),
            choice,
            noisy(heard, weeks, settings.escalate),
            sensitivities(series, model, tuned),
        )


def _enough(history: History, replayed: Replayed, found: Mapping[str, Sequence[Watched]], settings: Settings) -> None:
    """Refuse a history that tells nothing, with the reason."""
    name, seen = history.name, replayed.seen
    if history.model is not None and history.model not in seen and replayed.events:
        raise InputProblem(f"{name} has {replayed.events:,} events, none of model {history.model!r}; check --model")
    if not seen:
        why = ", ".join(f"{reason} {n:,}" for reason, n in sorted(replayed.rejected.items()))
        raise InputProblem(
            f"{name} has no event that can be read{f' ({why})' if why else ''}; there is nothing to tune on"
        )
    if not any(found.values()):
        most: Seen = max(seen.values(), key=lambda one: one.events)
        raise InputProblem(
            f"{name} is too short: no series has the {settings.reference.events:,} values of its reference window "
            f"(reference.events) in {most.events:,} events; give a longer history, or lower reference.events"
        )
