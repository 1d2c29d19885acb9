"""The sections that decide what is an alert: reference window, detectors, evidence policy, anomalies, overrides."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from streamdrift.settings.values import Count, FilePath, Name, NonNegative, Positive, Probability, Section, SegmentName


class ReferenceSettings(Section):
    """The reference window: what is normal for a series."""

    events: Annotated[int, Field(ge=100, le=100_000)] = 5_000
    """First clean events of a series that become its reference window."""
    first_events: Annotated[int, Field(ge=100, le=100_000)] = 1_000
    """Events of a model that span three days after which its series are judged by what was seen so far, until there are `events`."""
    segment_events: Annotated[int, Field(ge=100, le=100_000)] = 100
    """Least clean events of a reference window that spans `events` events of the model: what a small segment begins with."""
    baseline: FilePath | None = None
    """Recorded inference events (NDJSON, CSV, Parquet) that reference windows are learned from before the first live event."""
    mode: Literal["fixed", "rolling"] = "fixed"
    """`fixed`: the first reference window of a series stays; `rolling`: beside it stands one that is renewed from the recent past."""
    renew_events: Annotated[int, Field(ge=100, le=1_000_000)] = 1_000
    """With `mode = "rolling"`: clean events of a series after which the rolling window is renewed from the latest `events`."""
    by_version: bool = True
    """Whether each `model.version` has reference windows of its own for predictions and performance, compared with the last version's."""


class AdwinSettings(Section):
    """ADWIN (Bifet & Gavaldà 2007) on values standardised against the reference window."""

    enabled: bool = True
    """Whether this detector runs."""
    delta: Probability = 0.002
    """Confidence of one cut; smaller fires less often."""
    clock: Count = 32
    """Events between two looks for a cut."""
    grace_period: Count = 10
    """Events before the first look."""


class PageHinkleySettings(Section):
    """Page-Hinkley (Page 1954), two-sided, on values standardised against the reference window."""

    enabled: bool = True
    """Whether this detector runs."""
    delta: NonNegative = 0.005
    """Change that is tolerated, in reference standard deviations."""
    threshold: Positive = 50.0
    """Cumulative deviation that fires, in reference standard deviations."""
    min_instances: Count = 30
    """Events before it may fire."""
    alpha: Annotated[float, Field(gt=0, le=1)] = 0.9999
    """Forgetting factor of the cumulative deviation."""


class KsSettings(Section):
    """Two-sample Kolmogorov-Smirnov: the sliding current window against the reference window, after every event."""

    enabled: bool = True
    """Whether this detector runs."""
    window_events: Annotated[int, Field(ge=16, le=10_000)] = 200
    """Events of the current window."""
    alpha: Probability = 1e-6
    """Level of one test; smaller fires less often."""


class DetectorSettings(Section):
    """The detectors that open candidates, one section each."""

    adwin: AdwinSettings = AdwinSettings()
    page_hinkley: PageHinkleySettings = PageHinkleySettings()
    ks: KsSettings = KsSettings()


class PolicySettings(Section):
    """The evidence policy: what a detection must show to become an alert."""

    confirm: Literal["on", "off"] = "on"
    """`off` publishes every flag of every detector, unconfirmed."""
    require: Literal["any", "none"] = "any"
    """`any`: a detector must have flagged before the confirming scan may alert; `none`: the scan decides alone."""
    threshold: Annotated[float, Field(ge=4, le=200)] = 16.0
    """Evidence (log-likelihood ratio, nats) that the confirming scan asks for, at least."""
    false_pages_per_model_week: Positive = 1.0
    """False pages that all series of one model may cause in a week; raises the threshold of models with many series or events."""
    candidate_events: Count = 4_096
    """Events of a series for which a detector's flag stays open for confirmation."""
    resolve_events: Count = 512
    """Events of a series without evidence after which an open alert is resolved."""
    alert_cooldown_s: NonNegative = 3_600.0
    """Event time after a resolved alert in which the same series and reason stays quiet."""
    update_factor: Annotated[float, Field(gt=1, allow_inf_nan=False)] = 2.0
    """An open alert is sent again when its effect has grown by this factor."""
    flapping_openings: Annotated[int, Field(ge=1, le=100)] = 2
    """Times within `flapping_s` that an alert may come and go; what is like them then is told only if it is `update_factor` times
    as large, or lasts that many times as long, as any of them."""
    flapping_s: NonNegative = 56 * 86_400.0
    """Event time in which they are counted; 0 tells every time."""


class AnomalySettings(Section):
    """Data faults, looked for before drift."""

    enabled: bool = True
    """Whether anomalies are looked for at all."""
    new_category_events: Count = 5
    """Events with categories that the reference window lacks, in one confirming window, before `new_category`."""
    duplicate_within_events: Annotated[int, Field(ge=1, le=100_000)] = 1_000
    """Events of a model, with an id, within which a `prediction_id` that comes again is a duplicate; so many are remembered."""
    replay_within_events: Annotated[int, Field(ge=0, le=1_000_000)] = 100_000
    """From there to so far back, one that comes again is a replay; 0 looks for none. About 16 bytes each are held per model."""
    duplicate_events: Count = 10
    """Duplicates, or replays, since the change point before `duplicate_events`."""
    silence_min_s: Positive = 60.0
    """Shortest gap in a model's traffic that may be called silence."""
    silence_factor: Annotated[float, Field(gt=1, allow_inf_nan=False)] = 2.5
    """Silence is a gap this many times the longest of the reference window."""


class Override(Section):
    """A rule that changes detector settings for the series it matches; of several, the later name wins."""

    model: Name | None = None
    """Model name it applies to; every model without."""
    feature: Name | None = None
    """Feature it applies to; every feature without."""
    segment: SegmentName | None = None
    """Segment it applies to, `dimension=value`, or empty text for all traffic; every segment without."""
    enabled: bool = True
    """False: the series is not monitored."""
    adwin: AdwinSettings | None = None
    """Laid over `detectors.adwin`: fields left out keep their value there."""
    page_hinkley: PageHinkleySettings | None = None
    """Laid over `detectors.page_hinkley`: fields left out keep their value there."""
    ks: KsSettings | None = None
    """Laid over `detectors.ks`: fields left out keep their value there."""
    policy: PolicySettings | None = None
    """Laid over `policy`: fields left out keep their value there."""


class LabelSettings(Section):
    """Joining delayed labels to their predictions."""

    enabled: bool = True
    """Whether `detect` reads the topic of labels, where there is one."""
    join_ttl_s: Positive = 14 * 86_400.0
    """How long a prediction waits for its label, in event time; a label that comes later is counted as late."""
    join_events_max: Count = 1_000_000
    """Predictions kept for their labels, answered ones included; the oldest leave first, counted."""
    join_memory_max: Count = 100_000
    """Predictions of these kept in memory, about 0.4 KB each; older ones are in a temporary file."""
    spill_directory: FilePath | None = None
    """Where that file is made; without one, in the system's directory for temporary files."""
    hold_s: Positive = 60.0
    """How long a label of an unknown prediction waits at least for partitions that lag, and at most for silent ones."""
    hold_events_max: Count = 100_000
    """Labels that wait for the events to come to their time; beyond it the oldest are let in, counted."""
