"""confluent-kafka takes events off a topic, 5,000 at a time, and looks at their bytes."""

from __future__ import annotations

import sys

from confluent_kafka import Consumer, TopicPartition

from benchmarks.rivals.marks import Marks


def main(servers: str, topic: str, group: str, begin: str, end: str) -> None:
    marks = Marks(int(begin), int(end))
    consumer = Consumer({"bootstrap.servers": servers, "group.id": group, "fetch.queue.backoff.ms": 5})
    consumer.assign([TopicPartition(topic, 0, 0)])
    while True:
        taken = [message.value() for message in consumer.consume(5_000, 0.2) if message.error() is None]
        if marks.add(len(taken)):
            break
    consumer.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
