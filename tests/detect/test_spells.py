"""What comes in spells: missing values, segments, and a spread that breathes."""

from __future__ import annotations

import numpy as np
import pytest

from streamdrift.blocks.column import NUMBER, Bools, Floats, Ints
from streamdrift.detect import baseline
from streamdrift.detect.breathing import AT, breathing, factor
from streamdrift.detect.calibration import STRETCH, UNIT, WINDOWS, calibrate, score_table, share_calibration
from streamdrift.detect.confirm import Scan
from tests.detect.test_levels import REFERENCE, TABLE, opened, values

N = 20_000


def spells(rng: np.random.Generator, long: float, apart: float) -> Bools:
    """(20,000,) spells of so many events on average, that begin so many after the last ended."""
    lengths = rng.exponential(np.tile([apart, long], N)) + 1
    return (np.searchsorted(np.cumsum(lengths), np.arange(N)) % 2).astype(np.bool_)


def most(flags: Bools, *, rise: bool = True) -> Floats:
    """(m,) greatest evidence at the end of each stretch after the reference window."""
    scores: Ints = np.where(flags, UNIT, 0).astype(np.int64)[:, None]
    known = scores[:REFERENCE]
    calibration = share_calibration(int(flags[:REFERENCE].sum()), REFERENCE, known, rise=rise)
    evidence = Scan(calibration, up=rise, down=not rise).update(scores[REFERENCE:], np.arange(N - REFERENCE))
    assert evidence is not None
    found: Floats = evidence.t.max(axis=(1, 2))
    return found


@pytest.mark.parametrize("rise", [True, False])
@pytest.mark.parametrize(("long", "apart"), [(20, 47), (200, 467), (100, 200)])
def test_spells_as_usual_are_no_news(long: int, apart: int, *, rise: bool) -> None:
    # counted as independent events, as it was where no window could prove anything, each spell of 200 was hundreds of nats
    alarms = 0
    for seed in range(10):
        flags = spells(np.random.default_rng(seed), long, apart)
        alarms += most(flags if rise else ~flags, rise=rise).max() >= 16
    assert alarms <= 1


@pytest.mark.parametrize("rise", [True, False])
def test_a_spell_that_does_not_end_is_told_all_the_same(*, rise: bool) -> None:
    late = []
    for seed in range(10):
        flags = spells(np.random.default_rng(seed), 200, 467)
        flags[10_000:] = True
        loud = most(flags if rise else ~flags, rise=rise) >= 16
        late.append(int(np.argmax(loud)) * STRETCH + REFERENCE - 10_000 if loud.any() else N)
    assert np.median(late) <= WINDOWS[-1] * STRETCH
    assert np.sum(np.array(late) < N) >= 8


def breathes(seed: int) -> Floats:
    """Noise with a slow spread: its logarithm is AR .99, half as much again at one standard deviation."""
    rng = np.random.default_rng(seed)
    spread = np.zeros(N)
    steps = rng.standard_normal(N) * 0.5 * np.sqrt(1 - 0.99**2)
    for i in range(1, N):
        spread[i] = 0.99 * spread[i - 1] + steps[i]
    return rng.standard_normal(N) * np.exp(spread)


def test_a_spread_that_breathes_moves_no_mean() -> None:
    # 3 alarms in 20 series where windows are taken to be as certain at all times
    assert sum(len(opened(breathes(seed))) for seed in range(20)) <= 1


def test_and_a_mean_that_moves_is_told_in_spite_of_it() -> None:
    late = []
    for seed in range(8):
        stream = breathes(seed)
        stream[10_000:] += stream[:REFERENCE].std()
        late.append(next((i for i in opened(stream) if i >= 10_000), N) - 10_000)
    assert np.median(late) <= 400


@pytest.mark.parametrize("kind", ["normal", "t3", "ar.5", "ar.9", "season", "rounded"])
def test_where_the_spread_is_steady_nothing_is_lost(kind: str) -> None:
    worth = []
    for seed in range(10):
        stream = values(kind, np.random.default_rng(seed))[:REFERENCE]
        reference, counted = baseline.build(NUMBER, stream, [], 0.0)
        scores = TABLE[reference.rank(counted)] / UNIT
        z, squares = ((scores[:, i] - scores[:, i].mean()) / scores[:, i].std() for i in (0, 1))
        worth.append(breathing(z, squares, WINDOWS * STRETCH))
    assert np.median(worth, axis=0).min() >= 0.99


@pytest.mark.parametrize("s", [0.1, 0.4, 1.0])
def test_the_factor_is_that_of_the_likeliest_way_to_get_there(s: float) -> None:
    y = np.linspace(0, 20, 200_001)
    f = float(factor(np.array([s * s]))[0])
    assert np.min(AT / f * np.exp(-y) + y * y / (2 * s * s)) == pytest.approx(AT, rel=1e-6)


def test_only_the_level_is_judged_by_it() -> None:
    reference, counted = baseline.build(NUMBER, breathes(1)[:REFERENCE], [], 0.0)
    size = calibrate(score_table(REFERENCE)[reference.rank(counted)]).size
    assert 0 < size[0, 0] < 0.6 * STRETCH
