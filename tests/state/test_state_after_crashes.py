"""Whatever a process loses when it dies, the next one says what would have been said, to the last bit, and ends in the same state."""

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import Phase, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from streamdrift.kernels import compiled
from streamdrift.pipeline import Direct
from streamdrift.settings import Settings
from tests.state import much_traffic
from tests.state.much_traffic import Broker

N = 2_400
EVENTS = much_traffic.events(N)
ENGINES = ["reference", "compiled"] if compiled() else ["reference"]
TREES = {
    (mode, engine): much_traffic.tree(reference={"mode": mode, "renew_events": 100}, engine=engine)
    for mode in ("fixed", "rolling")
    for engine in ENGINES
}
OUT = list[tuple[str, bytes]]


def told(broker: Broker) -> OUT:
    """What came out, and behind it the measures: within a batch, alerts and measures are no order of each other."""
    return broker.out + broker.measures


@cache
def undisturbed(mode: str, engine: str) -> tuple[OUT, dict[tuple[str, str, str], str]]:
    broker = Broker(much_traffic.log(EVENTS))
    stage = much_traffic.run(much_traffic.direct(TREES[mode, engine]), broker)
    return told(broker), much_traffic.hashes(stage)  # type: ignore[arg-type]


def test_the_traffic_is_worth_it() -> None:
    out, states = undisturbed("rolling", ENGINES[-1])
    assert len([value for topic, value in out if topic != much_traffic.MEASURES]) > 60
    assert len([value for topic, value in out if topic == much_traffic.MEASURES]) > 60
    assert len(states) == 10
    assert undisturbed("rolling", "reference") == undisturbed("rolling", ENGINES[-1])


deaths = st.lists(st.tuples(st.integers(1, 12), st.integers(0, 4)), min_size=1, max_size=4)


@pytest.mark.parametrize("mode", ["fixed", "rolling"])
@given(deaths, st.sampled_from([37, 100, 250]), st.data())
@hypothesis_settings(max_examples=6, deadline=None, phases=[Phase.explicit, Phase.generate])  # one takes seconds
def test_deaths_change_not_one_bit(
    mode: str, found: list[tuple[int, int]], at_a_time: int, data: st.DataObject
) -> None:
    engine = data.draw(st.sampled_from(ENGINES))
    broker = Broker(much_traffic.log(EVENTS))
    stage = much_traffic.run(much_traffic.direct(TREES[mode, engine]), broker, found, at_a_time)
    assert (told(broker), much_traffic.hashes(stage)) == undisturbed(mode, engine)  # type: ignore[arg-type]


def test_each_life_may_have_another_engine() -> None:
    broker, turn = Broker(much_traffic.log(EVENTS)), iter(ENGINES * 10)

    def make() -> Direct:
        return much_traffic.direct(TREES["rolling", next(turn)])()

    stage = much_traffic.run(make, broker, [(5, 1)] * 5)
    assert (told(broker), much_traffic.hashes(stage)) == undisturbed("rolling", ENGINES[0])  # type: ignore[arg-type]


def test_little_is_read_again() -> None:
    """What was put away is not read again: after a long life, only what came since ``state_flush_s``, twice that at most."""
    broker = Broker(much_traffic.log(EVENTS))
    much_traffic.run(much_traffic.direct(TREES["fixed", ENGINES[-1]]), broker, [(18, 0)])
    assert 0 < broker.replayed <= 7 * 100


def test_nothing_is_read_again_after_a_clean_stop() -> None:
    broker = Broker(much_traffic.log(EVENTS))
    process = much_traffic.Process(much_traffic.direct(TREES["fixed", ENGINES[-1]])(), broker)
    for _ in range(10):
        process.step()
    process.commit(flush=True)
    stage = much_traffic.run(much_traffic.direct(TREES["fixed", ENGINES[-1]]), broker)
    assert broker.replayed == 0
    assert (told(broker), much_traffic.hashes(stage)) == undisturbed("fixed", ENGINES[-1])  # type: ignore[arg-type]


def test_a_commit_costs_its_share_and_not_more_when_there_are_more_commits() -> None:
    def cost(commits_per_step: int, settings: Settings) -> tuple[int, int]:
        broker, most = Broker(much_traffic.log(EVENTS)), 0
        process = much_traffic.Process(much_traffic.direct(settings)(), broker)
        while process.step():
            for part in range(commits_per_step):
                process.now += 1 / commits_per_step if part else 0
                before = broker.written
                process.commit()
                most = max(most, broker.written - before)
            process.now = round(process.now)
        return broker.written, most

    settings = much_traffic.tree(kafka={"state_flush_s": 6.0})
    (few, most), (many, _) = cost(4, settings), cost(16, settings)
    assert many < 1.2 * few
    assert most < few / 3
