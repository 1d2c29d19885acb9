"""State that is lent to the compiled engine is called home to be put away, and goes on as if it had not been."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from streamdrift import kernels
from streamdrift.blocks.assemble import Assembler
from streamdrift.detect.bank import Bank
from streamdrift.ports import Record
from tests.detect.test_bank import START, records
from tests.kernels.test_watch import STREAMS, TREE

pytestmark = pytest.mark.skipif(not kernels.compiled(), reason="the compiled engine is not installed")


N = 4_000


def calm() -> list[Record]:
    """Groups whose series are all lent most of the time."""
    rng = np.random.default_rng(1)
    segments, values = rng.integers(0, 4, N).tolist(), rng.standard_normal((N, 2))
    values[3_000:, 0] += 1
    return records(
        [
            {
                "model": "m",
                "occurred_at": START + i * 1_000,
                "segments": {"d": str(segment)},
                "features": {"x": x, "y": y},
            }
            for i, (segment, (x, y)) in enumerate(zip(segments, values.tolist(), strict=True))
        ]
    )


def life(stream: Sequence[Record], *, puts_away: bool) -> tuple[list[bytes], list[str]]:
    assembler, bank, told = Assembler(TREE), Bank(TREE, "config"), list[bytes]()
    for begin in range(0, N, 100):
        for record in stream[begin : begin + 100]:
            assembler.add(record)
        told += [alert.to_cloudevent() for alert in bank.update(assembler.take().blocks)]
        if puts_away and begin % 300 == 0:
            for key in bank.keys():  # noqa: SIM118 - it is no dict
                bank.put_away(key)
    return told, [bank.state_hash(key) for key in bank.keys()]  # noqa: SIM118 - as above


def test_putting_state_away_changes_nothing() -> None:
    for stream in (calm(), STREAMS[1]):
        told, states = life(stream, puts_away=False)
        assert told
        assert life(stream, puts_away=True) == (told, states)
