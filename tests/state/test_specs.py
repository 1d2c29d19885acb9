"""Every attribute of what holds state is named in its Spec: nobody adds one and forgets that it has to outlive the process."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from streamdrift.detect.specs_traffic import SPECS
from streamdrift.settings import Settings
from streamdrift.state.spec import Spec
from tests.state import much_traffic

BY_CLASS: dict[type, Spec] = {spec.cls: spec for spec in SPECS.specs()}
CONFIGURATIONS = {
    "fixed": much_traffic.tree(),
    "rolling": much_traffic.tree(reference={"mode": "rolling", "renew_events": 100}),
}


def attributes(found: object) -> set[str]:
    slots = {name for cls in type(found).__mro__ for name in getattr(cls, "__slots__", ())}
    return {name for name in slots if hasattr(found, name)} | set(getattr(found, "__dict__", {}))


def inside(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return [*value.keys(), *value.values()]
    return value if isinstance(value, list | tuple | set) or type(value).__name__ == "deque" else ()


def walk(value: Any, known: dict[int, Any], wrong: list[str]) -> Iterator[type]:
    """Yield the classes of all objects that are kept, and note what no Spec names."""
    spec = BY_CLASS.get(type(value))
    if spec is not None and id(value) not in known:
        known[id(value)] = value
        yield spec.cls
        unnamed = attributes(value) - set(spec.keeps) - set(spec.leaves)
        wrong += [f"{spec.cls.__qualname__}.{name}" for name in sorted(unnamed)]
        values = spec.taken()(value)
        assert len(values) == len(spec.keeps), f"{spec.name}: as many values as names are taken"
        for one in values:
            yield from walk(one, known, wrong)
    elif spec is None:
        if not isinstance(value, np.ndarray | str | int | float | bool | bytes | None) and not inside(value):
            assert type(value) in {dict, list, tuple, set} or not len(value), f"{type(value)} has no Spec"
        for one in inside(value):
            yield from walk(one, known, wrong)


def roots(stage: Any) -> Iterator[Any]:
    bank = stage.bank
    yield from bank._groups.values()
    yield from bank._traffic.values()
    yield from bank._silence._models.values()


def life(settings: Settings) -> Iterator[Any]:
    """Yield a stage after every second step through rich traffic."""
    process = much_traffic.Process(
        much_traffic.direct(settings)(), much_traffic.Broker(much_traffic.log(much_traffic.events(2_400)))
    )
    while process.step():
        if process.step():
            yield process.stage


def test_every_attribute_is_named_and_every_class_was_seen() -> None:
    seen, wrong = set(), list[str]()
    for settings in CONFIGURATIONS.values():
        for stage in life(settings):
            for root in roots(stage):
                seen |= set(walk(root, {}, wrong))
    assert not wrong, (
        "name them in streamdrift/detect/specs.py, under `keeps` if anything that is told later hangs on them"
    )
    missed = {cls.__qualname__ for cls in BY_CLASS.keys() - seen}
    later = {
        "Place",
        "LastEvent",
    }  # a place is made when it is written; a gap of several partitions: tests/detect/test_silence.py
    assert missed == later, "the traffic must have something of every class"


def test_an_attribute_that_somebody_forgot_is_found() -> None:
    stage = next(life(CONFIGURATIONS["fixed"]))
    group = next(iter(stage.bank._groups.values()))
    series = next(one for one in group.series.values() if one is not None)
    series.brand_new = 1
    wrong: list[str] = []
    list(walk(group, {}, wrong))
    assert [name.split(".")[-1] for name in wrong] == ["brand_new"]


def test_everything_that_is_kept_is_there_again() -> None:
    """Also what none of the next rows would show: each attribute has its value, and what is left out is set."""
    process = much_traffic.Process(
        much_traffic.direct(CONFIGURATIONS["rolling"])(),
        much_traffic.Broker(much_traffic.log(much_traffic.events(2_400))),
    )
    for _ in range(14):
        process.step()
    bank, other = process.stage.bank, much_traffic.direct(CONFIGURATIONS["rolling"])().bank  # type: ignore[union-attr]
    for key in bank._groups:
        other.take_up(bank.put_away(key))
    for key, group in bank._groups.items():
        again = other._groups[key]
        before, after = ([cls for cls in walk(one, {}, []) if not BY_CLASS[cls].is_value] for one in (group, again))
        assert before == after, "what was one object is one again"
        for one in (group, again):
            for found in everything(one):
                spec = BY_CLASS[type(found)]
                missing = {name for name in spec.leaves if not hasattr(found, name)}
                assert not missing, f"{spec.name} is not given {missing}"


def everything(value: Any) -> list[Any]:
    known: dict[int, Any] = {}
    list(walk(value, known, []))
    return list(known.values())
