"""What a bank holds, group by group: put away as bytes, taken up again, forgotten."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from hashlib import blake2b
from typing import Any

from streamdrift.detect.calibration import Calibration
from streamdrift.detect.given import Given, Place
from streamdrift.detect.group import Group
from streamdrift.detect.measuring import Measuring
from streamdrift.detect.rebaseline import Orders, of_traffic
from streamdrift.detect.series import Series
from streamdrift.detect.silence import Silence
from streamdrift.detect.specs_traffic import SPECS
from streamdrift.detect.traffic import Traffic, TrafficSettings
from streamdrift.detect.value_watch import WatchSettings
from streamdrift.detect.versions import Versions
from streamdrift.ports import Partition
from streamdrift.settings import Settings

Key = tuple[str, str, str]
"""Stream, model, and name of the segment."""

DECISIVE = (
    *("segments", "text_length_max", "categories_max", "free_text", "embedding_dimension_max", "reference"),
    *("detectors", "policy", "anomalies"),
)
"""Settings without which state means something else. Limits of how much is held are none of them."""


class Holdings:
    """Groups of series with all that belongs to them.

    Attributes
    ----------
    touched
        Groups that changed since somebody last took note, in the order of their last change but one; see ``Bank``.
    """

    def __init__(self, settings: Settings, config_hash: str) -> None:
        self._settings, self._config_hash = settings, config_hash
        self._groups: dict[Key, Group] = {}
        self._segments_of: Counter[str] = Counter()
        self._held: dict[tuple[str, str], dict[str, set[str]]] = {}
        self._traffic: dict[str, Traffic] = {}
        self._silence = Silence()
        self._orders = Orders()
        self._split: set[tuple[str, str]] = set()
        self._calibrations: dict[tuple[bytes, ...], Calibration] = {}
        self._hashes: dict[tuple[str, ...], bytes] = {}
        self._mixed: dict[tuple[str, str], dict[Partition, int]] = {}
        self.overflown: set[str] = set()
        self.touched: dict[Key, None] = {}
        self.invalid: Counter[str] = Counter()
        self.states: Counter[str] = Counter()
        self.limits_hit: Counter[str] = Counter()
        self.series = 0
        self.measuring = Measuring(settings, self.limits_hit)

    def keys(self) -> list[Key]:
        """The groups that are held."""
        return list(self._groups)

    def take_silent(self) -> set[str]:
        """Return the models that fell silent or came back since the last time."""
        found, self._silence.changed = self._silence.changed, set()
        return found

    def size(self, key: Key) -> int:
        """Series of a group, and the group itself: what putting it away costs goes by that."""
        return 1 + len(self._groups[key].series)

    def put_away(self, key: Key, apart: Callable[[object], int] | None = None) -> bytes:
        """Return all of a group's state, and of its model's traffic and silence where it is the group of all of that.

        Parameters
        ----------
        apart
            See ``state.codec.Specs.encode``.
        """
        stream, model, name = key
        group = self._groups[key]
        traffic = silence = None
        if _is_whole(key):
            traffic, silence = self._traffic.get(model), self._silence.of(model)
        elif (stream, model) in self._split:
            mixed = self._mixed.get((stream, model), {})
            group.follow({source: end for source, end in self._seen(stream, model).items() if source not in mixed})
        place = Place(stream, model, group.segment, name)
        return SPECS.encode((place, group, traffic, silence), apart)

    def state_hash(self, key: Key, *, followed: bool = False) -> str:
        """32 hex digits that are the same for groups that will say the same of all that may come.

        Of groups that saw all of the log so far; of others, which still read again what they have seen, it says nothing.

        Parameters
        ----------
        followed
            Whether the group was given its part of all that the group of all traffic saw, where that is held: so it is of
            groups that were just taken up, of which each knows how far it had seen when it changed last.
        """
        group, (stream, model, name) = self._groups[key], key
        seen = group.seen()
        if name and (followed or (stream, model) in self._split):
            group.follow(self._seen(stream, model))
        found = blake2b(self.put_away(key), digest_size=16).hexdigest()
        group.saw(seen)
        return found

    def series_hashes(self, key: Key) -> dict[str, str]:
        """The same for each series of a group, by feature; those that are not monitored are left out."""
        return {
            feature: blake2b(SPECS.encode(series), digest_size=16).hexdigest()
            for feature, series in sorted(self._groups[key].series.items())
            if series is not None
        }

    def _seen(self, stream: str, model: str) -> dict[Partition, int]:
        """How far the group of all of a model's traffic has seen, which hands the others their part."""
        whole = self._groups.get((stream, model, ""))
        return {} if whole is None else whole.seen()

    def settings_hash(self, key: Key) -> bytes:
        """8 bytes that are the same for settings under which a group's state means the same."""
        settings, (_, model, name) = self._settings, key
        acting = tuple(
            rule
            for rule, found in sorted(settings.overrides.items())
            if found.model in {None, model} and found.segment in {None, name}
        )
        if acting not in self._hashes:
            self._hashes[acting] = self._hash(acting)
        return self._hashes[acting]

    def _hash(self, acting: tuple[str, ...]) -> bytes:
        settings = self._settings
        tree = settings.model_dump(mode="json", include=set(DECISIVE))
        rules = settings.model_dump(mode="json", include={"overrides"}, exclude_unset=True).get("overrides", {})
        tree["overrides"] = [rules[rule] for rule in acting]
        if settings.reference.baseline is not None:
            tree["baseline"] = self._config_hash  # the content of the file is in it
        return blake2b(json.dumps(tree, sort_keys=True).encode(), digest_size=8).digest()

    def take_up(self, data: bytes, part: Callable[[int], Any] | None = None, given: Given | None = None) -> Key:
        """Go on with a group from its state, in place of what was held of it; return its key.

        Parameters
        ----------
        part, given
            See ``state.codec.Specs.decode``; parts are decoded with the same ``given``.

        Raises
        ------
        Damaged
            The bytes are none that ``put_away`` made.
        ValueError
            They are, but don't fit these settings.
        """
        place, group, traffic, silence = SPECS.decode(data, given or self.given(), part)
        key = place.stream, place.model, place.name
        self.forget(key)
        self._install(key, group)
        if traffic is not None:
            self._traffic[place.model] = traffic
            waiting = self._orders.of(place.model, {})
            traffic.waiting = [o for o in waiting if of_traffic(o) and o.change_id not in traffic.acted]
        if silence is not None:
            self._silence.restore(place.model, silence)
        ends = self._mixed.setdefault((place.stream, place.model), {})
        for source, end in group.seen().items():
            ends[source] = max(end, ends.get(source, 0))
        return key

    def _install(self, key: Key, group: Group) -> None:
        stream, model, _ = key
        self._groups[key] = group
        self.measuring.took_up(group)
        self._segments_of[model] += bool(group.segment)
        for dimension, value in group.segment.items():
            self._held.setdefault((stream, model), {}).setdefault(dimension, set()).add(value)
        group.waiting = [o for o in self._orders.of(model, group.segment) if o.change_id not in group.acted]
        for count, all_series in _counted(group):
            self.series += count
            self.states["held_back"] += sum(series.is_held_back for series in all_series)

    def forget(self, key: Key) -> None:
        """Let a group go, if it is held, with all that belongs to it."""
        group = self._groups.pop(key, None)
        if group is None:
            return
        stream, model, name = key
        self.touched.pop(key, None)
        self._segments_of[model] -= bool(group.segment)
        for dimension, value in group.segment.items():
            self._held[stream, model][dimension].discard(value)
        for count, all_series in _counted(group):
            self.series -= count
            for series in all_series:
                series.let_go()
        if not name:
            self.measuring.forget(stream, model)
        if _is_whole(key):
            self._traffic.pop(model, None)
            self._silence.forget(model)
        if not group.segment:
            self._mixed.pop((stream, model), None)

    def given(self) -> Given:
        """Return what the state of a group is given when it is taken up."""
        return Given(
            self._config_hash,
            self._watch_settings,
            self._traffic_settings,
            self._maker,
            self._release,
            self.invalid,
            self.states,
            self.limits_hit,
            self._calibrations,
        )

    def _release(self) -> None:
        self.series -= 1

    def _watch_settings(self, model: str, feature: str, segment: str) -> WatchSettings:
        """The settings of a series, by the name of its segment."""
        raise NotImplementedError

    def _traffic_settings(self, model: str) -> TrafficSettings:
        """The settings of a model's traffic."""
        raise NotImplementedError

    def _maker(self, group: Group, feature: str) -> Callable[[str], Series | None]:
        """Return what makes the series of a feature's further versions."""
        raise NotImplementedError


def _is_whole(key: Key) -> bool:
    """Whether it is the group that sees all events of its model."""
    return key[0] == "events" and not key[2]


def _counted(group: Group) -> list[tuple[int, list[Series]]]:
    """Of each feature: how many series count against the limit, and which are watched."""
    found: list[tuple[int, list[Series]]] = []
    for series in group.series.values():
        if isinstance(series, Versions):
            found.append((series.count, series.all()))
        elif series is not None:
            found.append((1, [series]))
    return found
