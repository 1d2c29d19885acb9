from __future__ import annotations

import json
from array import array
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamdrift.blocks import vectors, wire
from streamdrift.blocks.assemble import Assembler
from streamdrift.blocks.column import INFINITE, NULL, NUMBER, OTHER, Floats
from streamdrift.blocks.vectors import UNIT, WIDTH, Vectors, directions
from streamdrift.events.derived import OUT_OF_RANGE, WRONG_TYPE
from streamdrift.ports import Partition, Record
from streamdrift.settings import Settings


def reduced(x: Floats, name: str = "photo") -> Vectors:
    return vectors.from_values(name, range(len(x)), [array("d", row) for row in x.tolist()])


def same(a: Vectors, b: Vectors) -> bool:
    return all(
        getattr(a, f).tobytes() == getattr(b, f).tobytes() for f in ("rows", "kinds", "dimension", "norm", "sketch")
    )


@pytest.mark.parametrize("d", [1, 2, 3, 15, 16, 17, 100, 1_000])
def test_norm_and_sketch_are_what_they_say(d: int) -> None:
    x = np.random.default_rng(d).standard_normal((50, d)) * 1e-3
    made = reduced(x)
    length = np.linalg.norm(x, axis=1)
    assert made.norm == pytest.approx(length, rel=2**-13)
    width = min(WIDTH, d)
    assert made.sketch[:, :width] / UNIT == pytest.approx(x / length[:, None] @ directions("photo", d), abs=1e-4)
    assert not made.sketch[:, width:].any()


@pytest.mark.parametrize(("d", "spread"), [(8, 0.001), (16, 0.001), (64, 0.2), (768, 0.2)])
def test_distances_between_sketches_are_those_between_directions(d: int, spread: float) -> None:
    x = np.random.default_rng(1).standard_normal((2_000, d))
    u = x / np.linalg.norm(x, axis=1)[:, None]
    sketch = reduced(x).sketch / UNIT
    ratio = np.linalg.norm(sketch[:1_000] - sketch[1_000:], axis=1) / np.sqrt(min(WIDTH, d))
    ratio /= np.linalg.norm(u[:1_000] - u[1_000:], axis=1)
    # 1/√32 = .177 by theory for sixteen projections; nothing is lost up to sixteen dimensions
    assert float(ratio.std()) < spread
    assert float(ratio.mean()) == pytest.approx(1, abs=0.05)


def test_projections_differ_by_name_and_have_full_rank() -> None:
    assert (directions("a", 64) != directions("b", 64)).any()
    for d in (1, 2, 3, 5, 16, 64):
        assert np.linalg.matrix_rank(directions("photo", d)) == min(d, WIDTH)


def test_the_bits_are_those_of_every_machine() -> None:
    # written down once: another processor, numpy or BLAS must give the same, or one series would have two pasts
    x = np.sin(np.arange(1, 61, dtype=np.float64).reshape(3, 20)).round(6)
    made = reduced(x)
    assert made.norm.tolist() == [3.208984375, 3.1845703125, 3.0849609375]
    assert made.sketch[:, :4].tolist() == [
        [105672, 35216, 67174, 115725],
        [64478, -9437, -63091, 42052],
        [-55600, -44583, -123030, -84952],
    ]


def test_one_by_one_is_as_all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.random.default_rng(2).standard_normal((40, 33)) * 10.0 ** np.arange(-20, 20)[:, None]
    whole = reduced(x)
    alone = [reduced(row[None, :]) for row in x]
    assert whole.sketch.tolist() == [a.sketch[0].tolist() for a in alone]
    assert whole.norm.tolist() == [float(a.norm[0]) for a in alone]
    monkeypatch.setattr(vectors, "_CHUNK", 100)
    assert same(reduced(x), whole)


def test_vectors_that_their_model_scales_have_one_norm() -> None:
    x = np.random.default_rng(3).standard_normal((500, 64))
    unit = (x / np.linalg.norm(x, axis=1)[:, None]).astype(np.float32).astype(np.float64)
    assert set(reduced(unit).norm.tolist()) == {1.0}


def test_what_has_no_direction_is_invalid_and_the_rest_goes_on() -> None:
    given: list[Any] = [
        array("d", [3, 4]),
        None,
        WRONG_TYPE,
        OUT_OF_RANGE,
        array("d", [0, 0]),
        array("d", [float("inf"), 1]),
        array("d", [1.7e308, 1.7e308]),
        array("d", [5e-324, 0]),
        array("d", [1, 2, 3]),
    ]
    made = vectors.from_values("photo", range(9), given)
    assert made.kinds.tolist() == [NUMBER, NULL, OTHER, *[INFINITE] * 4, NUMBER, NUMBER]
    assert made.dimension.tolist() == [2, 0, 0, 0, 2, 2, 2, 2, 3]
    assert made.norm[[0, 7]].tolist() == [5.0, 5e-324]
    assert np.isfinite(made.norm).all()
    assert not made.sketch[made.kinds != NUMBER].any()


def events(n: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(4)
    made = []
    for i in range(n):
        embeddings: dict[str, Any] = {"photo": rng.standard_normal(20).tolist()} if i % 3 else {}
        if i % 5 == 0:
            embeddings["text"] = [None, [1.0, 2.0], "x"][i // 5 % 3]
        made.append({"model": "m", "features": {"x": i}, "embeddings": embeddings, "segments": {"d": "abc"[i * i % 3]}})
    return made


def assembled(given: list[dict[str, Any]]) -> Any:
    assembler = Assembler(Settings())
    for i, event in enumerate(given):
        assembler.add(Record(json.dumps(event).encode(), Partition("e", 0), i, i))
    return assembler.take().blocks[0]


@given(st.integers(1, 30), st.integers(0, 30), st.integers(0, 30))
def test_rows_keep_their_vectors_when_taken_and_on_the_exchange(n: int, begin: int, length: int) -> None:
    block = assembled(events(n))
    for rows in (np.arange(n)[begin : begin + length], np.arange(n)[::2]):
        if len(rows):
            part = block.take(rows)
            anew = assembled([events(n)[i] for i in rows])
            assert part.vectors.keys() == anew.vectors.keys()
            assert all(same(part.vectors[name], anew.vectors[name]) for name in part.vectors)
            (message,) = wire.encode(part)
            back = wire.decode(message, muted=False).vectors
            assert part.vectors.keys() == back.keys()
            assert all(same(part.vectors[name], back[name]) for name in back)


def test_a_slice_keeps_the_vectors_of_its_rows() -> None:
    block = assembled(events(30))
    for cut in (slice(0, 10), slice(10, None), slice(29, 30)):
        by_slice, by_rows = block.take(cut), block.take(np.arange(30)[cut])
        assert by_slice.vectors.keys() == by_rows.vectors.keys()
        assert all(same(by_slice.vectors[name], by_rows.vectors[name]) for name in by_slice.vectors)


def test_a_block_too_large_for_one_message_is_halved_with_its_vectors() -> None:
    block = assembled(events(30))
    parts = [wire.decode(m, muted=False) for m in wire.encode(block, bytes_max=2_500)]
    assert len(parts) > 1
    sketches = [p.vectors["photo"].sketch for p in parts if "photo" in p.vectors]
    assert np.concatenate(sketches).tolist() == block.vectors["photo"].sketch.tolist()
