"""Which columns datasets had when they were last seen: OpenLineage says what there is, and not what changed."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from threading import Lock

DATASETS_MAX = 1_000
"""Datasets that are remembered; over it the one goes that was not seen for longest."""


class Schemas:
    """Columns by dataset, in memory alone: after a restart the first sight of a dataset is no change."""

    def __init__(self, datasets_max: int = DATASETS_MAX) -> None:
        self._seen: OrderedDict[str, Mapping[str, str]] = OrderedDict()
        self._lock, self._max = Lock(), datasets_max

    def get(self, dataset: str) -> Mapping[str, str] | None:
        """Return type by column; None of one that was not seen."""
        with self._lock:
            return self._seen.get(dataset)

    def keep(self, seen: Mapping[str, Mapping[str, str]]) -> None:
        """Remember what datasets have now."""
        with self._lock:
            for dataset, columns in seen.items():
                self._seen[dataset] = columns
                self._seen.move_to_end(dataset)
            while len(self._seen) > self._max:
                self._seen.popitem(last=False)
