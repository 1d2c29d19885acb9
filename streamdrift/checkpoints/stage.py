"""A stage whose state is put away by its checkpoints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Generic, TypeVar

from streamdrift.ports import Partition, Stateful, StateRecord

C = TypeVar("C", bound=Stateful)


class Checkpointed(Generic[C]):
    """``ports.Stateful`` of a stage that has them."""

    checkpoints: C

    def due(self, now_s: float) -> Sequence[StateRecord]:
        """See ``ports.Stateful``."""
        return self.checkpoints.due(now_s)

    def restore(self, partition: Partition, records: Mapping[bytes, bytes]) -> int | None:
        """See ``ports.Stateful``."""
        return self.checkpoints.restore(partition, records)

    def drop(self, partition: Partition) -> None:
        """See ``ports.Stateful``."""
        self.checkpoints.drop(partition)
