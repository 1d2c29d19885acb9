"""What every detector must keep, whoever wrote it: run these over a factory that makes a fresh one.

>>> from streamdrift.checks.detectors import detector_checks
>>> [check.__name__ for check in detector_checks()][:2]
['any_split_agrees', 'one_by_one_agrees']
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator
from itertools import pairwise

import numpy as np

from streamdrift.blocks.column import NUMBER, Floats, Ints
from streamdrift.detect import baseline
from streamdrift.detect.base import Detector, Values
from streamdrift.detect.baseline import Reference

Factory = Callable[[Reference], Detector]
Check = Callable[[Factory], None]

REFERENCE = 1_000


def detector_checks() -> tuple[Check, ...]:
    """Return the checks; each raises ``AssertionError`` with what was broken."""
    return (
        any_split_agrees,
        one_by_one_agrees,
        finds_a_large_shift,
        is_calm_on_constants,
        survives_wild_values,
        leaves_its_input_alone,
        memory_is_bounded,
    )


def streams(seed: int = 7, n: int = 3_000) -> Iterator[tuple[str, Floats, Floats]]:
    """Yield named pairs of a reference and a stream: continuous, tied, heavy-tailed, shifting."""
    rng = np.random.default_rng(seed)
    calm = rng.standard_normal(REFERENCE)
    shifted = rng.standard_normal(n) + 2.0 * (np.arange(n) > n // 2)
    yield "shift", calm, shifted
    yield "ties", calm.round(), shifted.round()
    yield "heavy tails", rng.standard_t(2, REFERENCE), rng.standard_t(2, n) * np.where(np.arange(n) > n // 2, 5.0, 1.0)
    yield "binary", (rng.random(REFERENCE) < 0.2).astype(float), (rng.random(n) < 0.5).astype(float)


def flags(make: Factory, reference: Floats, stream: Floats, cuts: list[int]) -> Ints:
    """Indices at which a fresh detector flags, the stream cut at ``cuts``."""
    window, _ = baseline.build(NUMBER, reference, [], 0.0)
    detector = make(window)
    edges = [0, *cuts, len(stream)]
    found = []
    for begin, end in pairwise(edges):
        piece = stream[begin:end]
        values = Values(piece, window.standardise(piece), window.rank(piece))
        found.append(detector.update(values) + begin)
    return np.concatenate(found)


def any_split_agrees(make: Factory) -> None:
    """Where the stream is cut into blocks changes nothing."""
    rng = np.random.default_rng(1)
    for name, reference, stream in streams():
        whole = flags(make, reference, stream, [])
        for _ in range(5):
            cuts = np.sort(rng.integers(0, len(stream), int(rng.integers(1, 30)))).tolist()
            assert flags(make, reference, stream, cuts).tolist() == whole.tolist(), f"{name}: cut at {cuts}"


def one_by_one_agrees(make: Factory) -> None:
    """A block is worth its values one by one."""
    for name, reference, stream in streams(n=800):
        single = flags(make, reference, stream, list(range(1, len(stream))))
        assert single.tolist() == flags(make, reference, stream, []).tolist(), name


def finds_a_large_shift(make: Factory) -> None:
    """Two standard deviations are seen within 300 values of their beginning."""
    _, reference, stream = next(streams())
    onset = len(stream) // 2
    found = flags(make, reference, stream, [])
    assert ((found > onset) & (found < onset + 300)).any(), f"flags at {found.tolist()}, the shift was at {onset}"


def is_calm_on_constants(make: Factory) -> None:
    """A series that never moves gives no flag."""
    found = flags(make, np.full(REFERENCE, 5.0), np.full(2_000, 5.0), [])
    assert not len(found), f"flags at {found.tolist()} of a constant"


def survives_wild_values(make: Factory) -> None:
    """Values near the end of a double's range don't blind it: a later shift is still seen."""
    _, reference, stream = next(streams())
    wild = stream.copy()
    wild[10], wild[20] = 1e308, -1e308
    onset = len(stream) // 2
    found = flags(make, reference, wild, [])
    assert (found > onset).any(), f"blind after 1e308: flags at {found.tolist()}"


def leaves_its_input_alone(make: Factory) -> None:
    """It neither changes the arrays that it is given, nor keeps them to be changed under it."""
    _, reference, stream = next(streams())
    window, _ = baseline.build(NUMBER, reference, [], 0.0)
    expected = flags(make, reference, stream, [500])
    detector = make(window)
    first = Values(stream[:500].copy(), window.standardise(stream[:500]), window.rank(stream[:500]))
    before = first.raw.copy(), first.z.copy(), first.rank.copy()
    found = [detector.update(first)]
    for was, now in zip(before, (first.raw, first.z, first.rank), strict=True):
        assert (was == now).all(), "the input was changed"
        now[:] = 0
    rest = stream[500:]
    found.append(detector.update(Values(rest, window.standardise(rest), window.rank(rest))) + 500)
    assert np.concatenate(found).tolist() == expected.tolist(), "the input was kept"


def memory_is_bounded(make: Factory) -> None:
    """Four times as many values take no more room."""
    window, _ = baseline.build(NUMBER, np.random.default_rng(3).standard_normal(REFERENCE), [], 0.0)
    detector = make(window)
    rng = np.random.default_rng(4)
    held = []
    tracemalloc.start()
    try:
        for _ in range(4):
            for _ in range(5):
                piece = rng.standard_normal(2_000)
                detector.update(Values(piece, window.standardise(piece), window.rank(piece)))
            held.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    assert held[-1] < held[0] + 50_000, f"grew from {held[0]} to {held[-1]} bytes"
