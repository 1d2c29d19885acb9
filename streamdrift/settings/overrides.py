"""Which detector settings a series gets: the base, with every rule that matches it laid over."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

from streamdrift.settings.detection import DetectorSettings, Override, PolicySettings
from streamdrift.settings.tree import Settings
from streamdrift.settings.values import Section

S = TypeVar("S", bound=Section)


@dataclass(frozen=True, slots=True)
class SeriesSettings:
    """What one series is watched by.

    Attributes
    ----------
    enabled
        False: the series is not watched at all.
    """

    detectors: DetectorSettings
    policy: PolicySettings
    enabled: bool = True


def for_series(settings: Settings, model: str, feature: str, segment: str) -> SeriesSettings:
    """Return the settings of one series. Costs microseconds per rule; the caller keeps the answer.

    Parameters
    ----------
    segment
        As ``alerts.segment_name`` has it: ``dimension=value``, empty for all traffic.

    Examples
    --------
    >>> settings = Settings.model_validate({"overrides": {"eu": {"segment": "country=DE", "adwin": {"delta": 0.1}}}})
    >>> for_series(settings, "shop", "price", "country=DE").detectors.adwin
    AdwinSettings(enabled=True, delta=0.1, clock=32, grace_period=10)
    >>> for_series(settings, "shop", "price", "").detectors.adwin.delta
    0.002
    """
    detectors, policy, enabled = settings.detectors, settings.policy, True
    for _, rule in sorted(settings.overrides.items()):
        if _matches(rule, model, feature, segment):
            sections = {name: _laid_over(getattr(detectors, name), getattr(rule, name)) for name in _DETECTORS}
            detectors = detectors.model_copy(update=sections)
            policy = _laid_over(policy, rule.policy)
            enabled = rule.enabled if "enabled" in rule.model_fields_set else enabled
    return SeriesSettings(detectors, policy, enabled)


def _matches(rule: Override, model: str, feature: str, segment: str) -> bool:
    return rule.model in {None, model} and rule.feature in {None, feature} and rule.segment in {None, segment}


def _laid_over(base: S, rule: S | None) -> S:
    """Only what the rule sets, even if to the default, changes the base; the values are validated already."""
    if rule is None:
        return base
    return base.model_copy(update={name: getattr(rule, name) for name in rule.model_fields_set})


_DETECTORS = tuple(DetectorSettings.model_fields)
