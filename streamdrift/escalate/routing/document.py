"""The document that says who is told: TOML, checked as a whole, every problem in one sentence with its line."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from typing import Annotated, Any

from pydantic import BaseModel, Field, ValidationError

from streamdrift.errors import SettingsProblem
from streamdrift.escalate.routing.lines import Place, line_of, lines_of
from streamdrift.escalate.routing.on_call import OnCall, Person
from streamdrift.escalate.routing.quiet import Inhibition, Maintenance
from streamdrift.escalate.routing.tree import DEPTH_MAX, ROUTES_MAX, Route, Step
from streamdrift.settings.problems import closest, cut, printable, shown
from streamdrift.settings.values import Name, Section

RULES_MAX, TEAMS_MAX = 200, 10_000
PROBLEMS_MAX = 20
"""Told at once; the rest are counted."""


class Routes(Section):
    """All of it. Without a document everybody is told of everything, at once."""

    teams: dict[Name, Name] = Field(default={}, max_length=TEAMS_MAX)
    """Team by pattern of the model's name; the first that fits."""
    route: Route = Route()
    people: dict[Name, Person] = Field(default={})
    on_call: dict[Name, OnCall] = Field(default={})
    maintenance: Annotated[tuple[Maintenance, ...], Field(max_length=RULES_MAX)] = ()
    inhibit: Annotated[tuple[Inhibition, ...], Field(max_length=RULES_MAX)] = ()

    def team(self, model: str) -> str:
        """Return the team that a model is of; empty where none is named."""
        return next((team for pattern, team in self.teams.items() if fnmatchcase(model, pattern)), "")

    def called(self, on_call: str | None, now: float) -> dict[str, str]:
        """Return whom an on-call list calls: its ``list``, ``name`` and handles; empty where nobody is on call."""
        name = self.on_call[on_call].at(now) if on_call in self.on_call else None
        if name is None or on_call is None:
            return {}
        handles = self.people.get(name, Person()).model_dump(exclude_none=True)
        return {"list": on_call, "name": name, **handles}


def read(text: str, title: str, receivers: Iterable[str] | None = None) -> Routes:
    """Read a document.

    Parameters
    ----------
    title
        What it is called in problems.
    receivers
        Names of those that are set up; None where that is not known.

    Raises
    ------
    SettingsProblem
        Names every problem, one a line.
    """
    try:
        tree = tomllib.loads(text)
    except tomllib.TOMLDecodeError as e:
        raise SettingsProblem(f"{title} is not TOML: {printable(str(e))}; mend that line") from None
    except RecursionError:
        raise SettingsProblem(f"{title} is nested too deep to be routes") from None
    lines = lines_of(text)
    problems: list[tuple[Place, str]] = []
    try:
        routes = Routes.model_validate(tree)
    except ValidationError as e:
        problems = list(_findings(e, tree))
    else:
        problems = list(_crossed(routes, None if receivers is None else tuple(receivers)))
    if problems:
        raise SettingsProblem(_message(title, problems, lines))
    return routes


# What is wrong -------------------------------------------------------------------------------------------------------


def _message(title: str, problems: list[tuple[Place, str]], lines: dict[Place, int]) -> str:
    told = sorted((line_of(place, lines) or 0, _dotted(place), what) for place, what in problems)
    head = "1 thing is wrong" if len(told) == 1 else f"{len(told)} things are wrong"
    listed = [
        f"  {f'line {line}, ' if line else ''}{printable(place)}: {what}" for line, place, what in told[:PROBLEMS_MAX]
    ]
    if len(told) > PROBLEMS_MAX:
        listed.append(f"  and {len(told) - PROBLEMS_MAX} more")
    return "\n".join([f"{title}: {head}; docs/routing.md has a whole one.", *listed])


def _dotted(place: Place) -> str:
    """A place as it is written: ``route.routes[1].match[0]``."""
    told = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place)
    return told.removeprefix(".") or "the document"


def _findings(error: ValidationError, tree: dict[str, Any]) -> Iterator[tuple[Place, str]]:
    for detail in error.errors(include_url=False, include_input=False):
        place: Place = tuple(part for part in detail["loc"] if part != "[key]")
        context = detail.get("ctx", {})
        if detail["type"] == "rule":
            yield from (((*place, field), what) for field, what in context["findings"])
        elif detail["type"] == "extra_forbidden":
            yield place, _unknown(place)
        elif detail["type"] == "missing":
            yield place, "is missing"
        else:
            what = _WORDS.get(detail["type"], detail["msg"].removeprefix("Input "))
            what = str(context["error"]) if detail["type"] == "value_error" else what
            yield place, f"{cut(shown(_value(tree, place)))} {what}"


_WORDS = {
    "tuple_type": 'is no list such as ["one", "two"]',
    "string_type": "is no text in quotes",
    "dict_type": "is no table",
    "model_type": "is no table",
}


def _value(tree: Any, place: Place) -> Any:
    for part in place:
        try:
            tree = tree[part]
        except (LookupError, TypeError):
            return tree
    return tree


def _unknown(place: Place) -> str:
    """Which keys there are where one was given that isn't one of them."""
    section: type[BaseModel] = Routes
    for part in place[:-1]:
        section = _BELOW.get(part, section) if isinstance(part, str) else section
    names = [field.alias or name for name, field in section.model_fields.items()]
    meant = closest(str(place[-1]), names)
    return (
        f"there is no such key; did you mean {meant}?"
        if meant
        else f"there is no such key; there are {', '.join(names)}"
    )


_BELOW: dict[str, type[BaseModel]] = {
    "route": Route,
    "routes": Route,
    "steps": Step,
    "people": Person,
    "on_call": OnCall,
    "maintenance": Maintenance,
    "inhibit": Inhibition,
}


def _crossed(routes: Routes, receivers: tuple[str, ...] | None) -> Iterator[tuple[Place, str]]:
    """What is wrong between parts of it, or with what there is."""
    count = 0
    for place, route in _walked(routes.route, ("route",)):
        count += 1
        below: list[tuple[Place, Route | Step]] = [(place, route)]
        below += [((*place, "steps", i), step) for i, step in enumerate(route.steps or ())]
        for at, part in below:
            if part.on_call is not None and part.on_call not in routes.on_call:
                yield (*at, "on_call"), _no("on-call list", part.on_call, routes.on_call)
            for name in part.receivers or ():
                if receivers is not None and name not in receivers:
                    yield (*at, "receivers"), _no("receiver set up that is", name, receivers)
        if place.count("routes") >= DEPTH_MAX:
            yield place, f"is more than {DEPTH_MAX} routes deep"
    if count > ROUTES_MAX:
        yield ("route",), f"has {count} routes below it; at most {ROUTES_MAX} are read"
    if routes.route.match:
        yield ("route", "match"), "may not be given: what the root doesn't match would be told to nobody"


def _no(kind: str, name: str, known: Iterable[str]) -> str:
    names = sorted(known)
    meant = closest(name, names)
    hint = f"did you mean {meant}?" if meant else f"there is {', '.join(names)}" if names else "there is none"
    return f"there is no {kind} called {cut(printable(name))}; {hint}"


def _walked(route: Route, place: Place) -> Iterator[tuple[Place, Route]]:
    yield place, route
    for number, below in enumerate(route.routes):
        yield from _walked(below, (*place, "routes", number))
