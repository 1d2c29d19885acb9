"""Snapshots: what is read back goes on as if nothing had been, and what is not right is refused."""

from __future__ import annotations

import struct
import zlib
from typing import Any

import numpy as np
import pytest

from streamdrift.kernels import snapshots
from tests.kernels import golden
from tests.kernels.engines import ENGINES, KERNELS, needs_compiled

RECIPES = golden.recipes()
VERSIONS = range(1, snapshots.VERSION + 1)


def sealed(state: bytes) -> bytes:
    """The same bytes with a checksum that fits."""
    return state[:-4] + zlib.crc32(state[:-4]).to_bytes(4, "little")


def changed(state: bytes, position: int, form: str, *numbers: float) -> bytes:
    """A snapshot with other numbers in its payload, and a checksum that fits."""
    found = bytearray(state)
    struct.pack_into(f"<{form}", found, 8 + position, *numbers)
    return sealed(bytes(found))


def half_way(name: str, engine: str) -> Any:
    kernel = RECIPES[name].make(engine)
    kernel.update(golden.stream(1_234))
    return kernel


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("engine", ENGINES)
def test_every_version_is_read_by_either_engine(engine: str, name: str, version: int) -> None:
    found = golden.read(version)[name]
    assert found["flags"], "nothing is flagged: this shows next to nothing"
    kernel = RECIPES[name].make(engine, found["state"])
    assert kernel.update(golden.stream(2_500, 2_500)).tolist() == found["flags"]
    if version == snapshots.VERSION:
        assert kernel.snapshot() == found["after"]


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("engine", ENGINES)
def test_what_is_written_is_the_present_version_byte_for_byte(engine: str, name: str) -> None:
    """Where this fails the format has changed: count ``VERSION`` up, and write a golden file for it."""
    kernel = RECIPES[name].make(engine)
    kernel.update(golden.stream(2_500))
    assert kernel.snapshot() == golden.read(snapshots.VERSION)[name]["state"]


@needs_compiled
def test_both_engines_have_the_same_version() -> None:
    from importlib import import_module

    assert import_module("streamdrift.kernels._compiled").SNAPSHOT_VERSION == snapshots.VERSION


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("engine", ENGINES)
def test_damaged_bytes_are_refused_and_change_nothing(engine: str, name: str) -> None:
    state = golden.read(snapshots.VERSION)[name]["state"]
    kernel = half_way(name, engine)
    before = kernel.snapshot()
    rng = np.random.default_rng(1)
    wrong = [state[:i] for i in (0, 3, 11, 12, len(state) - 1)] + [state + b"\0"]
    places = [*range(12), *rng.integers(12, len(state), 40).tolist()]
    wrong += [state[:i] + bytes([state[i] ^ 1 << i % 8]) + state[i + 1 :] for i in places]
    for damaged in wrong:
        with pytest.raises(ValueError, match=r"^the snapshot is damaged: .*; rebuild the state by reading"):
            kernel.restore(damaged)
    assert kernel.snapshot() == before


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("engine", ENGINES)
def test_a_newer_version_another_kernel_and_other_settings_are_named(engine: str, name: str) -> None:
    state = golden.read(snapshots.VERSION)[name]["state"]
    kernel = half_way(name, engine)
    before = kernel.snapshot()
    newer = sealed(state[:4] + struct.pack("<H", snapshots.VERSION + 1) + state[6:])
    with pytest.raises(
        ValueError, match=rf"has format {snapshots.VERSION + 1}, and this release reads up to .* newer one"
    ):
        kernel.restore(newer)
    for other in set(KERNELS) - {name}:
        with pytest.raises(ValueError, match=f"this is a snapshot of {other}, not of {name}"):
            kernel.restore(golden.read(snapshots.VERSION)[other]["state"])
    with pytest.raises(ValueError, match="a snapshot of another kernel, not of"):
        kernel.restore(sealed(state[:3] + b"?" + state[4:]))
    assert kernel.snapshot() == before
    recipe = RECIPES[name]
    strangers = [type(recipe)(name, settings, recipe.reference) for settings in KERNELS[name][1:]]
    if name == "ks":
        strangers += [
            type(recipe)(name, recipe.settings, reference) for reference in (recipe.reference[1:], recipe.reference + 1)
        ]
    for stranger in strangers:
        with pytest.raises(ValueError, match="was made with other settings, or another reference; rebuild"):
            stranger.make(engine).restore(state)


BROKEN: dict[str, list[tuple[int, str, float]]] = {
    "adwin": [(16, "I", 32), (44, "I", 0), (44, "I", 54), (44, "I", 3), (48, "I", 6), (48, "I", 0), (20, "d", 3.0)],
    "page_hinkley": [],
    "ks": [(28, "I", 201), (28, "I", 199), (32, "I", 100_000)],
}
"""Position in the payload, form and number: a checksum that fits over what no kernel writes."""


@pytest.mark.parametrize(("name", "wrong"), [(name, wrong) for name in BROKEN for wrong in BROKEN[name]])
@pytest.mark.parametrize("engine", ENGINES)
def test_what_no_kernel_writes_is_refused_also_where_the_checksum_fits(
    engine: str, name: str, wrong: tuple[int, str, float]
) -> None:
    state = golden.read(snapshots.VERSION)[name]["state"]
    assert len(RECIPES[name].make(engine, state).snapshot()) == len(state)
    with pytest.raises(ValueError, match="the snapshot is damaged"):
        RECIPES[name].make(engine).restore(changed(state, *wrong))


@pytest.mark.parametrize("engine", ENGINES)
def test_a_snapshot_is_small(engine: str) -> None:
    sizes = {name: len(half_way(name, engine).snapshot()) for name in KERNELS}
    assert sizes["page_hinkley"] < 100
    assert sizes["adwin"] < 1_500
    assert sizes["ks"] < 1_000
