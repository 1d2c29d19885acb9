"""A bank that watches some series only, and leaves them as they would be among all."""

from __future__ import annotations

from collections.abc import Container

from streamdrift.alerts import series_id
from streamdrift.detect.bank import Bank
from streamdrift.detect.group import Group
from streamdrift.detect.series import Series
from streamdrift.settings import Settings


class SubsetBank(Bank):
    """As ``Bank``; series that are not wanted take their place under the limits, and are not updated.

    Parameters
    ----------
    wanted
        Ids of series.
    features
        Features of which all traffic is watched in any case: what a segment's series does may lean on it.
    """

    def __init__(
        self, settings: Settings, config_hash: str, wanted: Container[str], features: Container[str] = ()
    ) -> None:
        super().__init__(settings, config_hash)
        self._wanted, self._features = wanted, features

    def _make(self, group: Group, feature: str, role: str, suffix: str = "") -> Series | None:
        made = super()._make(group, feature, role, suffix)
        leant_on = not group.segment and feature in self._features
        return made if leant_on or series_id(group.model, group.segment, feature + suffix) in self._wanted else None
