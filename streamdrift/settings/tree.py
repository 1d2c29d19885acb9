"""Every setting, in one frozen tree.

A section's own rules (which fields need which) are checked here, so that a tree built by hand in a test is held to
them too; ``load`` turns what they say into sentences with names and origins.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from streamdrift.settings.detection import (
    AnomalySettings,
    DetectorSettings,
    LabelSettings,
    Override,
    PolicySettings,
    ReferenceSettings,
)
from streamdrift.settings.escalation import EscalateSettings
from streamdrift.settings.slo import SloSettings
from streamdrift.settings.values import (
    COUNT_MAX,
    Count,
    FilePath,
    Findings,
    InstanceName,
    Name,
    Positive,
    RuleId,
    Secret,
    Section,
    Servers,
    TopicName,
    refuse,
)

EngineChoice = Literal["auto", "reference", "compiled"]


class KafkaSettings(Section):
    """How to reach the broker, and how much to take at a time."""

    bootstrap_servers: Servers = "localhost:9092"
    """Brokers to ask first, `host:port`, with commas between them."""
    group: Name = "streamdrift"
    """Prefix of the consumer groups: `<group>-assemble`, `<group>-detect`, `<group>-escalate`."""
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    """Transport security."""
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = None
    """How to log in, with `SASL_*`."""
    sasl_username: Name | None = None
    """User to log in as."""
    sasl_password: Secret | None = None
    """Password of that user."""
    ssl_cafile: FilePath | None = None
    """Certificates that vouch for the broker (PEM); without one, the system's."""
    ssl_certfile: FilePath | None = None
    """Own certificate for mutual TLS (PEM)."""
    ssl_keyfile: FilePath | None = None
    """Key of the own certificate (PEM)."""
    ssl_password: Secret | None = None
    """Password of that key."""
    poll_records_max: Count = 5_000
    """Most records taken by one poll."""
    commit_interval_s: Positive = 1.0
    """Longest time between two commits; alerts are published at each."""
    request_timeout_s: Positive = 30.0
    """How long one request to the broker may take."""
    bootstrap_timeout_s: Positive = 30.0
    """How long to try to reach the broker at start, before giving up with exit code 3."""
    restore_events_max: Annotated[int, Field(ge=0, le=COUNT_MAX)] = 2_000_000
    """Records per partition that are read again, muted, to rebuild detector state after a restart."""
    delivery: Literal["exactly-once", "at-least-once"] = "exactly-once"
    """Whether `detect` publishes with Kafka's transactions, or plainly: then a crash can repeat alerts, with the ids they had."""
    instance: InstanceName | None = None
    """Name of this process, the same after each restart and no other's (a StatefulSet's pod); without, the host's name and a number."""
    session_timeout_s: Positive = 10.0
    """How long a `detect` process may be silent before its partitions go to others; a restart within it moves none."""
    transaction_timeout_s: Annotated[float, Field(ge=1, le=900)] = 10.0
    """How long one commit may take. What a killed process left open holds up readers for as long."""
    state_flush_s: Positive = 30.0
    """How long changed state may wait before it is put away; about so much input is read again after a crash."""
    partitions: Count = 6
    """Partitions of the topics that `topics create` makes."""
    replication_factor: Count = 1
    """Copies of each partition that `topics create` asks for. Use 3 in production."""

    @model_validator(mode="after")
    def _hold_together(self) -> Self:
        refuse(self._findings())
        return self

    def _findings(self) -> Findings:
        sasl, tls = self.security_protocol.startswith("SASL_"), self.security_protocol.endswith("SSL")
        for field in ("sasl_mechanism", "sasl_username", "sasl_password"):
            given = getattr(self, field) is not None
            if sasl and not given:
                yield field, f"is needed with security_protocol {self.security_protocol}"
            elif given and not sasl:
                yield field, "is used only with security_protocol SASL_SSL or SASL_PLAINTEXT; set that, or leave it out"
        for field in ("ssl_cafile", "ssl_certfile", "ssl_keyfile", "ssl_password"):
            if getattr(self, field) is not None and not tls:
                yield field, "is used only with security_protocol SSL or SASL_SSL; set that, or leave it out"
        for field, needs in (
            ("ssl_certfile", "ssl_keyfile"),
            ("ssl_keyfile", "ssl_certfile"),
            ("ssl_password", "ssl_keyfile"),
        ):
            if getattr(self, field) is not None and getattr(self, needs) is None:
                yield field, f"is given without {needs}; give both or neither"


class TopicSettings(Section):
    """Names of the topics."""

    events: TopicName = "inference-events"
    """Inference events in."""
    labels: TopicName = "inference-labels"
    """Delayed labels and feedback in."""
    changes: TopicName = "model-changes"
    """Deployments and upstream changes in."""
    alerts: TopicName = "drift-alerts"
    """Alerts out."""
    rejected: TopicName = "streamdrift.rejected"
    """Dead letters out."""
    blocks: TopicName = "streamdrift.blocks"
    """Internal: columnar blocks between the two stages."""
    state: TopicName = "streamdrift.state"
    """Internal: compacted changelog of detector state."""
    measures: TopicName = "streamdrift.measures"
    """Counts of each model's events out, for its objectives (`slo.publish`)."""

    @model_validator(mode="after")
    def _each_its_own(self) -> Self:
        refuse(self._findings())
        return self

    def _findings(self) -> Findings:
        first: dict[str, str] = {}
        for field in type(self).model_fields:
            name = getattr(self, field)
            if first.setdefault(name, field) != field:
                yield field, f"is the topic of {first[name]} too; each needs its own"


class TelemetrySettings(Section):
    """Logs and metrics."""

    host: Name = "0.0.0.0"  # noqa: S104 - a container's metrics must be reachable from the scraper
    """Address that `/metrics`, `/livez` and `/readyz` listen on."""
    port: Annotated[int, Field(ge=0, le=65_535)] = 9_464
    """Their port; 0 takes a free one and logs it."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severe log lines that are written."""
    log_format: Literal["auto", "json", "console"] = "auto"
    """`auto` is `console` on a terminal, else `json`."""


class Settings(BaseSettings):
    """The whole tree. Built by hand it takes what it is given, and reads no environment: ``load`` does."""

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, hide_input_in_errors=True
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take arguments alone."""
        del settings_cls, env_settings, dotenv_settings, file_secret_settings
        return (init_settings,)

    segments: tuple[Name, ...] | None = None
    """Dimensions to monitor, as a JSON list; every dimension seen without."""
    engine: EngineChoice = "auto"
    """What computes: the compiled engine where it is installed, else the reference; or one of the two. Alerts are the same."""
    exchange: Literal["topic", "direct"] = "topic"
    """How blocks go from assemble to detect: by the blocks topic, or in memory (one worker, one input partition)."""
    max_event_bytes: Annotated[int, Field(ge=100, le=COUNT_MAX)] = 1_000_000
    """Largest event; larger ones are rejected unread."""
    features_per_event_max: Count = 1_000
    """Most features (with predictions) of one event; events with more are rejected."""
    segments_per_event_max: Count = 32
    """Most dimensions of one event; events with more are rejected."""
    text_length_max: Count = 256
    """Characters kept of a category, a segment value or a name; longer ones are cut."""
    categories_max: Count = 1_000
    """Categories of one feature that are told apart; further ones count as one other."""
    free_text: tuple[Name, ...] = ()
    """Features that are free text, as a JSON list: watched by length, words and share of letters, not as categories."""
    embeddings_per_event_max: Count = 16
    """Most embeddings of one event; events with more are rejected."""
    embedding_dimension_max: Annotated[int, Field(ge=1, le=8_192)] = 4_096
    """Longest embedding; longer ones are invalid values."""
    series_max: Count = 10_000
    """Series held, 25 to 90 KB each; over it new segments fold into all traffic, and one anomaly says so."""
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
    overrides: dict[RuleId, Override] = Field(default_factory=dict)
    """Rules for single models, features and segments, each under a name of its own."""
    labels: LabelSettings = LabelSettings()
    escalate: EscalateSettings = EscalateSettings()
    slo: SloSettings = SloSettings()
    telemetry: TelemetrySettings = TelemetrySettings()

    @model_validator(mode="after")
    def _windows_fit(self) -> Self:
        refuse(self._findings())
        return self

    def _findings(self) -> Findings:
        windows = {"detectors.ks.window_events": self.detectors.ks.window_events}
        for rule, override in self.overrides.items():
            if override.ks is not None and "window_events" in override.ks.model_fields_set:
                windows[f"overrides.{rule}.ks.window_events"] = override.ks.window_events
        for field, events in windows.items():
            if events > self.reference.events:
                yield (
                    field,
                    f"is {events}, more than reference.events ({self.reference.events}); lower it, or raise that",
                )
