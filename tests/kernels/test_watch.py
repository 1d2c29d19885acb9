"""Ordinary days through the compiled watch: the same alerts, and the same state, as without it."""

from __future__ import annotations

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
from streamdrift.blocks.block import Block
from streamdrift.detect.bank import Bank
from streamdrift.detect.group import Group
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
