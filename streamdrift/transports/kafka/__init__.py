"""Kafka through kafka-python: the only place that imports it."""

from streamdrift.transports.kafka.client import quiet_logs
from streamdrift.transports.kafka.explain import explain
from streamdrift.transports.kafka.history import Bounds, KafkaHistory, bounds
from streamdrift.transports.kafka.reach import open_admin
from streamdrift.transports.kafka.sink import KafkaSink
from streamdrift.transports.kafka.source import KafkaSource
from streamdrift.transports.kafka.topics import create_topics, require_topic, unreadable

__all__ = [
    "Bounds",
    "KafkaHistory",
    "KafkaSink",
    "KafkaSource",
    "bounds",
    "create_topics",
    "explain",
    "open_admin",
    "quiet_logs",
    "require_topic",
    "unreadable",
]
