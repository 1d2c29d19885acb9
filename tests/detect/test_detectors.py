from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from river import drift
from scipy.stats import ks_2samp

from streamdrift.checks.detectors import Check, Factory, detector_checks
from streamdrift.detect.adwin import Adwin
from streamdrift.detect.ks import REFERENCE_MAX, Ks
from streamdrift.detect.page_hinkley import PageHinkley
from streamdrift.kernels import reference as kernels
from streamdrift.settings import AdwinSettings, KsSettings, PageHinkleySettings

DETECTORS: dict[str, Factory] = {
    "adwin": lambda _: Adwin(AdwinSettings()),
    "page_hinkley": lambda _: PageHinkley(PageHinkleySettings()),
    "ks": lambda reference: Ks(KsSettings(), reference),
}
PLAIN: dict[str, Factory] = {
    "adwin of the reference engine": lambda _: Adwin(AdwinSettings(), "reference"),
    "page_hinkley of the reference engine": lambda _: PageHinkley(PageHinkleySettings(), "reference"),
    "ks of the reference engine": lambda reference: Ks(KsSettings(), reference, "reference"),
}
"""Where the compiled engine is installed, the others are its."""


@pytest.mark.parametrize("check", detector_checks(), ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", [*DETECTORS, *PLAIN])
def test_conformance(name: str, check: Check) -> None:
    check((DETECTORS | PLAIN)[name])


def test_the_suite_catches_what_it_is_for() -> None:
    class Forgetful:
        name = "forgetful"

        def update(self, values: object) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
            return np.array([0] if len(values) > 100 else [], np.int64)  # type: ignore[arg-type]

    caught = 0
    for check in detector_checks():
        try:
            check(lambda _: Forgetful())
        except AssertionError:
            caught += 1
    assert caught >= 3


tied = st.integers(-5, 5).map(float)
anything = st.floats(-1e6, 1e6)


@given(
    st.lists(tied | anything, min_size=5, max_size=60),
    st.lists(tied | anything, min_size=20, max_size=120),
    st.integers(2, 20),
    st.data(),
)
def test_ks_flags_where_scipy_s_distance_rises_to_the_critical_value(
    reference: list[float],
    stream: list[float],
    window: int,
    data: st.DataObject,
) -> None:
    ordered = np.sort(np.array(reference))
    kernel = kernels.SlidingKs(ordered, window, 0.05)
    units = len(ordered) * window
    critical = math.ceil(kernel.critical * units)
    expected, above = [], False
    for i in range(window - 1, len(stream)):
        distance = ks_2samp(ordered, stream[i + 1 - window : i + 1], method="asymp").statistic
        was, above = above, round(distance * units) >= critical
        if above and not was:
            expected.append(i)
    found, position = [], 0
    while position < len(stream):
        n = data.draw(st.integers(1, len(stream) - position))
        found += (kernel.update(np.array(stream[position : position + n])) + position).tolist()
        position += n
    assert found == expected
    assert kernel.distance == pytest.approx(ks_2samp(ordered, stream[-window:], method="asymp").statistic, abs=1e-12)


def test_ks_is_right_under_ties_where_the_incremental_tree_is_not() -> None:
    rng = np.random.default_rng(0)
    reference = np.sort(rng.standard_normal(1_000).round(0))
    stream = rng.standard_normal(200).round(0)
    kernel = kernels.SlidingKs(reference, 200, 1e-6)
    kernel.update(stream)
    assert kernel.distance == pytest.approx(ks_2samp(reference, stream, method="asymp").statistic, abs=1e-12)
    assert kernel.distance < 0.1


def test_a_large_reference_is_thinned_evenly() -> None:
    assert REFERENCE_MAX == 1_000
    critical = kernels.critical_distance(1_000, 200, 1e-6)
    assert critical == pytest.approx(math.sqrt(-math.log(5e-7) / 2 * (1 / 1_000 + 1 / 200)))


@given(
    st.lists(anything, max_size=400),
    st.sampled_from([(0.005, 50.0, 30, 0.9999), (0.0, 1.0, 1, 1.0), (0.5, 5.0, 10, 0.99)]),
)
def test_page_hinkley_decides_as_river_s_does(stream: list[float], settings: tuple[float, float, int, float]) -> None:
    delta, threshold, least, alpha = settings
    river = drift.PageHinkley(min_instances=least, delta=delta, threshold=threshold, alpha=alpha)
    expected = []
    for i, value in enumerate(stream):
        river.update(value)
        if river.drift_detected:
            expected.append(i)
    assert kernels.PageHinkley(delta, threshold, least, alpha).update(np.array(stream)).tolist() == expected


@given(st.lists(anything | st.floats(-3, 3), max_size=600), st.sampled_from([0.002, 0.2]))
def test_adwin_decides_as_river_s_does(stream: list[float], delta: float) -> None:
    river = drift.ADWIN(delta=delta)
    expected = []
    for i, value in enumerate(stream):
        river.update(value)
        if river.drift_detected:
            expected.append(i)
    assert kernels.Adwin(delta, 32, 10).update(np.array(stream)).tolist() == expected


def test_adwin_decides_as_river_s_does_over_changes() -> None:
    rng = np.random.default_rng(8)
    stream = rng.standard_normal(20_000) + np.repeat([0, 1, 0, 3], 5_000)
    river, expected = drift.ADWIN(), []
    for i, value in enumerate(stream.tolist()):
        river.update(value)
        if river.drift_detected:
            expected.append(i)
    assert len(expected) >= 3
    assert kernels.Adwin(0.002, 32, 10).update(stream).tolist() == expected


@given(st.lists(tied | anything, min_size=1, max_size=50), st.lists(tied | anything, max_size=50))
def test_the_rank_is_twice_the_mid_rank(reference: list[float], stream: list[float]) -> None:
    from streamdrift.blocks.column import NUMBER
    from streamdrift.detect import baseline

    window, _ = baseline.build(NUMBER, np.array(reference), [], 0.0)
    expected = [sum(r < v for r in reference) + sum(r <= v for r in reference) for v in stream]
    assert window.rank(np.array(stream)).tolist() == expected


def test_adwin_looks_at_every_bucket() -> None:
    # An implementation that skips the last bucket takes about three times as long for half a standard deviation
    delays = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        stream = rng.standard_normal(4_000) + 0.5 * (np.arange(4_000) >= 2_000)
        found = kernels.Adwin(0.002, 32, 10).update(stream)
        delays.append(int(found[found >= 2_000][0]) - 2_000)
    assert np.median(delays) < 160


def test_page_hinkley_on_standardised_values_does_not_depend_on_the_unit() -> None:
    from streamdrift.checks.detectors import flags

    rng = np.random.default_rng(5)
    reference, stream = rng.standard_normal(1_000), rng.standard_normal(2_000) + (np.arange(2_000) > 1_000)
    found = [flags(DETECTORS["page_hinkley"], reference * k, stream * k, []).tolist() for k in (1.0, 1024.0, 2.0**-20)]
    assert found[0]
    assert found[0] == found[1] == found[2]
