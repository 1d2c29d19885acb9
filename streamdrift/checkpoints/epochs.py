"""How far the input was at each commit: what has changed since then is not yet put away, so reading begins again there."""

from __future__ import annotations

from dataclasses import dataclass, field

from streamdrift.checkpoints.rows import Count, Place
from streamdrift.ports import Partition

EPOCHS_MAX = 256
"""Commits that are told apart; of more, every second one counts as the one before it."""


@dataclass(slots=True)
class Epoch:
    """Offsets and counts at the beginning of what happened between two commits."""

    number: int
    at: dict[Partition, int] = field(default_factory=dict)
    counts: dict[Place, Count] = field(default_factory=dict)


class Epochs:
    """The commits since the oldest change that is not put away.

    Attributes
    ----------
    now
        Number of the present epoch.
    """

    def __init__(self, counts: dict[Place, Count]) -> None:
        self.now = 0
        self._all = [Epoch(0, {}, counts)]
        self._first: dict[Partition, int] = {}

    def begin(self, partition: Partition, offset: int) -> None:
        """Note where the reading of a partition begins; once it has begun that stays."""
        self._first.setdefault(partition, offset)

    def close(self, at: dict[Partition, int], counts: dict[Place, Count], oldest: int | None) -> None:
        """Begin the next epoch; forget those before the one with the oldest change."""
        self.now += 1
        self._all.append(Epoch(self.now, dict(at), counts))
        if len(self._all) > EPOCHS_MAX:
            self._all = [*self._all[:-1:2], self._all[-1]]
        self._all = self._all[self._place(self.now if oldest is None else oldest) :]

    def offset(self, partition: Partition, oldest: int | None) -> int | None:
        """Return where a partition must be read from for the changes since an epoch; None where it was never read."""
        if oldest is None or oldest > self.now:
            return None
        epoch = self._all[self._place(oldest)]
        return epoch.at.get(partition, self._first.get(partition))

    def counts(self, oldest: int) -> dict[Place, Count]:
        """Return the counts as of there."""
        return self._all[self._place(oldest)].counts

    def drop(self, partition: Partition) -> None:
        """Forget a partition."""
        self._first.pop(partition, None)
        for epoch in self._all:
            epoch.at.pop(partition, None)

    def _place(self, number: int) -> int:
        """Index of the latest epoch that is not after this one."""
        return max(index for index, epoch in enumerate(self._all) if epoch.number <= number or index == 0)
