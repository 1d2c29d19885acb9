from __future__ import annotations

import math
import struct
from collections import Counter, deque
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps

from streamdrift.state.codec import Specs, joined
from streamdrift.state.spec import DTYPES, Damaged, Spec, Unknown

PLAIN = Specs(())


@dataclass(frozen=True, slots=True)
class Leaf:
    number: float
    name: str


@dataclass
class Tree:
    leaves: list[Leaf]
    first: Leaf
    given: Any = None


SPECS = Specs(
    [
        Spec("leaf", Leaf, ("number", "name")),
        Spec("tree", Tree, ("leaves", "first"), ("given",), finish=lambda tree, given: setattr(tree, "given", given)),
    ]
)

values: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(width=64)
    | st.text(st.characters())
    | st.binary()
    | nps.arrays(st.sampled_from(DTYPES), nps.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=4)),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=3), inner, max_size=4)
        | st.sets(st.text(max_size=3))
        | st.builds(deque, st.lists(inner, max_size=3), st.just(3))
    ),
    max_leaves=20,
)


def same(a: Any, b: Any) -> bool:
    """Equal to the last bit, and of the same types."""
    if type(a) is not type(b):
        return False
    if isinstance(a, np.ndarray):
        return bool(a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes())
    if isinstance(a, float):
        return struct.pack("<d", a) == struct.pack("<d", b)
    if isinstance(a, list | tuple | deque):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return same(list(a.items()), list(b.items()))
    return bool(a == b)


@given(values)
@hypothesis_settings(max_examples=300)
def test_what_is_read_is_what_was_written(value: Any) -> None:
    data = PLAIN.encode(value)
    again = PLAIN.decode(data, None)
    assert same(again, value)
    assert PLAIN.encode(again) == data


def test_arrays_that_are_read_can_be_written_to() -> None:
    again = PLAIN.decode(PLAIN.encode(np.arange(3.0)), None)
    again[0] = 5
    assert again.tolist() == [5, 1, 2]


def test_sets_and_counters() -> None:
    assert PLAIN.encode({"a", "b", "c"}) == PLAIN.encode({"c", "b", "a"})
    again = PLAIN.decode(PLAIN.encode(Counter("aab")), None)
    assert again == {"a": 2, "b": 1}
    assert type(again) is Counter


def test_what_is_shared_is_shared_again() -> None:
    leaf = Leaf(math.nan, "ä")
    again = SPECS.decode(SPECS.encode(Tree([leaf, Leaf(-0.0, ""), leaf], leaf)), "from outside")
    assert again.first is again.leaves[0] is again.leaves[2]
    assert again.leaves[1] is not again.leaves[0]
    assert math.copysign(1, again.leaves[1].number) == -1
    assert again.given == "from outside"


def test_parts_are_written_apart_and_are_one_object_again() -> None:
    specs = Specs(
        [Spec("leaf", Leaf, ("number", "name"), part=lambda leaf: leaf.name == "large"), *SPECS.specs("tree")]
    )
    large, small = Leaf(1.0, "large"), Leaf(2.0, "small")
    apart: list[object] = []

    def put(part: object) -> int:
        if part not in apart:
            apart.append(part)
        return apart.index(part)

    data = specs.encode(Tree([large, small], large), put)
    assert apart == [large]
    again = specs.decode(data, None, apart.__getitem__)
    assert again.first is again.leaves[0] is large
    assert again.leaves[1] == small
    assert specs.decode(specs.encode(Tree([large], large)), None) == Tree(
        [large], large
    )  # nowhere apart: with the rest
    with pytest.raises(Damaged):
        specs.decode(data, None)


@pytest.mark.parametrize(
    "value",
    [Leaf(1.0, "x"), {1: object()}, np.array(["a"]), np.array([1 + 2j]), 2**64, np.zeros((3, 2)).T, 1 + 2j],
    ids=["no class of a spec", "object", "texts", "complex array", "beyond 64 bits", "not in order", "complex"],
)
def test_what_is_not_foreseen_is_refused(value: object) -> None:
    with pytest.raises(Unknown):
        PLAIN.encode(value)


def test_attributes_that_came_and_went() -> None:
    before = Specs([Spec("leaf", Leaf, ("number", "name"))]).encode(Leaf(1.0, "x"))

    @dataclass
    class Later:
        name: str
        color: str

    later = Specs([Spec("leaf", Later, ("name", "color"), later={"color": "green"})])
    assert later.decode(before, None) == Later("x", "green")
    with pytest.raises(Damaged, match="color"):
        Specs([Spec("leaf", Later, ("name", "color"))]).decode(before, None)
    with pytest.raises(Damaged, match="leaf"):
        PLAIN.decode(before, None)


@given(
    st.binary(max_size=40) | st.integers(0, 200).map(lambda n: SPECS.encode(Tree([Leaf(1.0, "x")], Leaf(2.0, "y")))[:n])
)
@hypothesis_settings(max_examples=300)
def test_what_was_not_written_so_is_refused(data: bytes) -> None:
    whole = SPECS.encode(Tree([Leaf(1.0, "x")], Leaf(2.0, "y")))
    if data in {whole, PLAIN.encode(None), PLAIN.encode(True), PLAIN.encode(False)}:
        return
    try:
        found = SPECS.decode(data, None)
    except Damaged:
        return
    assert SPECS.encode(found) == data


def test_two_classes_with_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="one name"):
        Specs([Spec("leaf", Leaf, ("number",)), Spec("leaf", Tree, ("first",))])


def test_joined() -> None:
    assert joined([np.arange(2), np.arange(1)]).tolist() == [0, 1, 0]
    assert joined([]).tolist() == []
