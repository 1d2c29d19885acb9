"""kafka-python takes events off a topic and nothing is done with them: record by record, or in bulk as `streamdrift detect` does."""

from __future__ import annotations

import sys
import time

from kafka import KafkaConsumer, TopicPartition

from benchmarks.rivals.marks import Marks
from streamdrift.settings import KafkaSettings
from streamdrift.transports.kafka import KafkaSource


class SystemClock:
    now, monotonic, sleep = staticmethod(time.time), staticmethod(time.monotonic), staticmethod(time.sleep)


def stock(servers: str, topic: str, marks: Marks) -> None:
    consumer = KafkaConsumer(bootstrap_servers=servers, enable_auto_commit=False, isolation_level="read_committed")
    place = TopicPartition(topic, 0)
    consumer.assign([place])
    consumer.seek_to_beginning(place)
    taken = 0
    while not marks.add(taken):
        taken = sum(map(len, consumer.poll(timeout_ms=500, max_records=5_000).values()))
    consumer.close()


def bulk(servers: str, topic: str, group: str, marks: Marks) -> None:
    settings = KafkaSettings(bootstrap_servers=servers)
    source = KafkaSource(settings, topic, group, clock=SystemClock(), in_bulk=True)
    taken = 0
    while not marks.add(taken):
        taken = len(source.poll(settings.poll_records_max, 0.3))
    source.close()


def main(how: str, servers: str, topic: str, group: str, begin: str, end: str) -> None:
    marks = Marks(int(begin), int(end))
    if how == "bulk":
        bulk(servers, topic, group, marks)
    else:
        stock(servers, topic, marks)


if __name__ == "__main__":
    main(*sys.argv[1:])
