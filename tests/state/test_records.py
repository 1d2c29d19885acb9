from __future__ import annotations

import zlib

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from streamdrift.errors import Fatal
from streamdrift.state import records

SETTINGS = b"settings"


@pytest.mark.parametrize("size", [0, 1, records.PIECE_BYTES, records.PIECE_BYTES + 1, 3 * records.PIECE_BYTES + 5])
def test_a_blob_comes_back_whole(size: int) -> None:
    payload = bytes(i * 31 % 251 for i in range(size))
    sealed = dict(records.seal(b"group/0", payload, SETTINGS))
    assert len(sealed) == max(1, -(-size // records.PIECE_BYTES))
    assert all(len(key) + len(value) < 900_000 for key, value in sealed.items())
    backwards = dict(reversed(list(sealed.items())))
    assert records.opened(backwards) == {b"group/0": records.Blob(payload, SETTINGS, pieces=len(sealed))}


def test_a_record_that_is_missing_or_of_another_state_is_damage() -> None:
    old = dict(records.seal(b"g", b"1" * (2 * records.PIECE_BYTES)))
    new = dict(records.seal(b"g", b"2" * (2 * records.PIECE_BYTES)))
    assert "1 of its 2 records are missing" in (records.opened({b"g/1": old[b"g/1"]})[b"g"].damage or "")
    assert "two states" in (records.opened({b"g/0": old[b"g/0"], b"g/1": new[b"g/1"]})[b"g"].damage or "")
    assert "another's key" in (records.opened({b"g/1": old[b"g/0"]})[b"g"].damage or "")
    other = dict(records.seal(b"h", b"whole"))
    assert records.opened(other | {b"g/1": old[b"g/1"]})[b"h"].payload == b"whole"


@given(st.integers(0, 200), st.integers(0, 255), st.booleans())
@hypothesis_settings(max_examples=300)
def test_a_bit_that_flips_anywhere_is_damage(place: int, other: int, cut: bool) -> None:
    ((key, value),) = records.seal(b"g", b"state" * 20, SETTINGS)
    place %= len(value)
    damaged = value[:place] if cut else value[:place] + bytes([other]) + value[place + 1 :]
    if damaged != value:
        blob = records.opened({key: damaged})[b"g"]
        assert blob.damage is not None
        assert not blob.payload


def test_a_newer_format_is_refused_with_what_to_do() -> None:
    ((key, value),) = records.seal(b"g", b"state")
    newer = value[:4] + (records.VERSION + 1).to_bytes(2, "little") + value[6:-4]
    newer += zlib.crc32(newer).to_bytes(4, "little")
    with pytest.raises(
        Fatal,
        match=rf"newer release \(format {records.VERSION + 1}, and this one reads up to {records.VERSION}\).*empty the state topic",
    ):
        records.opened({key: newer})
