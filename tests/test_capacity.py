"""The sizing page says what its benchmark computes of the figures that stand on it."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from benchmarks.capacity import RATES, SERIES, Units, page, plan, rates

DOCUMENT = (Path(__file__).resolve().parents[1] / "docs" / "capacity.md").read_text()


def units() -> Units:
    """Those on the page."""
    cells = [
        line.split(" | ")[1].split()[0].replace(",", "")
        for line in DOCUMENT.splitlines()
        if "python -m" in line and line[0] == "|"
    ]
    direct, exchange, memory, changed, restored = map(float, cells)
    return Units(direct, exchange, memory * 1e3, changed, restored / 1e6)


def test_the_table_follows_from_the_figures_above_it() -> None:
    assert page(units()).split("\n\n", 1)[1] in DOCUMENT


def test_rates_are_those_of_the_page_on_performance() -> None:
    assert (units().direct, units().exchange) == rates()


@pytest.mark.parametrize("exchange", [True, False])
def test_no_worker_has_more_than_half_a_core_s_work_or_more_series_than_it_holds(exchange: bool) -> None:
    known = units()
    for rate in RATES:
        for series in SERIES:
            found = plan(rate, series, known, exchange=exchange)
            assert rate / found.workers <= 0.5 * (known.exchange if exchange else known.direct)
            assert math.ceil(series / found.workers) <= 10_000
            assert found.partitions >= found.workers
