"""Thresholds to try, from the configured one upwards. A lower one is not tried: the configured one is taken for validated.

A series that raised no alert at the lowest rung raises none higher up: the evidence does not depend on the threshold until an
alert opens, and whoever may not open at the lower one may not at the higher. So only series with an alert there are replayed
again, all rungs at once.
"""

from __future__ import annotations

from streamdrift.settings import Settings

THRESHOLDS = (18.0, 20.0, 24.0, 32.0, 48.0)


def rungs(settings: Settings) -> tuple[float, ...]:
    """The configured threshold, and those above it.

    Examples
    --------
    >>> rungs(Settings())
    (16.0, 18.0, 20.0, 24.0, 32.0, 48.0)
    """
    lowest = settings.policy.threshold
    above = [threshold for threshold in THRESHOLDS if threshold > lowest]
    return (lowest, *(above if settings.policy.confirm == "on" else ()))


def at(settings: Settings, threshold: float) -> Settings:
    """Return the settings with this threshold; rules of ``overrides`` that set their own keep it."""
    return settings.model_copy(update={"policy": settings.policy.model_copy(update={"threshold": threshold})})
