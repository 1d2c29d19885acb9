"""`streamdrift slo`: what OpenSLO files promise and when they would page, and how much of each budget is left."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import asdict
from typing import Any

import orjson

from streamdrift.alerts import rfc3339
from streamdrift.errors import SettingsProblem
from streamdrift.escalate.budgets import sentence
from streamdrift.escalate.ledger import Ledger
from streamdrift.escalate.objectives import State
from streamdrift.escalate.slo_files import load
from streamdrift.escalate.words import duration, named, number, percent
from streamdrift.settings import Settings
from streamdrift.slo.burn import Objective, Pair
from streamdrift.slo.openslo import Read


def check(files: Sequence[str], settings: Settings, *, as_json: bool = False) -> tuple[str, int]:
    """Read OpenSLO files; return what they promise and what would page, and the exit code.

    Parameters
    ----------
    files
        Those of the settings where none are given.

    Raises
    ------
    SettingsProblem
        One is wrong, or there is none.
    """
    paths = [*files] or [str(path) for path in settings.slo.files]
    if not paths:
        raise SettingsProblem("no OpenSLO file is given, and slo.files names none; name one")
    found = load(paths)
    if as_json:
        told = {"objectives": [_objective(one) for one in found.objectives], "warnings": found.warnings}
        return orjson.dumps(told, option=orjson.OPT_INDENT_2).decode(), 0
    return "\n".join(_checked(found)), 0


def status(settings: Settings, now: float, *, as_json: bool = False) -> tuple[str, int]:
    """Return how the objectives of the ledger stand, the one with the least left first, and the exit code.

    Raises
    ------
    SettingsProblem
        A file of ``slo.files`` is wrong.
    InputProblem
        There is no ledger, or it can't be read.
    """
    promised = load(settings.slo.files).objectives if settings.slo.files else []
    with closing(Ledger(settings.escalate.ledger, shared=True)) as ledger:
        states = {state.objective: state for state in ledger.objectives.states()}
    for one in promised:
        states.setdefault(one.name, State(one.name, one.indicator.model, one.title, one.period_ms))
    ordered = _ordered(states.values())
    if as_json:
        return orjson.dumps([_state(state) for state in ordered], option=orjson.OPT_INDENT_2).decode(), 0
    if not ordered:
        return "there is no objective: slo.files names none, and the ledger has none", 0
    return "\n".join(stands(ordered, round(now * 1000))), 0


def stands(states: Iterable[State], now_ms: int) -> list[str]:
    """Return how objectives stand, in lines, the one with the least left first."""
    return [line for state in _ordered(states) for line in _lines(state, now_ms)]


def _ordered(states: Iterable[State]) -> list[State]:
    return sorted(states, key=lambda state: (not state.now, state.left, state.objective))


def _state(state: State) -> dict[str, Any]:
    told = {name: value for name, value in asdict(state).items() if name not in {"opened", "latest", "fresh", "now"}}
    told |= {"as_of": rfc3339(state.now) if state.now else None, "fires": state.opened is not None}
    return told | {
        "firing_windows_s": [ms // 1000 for ms in told.pop("firing")],
        "period_s": told.pop("period_ms") // 1000,
    }


def _lines(state: State, now_ms: int) -> list[str]:
    head = f"{state.objective}  {named(state.model, 60)}"
    if not state.now:
        return [f"{head}: nothing was counted yet"]
    fires = f"fires, over {_windows(state)}" if state.opened is not None else "holds"
    return [f"{head}: {fires}", f"  {sentence(state, now_ms)}; burn rate {number(state.burn)}"]


def _windows(state: State) -> str:
    return " and ".join(duration(ms / 1000) for ms in state.firing)


# Files ----------------------------------------------------------------------------------------------------------------


def _checked(found: Read) -> list[str]:
    lines = [f"warning: {warning}" for warning in found.warnings]
    for one in found.objectives:
        what = one.indicator.kind + (f" of {named(one.indicator.feature, 60)}" if one.indicator.feature else "")
        value = "" if one.indicator.value is None else f", good up to {number(one.indicator.value)}"
        days = duration(one.period_ms / 1000)
        lines.append(
            f"{one.name}: {one.target * 100:.6g} % {what} of {named(one.indicator.model, 60)}{value}, over {days}"
        )
        lines += [f"  {_would(one, pair)}" for pair in one.pairs] or [
            "  pages nobody: no policy alerts; its budget is kept"
        ]
    n = len(found.objectives)
    return [*lines, f"{n} objective{'' if n == 1 else 's'}; the files are valid"]


def _would(one: Objective, pair: Pair) -> str:
    if not one.can_fire(pair):
        most = number(1 / one.budget)
        return f"{pair.severity}: never in {duration(pair.long_ms / 1000)}: {number(pair.factor)} × is more than the {most} × of all being bad"
    long, short = duration(pair.long_ms / 1000), duration(pair.short_ms / 1000)
    used = percent(pair.factor * pair.long_ms / one.period_ms)
    return (
        f"{pair.severity}: {percent(one.bad_share(pair))} bad in {long} and still in {short} "
        f"({number(pair.factor)} ×: {used} of the budget), of at least {number(one.sample(pair))}"
    )


def _objective(one: Objective) -> dict[str, Any]:
    return {
        "name": one.name,
        "title": one.title,
        "model": one.indicator.model,
        "indicator": one.indicator.kind,
        "feature": one.indicator.feature,
        "value": one.indicator.value,
        "target": one.target,
        "period_s": one.period_ms // 1000,
        "alerts": [
            {
                "severity": pair.severity,
                "long_window_s": pair.long_ms // 1000,
                "short_window_s": pair.short_ms // 1000,
                "factor": pair.factor,
                "bad_share": one.bad_share(pair),
                "minimum": one.sample(pair),
                "can_fire": one.can_fire(pair),
            }
            for pair in one.pairs
        ],
    }
