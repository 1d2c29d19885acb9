"""Predictions in the order in which they came: the youngest in memory, older ones spilled.

Where one of them is makes no difference to what anybody is told.
"""

from __future__ import annotations

from itertools import islice

from streamdrift.ports import Kept, Spill

PARTS = 4
"""Once memory is full, this part of it is spilled at once: writing one by one would cost as much as reading them."""


class Waiting:
    """A bounded map from key to prediction.

    Parameters
    ----------
    memory_max
        Predictions in memory at most.
    spill
        Takes those beyond.
    """

    def __init__(self, memory_max: int, spill: Spill) -> None:
        self._memory_max, self._spill = memory_max, spill
        self._young: dict[bytes, Kept] = {}
        self._spilled = 0

    def __len__(self) -> int:
        return len(self._young) + self._spilled

    def get(self, key: bytes) -> Kept | None:
        """Return the prediction of this key; None where it is not kept."""
        found = self._young.get(key)
        return self._spill.get(key) if found is None and self._spilled else found

    def add(self, key: bytes, kept: Kept) -> None:
        """Keep one whose key is not kept yet, as the youngest."""
        self._young[key] = kept
        if len(self._young) > self._memory_max:
            self._make_room()

    def replace(self, key: bytes, kept: Kept) -> None:
        """Put another in the place of one that is kept: its age stays."""
        if key in self._young:
            self._young[key] = kept
        else:
            self._spill.replace(key, kept)

    def pop_oldest(self) -> tuple[bytes, Kept]:
        """Remove the oldest and return it."""
        if self._spilled:
            self._spilled -= 1
            return self._spill.pop_oldest()
        key = next(iter(self._young))
        return key, self._young.pop(key)

    def _make_room(self) -> None:
        oldest = list(islice(self._young.items(), max(1, self._memory_max // PARTS)))
        self._spill.append(oldest)
        for key, _ in oldest:
            del self._young[key]
        self._spilled += len(oldest)
