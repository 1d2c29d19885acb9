"""Bad input by the real command line: what it says, how it ends, and that the good around it is used."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.command import COMMAND, SMALL, START, Done, drifting, environment, event, good, read, streamdrift, written

EVENTS = list(drifting())
RSS_MIB_MAX = 300
"""Peak memory of a process with 100,000 segment values; a million were run by hand, with the same peak (94 MiB)."""

BAD: dict[str, tuple[bytes, str, str]] = {
    "not JSON": (b"hello", "not_json", "line 1 column 1"),
    "half an object": (b'{"model":"shop",', "not_json", "line 1 column"),
    "an empty line": (b"", "empty", "no content"),
    "spaces": (b"   ", "empty", "no content"),
    "a byte order mark": (b"\xef\xbb\xbf" + event(0, x=1), "not_json", "BOM"),
    "not UTF-8": (b'{"model":"caf\xe9","features":{"x":1}}', "not_json", "UTF-8"),
    "200,000 levels": (b'{"model":"shop","features":' + b'{"":' * 200_000, "not_json", "depth"),
    "200,000 lists": (b"[" * 200_000, "not_json", "depth"),
    "10 MB": (event(0, x="y" * 10_000_000), "too_large", "max_event_bytes"),
    "10,000 features": (event(0, **{f"f{i}": 1 for i in range(10_000)}), "too_many_features", "features_per_event_max"),
    "a number": (b"17", "not_an_object", "a number"),
    "no model": (b'{"features":{"x":1}}', "missing_model", "model.name"),
    "no features": (b'{"model":"shop"}', "no_signal", "at least one of features"),
    "features as a list": (b'{"model":"shop","features":[1]}', "wrong_type", "features must be an object"),
    "a time in words": (b'{"model":"shop","occurred_at":"noon","features":{"x":1}}', "bad_time", "RFC 3339"),
    "bare NaN": (b'{"model":"shop","features":{"x":NaN}}', "not_json", "line 1 column"),
    "bare Infinity": (b'{"model":"shop","features":{"x":-Infinity}}', "not_json", "line 1 column"),
    "a lone surrogate": (b'{"model":"shop","features":{"x":"\\ud800"}}', "not_json", "surrogate"),
}
"""Lines that are no events: bytes, reason, and a piece of the detail."""


# Events --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class BadRun:
    done: Done
    path: Path
    alerts: bytes
    letters: list[dict[str, Any]]


@pytest.fixture(scope="module")
def bad_run(tmp_path_factory: pytest.TempPathFactory) -> BadRun:
    """All bad lines in one file, good ones around each."""
    folder = tmp_path_factory.mktemp("bad")
    bad = [line for line, _, _ in BAD.values()]
    mixed: list[bytes] = []
    for i, line in enumerate(EVENTS):
        mixed += [line, bad[i]] if i < len(bad) else [line]
    path = written(folder / "events.ndjson", mixed)
    done = streamdrift(
        "replay", path, "--alerts", folder / "alerts", "--rejected", folder / "rejected", "--summary", "-"
    )
    return BadRun(done, path, (folder / "alerts").read_bytes(), read(folder / "rejected"))


@pytest.fixture(scope="module")
def alerts_of_good(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """The alerts of the same events with nothing bad among them."""
    folder = tmp_path_factory.mktemp("good")
    path = written(folder / "events.ndjson", EVENTS)
    assert streamdrift("replay", path, "--alerts", folder / "alerts").code == 0
    return read(folder / "alerts")


@pytest.mark.parametrize("name", BAD)
def test_a_bad_line_is_put_aside_with_its_reason_and_place(bad_run: BadRun, name: str) -> None:
    value, reason, says = BAD[name]
    line = 2 * (list(BAD).index(name) + 1)
    (letter,) = [letter for letter in bad_run.letters if letter["source"] == f"{bad_run.path}/{line}"]
    assert (letter["reason"], letter["stage"]) == (reason, "assemble")
    assert says in letter["detail"]
    assert len(letter["detail"]) <= 1_000
    assert value.decode("utf-8", "replace").startswith(letter["value"])
    assert ("truncated" in letter) == (len(value) > 900_000)


def test_bad_lines_are_no_failure_and_the_good_around_them_count(
    bad_run: BadRun, alerts_of_good: list[dict[str, Any]]
) -> None:
    assert bad_run.done.code == 0
    summary = bad_run.done.summary
    assert (summary["events"], summary["rejected"]) == (len(EVENTS), len(BAD))
    assert sum(summary["rejected_by_reason"].values()) == len(BAD)
    assert f"{len(BAD)} rejected (bad_time 1, " in bad_run.done.said

    def told(alert: dict[str, Any]) -> dict[str, Any]:
        return {k: v for k, v in alert["data"].items() if k not in {"alert_id", "position", "resolves"}}

    alerts = [json.loads(line) for line in bad_run.alerts.splitlines()]
    assert alerts
    assert [told(alert) for alert in alerts] == [told(alert) for alert in alerts_of_good]


def test_values_of_the_wrong_kind_are_counted_and_never_fed_to_a_detector(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    wrong = {"flag": "true", "text": '"NaN"', "beyond": "1e999", "digits": "9" * 5_000, "object": '{"a":[1]}'}
    lines = []
    for i in range(900):
        bad = i > 400 and rng.random() < 0.3
        values = {name: json_ if bad else str(rng.standard_normal()) for name, json_ in wrong.items()}
        features = ",".join(f'"{name}":{value}' for name, value in values.items())
        twice = f'"twice":"first","twice":{rng.standard_normal()}'  # of a key that stands twice the last one counts
        lines.append(f'{{"model":"m","occurred_at":{START + i * 1_000},"features":{{{features},{twice}}}}}'.encode())
    path, alerts = written(tmp_path / "events.ndjson", lines), tmp_path / "alerts"
    done = streamdrift("replay", path, "--alerts", alerts, "--summary", "-")
    assert done.code == 0
    assert (done.summary["events"], done.summary["rejected"]) == (900, 0)
    told = [(alert["data"]["feature"], alert["data"]["reason"]) for alert in read(alerts)]
    assert sorted(told) == sorted((name, "invalid_value") for name in wrong)


def test_segment_values_without_end_cost_neither_memory_nor_alerts(tmp_path: Path) -> None:
    """100,000 values, for a million take 20 s. Memory that grew with them would show with a tenth of them."""
    path, alerts = tmp_path / "events.ndjson", tmp_path / "alerts"
    lines = (
        b'{"model":"shop","occurred_at":%d,"segments":{"user":"user-%d"},"features":{"x":%d}}\n'
        % (START + i * 1_000, i, i % 7)
        for i in range(100_000)
    )
    path.write_bytes(b"".join(lines))
    # measured by a small process between: a child of this one would begin with this one's size as its peak
    measured = (
        "import resource, subprocess, sys\n"
        "code = subprocess.run(sys.argv[1:]).returncode\n"
        "sys.stderr.write(f'\\npeak {resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss}')\n"
        "sys.exit(code)"
    )
    process = subprocess.run(
        [sys.executable, "-c", measured, *COMMAND, "replay", path, "--alerts", alerts, "--summary", "-"],
        env=environment(**SMALL, STREAMDRIFT_SEGMENTS_PER_MODEL_MAX="200"),
        capture_output=True,
        text=True,
        check=False,
    )
    done = Done(process.returncode, process.stdout, process.stderr)
    assert (done.code, done.summary["events"], done.summary["series"]) == (0, 100_000, 201)
    assert [alert["data"]["reason"] for alert in read(alerts)] == ["segment_overflow"]
    assert "200 are watched, more came" in process.stderr
    assert int(process.stderr.rsplit("peak ", 1)[1]) / 1_024 < RSS_MIB_MAX


# Files ---------------------------------------------------------------------------------------------------------------


def damaged(folder: Path, kind: str) -> tuple[Path, str]:
    """A file that breaks off, and what is said of it."""
    text = b"".join(line + b"\n" for line in good(3_000, first=900))
    if kind == "a truncated .gz":
        path, packed = folder / "cut.ndjson.gz", gzip.compress(text)
        path.write_bytes(packed[: len(packed) // 2])
        return path, "ends in the middle of its packed data, after line "
    if kind == "a corrupt .zst":
        zstandard = pytest.importorskip("zstandard")
        path = folder / "bad.ndjson.zst"
        path.write_bytes(zstandard.ZstdCompressor().compress(text) + b"garbage" * 20)
        return path, "is damaged (zstd decompressor error: Unknown frame descriptor), after line 3000"
    pytest.importorskip("pyarrow")
    path = folder / "broken.parquet"
    path.write_bytes(b"PAR1 and nothing more PAR1")
    return path, "is no sound Parquet file ("


@pytest.mark.parametrize("kind", ["a truncated .gz", "a corrupt .zst", "a broken Parquet file"])
def test_a_damaged_file_gives_what_is_good_in_it_and_before_it(
    tmp_path: Path, kind: str, alerts_of_good: list[dict[str, Any]]
) -> None:
    path, says = damaged(tmp_path, kind)
    before, alerts = written(tmp_path / "before.ndjson", EVENTS), tmp_path / "alerts"
    done = streamdrift("replay", before, path, "--alerts", alerts, "--summary", "-")
    assert done.code == 3
    last = done.said.splitlines()[-1]
    assert last.startswith(f"streamdrift: {path} {says}")
    assert "what came before was used" in last
    assert last.endswith("get it again")
    parts = {"a truncated .gz": range(1_200, 3_900), "a corrupt .zst": range(3_900, 3_901)}
    assert done.summary["events"] in parts.get(kind, range(900, 901))
    ids = [alert["data"]["series_id"] for alert in read(alerts)]
    assert ids[: len(alerts_of_good)] == [alert["data"]["series_id"] for alert in alerts_of_good]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["none.ndjson"], "none.ndjson does not exist; check the path"),
        (["good.ndjson", "none.ndjson"], "none.ndjson does not exist; check the path"),
        (["good.ndjson", "--labels", "none"], "none does not exist; check the path"),
        (["good.ndjson", "--changes", "none"], "none does not exist; check the path"),
        (["."], ". is a directory; name the files in it, as in ./*.ndjson"),
    ],
)
def test_a_file_that_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: Sequence[str], says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    written(tmp_path / "good.ndjson", good(3))
    done = streamdrift("replay", *arguments, "--summary", "summary")
    assert (done.code, done.out, done.said) == (3, "", f"streamdrift: {says}\n")
    assert not Path("summary").exists()


# The rest of the world -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [["topics", "create"], ["detect"]])
def test_without_a_broker(command: list[str]) -> None:
    done = streamdrift(
        *command,
        settings={
            "STREAMDRIFT_KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:1",
            "STREAMDRIFT_TELEMETRY__PORT": "0",
        },
    )
    assert done.code == 3
    assert done.said.splitlines()[-1] == (
        "streamdrift: no Kafka broker at 127.0.0.1:1: nobody listens on 127.0.0.1 port 1; "
        "start the broker, or correct STREAMDRIFT_KAFKA__BOOTSTRAP_SERVERS (host:port)"
    )


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (
            {"STREAMDRIFT_DETECTORS__ADWIN__DLTA": "0.1"},
            "there is no such setting; did you mean STREAMDRIFT_DETECTORS__ADWIN__DELTA? (environment)",
        ),
        ({"STREAMDRIFT_SERIES_MAX": "lots"}, "allowed: whole number, at least 1 (environment STREAMDRIFT_SERIES_MAX)"),
        ({"STREAMDRIFT_KAFKA__BOOTSTRAP_SERVERS": "localhost:99999"}, "'localhost:99999' is not host:port"),
        ({"STREAMDRIFT_CONFIG": "/none.toml"}, "file /none.toml does not exist; check the path"),
    ],
)
def test_wrong_settings(tmp_path: Path, settings: dict[str, str], says: str) -> None:
    done = streamdrift("replay", written(tmp_path / "events", good(3)), settings=settings)
    assert (done.code, done.out) == (2, "")
    assert done.said.startswith("streamdrift: 1 setting is wrong; nothing was started.")
    assert says in done.said


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "the following arguments are required: COMMAND\ntry: streamdrift --help"),
        (["replay"], "the following arguments are required: PATH\ntry: streamdrift replay --help"),
        (["reply"], "invalid choice: 'reply' (choose from "),
        (["replay", "a", "--alrts", "b"], "unrecognized arguments: --alrts b\ntry: streamdrift --help"),
    ],
)
def test_wrong_usage(arguments: list[str], says: str) -> None:
    done = streamdrift(*arguments)
    assert (done.code, done.out) == (2, "")
    assert done.said.startswith("streamdrift: ")
    assert says in done.said
