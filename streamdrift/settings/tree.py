"""Every setting, in one frozen tree. The one place that reads the environment.

``STREAMDRIFT_DETECTORS__ADWIN__DELTA=0.002`` sets ``detectors.adwin.delta``; the TOML file named by
``STREAMDRIFT_CONFIG`` supplies the same tree, the environment wins.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
Probability = Annotated[float, Field(gt=0, lt=1)]


class Section(BaseModel):
    """A branch of the tree: frozen, and a name it doesn't know is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class KafkaSettings(Section):
    """How to reach the broker, and how much to take at a time."""

    bootstrap_servers: str = "localhost:9092"
    """Brokers to ask first, `host:port`, with commas between them."""
    group: str = "streamdrift"
    """Prefix of the consumer groups: `<group>-assemble`, `<group>-detect`, `<group>-escalate`."""
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    """Transport security."""
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = None
    """How to log in, with `SASL_*`."""
    sasl_username: str | None = None
    """User to log in as."""
    sasl_password: SecretStr | None = None
    """Password of that user."""
    ssl_cafile: Path | None = None
    """Certificates that vouch for the broker (PEM); without one, the system's."""
    ssl_certfile: Path | None = None
    """Own certificate for mutual TLS (PEM)."""
    ssl_keyfile: Path | None = None
    """Key of the own certificate (PEM)."""
    ssl_password: SecretStr | None = None
    """Password of that key."""
    poll_records_max: Count = 5_000
    """Most records taken by one poll."""
    commit_interval_s: Positive = 1.0
    """Longest time between two commits; alerts are published at each."""
    request_timeout_s: Positive = 30.0
    """How long one request to the broker may take."""
    bootstrap_timeout_s: Positive = 30.0
    """How long to try to reach the broker at start, before giving up with exit code 3."""
    restore_events_max: Annotated[int, Field(ge=0)] = 2_000_000
    """Records per partition that are read again, muted, to rebuild detector state after a restart."""
    partitions: Count = 6
    """Partitions of the topics that `topics create` makes."""
    replication_factor: Count = 1
    """Copies of each partition that `topics create` asks for. Use 3 in production."""


class TopicSettings(Section):
    """Names of the topics."""

    events: str = "inference-events"
    """Inference events in."""
    labels: str = "inference-labels"
    """Delayed labels and feedback in."""
    changes: str = "model-changes"
    """Deployments and upstream changes in."""
    alerts: str = "drift-alerts"
    """Alerts out."""
    rejected: str = "streamdrift.rejected"
    """Dead letters out."""
    blocks: str = "streamdrift.blocks"
    """Internal: columnar blocks between the two stages."""
    state: str = "streamdrift.state"
    """Internal: compacted changelog of detector state."""


class ReferenceSettings(Section):
    """The reference window: what is normal for a series."""

    events: Annotated[int, Field(ge=100, le=100_000)] = 5_000
    """First clean events of a series that become its reference window."""


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
    delta: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.005
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
    """Evidence (log-likelihood ratio, nats) that the confirming scan asks for."""
    candidate_events: Count = 4_096
    """Events of a series for which a detector's flag stays open for confirmation."""
    resolve_events: Count = 512
    """Events of a series without evidence after which an open alert is resolved."""
    alert_cooldown_s: Annotated[float, Field(ge=0)] = 3_600.0
    """Event time after a resolved alert in which the same series and reason stays quiet."""


class AnomalySettings(Section):
    """Data faults, looked for before drift."""

    enabled: bool = True
    """Whether anomalies are looked for at all."""
    new_category_events: Count = 5
    """Events with categories that the reference window lacks, in one confirming window, before `new_category`."""
    silence_min_s: Positive = 60.0
    """Shortest gap in a model's traffic that may be called silence."""
    silence_factor: Annotated[float, Field(gt=1)] = 2.5
    """Silence is a gap this many times the longest of the reference window."""


class Override(Section):
    """A rule that changes detector settings for the series it matches; of several, the later name wins."""

    model: str | None = None
    """Model name it applies to; every model without."""
    feature: str | None = None
    """Feature it applies to; every feature without."""
    segment: str | None = None
    """Segment it applies to, `dimension=value`, or empty text for all traffic; every segment without."""
    enabled: bool = True
    """False: the series is not monitored."""
    adwin: AdwinSettings | None = None
    """Replaces `detectors.adwin`; fields left out keep their value there."""
    page_hinkley: PageHinkleySettings | None = None
    """Replaces `detectors.page_hinkley`; fields left out keep their value there."""
    ks: KsSettings | None = None
    """Replaces `detectors.ks`; fields left out keep their value there."""
    policy: PolicySettings | None = None
    """Replaces `policy`; fields left out keep their value there."""


class LabelSettings(Section):
    """Joining delayed labels to their predictions."""

    join_ttl_s: Positive = 14 * 86_400.0
    """How long a prediction waits for its label, in event time."""
    join_events_max: Count = 1_000_000
    """Predictions that wait at most; the oldest leave first, counted."""


class RetrySettings(Section):
    """How a delivery that failed is tried again."""

    initial_s: Positive = 1.0
    """First wait; each further one is twice as long."""
    max_s: Positive = 300.0
    """Longest wait."""
    attempts_max: Count = 50
    """Attempts before the delivery is put aside as dead, with a log line and a metric."""


class PagerDutySettings(Section):
    """PagerDuty Events v2. On when it has a routing key."""

    routing_key: SecretStr | None = None
    """Integration key of the service to page."""
    url: str = "https://events.pagerduty.com/v2/enqueue"
    """Where events go; `https://events.eu.pagerduty.com/v2/enqueue` in the EU region."""
    timeout_s: Positive = 10.0
    """How long one request may take."""


class WebhookSettings(Section):
    """A webhook signed as Standard Webhooks has it. On when it has a URL."""

    url: str | None = None
    """Where pages go."""
    secret: SecretStr | None = None
    """Key of the signature, as plain text or `whsec_` and base64."""
    timeout_s: Positive = 10.0
    """How long one request may take."""


class EscalateSettings(Section):
    """The escalation worker."""

    ledger: Path = Path("streamdrift-ledger.sqlite3")
    """SQLite file with incidents, outbox and offsets."""
    incident_window_s: Positive = 3_600.0
    """Alerts of one model that begin within this event time of the incident's last alert belong to it."""
    severity_min: Literal["info", "warning", "critical"] = "warning"
    """Alerts below this are kept in the incident, but page nobody."""
    event_age_max_s: Positive = 86_400.0
    """Alerts older than this against the clock are recorded, but page nobody (a backfill is no emergency)."""
    retry: RetrySettings = RetrySettings()
    pagerduty: PagerDutySettings = PagerDutySettings()
    webhook: WebhookSettings = WebhookSettings()


class TelemetrySettings(Section):
    """Logs and metrics."""

    host: str = "0.0.0.0"  # noqa: S104 - a container's metrics must be reachable from the scraper
    """Address that `/metrics`, `/livez` and `/readyz` listen on."""
    port: Annotated[int, Field(ge=0, le=65_535)] = 9_464
    """Their port; 0 takes a free one and logs it."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severe log lines that are written."""
    log_format: Literal["auto", "json", "console"] = "auto"
    """`auto` is `console` on a terminal, else `json`."""


class Settings(Section):
    """The whole tree."""

    segments: tuple[str, ...] | None = None
    """Dimensions to monitor, as a JSON list; every dimension seen without."""
    exchange: Literal["topic", "direct"] = "topic"
    """How blocks go from assemble to detect: by the blocks topic, or in memory (one worker, one input partition)."""
    max_event_bytes: Annotated[int, Field(ge=100)] = 1_000_000
    """Largest event; larger ones are rejected unread."""
    features_per_event_max: Count = 1_000
    """Most features (with embeddings and predictions) of one event; events with more are rejected."""
    segments_per_event_max: Count = 32
    """Most dimensions of one event; events with more are rejected."""
    text_length_max: Count = 256
    """Characters kept of a category, a segment value or a name; longer ones are cut."""
    categories_max: Count = 1_000
    """Categories of one feature that are told apart; further ones count as one other."""
    series_max: Count = 20_000
    """Series held; over it new segments fold into all traffic, and one anomaly says so."""
    segments_per_model_max: Count = 500
    """Segments of one model that are told apart; further ones fold into all traffic, and one anomaly says so."""
    block_events_max: Annotated[int, Field(ge=16, le=65_536)] = 8_192
    """Events gathered into one batch of blocks at most."""
    kafka: KafkaSettings = KafkaSettings()
    topics: TopicSettings = TopicSettings()
    reference: ReferenceSettings = ReferenceSettings()
    detectors: DetectorSettings = DetectorSettings()
    policy: PolicySettings = PolicySettings()
    anomalies: AnomalySettings = AnomalySettings()
    overrides: dict[str, Override] = {}
    labels: LabelSettings = LabelSettings()
    escalate: EscalateSettings = EscalateSettings()
    telemetry: TelemetrySettings = TelemetrySettings()
