"""quixstreams counts events by key, exactly once: state in RocksDB, its changelog and the offsets in one transaction a second."""

from __future__ import annotations

import os
import sys
import tempfile
from typing import Any

from quixstreams import Application, State

from benchmarks.rivals.marks import Marks

COMMIT_S = 1.0


def main(servers: str, topic: str, group: str, begin: str, end: str, out: str) -> None:
    marks = Marks(int(begin), int(end))
    with tempfile.TemporaryDirectory() as folder:
        app = Application(
            broker_address=servers,
            consumer_group=group,
            auto_offset_reset="earliest",
            processing_guarantee="exactly-once",
            commit_interval=COMMIT_S,
            state_dir=folder,
            loglevel="WARNING",
            auto_create_topics=True,
        )

        def count(value: Any, state: State) -> int:
            del value
            n: int = state.get("n", 0) + 1
            state.set("n", n)
            if marks.add(1):
                app.stop()
            return n

        counted = app.dataframe(app.topic(topic, value_deserializer="json", key_deserializer="str"))
        counted = counted.apply(count, stateful=True)
        if out:
            counted.to_topic(app.topic(out, value_serializer="json", key_serializer="str"))
        app.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
    os._exit(0)  # what it still has to close is not measured
