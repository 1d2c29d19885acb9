"""What is put away, in short: the same after any crashes, another where one series is, and never silently of half of it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import pytest

from streamdrift.checkpoints.hashed import Hashed, Part, of_groups, of_rows
from streamdrift.checkpoints.rows import EVENTS as ROWS
from streamdrift.detect.bank import Bank
from streamdrift.pipeline import Assemble
from streamdrift.ports import Partition
from streamdrift.settings import Settings
from streamdrift.telemetry import Metrics
from tests.state import much_traffic
from tests.state.much_traffic import EVENTS, Broker, Process, Stage

N = 900
FOUND = much_traffic.events(N)
TREE = much_traffic.tree()
INPUT = Partition(EVENTS, 0)
GROUP = b"detect/events/1:m/region=eu"


def put_away(
    found: Sequence[dict[str, Any]], deaths: Sequence[tuple[int, int]] = (), n: int = 100, make: Any = None
) -> dict[bytes, bytes]:
    """The changelog when all was taken, by processes that died, and the last of them stopped in order."""
    broker = Broker(much_traffic.log(found))

    def life(steps: int, lost: int) -> Process:
        stage: Stage = (make or much_traffic.direct(TREE))()
        process = Process(stage, broker, n)
        for step in range(steps):
            if not process.step():
                break
            if step < steps - lost:
                process.commit()
        return process

    for steps, lost in deaths:
        life(steps, lost)
    life(10_000, 0).commit(flush=True)
    return broker.changelog[INPUT]


def shortened(changelog: dict[bytes, bytes], settings: Settings = TREE) -> Part:
    return of_groups(changelog, Bank(settings, "config"))


@cache
def whole() -> tuple[dict[bytes, bytes], Part]:
    changelog = put_away(FOUND)
    return changelog, shortened(changelog)


def by_place(part: Part) -> dict[tuple[str, str, str, str], Hashed]:
    return {(one.what, one.stream, one.model, one.segment): one for one in part.hashed}


def test_it_is_the_same_after_any_crashes_and_however_the_input_was_cut() -> None:
    assert whole()[1].offset == N
    assert len(whole()[1].hashed) > 5
    assert all(one.hash and one.problem is None for one in whole()[1].hashed)
    for deaths, n in (([(3, 1), (2, 2)], 100), ([(7, 0)], 37), ([(20, 5), (1, 1), (9, 0)], 13)):
        assert shortened(put_away(FOUND, deaths, n)) == whole()[1]


def test_one_other_value_shows_in_its_series_and_their_groups_alone() -> None:
    last = next(i for i in reversed(range(N)) if FOUND[i]["model"]["name"] == "m" and FOUND[i]["features"]["x"])
    other = {**FOUND[last], "features": {**FOUND[last]["features"], "x": FOUND[last]["features"]["x"] + 1e-9}}
    before = by_place(whole()[1])
    after = by_place(shortened(put_away([*FOUND[:last], other, *FOUND[last + 1 :]])))
    assert before.keys() == after.keys()
    differing = {place for place in before if before[place] != after[place]}
    segment = f"region={FOUND[last]['segments']['region']}"
    assert differing == {("series", "events", "m", ""), ("series", "events", "m", segment)}
    for place in differing:
        was, now = before[place].series, after[place].series
        assert {feature for feature in was if was[feature] != now[feature]} == {"x"}


@pytest.mark.parametrize("how", ["flipped", "cut", "lost"])
def test_a_damaged_group_has_no_hash_and_says_why(how: str) -> None:
    changelog = dict(whole()[0])
    key = GROUP + b"/0/0"
    value = changelog.pop(key)
    if how != "lost":
        changelog[key] = value[:-9] if how == "cut" else value[:50] + bytes([value[50] ^ 1]) + value[51:]
    damaged = by_place(shortened(changelog))[("series", "events", "m", "region=eu")]
    assert damaged.hash is None
    assert damaged.problem is not None
    assert ("missing" if how == "lost" else "checksum") in damaged.problem


def test_a_group_that_is_missing_altogether_is_missed() -> None:
    changelog = {key: value for key, value in whole()[0].items() if not key.startswith(GROUP)}
    (limits,) = (one for one in shortened(changelog).hashed if one.what == "limits")
    assert limits.hash is None
    assert "1 of" in (limits.problem or "")


def test_state_of_other_settings_is_not_taken_for_the_same() -> None:
    other = shortened(whole()[0], much_traffic.tree(policy={"resolve_events": 129}))
    assert {one.problem for one in other.hashed if one.what == "series"} == {"it was put away under other settings"}


def test_no_state_is_told_from_state() -> None:
    assert shortened({}) == Part(None, [])
    assert of_rows({}, ROWS) == Part(None, [])


def test_counts_of_rows_are_the_same_after_crashes() -> None:
    def make() -> Assemble:
        return Assemble(TREE, Metrics())

    part = of_rows(put_away(FOUND, make=make), ROWS)
    assert [(one.what, one.model) for one in part.hashed] == [("rows", "m"), ("rows", "odd"), ("rows", "one")]
    assert of_rows(put_away(FOUND, [(4, 1)], 30, make), ROWS) == part
    assert of_rows(put_away(FOUND[:-1], make=make), ROWS) != part
