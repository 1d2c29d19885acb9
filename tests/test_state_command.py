"""`streamdrift state hash` as an operator runs it: after an orderly stop, on a damaged record, and where there is nothing."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaProducer

from tests.command import SMALL
from tests.soak.streams import last_records
from tests.test_services import environment, metric, run, service, stopped, traffic, until

__all__ = ["environment"]  # the fixture

pytestmark = pytest.mark.broker
N = 900


def send(environment: dict[str, str]) -> None:
    producer = KafkaProducer(bootstrap_servers=environment["STREAMDRIFT_KAFKA__BOOTSTRAP_SERVERS"])
    for event in traffic(N):
        producer.send(environment["STREAMDRIFT_TOPICS__EVENTS"], event, b"shop")
    producer.flush(30)
    producer.close()


def detected(environment: dict[str, str], log: Path) -> None:
    """Have a worker catch up, and stop it in order."""
    with service("detect", environment, log) as process:
        until(lambda: '"stage": "detect", "event": "running"' in log.read_text(), "it runs", log)
        ready: Callable[[], bool] = lambda: (  # noqa: E731 - a name for what is waited for
            metric(log, "last_record_processed_timestamp_seconds", stage="detect") + metric(log, "replayed_total") > 0
            and not metric(log, "lag_records")
        )
        until(ready, "it catches up", log)
        assert process.poll() is None
        assert stopped(process) in {0, -signal.SIGTERM}


def damage(environment: dict[str, str], ending: bytes) -> None:
    """One byte of the newest record whose key ends so."""
    bootstrap = environment["STREAMDRIFT_KAFKA__BOOTSTRAP_SERVERS"]
    records = last_records(bootstrap, environment["STREAMDRIFT_TOPICS__STATE"])
    (record,) = (record for key, record in records.items() if key.endswith(ending))
    value = bytearray(record.value)
    value[-20] ^= 0x55
    producer = KafkaProducer(bootstrap_servers=bootstrap)
    producer.send(record.topic, bytes(value), record.key, partition=record.partition).get(30)
    producer.close()


def hashed(environment: dict[str, str], code: int = 0) -> tuple[dict[str, Any], subprocess.CompletedProcess[str]]:
    done = run(["state", "hash", "--json"], environment)
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout), done


def hashes(document: dict[str, Any]) -> dict[tuple[str, ...], Any]:
    return {
        (part["stage"], one["what"], one["model"], one["segment"]): (one["hash"], one["series"])
        for part in document["parts"]
        for one in part["hashed"]
    }


def test_state_in_short_is_the_same_before_and_after_a_record_was_damaged(
    environment: dict[str, str], tmp_path: Path
) -> None:
    environment |= SMALL
    assert run(["topics", "create"], environment).returncode == 0
    nothing = run(["state", "hash"], environment)
    assert nothing.returncode == 3
    assert "has no state of group" in nothing.stderr
    send(environment)
    detected(environment, tmp_path / "1.log")
    before, _ = hashed(environment)
    places = hashes(before)
    assert ("assemble", "rows", "shop", "") in places
    assert places["detect", "series", "shop", "region=eu"][1].keys() == {"x", "y"}
    text = run(["state", "hash"], environment).stdout
    assert all(str(one) in text for one, _ in places.values())
    assert f"all: {before['hash']}\n" in text
    for ending, stage, problem in (
        (b"assemble/events/rows/0", "assemble", "the checksum of a record doesn't fit"),
        (b"detect/events/4:shop/region=eu/0/0", "detect", "segment 'region=eu': it is damaged"),
        (b"detect/partition/0", "detect", "what belongs to the partition"),
    ):
        damage(environment, ending)
        document, done = hashed(environment, 3)
        assert problem in done.stderr
        assert [part["stage"] for part in document["parts"] if any(one["problem"] for one in part["hashed"])] == [stage]
        detected(environment, tmp_path / f"{stage}-{problem[:4].strip()}.log")
        assert hashes(hashed(environment)[0]) == places
    missing = run(["state", "hash"], environment | {"STREAMDRIFT_TOPICS__STATE": "no-such-topic"})
    assert missing.returncode == 3
    assert "'no-such-topic'; run `streamdrift topics create`" in missing.stderr
    assert "Traceback" not in missing.stderr + nothing.stderr
