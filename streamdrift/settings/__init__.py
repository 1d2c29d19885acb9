"""Every setting: the tree, how it is read, and which series gets what."""

from streamdrift.settings.detection import (
    AdwinSettings,
    AnomalySettings,
    DetectorSettings,
    KsSettings,
    LabelSettings,
    Override,
    PageHinkleySettings,
    PolicySettings,
    ReferenceSettings,
)
from streamdrift.settings.fields import secret_values
from streamdrift.settings.identity import config_hash
from streamdrift.settings.load import Loaded, load
from streamdrift.settings.overrides import SeriesSettings, for_series
from streamdrift.settings.show import show, show_json
from streamdrift.settings.tree import (
    EngineChoice,
    EscalateSettings,
    KafkaSettings,
    PagerDutySettings,
    RetrySettings,
    Settings,
    TelemetrySettings,
    TopicSettings,
    WebhookSettings,
)
from streamdrift.settings.values import Section

__all__ = [
    "AdwinSettings",
    "AnomalySettings",
    "DetectorSettings",
    "EngineChoice",
    "EscalateSettings",
    "KafkaSettings",
    "KsSettings",
    "LabelSettings",
    "Loaded",
    "Override",
    "PageHinkleySettings",
    "PagerDutySettings",
    "PolicySettings",
    "ReferenceSettings",
    "RetrySettings",
    "Section",
    "SeriesSettings",
    "Settings",
    "TelemetrySettings",
    "TopicSettings",
    "WebhookSettings",
    "config_hash",
    "for_series",
    "load",
    "secret_values",
    "show",
    "show_json",
]
