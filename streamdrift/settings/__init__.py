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
from streamdrift.settings.escalation import EscalateSettings, RetrySettings
from streamdrift.settings.fields import secret_values
from streamdrift.settings.identity import config_hash
from streamdrift.settings.load import Loaded, load
from streamdrift.settings.mitigation import MitigationSettings
from streamdrift.settings.overrides import SeriesSettings, for_series
from streamdrift.settings.receivers import (
    AlertmanagerSettings,
    AppriseSettings,
    ConfluenceSettings,
    EmailSettings,
    JiraSettings,
    MarkdownSettings,
    PagerDutySettings,
    SlackSettings,
    SlackWebhookSettings,
    WebhookSettings,
)
from streamdrift.settings.show import show, show_json
from streamdrift.settings.slo import SloSettings
from streamdrift.settings.tree import (
    EngineChoice,
    KafkaSettings,
    Settings,
    TelemetrySettings,
    TopicSettings,
)
from streamdrift.settings.values import Section

__all__ = [
    "AdwinSettings",
    "AlertmanagerSettings",
    "AnomalySettings",
    "AppriseSettings",
    "ConfluenceSettings",
    "DetectorSettings",
    "EmailSettings",
    "EngineChoice",
    "EscalateSettings",
    "JiraSettings",
    "KafkaSettings",
    "KsSettings",
    "LabelSettings",
    "Loaded",
    "MarkdownSettings",
    "MitigationSettings",
    "Override",
    "PageHinkleySettings",
    "PagerDutySettings",
    "PolicySettings",
    "ReferenceSettings",
    "RetrySettings",
    "Section",
    "SeriesSettings",
    "Settings",
    "SlackSettings",
    "SlackWebhookSettings",
    "SloSettings",
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
