"""Which groups are counted for their models' objectives, and the slices that came of it."""

from __future__ import annotations

from collections import Counter
from functools import partial

from streamdrift.blocks.block import Block
from streamdrift.detect.group import Group, Makes, Told
from streamdrift.detect.tally import Ended, Tally
from streamdrift.events import derived
from streamdrift.settings import Settings
from streamdrift.settings.overrides import for_series
from streamdrift.slo.measures import Slice, Stream

LIMIT = "slo.models_max"


class Measuring:
    """Counts the groups of all traffic while they are fed, where ``slo.publish`` asks for it.

    Parameters
    ----------
    limits_hit
        Where models are counted that there was no room for.
    """

    def __init__(self, settings: Settings, limits_hit: Counter[str]) -> None:
        self._settings, self._limits_hit = settings, limits_hit
        self._models: set[str] = set()
        self._fresh: set[tuple[Stream, str]] = set()
        self._ended: list[Ended] = []
        self._slices: list[Slice] = []

    def feed(self, group: Group, rows: Block, bank: Makes) -> Told:
        """Give rows to their group, and count them where they are of all traffic, and not recorded."""
        if not self._settings.slo.publish or bank.recorded or rows.segment or rows.stream == "truths":
            return group.update(rows, bank)
        if group.model not in self._models and len(self._models) >= self._settings.slo.models_max:
            self._limits_hit[LIMIT] += 1
            return group.update(rows, bank)
        self._models.add(group.model)
        counts = partial(self._is_counted, group.model)
        if group.tally is None:
            group.tally = Tally(rows.stream, counts)
            self._fresh.add((rows.stream, group.model))
        elif (rows.stream, group.model) not in self._fresh:
            group.tally.adopt(counts)
            self._fresh.add((rows.stream, group.model))
        return group.tally.feed(rows, group, bank, self._ended)

    def took_up(self, group: Group) -> None:
        """A model's group was taken up: if it was counted, it has its place."""
        if group.tally is not None and self._settings.slo.publish:
            self._models.add(group.model)

    def settle(self) -> None:
        """Put what ended in a batch in the order of the rows that ended it."""
        self._slices += [found for _, found in sorted(self._ended, key=lambda ended: ended[0])]
        self._ended = []

    def take(self) -> list[Slice]:
        """Return the slices that ended since the last time."""
        found, self._slices = self._slices, []
        return found

    def forget(self, stream: str, model: str) -> None:
        """A model's group went, to another worker perhaps; another one may be given its place."""
        self._fresh = {known for known in self._fresh if known != (stream, model)}
        if stream == "events":
            self._models.discard(model)

    def _is_counted(self, model: str, feature: str) -> bool:
        if not derived.tells_faults(feature, self._settings.free_text):
            return False
        return for_series(self._settings, model, feature, "").enabled
