"""Very wide batches are put aside as several blocks of a model: nothing that is said hangs on it, and the engines agree."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamdrift.blocks import assemble, breadth
from streamdrift.blocks.assemble import Assembler
from streamdrift.blocks.turns import turns
from streamdrift.kernels import decode
from streamdrift.pipeline import Direct
from streamdrift.ports import Partition, Record
from streamdrift.settings import EngineChoice, Settings
from streamdrift.telemetry import Metrics

EVENTS, LABELS = Partition("inference-events", 0), Partition("inference-labels", 0)
START, N = 1_700_000_000_000, 400


def traffic() -> list[Record]:
    """One model moves, the other has names without end; labels for the first."""
    rng = np.random.default_rng(1)
    found: list[Record] = []
    for i in range(N):
        late, time = i > 0.6 * N, START + i * 1_000
        honest: dict[str, Any] = {
            "prediction_id": f"p{i}",
            "model": "honest",
            "occurred_at": time,
            "segments": {"region": "eu" if i % 3 else "us"},
            "features": {"x": float(rng.standard_normal() + 3 * late), "y": float(rng.random())},
            "prediction": {"label": "late"},
        }
        wide = {
            "model": "wide",
            "occurred_at": time,
            "segments": {f"d{i}": "x"},
            "features": {f"f{i}-{j}": 1.0 for j in range(10)},
        }
        if i % 50 == 0:
            wide["embeddings"] = {f"e{i}": [1.0, 2.0]}
        found += [
            Record(json.dumps(event).encode(), EVENTS, 2 * i + j, START) for j, event in enumerate((honest, wide))
        ]
        label = {"model": "honest", "prediction_id": f"p{i}", "label": "early" if late else "late", "observed_at": time}
        found.append(Record(json.dumps(label).encode(), LABELS, i, START))
    return found


RECORDS = traffic()


def tree(engine: EngineChoice = "auto") -> Settings:
    small = {"reference": {"events": 100}, "detectors": {"ks": {"window_events": 100}}}
    return Settings.model_validate(small | {"engine": engine, "series_max": 300})


def alerts(cuts: list[int], engine: EngineChoice = "auto") -> list[bytes]:
    stage = Direct(tree(engine), "config", Metrics(), labels=True)
    parts = pairwise([0, *cuts, len(RECORDS)])
    return [alert.to_cloudevent() for begin, end in parts for alert in stage.process(RECORDS[begin:end]).alerts]


WHOLE = alerts([])


@settings(max_examples=6, deadline=None)
@given(
    st.lists(st.integers(0, len(RECORDS)), max_size=4).map(sorted),
    st.integers(10_000, 200_000),
    st.sampled_from(["auto", "reference"]),
)
def test_what_is_said_hangs_on_neither_cuts_nor_the_room_for_columns_nor_the_engine(
    cuts: list[int], cells_max: int, engine: EngineChoice
) -> None:
    assert any(b"mean_shift" in alert for alert in WHOLE)
    with pytest.MonkeyPatch.context() as patch:
        for module in (assemble, decode):
            patch.setattr(module, "CELLS_MAX", cells_max)
        assert alerts(cuts, engine) == WHOLE


@pytest.mark.parametrize("engine", ["auto", "reference"])
def test_columns_take_no_more_than_they_may(engine: EngineChoice, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (assemble, decode):
        monkeypatch.setattr(module, "CELLS_MAX", 50_000)
    settings = tree(engine).model_copy(update={"features_per_event_max": 20, "segments_per_event_max": 10})
    monkeypatch.setattr(breadth, "NAMES_MAX", 100)
    assembler = decode.assembler(settings, labels=False)
    assembler.gather([record for record in RECORDS if record.partition == EVENTS])
    batch = assembler.take()
    wide = [block for block in batch.blocks if block.model == "wide"]
    assert sum(len(block) for block in batch.blocks) == 2 * N
    assert max(len(block) * len(block.columns) for block in batch.blocks) < 60_000
    assert len({name for block in wide for name in block.columns}) <= 100
    assert len({name for block in wide for name in block.dimensions}) == 64
    assert batch.limits_hit["features_per_model_max"] >= 10 * N - 100
    assert batch.limits_hit["dimensions_per_model_max"] == N - 64
    assert len(wide) > 1


def test_a_batch_in_which_each_model_has_one_block_is_one_turn() -> None:
    assembler = Assembler(tree())
    assembler.gather(RECORDS[:30])
    blocks = assembler.take().blocks
    (turn,) = turns(blocks)
    assert list(map(id, turn)) == list(map(id, blocks))
