"""Ordinary days through the compiled watch: the same alerts, and the same state, as without it."""

from __future__ import annotations

import gc
import json
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from streamdrift import kernels
from streamdrift.alerts import Alert
from streamdrift.blocks.assemble import Assembler
from streamdrift.blocks.block import Block
from streamdrift.blocks.column import NUMBER, Ints
from streamdrift.detect import baseline
from streamdrift.detect.bank import Bank
from streamdrift.detect.group import Group
from streamdrift.detect.together import Together
from streamdrift.settings import Settings
from tests.detect.test_bank import START, detected, records

pytestmark = pytest.mark.skipif(not kernels.compiled(), reason="the compiled engine is not installed")

TREE = Settings.model_validate(
    {"reference": {"events": 300, "segment_events": 100}, "detectors": {"ks": {"window_events": 100}}}
)
N = 4_000


def signals(seed: int) -> dict[str, Sequence[Any]]:
    """N values each of everything that a watch tells apart, calm in the first third."""
    rng = np.random.default_rng(seed)
    at = np.arange(N)
    late = (at > N // 2) & (at < 3 * N // 4)
    noise = rng.standard_normal((8, N))
    walk = np.zeros(N)
    for i in range(1, N):
        walk[i] = 0.8 * walk[i - 1] + noise[1, i]
    heavy = rng.standard_t(3, N)
    nullable = [None if miss else float(v) for miss, v in zip(rng.random(N) < 0.05 + 0.3 * late, noise[2], strict=True)]
    rare = [None if rng.random() < 0.002 else float(v) for v in noise[3]]
    names = [f"c{int(k)}" for k in rng.geometric(0.2, N)]
    odd = [["text", None, True, 1e9][int(rng.integers(4))] if rng.random() < 0.001 else float(v) for v in noise[4]]
    frozen = np.where((at > N // 2) & (at < N // 2 + 300), 1.0, noise[5])
    return {
        "calm": noise[0].tolist(),
        "moved": (noise[6] + 1.5 * late).tolist(),
        "walk": walk.tolist(),
        "heavy": heavy.tolist(),
        "counts": rng.poisson(2, N).tolist(),
        "nullable": nullable,
        "rare": rare,
        "names": [
            f"late{i % 3}" if moved and i % 4 == 0 else name
            for i, (moved, name) in enumerate(zip(late, names, strict=True))
        ],
        "flag": (rng.random(N) < 0.2 + 0.3 * late).tolist(),
        "odd": odd,
        "frozen": frozen.tolist(),
        "constant": [1.0] * N,
        "spells": np.repeat(rng.integers(0, 3, N // 25 + 1), 25)[:N].tolist(),
    }


def events(seed: int) -> list[dict[str, Any]]:
    found = signals(seed)
    rng = np.random.default_rng(seed + 1_000)
    regions = rng.choice(["eu", "us", "asia"], N, p=[0.6, 0.3, 0.1]).tolist()
    return [
        {
            "model": "m",
            "occurred_at": START + i * 60_000,
            "segments": {"region": regions[i]},
            "features": {name: values[i] for name, values in found.items()},
        }
        for i in range(N)
    ]


STREAMS = {seed: records(events(seed)) for seed in (1, 2, 3)}


@pytest.fixture(scope="module", autouse=True)
def _count() -> Iterator[None]:
    """Count what the compiled watches take."""
    ordinary = Group._ordinary

    def counted(self: Group, rows: Block) -> dict[str, int]:
        taken = ordinary(self, rows)
        TAKEN[0] += sum(taken.values())
        TAKEN[1] += len(rows) * len(self.series)
        return taken

    patch = pytest.MonkeyPatch()
    patch.setattr(Group, "_ordinary", counted)
    yield
    patch.undo()


TAKEN = [0, 0]


def run(engine: str, seed: int, cuts: Sequence[int], tree: Settings = TREE) -> tuple[list[Alert], list[str]]:
    tree = tree.model_copy(update={"engine": engine})
    bank = Bank(tree, "config")
    alerts = detected(STREAMS[seed], bank, cuts, tree)
    return alerts, [f"{group.name} {feature} {state(series)}" for group, feature, series in bank.watched()]


def state(series: Any) -> str:
    """All that ordinary values change, in words."""
    watch = series.watch
    lanes = [lane.scan.told() for lane in (series._missing, series._invalid) if lane is not None]
    told = None if watch is None else watch.told()
    return json.dumps([series.seen, lanes, told], default=lambda array: array.tolist())


@pytest.mark.parametrize("seed", STREAMS)
def test_both_engines_say_the_same_and_end_in_the_same_state(seed: int) -> None:
    reference = run("reference", seed, range(500, N, 500))
    assert len({(alert.reason, alert.series_id) for alert in reference[0]}) > 5
    TAKEN[:] = 0, 0
    assert run("compiled", seed, range(500, N, 500)) == reference
    assert TAKEN[0] > 0.5 * TAKEN[1] > 10 * N, "the compiled watch took next to nothing: this test would show nothing"


@given(st.sampled_from(sorted(STREAMS)), st.lists(st.integers(1, N - 1), max_size=40))
@hypothesis_settings(max_examples=10)
def test_cuts_change_nothing(seed: int, cuts: list[int]) -> None:
    assert run("compiled", seed, sorted(cuts)) == run("compiled", seed, range(500, N, 500))


def late_in_one_segment(n: int = 3_000) -> list[dict[str, Any]]:
    """Numbers and texts in three segments; a feature that one of them gets late, then another; another version near the end."""
    rng = np.random.default_rng(5)
    found = []
    for i in range(n):
        region = ["eu", "us", "asia"][int(rng.integers(3))]
        features: dict[str, Any] = {"x": float(rng.standard_normal()), "c": f"c{int(rng.geometric(0.4))}"}
        if region == "eu" or (region == "us" and i > n // 2):
            features["z"] = float(rng.standard_normal() + 4 * (i > 3 * n // 4))
        found.append(
            {
                "model": {"name": "m", "version": "2" if i > n - 300 else "1"},
                "occurred_at": START + i * 60_000,
                "segments": {"region": region},
                "features": features,
                "prediction": {"score": float(rng.random())},
            }
        )
    return found


LATE = records(late_in_one_segment())


def late(engine: str, cuts: Sequence[int]) -> tuple[list[Alert], list[str]]:
    tree = TREE.model_copy(update={"engine": engine})
    bank = Bank(tree, "config")
    alerts = detected(LATE, bank, cuts, tree)
    return alerts, [f"{group.name} {feature} {state(series)}" for group, feature, series in bank.watched()]


def test_groups_take_their_rows_together_and_say_what_each_would_say(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bool] = []
    add = Together.add

    def counted(self: Together, group: Group, rows: Ints, segment: dict[str, str]) -> bool:
        seen.append(add(self, group, rows, segment))
        return seen[-1]

    monkeypatch.setattr(Together, "add", counted)
    cuts = range(100, len(LATE), 100)
    compiled = late("compiled", cuts)
    assert sum(seen) > len(seen) / 3, "next to no group was gathered: this test would show nothing"
    assert compiled == late("reference", cuts)
    assert {"z", "prediction.score"} <= {line.split()[1] for line in compiled[1] if "region=us" in line}
    assert any(alert.feature == "z" and alert.segment == {"region": "us"} for alert in compiled[0])


def test_state_that_went_home_between_two_blocks_is_taken_up_again() -> None:
    bank, assembler, alerts = Bank(TREE, "config"), Assembler(TREE), list[Alert]()
    for begin in range(0, len(LATE), 100):
        for record in LATE[begin : begin + 100]:
            assembler.add(record)
        alerts += bank.update(assembler.take().blocks)
        bank.heat("m")
    assert alerts == late("reference", range(100, len(LATE), 100))[0]


def test_a_reference_is_held_once_and_for_all() -> None:
    ordinary = kernels.engine("compiled").ordinary
    assert ordinary is not None
    values = np.round(np.random.default_rng(1).standard_normal(500), 1)
    for reference in (
        baseline.build(NUMBER, values, [], 0.0)[0],
        baseline.build(NUMBER, np.unique(values), [], 0.0)[0],
    ):
        ranks, ordered = reference.rank(values), reference.ordered
        parts = reference.compared(ordinary)
        distinct, below = parts["ordered"].arrays
        assert (below is None) == (len(np.unique(ordered)) == len(ordered))
        for array in (distinct, below):
            if array is not None:
                with pytest.raises(ValueError, match="read-only"):
                    array[0] = 0
        assert (reference.rank(values) == ranks).all()
        assert (reference.ordered == ordered).all()
        del parts
        gc.collect()
        assert (distinct[:-1] == np.unique(ordered)).all(), "the view outlives what made it"


@pytest.mark.parametrize(
    ("distinct", "below"),
    [([1.0, 2.0], [0, 1]), ([1.0, np.inf], [0]), ([1.0, np.inf], [0, 0]), ([np.inf], [1]), ([], [])],
)
def test_what_is_no_reference_is_refused(distinct: list[float], below: list[int]) -> None:
    ordinary = kernels.engine("compiled").ordinary
    assert ordinary is not None
    with pytest.raises(ValueError, match="reference"):
        ordinary.ordered(np.array(distinct), np.array(below, np.int32))


def test_rows_that_a_block_does_not_have_are_refused() -> None:
    ordinary = kernels.engine("compiled").ordinary
    assert ordinary is not None
    watches = ordinary.watches([(ordinary.watch(NUMBER, None, None, None), 0)])
    column, times = (np.zeros(3), None, None), np.arange(3)
    assert ordinary.advance_groups([(watches, np.array([0, 2]), None)], [column], times) == [(0, [0])], (
        "it was lent nothing"
    )
    for part, columns in (
        ((watches, np.array([3]), None), [column]),
        ((watches, np.array([-1]), None), [column]),
        ((watches, np.array([0]), None), []),
        ((watches, np.array([0]), None), [(np.zeros(2), None, None)]),
        ((watches, np.array([0]), [None, None]), [column]),
    ):
        with pytest.raises(ValueError, match="don't fit"):
            ordinary.advance_groups([part], columns, times)
