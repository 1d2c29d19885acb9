"""Settings of service level objectives: what detection counts for them, and where they are."""

from __future__ import annotations

from streamdrift.settings.values import Count, FilePath, Section


class SloSettings(Section):
    """Service level objectives of models (`docs/slo.md`)."""

    publish: bool = False
    """Whether `detect` counts each model's events by the minute, and publishes that on the topic of measures."""
    models_max: Count = 1_000
    """Models that are counted; over it further ones are not, with a metric."""
    files: tuple[FilePath, ...] = ()
    """OpenSLO files, YAML or JSON, as a JSON list: the objectives that `escalate` holds the measures against. Without any it reads none."""
