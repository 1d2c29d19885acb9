"""State that can't be taken up is said to be so, and is rebuilt from the log: never silently empty, and never half."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
from structlog.testing import capture_logs

from streamdrift.checkpoints.stored import key_of, name_of
from streamdrift.errors import Fatal
from streamdrift.pipeline import Assemble, Direct
from streamdrift.ports import Partition
from streamdrift.settings import Settings
from streamdrift.state import records
from streamdrift.telemetry import Metrics
from tests.state import much_traffic
from tests.state.much_traffic import EVENTS, Broker, Process

N = 1_200
FOUND = much_traffic.events(N)
TREE = much_traffic.tree()
INPUT = Partition(EVENTS, 0)


@cache
def half() -> tuple[dict[bytes, bytes], dict[Partition, int], tuple[tuple[str, bytes], ...]]:
    """Changelog, offsets and output of a process that stopped in the middle, cleanly."""
    broker = Broker(much_traffic.log(FOUND))
    process = Process(much_traffic.direct(TREE)(), broker)
    for _ in range(6):
        process.step()
    process.commit(flush=True)
    return broker.changelog[INPUT], broker.committed, tuple(broker.out)


@cache
def whole() -> tuple[list[tuple[str, bytes]], dict[Any, str]]:
    broker = Broker(much_traffic.log(FOUND))
    stage = much_traffic.run(much_traffic.direct(TREE), broker)
    return broker.out, much_traffic.hashes(stage)  # type: ignore[arg-type]


def goes_on(changelog: dict[bytes, bytes], settings: Settings = TREE) -> tuple[Broker, Direct, Metrics, list[Any]]:
    _, committed, out = half()
    broker = Broker(much_traffic.log(FOUND), dict(committed), {INPUT: dict(changelog)}, list(out))
    metrics = Metrics()
    with capture_logs() as logs:
        process = Process(Direct(settings, "config", metrics), broker)
        while process.step():
            process.commit()
        process.commit(flush=True)
    assert isinstance(process.stage, Direct)
    return broker, process.stage, metrics, [entry for entry in logs if entry["log_level"] == "warning"]


def discarded(metrics: Metrics, reason: str) -> float:
    return metrics.registry.get_sample_value("streamdrift_state_discarded_total", {"reason": reason}) or 0.0


def changed(key: bytes, value: bytes) -> bytes:
    del key
    return value[:50] + bytes([value[50] ^ 1]) + value[51:]


def keys(ending: str) -> list[bytes]:
    return [key for key in half()[0] if key.endswith(ending.encode())]


def test_undamaged_state_is_taken_up_without_a_word() -> None:
    broker, stage, metrics, warnings = goes_on(half()[0])
    assert (broker.out, much_traffic.hashes(stage)) == whole()
    assert not warnings
    assert broker.replayed == 0
    assert not [sample for metric in metrics.state_discarded.collect() for sample in metric.samples]


@pytest.mark.parametrize("which", ["/m//0/0", "/m//1/0", "region=eu/0/0", "region=eu/2/0", "one//0/0"])
@pytest.mark.parametrize("how", ["flipped", "cut", "lost"])
def test_a_damaged_group_is_rebuilt_and_the_others_are_not(which: str, how: str) -> None:
    changelog, key = dict(half()[0]), next(k for k in half()[0] if which.replace("/m//", ":m//").encode() in k)
    if how == "flipped":
        changelog[key] = changed(key, changelog[key])
    elif how == "cut":
        changelog[key] = changelog[key][:-100]
    else:
        del changelog[key]
    broker, stage, metrics, warnings = goes_on(changelog)
    assert (broker.out, much_traffic.hashes(stage)) == whole()
    assert len(warnings) == 1
    assert discarded(metrics, "damaged") + discarded(metrics, "missing") == 1
    assert broker.replayed == 600
    # and what was written instead is whole
    again = Broker(much_traffic.log(FOUND), dict(broker.committed), broker.changelog)
    with capture_logs() as logs:
        stage = much_traffic.run(much_traffic.direct(TREE), again)  # type: ignore[assignment]
    assert much_traffic.hashes(stage) == whole()[1]
    assert again.replayed == 0
    assert not [entry for entry in logs if entry["log_level"] == "warning"]


def test_without_the_record_of_the_partition_all_of_the_log_is_read_and_nothing_is_counted_twice() -> None:
    changelog = {key: value for key, value in half()[0].items() if key != b"detect/partition/0"}
    broker, stage, metrics, warnings = goes_on(changelog)
    assert (broker.out, much_traffic.hashes(stage)) == whole()
    assert discarded(metrics, "damaged") == 1
    assert "all of the log is read again" in warnings[0]["event"]


def test_a_group_of_which_every_record_is_gone_is_missed() -> None:
    changelog = {key: value for key, value in half()[0].items() if b"region=eu/" not in key}
    broker, stage, metrics, warnings = goes_on(changelog)
    assert (broker.out, much_traffic.hashes(stage)) == whole()
    assert discarded(metrics, "missing") == 2
    assert (warnings[0]["groups"], warnings[0]["expected"]) == (8, 10)


def test_other_settings_discard_what_they_are_about() -> None:
    rule = {"overrides": {"eu": {"model": "m", "segment": "region=eu", "ks": {"alpha": 1e-9}}}}
    broker, stage, metrics, warnings = goes_on(half()[0], much_traffic.tree(**rule))
    assert discarded(metrics, "settings") == len(warnings) == 1
    assert (warnings[0]["model"], warnings[0]["segment"]) == ("m", "region=eu")
    others = {key: value for key, value in much_traffic.hashes(stage).items() if key != ("events", "m", "region=eu")}
    assert others.items() < whole()[1].items()
    assert broker.replayed == 600


def test_limits_and_ways_may_change() -> None:
    settings = much_traffic.tree(series_max=5_000, segments_per_model_max=50, exchange="direct", block_events_max=16)
    broker, _, metrics, warnings = goes_on(half()[0], settings)
    assert not warnings
    assert broker.replayed == 0
    assert not discarded(metrics, "settings")


def test_newer_state_is_refused_and_left_alone() -> None:
    import zlib

    changelog = {}
    for key, value in half()[0].items():
        newer = value[:4] + (records.VERSION + 1).to_bytes(2, "little") + value[6:-4]
        changelog[key] = newer + zlib.crc32(newer).to_bytes(4, "little")
    for stage in (much_traffic.direct(TREE)(), Assemble(TREE, Metrics())):
        found = changelog if isinstance(stage, Direct) else {b"assemble/events/rows/0": next(iter(changelog.values()))}
        with pytest.raises(Fatal, match="written by a newer release"):
            stage.restore(INPUT, found)


def test_records_of_the_other_stage_are_passed_over() -> None:
    changelog = half()[0] | {b"assemble/events/rows/0": b"not for you"}
    assert goes_on(changelog)[1].bank.keys()
    assert Assemble(TREE, Metrics()).restore(INPUT, half()[0]) is None


def counted(stage: Any) -> set[Any]:
    return {(place, rows, *map(frozenset, known.told())) for place, rows, known in stage._assembler.counted()}


def test_damaged_counts_are_counted_again_from_the_log() -> None:
    broker = Broker(much_traffic.log(FOUND))
    process = Process(Assemble(TREE, Metrics()), broker)
    for _ in range(6):
        process.step()
        process.commit()
    kept = broker.changelog[INPUT]
    assert {key.split(b"/")[2] for key in kept} == {b"rows", b"names"}
    counts = counted(process.stage)
    for key in kept:
        metrics, damaged = Metrics(), Broker(much_traffic.log(FOUND), dict(broker.committed), {INPUT: dict(kept)})
        damaged.changelog[INPUT][key] = changed(key, kept[key] + bytes(60))
        with capture_logs():
            again = Process(Assemble(TREE, metrics), damaged)
        assert discarded(metrics, "damaged") == 1
        assert again.next[INPUT] == 0
        for _ in range(6):
            again.step()
        assert not again.pending, "blocks that were published before are not published again"
        assert counted(again.stage) == counts


@pytest.mark.parametrize(
    "key", [("events", "m", ""), ("labels", "3:a/b", "a/b=c/d"), ("events", "", "="), ("events", "ä/ß", "x=/")]
)
def test_names_of_groups(key: tuple[str, str, str]) -> None:
    assert key_of(name_of(key) + b"/12") == (key, 12)
