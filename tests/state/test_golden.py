"""State that an earlier release put away: this one goes on from it and says what that one would have said."""

from __future__ import annotations

import pytest

from streamdrift.kernels import compiled
from streamdrift.state import records
from tests.state import lives

VERSIONS = range(1, records.VERSION + 1)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("engine", ["reference", *(["compiled"] if compiled() else [])])
@pytest.mark.parametrize("name", ["direct", "assemble"])
def test_state_of_each_version_is_taken_up(version: int, engine: str, name: str) -> None:
    found = lives.read(version)[name]
    _, ids, state = lives.life(name, found["changelog"], engine)
    if version == records.VERSION:  # older states are hashed without what came later
        assert state == found["state"]
    assert ids == found["ids"]
    assert len(ids) > 5 or name == "assemble"


def test_what_is_written_now_is_what_the_present_version_has() -> None:
    """Whoever changes what is kept of a class raises ``records.VERSION``, says what an older state has instead, and runs
    ``python -m tests.state.lives``: the release before must refuse what it can't read, and this one must read what that wrote.
    """
    assert lives.schema() == lives.read(records.VERSION)["direct"]["schema"]
