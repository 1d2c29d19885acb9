"""The reference engine is river's arithmetic, and reads and writes the state of river's window."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from river import drift
from river._river_rust.drift import AdaptiveWindowing

from streamdrift.kernels import reference, river_window
from streamdrift.kernels.engine import Floats
from tests.kernels.engines import streams


@given(streams(), st.sampled_from([(0.005, 50.0, 30, 0.9999), (0.0, 1.0, 1, 1.0), (0.5, 5.0, 10, 0.99)]))
def test_page_hinkley_s_sums_are_river_s_to_the_last_bit(
    stream: Floats, settings: tuple[float, float, int, float]
) -> None:
    delta, threshold, least, alpha = settings
    river = drift.PageHinkley(min_instances=least, delta=delta, threshold=threshold, alpha=alpha)
    kernel = reference.PageHinkley(*settings)
    for value in stream:
        river.update(float(value))
        flagged = kernel.update(np.array([value]))
        assert bool(len(flagged)) == river.drift_detected
        if not river.drift_detected:  # river begins anew with the next value
            own = kernel._mean, kernel._up, kernel._down, kernel._up_min, kernel._down_max
            sums = river._sum_increase, river._sum_decrease, river._min_increase, river._max_decrease
            assert np.array(own).tobytes() == np.array([river._x_mean.get(), *sums], float).tobytes()


@given(streams(most=2_000))
def test_the_state_that_is_read_is_the_window_s_and_makes_the_same_window(stream: Floats) -> None:
    window = AdaptiveWindowing(delta=0.002, clock=7, grace_period=10, max_buckets=5, min_window_length=5)
    for value in stream.tolist():
        window.update(value)
    state = river_window.read(window)
    assert (state.tick, state.width) == (len(stream), window.get_width())
    assert (
        np.array([state.total, state.variance]).tobytes()
        == np.array([window.get_total(), window.get_variance()]).tobytes()
    )
    assert sum(len(row) << r for r, row in enumerate(state.rows)) == state.width
    other = AdaptiveWindowing(delta=0.002, clock=7, grace_period=10, max_buckets=5, min_window_length=5)
    river_window.write(other, state)
    for value in [*stream.tolist(), *np.linspace(-3, 3, 200).tolist()]:
        assert other.update(value) == window.update(value)
        assert other.get_width() == window.get_width()
