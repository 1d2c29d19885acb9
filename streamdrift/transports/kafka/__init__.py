"""Kafka through kafka-python: the only place that imports it."""

from streamdrift.transports.kafka.changelog import Changelog, Kept
from streamdrift.transports.kafka.client import quiet_logs
from streamdrift.transports.kafka.explain import explain
from streamdrift.transports.kafka.history import Bounds, KafkaHistory, bounds
from streamdrift.transports.kafka.place import Keeper
from streamdrift.transports.kafka.producer import possible
from streamdrift.transports.kafka.pulse import KafkaPulse, pulse_of
from streamdrift.transports.kafka.reach import open_admin
from streamdrift.transports.kafka.rights import require
from streamdrift.transports.kafka.sink import KafkaSink
from streamdrift.transports.kafka.slot import Slot, take_slot
from streamdrift.transports.kafka.source import KafkaSource
from streamdrift.transports.kafka.topics import create_topics, unreadable, unwritable
from streamdrift.transports.kafka.transactions import KafkaTransactions

__all__ = [
    "Bounds",
    "Changelog",
    "KafkaHistory",
    "KafkaPulse",
    "KafkaSink",
    "KafkaSource",
    "KafkaTransactions",
    "Keeper",
    "Kept",
    "Slot",
    "bounds",
    "create_topics",
    "explain",
    "open_admin",
    "possible",
    "pulse_of",
    "quiet_logs",
    "require",
    "take_slot",
    "unreadable",
    "unwritable",
]
