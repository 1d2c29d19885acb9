"""What the command line writes: where it can't, when it is interrupted, into a pipe, on a terminal."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from tests.command import COMMAND, SMALL, START, drifting, environment, good, read, streamdrift, written

EVENTS = list(drifting())
full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")


@pytest.fixture
def events(tmp_path: Path) -> Path:
    return written(tmp_path / "events.ndjson", EVENTS)


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def filled(path: Path) -> bool:
    return path.exists() and path.stat().st_size > 0


# Files that can't be written -----------------------------------------------------------------------------------------


@full
@pytest.mark.parametrize("output", ["alerts", "rejected", "summary", "report"])
def test_a_full_disk(events: Path, tmp_path: Path, output: str) -> None:
    events.write_bytes(events.read_bytes() + b"nonsense\n")
    given = {"alerts": tmp_path / "alerts", "summary": tmp_path / "summary", output: "/dev/full"}
    done = streamdrift("replay", events, *(part for name, path in given.items() for part in (f"--{name}", path)))
    assert done.code == 3
    last = done.said.splitlines()[-1]
    assert last.startswith("streamdrift: /dev/full can't be written: no space left")
    assert "free some" in last
    if output != "summary":
        assert json.loads((tmp_path / "summary").read_bytes())["alerts"] > 0
    if output != "alerts":
        assert read(tmp_path / "alerts")


@full
@pytest.mark.parametrize("arguments", [[], ["--summary", "-"], ["--alerts", "-"]])
def test_standard_output_on_a_full_disk(events: Path, arguments: list[str]) -> None:
    with Path("/dev/full").open("wb") as out:
        done = subprocess.run(
            [*COMMAND, "replay", events, *arguments],
            env=environment(**SMALL),
            stdout=out,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 3
    assert done.stderr.splitlines()[-1].startswith("streamdrift: standard output can't be written: no space left")
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (
            ["--alerts", "none/alerts"],
            "none/alerts can't be written: no such file or directory; name a file in a folder",
        ),
        (["--rejected", "."], ". can't be written: is a directory; name a file"),
        (["--summary", "."], ". can't be written: is a directory; name another file"),
        (["--report", "events.ndjson/report.html"], "events.ndjson/report.html can't be written: "),
    ],
)
def test_what_can_not_be_written_is_told_before_anything_is_read(
    events: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], says: str
) -> None:
    monkeypatch.chdir(events.parent)
    done = streamdrift("replay", "events.ndjson", *arguments)
    assert (done.code, done.out) == (3, "")
    assert done.said.startswith(f"streamdrift: {says}")
    assert done.said.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["events.ndjson", "--alerts", "./events.ndjson"], "--alerts ./events.ndjson is also an input, which it would"),
        (["events.ndjson", "--summary", "x", "--alerts", "x"], "--alerts and --summary are both x; give each a file"),
        (["-", "-"], "standard input (-) is named more than once; it can be read only once"),
        (["events.ndjson", "--report", "-", "--alerts", "-"], "the report can't share standard output (-)"),
    ],
)
def test_nothing_is_overwritten_or_mixed(
    events: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], says: str
) -> None:
    monkeypatch.chdir(events.parent)
    before = events.read_bytes()
    done = streamdrift("replay", *arguments)
    assert (done.code, done.out) == (2, "")
    assert done.said.startswith(f"streamdrift: {says}")
    assert events.read_bytes() == before


@pytest.mark.parametrize(
    ("closed", "arguments", "code", "says"),
    [
        ("<&-", ["-"], 3, "streamdrift: standard input (-) is closed; name a file"),
        (">&-", ["events.ndjson", "--alerts", "-"], 3, "streamdrift: standard output is closed; name a file"),
        (">&-", ["events.ndjson", "--alerts", "alerts"], 0, ""),
        ("2>&-", ["events.ndjson", "--alerts", "-"], 0, ""),
    ],
)
def test_a_standard_stream_that_is_closed(
    events: Path, closed: str, arguments: list[str], code: int, says: str
) -> None:
    command = " ".join([*COMMAND, "replay", *arguments, closed])
    done = subprocess.run(
        ["/bin/sh", "-c", command],
        cwd=events.parent,
        env=environment(**SMALL, PYTHONPATH=str(Path.cwd())),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stderr
    assert done.stderr.startswith(says)
    assert "Traceback" not in done.stderr
    assert all(json.loads(line)["specversion"] == "1.0" for line in done.stdout.splitlines())


# Ctrl-C --------------------------------------------------------------------------------------------------------------


def test_ctrl_c_while_a_slow_pipe_is_read(tmp_path: Path, events: Path) -> None:
    names = {name: tmp_path / name for name in ("alerts", "rejected", "summary", "report")}
    options = [part for name, path in names.items() for part in (f"--{name}", path)]
    with subprocess.Popen(
        [*COMMAND, "replay", "-", *options],
        env=environment(**SMALL),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        process.stdin.write(events.read_bytes() + b"that was all for now\n")
        process.stdin.flush()
        until(lambda: filled(names["rejected"]))  # the last line is dealt with, and more may come
        process.send_signal(signal.SIGINT)
        said = process.stderr.read().decode()
        assert process.wait(30) == 130
    assert said == "streamdrift: interrupted after 901 events; what they gave is written\n"
    summary = json.loads(names["summary"].read_bytes())
    assert (summary["events"], summary["rejected"]) == (900, 1)
    assert summary["alerts"] == len(read(names["alerts"])) > 0
    assert "1 incident (1 still open) in 900 events" in names["report"].read_text(encoding="utf-8")


def test_ctrl_c_in_the_middle_of_a_file_leaves_nothing_half_done(tmp_path: Path) -> None:
    many = [*EVENTS, *good(100_000, first=900)]
    path, alerts, again = written(tmp_path / "events", many), tmp_path / "alerts", tmp_path / "again"
    settings = SMALL | {"STREAMDRIFT_BLOCK_EVENTS_MAX": "64"}
    with subprocess.Popen(
        [*COMMAND, "replay", path, "--alerts", alerts, "--summary", "-"],
        env=environment(**settings),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        until(lambda: filled(alerts))
        process.send_signal(signal.SIGINT)
        out, said = process.communicate(timeout=30)
    assert process.returncode == 130
    counted = json.loads(out)["events"]
    assert 0 < counted < len(many)
    assert (
        said.decode().splitlines()[-1]
        == f"streamdrift: interrupted after {counted:,} events; what they gave is written"
    )
    assert streamdrift("replay", written(path, many[:counted]), "--alerts", again, settings=settings).code == 0
    assert alerts.read_bytes() == again.read_bytes()


# Pipes ---------------------------------------------------------------------------------------------------------------


def piped(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a pipe in a shell; the exit code is that of its first command."""
    return subprocess.run(
        ["/bin/bash", "-c", f"{' '.join(COMMAND)} {command}; exit ${{PIPESTATUS[0]}}"],
        cwd=folder,
        env=environment(**SMALL, PYTHONPATH=str(Path.cwd())),
        capture_output=True,
        text=True,
        check=False,
    )


def test_whoever_reads_the_alerts_may_leave_and_is_told_of(events: Path, tmp_path: Path) -> None:
    with subprocess.Popen(
        [*COMMAND, "replay", "-", "--alerts", "-", "--summary", tmp_path / "summary"],
        env=environment(**SMALL),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write(events.read_bytes())
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["specversion"] == "1.0"
        process.stdout.close()
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(b"".join(line + b"\n" for line in good(3_000, first=900)))
            process.stdin.close()
        said = process.stderr.read().decode()
        assert process.wait(30) == 3
    assert said.splitlines()[-1] == (
        "streamdrift: standard output: whoever read it has gone away; what came after is not written"
    )
    assert "Traceback" not in said
    assert "Exception" not in said
    assert json.loads((tmp_path / "summary").read_bytes())["alerts"] > 1


def test_whoever_reads_the_lines_may_leave_and_the_files_are_whole(events: Path) -> None:
    done = piped("replay events.ndjson --alerts alerts --summary summary | true", events.parent)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert len(read(events.parent / "alerts")) == json.loads((events.parent / "summary").read_bytes())["alerts"] > 0


def test_alerts_on_standard_output_are_all_that_is_there(events: Path) -> None:
    to_file = streamdrift("replay", events, "--alerts", events.parent / "alerts")
    done = streamdrift("replay", "-", "--alerts", "-", stdin=events.read_bytes())
    assert done.code == 0
    ids = [json.loads(line)["data"]["series_id"] for line in done.out.splitlines()]
    assert ids == [alert["data"]["series_id"] for alert in read(events.parent / "alerts")]
    assert "900 events" in done.said
    assert "opened" in done.said
    assert (to_file.said, "opened" in to_file.out) == ("", True)


def test_two_paths_are_read_in_their_order(events: Path, tmp_path: Path) -> None:
    first, second = written(tmp_path / "b", EVENTS[:500]), written(tmp_path / "a", EVENTS[500:])
    done = streamdrift("replay", first, second, "--alerts", "-")
    (whole,) = {streamdrift("replay", events, "--alerts", "-").out}
    swapped = streamdrift("replay", second, first, "--alerts", "-")

    def told(out: str) -> list[tuple[str, str, str]]:
        return [(a["subject"], a["time"], a["data"]["status"]) for a in map(json.loads, out.splitlines())]

    assert told(done.out) == told(whole) != told(swapped.out)
    assert {json.loads(line)["data"]["position"]["file"] for line in done.out.splitlines()} <= {str(first), str(second)}


# Labels, changes, report ---------------------------------------------------------------------------------------------


def test_labels_with_orphans_and_a_bad_line(tmp_path: Path) -> None:
    def predicted(i: int) -> bytes:
        return b'{"model":"m","prediction_id":"%d","occurred_at":%d,"prediction":{"label":"a"}}' % (
            i,
            START + i * 1_000,
        )

    def label(i: int, truth: str) -> bytes:
        known = START + i * 1_000 + 500
        told = {"model": "m", "prediction_id": str(i), "observed_at": known, "label": truth}
        return json.dumps(told).encode()

    path = written(tmp_path / "events", [predicted(i) for i in range(1_000)])
    lines = [label(i, "b" if i > 600 or i % 10 == 0 else "a") for i in range(1_000)]
    labels = written(tmp_path / "labels", [*lines[:100], b"nonsense", label(70_000, "a"), lines[5], *lines[100:]])
    done = streamdrift(
        "replay", path, "--labels", labels, "--summary", "-", "--alerts", tmp_path / "a", "--rejected", tmp_path / "r"
    )
    assert done.code == 0
    assert (done.summary["events"], done.summary["rejected"]) == (1_000, 1)
    counts = done.summary["labels"]
    assert counts == {"joined": 1_000, "orphan": 1, "duplicate": 1}
    (letter,) = read(tmp_path / "r")
    assert (letter["reason"], letter["source"]) == ("not_json", f"{labels}/101")
    assert ("performance.error", "performance_drop") in {
        (alert["data"]["feature"], alert["data"]["reason"]) for alert in read(tmp_path / "a")
    }


def test_changes_with_a_bad_line_and_a_report(events: Path, tmp_path: Path) -> None:
    change = {
        "change_id": "c-1",
        "occurred_at": START + 380_000,
        "kind": "deployment",
        "summary": "scoring service 7.1",
        "scope": {"models": ["shop"]},
    }
    changes = written(tmp_path / "changes", [b"nonsense", json.dumps(change).encode()])
    report = tmp_path / "made" / "for it" / "report.html"
    done = streamdrift("replay", events, "--changes", changes, "--report", report)
    assert done.code == 0
    (warning,) = [json.loads(line) for line in done.said.splitlines()]
    assert warning["event"] == "not a change event; passed over"
    assert (warning["where"], warning["reason"]) == (f"{changes} line 1", "not_json")
    page = report.read_text(encoding="utf-8")
    for piece in ("1 incident", "x is higher", "null more often", "scoring service 7.1", "shop", "<svg"):
        assert piece in page
    assert done.out.splitlines()[-1] == f"report: {report}"


# Terminals -----------------------------------------------------------------------------------------------------------


def on_a_terminal(arguments: Sequence[object], **given: str) -> str:
    """Everything a terminal got from it."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        env={k: v for k, v in environment(**SMALL).items() if k != "NO_COLOR"} | {"TERM": "xterm-256color"} | given,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        close_fds=True,
    )
    os.close(theirs)
    got = b"".join(received(ours))
    os.close(ours)
    assert process.wait(30) == 0
    return got.decode()


def received(descriptor: int) -> Iterator[bytes]:
    with contextlib.suppress(OSError):  # Linux says so when the other end is closed
        while piece := os.read(descriptor, 65_536):
            yield piece


def screen(written: str) -> list[str]:
    """The lines as they stand at the end: what the control sequences of a progress bar do, as a terminal does it."""
    lines, row, column = [""], 0, 0
    for part in re.findall(r"\x1b\[\??[\d;]*[a-zA-Z]|\r|\n|[^\x1b\r\n]+", written):
        if part == "\r":
            column = 0
        elif part == "\n":
            row += 1
            lines += [""] * (row + 1 - len(lines))
        elif part.startswith("\x1b["):
            row -= int(part[2:-1] or 1) if part.endswith("A") else 0
            lines[row] = "" if part.endswith("K") else lines[row]
        else:
            lines[row] = lines[row][:column].ljust(column) + part + lines[row][column + len(part) :]
            column += len(part)
    return [line.rstrip() for line in lines if line.strip()]


def plain(out: str) -> list[str]:
    return [re.sub(r"in \d.*events/s\)", "in …", line.rstrip()) for line in out.splitlines()]


@pytest.fixture(scope="module")
def long_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """Events enough for the bar to be drawn some times, and what is said of them in a pipe."""
    path = written(tmp_path_factory.mktemp("long") / "events", [*EVENTS, *good(12_000, first=900)])
    return path, plain(streamdrift("replay", path).out)


@pytest.mark.parametrize(
    ("given", "bar", "colours"),
    [({}, True, True), ({"NO_COLOR": "1"}, True, False), ({"TERM": "dumb"}, False, False)],
    ids=["colours", "NO_COLOR", "dumb"],
)
def test_on_a_terminal_the_bar_leaves_the_lines_as_in_a_pipe(
    long_run: tuple[Path, list[str]], given: dict[str, str], bar: bool, colours: bool
) -> None:
    path, lines = long_run
    got = on_a_terminal(["replay", path], **given)
    assert plain("\n".join(screen(got))) == lines
    assert ("━" in got) == bar
    assert bool(re.search(r"\x1b\[[\d;]*(3[0-7]|38;[\d;]+)m", got)) == colours


def test_alerts_and_a_bar_do_not_share_a_terminal(events: Path) -> None:
    got = on_a_terminal(["replay", events, "--alerts", "-"])
    assert "━" not in got
    assert [line for line in screen(got) if line.startswith("{")] == [
        line for line in got.replace("\r", "").splitlines() if '"specversion"' in line
    ]
