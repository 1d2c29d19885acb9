"""Flags, figures and state of the compiled engine are those of the reference, to the last bit."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from river import drift

from streamdrift import kernels
from streamdrift.kernels.engine import Floats
from tests.kernels.engines import KERNELS, Recipe, needs_compiled, pieces, recipes, streams, stretch, told

pytestmark = needs_compiled

REFERENCE = np.sort(np.random.default_rng(7).standard_normal(1_000))


def both(recipe: Recipe, stream: Floats, cuts: list[int], swaps: list[bool]) -> int:
    """Feed both, block by block, sometimes each from the other's snapshot; return the number of flags."""
    one, other = recipe.make("reference"), recipe.make("compiled")
    flags = 0
    for i, piece in enumerate(pieces(stream, cuts)):
        expected, found = one.update(piece), other.update(piece)
        assert found.dtype == expected.dtype == np.int64
        assert found.tolist() == expected.tolist()
        state = one.snapshot()
        assert other.snapshot() == state
        assert told(other) == told(one)
        flags += len(expected)
        if i < len(swaps) and swaps[i]:
            one, other = recipe.make("reference", other.snapshot()), recipe.make("compiled", state)
            assert told(other) == told(one)
    return flags


@pytest.mark.parametrize("name", KERNELS)
@given(st.data())
def test_over_any_stream_in_any_blocks_from_any_snapshot(name: str, data: st.DataObject) -> None:
    stream = data.draw(streams())
    cuts = data.draw(st.lists(st.integers(0, max(len(stream), 1)), max_size=12))
    swaps = data.draw(st.lists(st.booleans(), max_size=12))
    both(data.draw(recipes(name)), stream, cuts, swaps)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("name", "settings"), [(name, s) for name in KERNELS for s in KERNELS[name]])
def test_over_long_streams(name: str, settings: tuple[Any, ...], seed: int) -> None:
    rng = np.random.default_rng(seed)
    levels = rng.choice([0.0, 0.1, -0.4, 1.0, 3.0], 10)
    stream = np.repeat(levels, 1_500) + rng.standard_normal(15_000)
    if seed == 1:
        stream = stream.round(1)
    if seed == 2:  # weak dependence keeps ADWIN's looks near its bound
        for i in range(1, len(stream)):
            stream[i] += 0.9 * stream[i - 1]
    if seed == 3:
        stream = stream * 10.0 ** np.repeat(rng.integers(-3, 4, 10), 1_500) + 1e5
    flags = both(Recipe(name, settings, REFERENCE), stream, rng.integers(0, 15_000, 20).tolist(), [True, False] * 10)
    assert flags or settings != KERNELS[name][0] or seed == 3, "a stream that tells nothing apart"


def test_adwin_over_constants_at_any_level() -> None:
    # Rounding alone makes the means of equal values differ: what is passed over unseen must not be what would be cut
    for level in (1.0, 0.1, 1e5 + 0.1, 1e11 / 3, 1e13 / 3, 1e15 / 3, 1e17 / 3, 1e200, 1e-200):
        for noise in (0.0, 1e-16, 1e-12):
            stream = level * (1 + noise * np.random.default_rng(1).standard_normal(3_000))
            both(Recipe("adwin", (0.5, 1, 1), REFERENCE), stream, [], [])


def test_ks_of_large_windows_and_of_references_without_a_common_divisor() -> None:
    rng = np.random.default_rng(5)
    stream = rng.standard_normal(12_000) + np.repeat([0.0, 0.5, 0.0], 4_000)
    for r, w in ((997, 1_009), (1_000, 5_000), (5, 3_000), (400, 399)):
        both(Recipe("ks", (w, 0.01), np.sort(rng.standard_normal(r))), stream, [10, 4_500, 9_000], [True] * 3)


def test_ks_over_values_that_step_to_and_fro() -> None:
    # Whole blocks of cells move one way while their parts move the other: what is kept for later must not overflow
    stream = np.tile([999.0, 0.0, 500.0, 999.0, 10.0, 510.0, 999.0, 300.0], 4_000)
    both(Recipe("ks", (8, 0.2), np.arange(1_000.0)), stream, [], [])


def test_adwin_is_river_s_with_its_window() -> None:
    stream = np.concatenate(
        [stretch(kind, 2_000, 1.0, seed) for seed, kind in enumerate(["normal", "ties", "heavy"] * 3)]
    )
    river, kernel = drift.ADWIN(), Recipe("adwin", (0.002, 32, 10), REFERENCE).make("compiled")
    found = 0
    for value in stream:
        river.update(float(value))
        flagged = kernel.update(np.array([value]))
        assert bool(len(flagged)) == river.drift_detected
        found += len(flagged)
        if not river.drift_detected:  # river keeps the old window until its next value
            window = river._helper
            assert (kernel.width, kernel.total, kernel.variance) == (
                window.get_width(),
                window.get_total(),
                window.get_variance(),
            )
    assert found > 3


def test_values_may_lie_anywhere_in_memory() -> None:
    stream = np.random.default_rng(2).standard_normal((3_000, 2)) + np.repeat([0, 4], 1_500)[:, None]
    for name, settings in KERNELS.items():
        recipe = Recipe(name, settings[0], REFERENCE)
        one, other = recipe.make("compiled"), recipe.make("compiled")
        assert one.update(stream[:, 1]).tolist() == other.update(stream[:, 1].copy()).tolist()
        assert one.snapshot() == other.snapshot()


@pytest.mark.parametrize("name", KERNELS)
def test_what_is_no_block_of_floats_is_refused_and_changes_nothing(name: str) -> None:
    kernel = Recipe(name, KERNELS[name][0], REFERENCE).make("compiled")
    before = kernel.snapshot()
    for wrong in (np.array([1, 2]), np.zeros((2, 2)), [1.0], None, np.array(["a"])):
        with pytest.raises(TypeError):
            kernel.update(wrong)
    assert kernel.snapshot() == before
    assert kernel.update(np.array([])).tolist() == []


def test_settings_that_make_no_kernel_are_refused_in_sentences() -> None:
    engine = kernels.engine("compiled")
    wrong: list[tuple[Callable[[], object], str]] = [
        (lambda: engine.adwin(0.002, 0, 10), "clock must be at least 1"),
        (lambda: engine.ks(np.array([]), 10, 0.1), "the reference must have"),
        (lambda: engine.ks(np.array([math.nan]), 10, 0.1), "the reference must be finite"),
        (lambda: engine.ks(REFERENCE, 0, 0.1), "window must be at least 1"),
        (lambda: engine.ks(REFERENCE, 10, 0.0), "alpha must be above 0"),
        (lambda: engine.ks(np.arange(65_537.0), 65_539, 0.1), "least common multiple"),
    ]
    for make, why in wrong:
        with pytest.raises(ValueError, match=why):
            make()


@pytest.mark.parametrize("name", KERNELS)
def test_not_a_number_and_infinity_don_t_stop_a_process(name: str) -> None:
    kernel = Recipe(name, KERNELS[name][0], REFERENCE).make("compiled")
    kernel.update(np.tile([math.nan, math.inf, -math.inf, 1e308, -1e308, 0.0], 700))
    kernel.update(np.zeros(3))


def test_other_threads_run_while_a_long_block_is_worked_on() -> None:
    kernel = Recipe("ks", (200, 1e-6), REFERENCE).make("compiled")
    stream = np.tile(REFERENCE[::-1], 4_000)
    begun, done = threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        kernel.update(stream)
        done.set()

    thread = threading.Thread(target=work)
    thread.start()
    begun.wait()
    turns = 0
    while not done.is_set():
        time.sleep(0.001)
        turns += 1
    thread.join()
    assert turns > 10, "the interpreter lock was held"
