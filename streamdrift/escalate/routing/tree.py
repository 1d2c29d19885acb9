"""The tree of routes. An incident goes down it from the root, into the first route below that matches, and so on.

With ``continue`` it goes into the next ones, too, as if that one had not been. It is told by the last route of each way. What a
route doesn't say (receivers, on-call list, steps) is as in the one above.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Annotated

from pydantic import BeforeValidator, ConfigDict, Field

from streamdrift.escalate.routing.matchers import Labels, Matcher, all_hold, parsed
from streamdrift.settings.values import Name, Positive, Section

MATCHERS_MAX, STEPS_MAX, ROUTES_MAX, DEPTH_MAX = 20, 10, 1_000, 10
"""Of one route; of one route; of all; of one way down."""
AFTER_S_MAX = 7 * 86_400.0


def _matcher(value: object) -> Matcher:
    if isinstance(value, Matcher):
        return value
    if not isinstance(value, str):
        raise ValueError("is no text such as severity=critical")  # noqa: TRY004 - pydantic takes a ValueError for a finding
    return parsed(value)


Matchers = Annotated[tuple[Annotated[Matcher, BeforeValidator(_matcher)], ...], Field(max_length=MATCHERS_MAX)]
Receivers = Annotated[tuple[Name, ...], Field(max_length=100)]


class Step(Section):
    """Who is told when nobody has acknowledged."""

    after_s: Annotated[Positive, Field(le=AFTER_S_MAX)]
    """Since the page."""
    receivers: Receivers | None = None
    """Those of the route without."""
    on_call: Name | None = None


class Route(Section):
    """One route, with those below it."""

    model_config = ConfigDict(populate_by_name=True)

    name: Name | None = None
    match: Matchers = ()
    goes_on: bool = Field(default=False, alias="continue")
    receivers: Receivers | None = None
    on_call: Name | None = None
    steps: Annotated[tuple[Step, ...], Field(max_length=STEPS_MAX)] | None = None
    routes: tuple[Route, ...] = ()


@dataclass(frozen=True, slots=True)
class Leg:
    """A way down the tree that an incident takes.

    Attributes
    ----------
    route
        Names of the routes, from the root on.
    receivers
        Told at once.
    on_call
        Name of the list whose person is called; None where there is none.
    steps
        Told later, unless somebody has acknowledged; in order, their receivers filled in.
    """

    route: str
    receivers: tuple[str, ...]
    on_call: str | None = None
    steps: tuple[Step, ...] = ()


def legs(root: Route, labels: Labels, everybody: tuple[str, ...]) -> list[Leg]:
    """Return the ways that something with these labels takes; the root takes what nothing below does.

    Parameters
    ----------
    everybody
        Receivers where no route names any.
    """
    start = Leg("root", everybody)
    return list(_down(root, labels, _inherited(start, root)))


def _down(route: Route, labels: Labels, here: Leg) -> Iterator[Leg]:
    found = False
    for number, below in enumerate(route.routes, 1):
        if all_hold(below.match, labels):
            found = True
            name = f"{here.route} / {below.name or f'route {number}'}"
            yield from _down(below, labels, _inherited(here, below, name))
            if not below.goes_on:
                return
    if not found:
        yield _filled(here)


def _inherited(above: Leg, route: Route, name: str | None = None) -> Leg:
    receivers = above.receivers if route.receivers is None else route.receivers
    steps = above.steps if route.steps is None else route.steps
    return Leg(name or route.name or above.route, receivers, route.on_call or above.on_call, steps)


def _filled(leg: Leg) -> Leg:
    """The way with its steps in order, each with those whom it tells and calls."""
    steps = (
        step.model_copy(
            update={
                "receivers": leg.receivers if step.receivers is None else step.receivers,
                "on_call": step.on_call or leg.on_call,
            }
        )
        for step in leg.steps
    )
    return replace(leg, steps=tuple(sorted(steps, key=lambda step: step.after_s)))
