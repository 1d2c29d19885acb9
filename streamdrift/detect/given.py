"""What the state of a group is given from outside when it is taken up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace

import numpy as np

from streamdrift.detect.calibration import Calibration
from streamdrift.detect.explain import Identity
from streamdrift.detect.group import Group
from streamdrift.detect.series import Series
from streamdrift.detect.traffic import TrafficSettings
from streamdrift.detect.value_watch import WatchSettings

CALIBRATION = tuple(one.name for one in fields(Calibration))
CALIBRATIONS_MAX = 1_024
"""Calibrations that are known by their content, about 2 kB each."""


@dataclass(frozen=True, slots=True)
class Place:
    """Which group it is."""

    stream: str
    model: str
    segment: dict[str, str]
    name: str


@dataclass(slots=True)
class Given:
    """What the state of one group is given from outside.

    Attributes
    ----------
    settings
        Returns the settings of a series, by model, feature and name of the segment.
    traffic
        Returns those of a model's traffic.
    make
        Returns what makes the series of a feature's further versions.
    release
        Told that a series was let go.
    invalid, states, limits_hit
        The bank's counters.
    calibrations
        By content, those that series may share.
    """

    config_hash: str
    settings: Callable[[str, str, str], WatchSettings]
    traffic: Callable[[str], TrafficSettings]
    make: Callable[[Group, str], Callable[[str], Series | None]]
    release: Callable[[], None]
    invalid: Counter[str]
    states: Counter[str]
    limits_hit: Counter[str]
    calibrations: dict[tuple[bytes, ...], Calibration]
    place: Place = Place("", "", {}, "")
    _feature: str = ""
    _known: dict[tuple[str, float, bool] | str, WatchSettings] = field(default_factory=dict)

    def same(self, found: Calibration) -> Calibration:
        """Return one that is equal and known already: of shares that are next to nothing, thousands are."""
        content = tuple(np.asarray(getattr(found, name)).tobytes() for name in CALIBRATION)
        if content in self.calibrations or len(self.calibrations) < CALIBRATIONS_MAX:
            return self.calibrations.setdefault(content, found)
        return found

    def at(self, place: Place) -> Place:
        """Take note of the group that is read from now on."""
        self.place = place
        return place

    def identity(self, feature: str, role: str, suffix: str) -> Identity:
        """Return the identity of a series, which is the one that is read from now on."""
        self._feature = feature
        return Identity(self.place.model, self.place.segment, feature, role, self.config_hash, suffix)

    def asked(self) -> WatchSettings:
        """The settings of the series that is read: its identity came first."""
        feature = self._feature
        if feature not in self._known:
            self._known[feature] = self.settings(self.place.model, feature, self.place.name)
        return self._known[feature]

    def held(self, threshold: float, *, anomalies: bool) -> WatchSettings:
        """Return them with the threshold that the budget asked for, and anomalies on or off."""
        place = self._feature, threshold, anomalies
        if place not in self._known:
            asked = self.asked()
            self._known[place] = replace(
                asked,
                policy=asked.policy.model_copy(update={"threshold": threshold}),
                anomalies=asked.anomalies.model_copy(update={"enabled": anomalies}),
            )
        return self._known[place]
