from __future__ import annotations

import gzip
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamdrift.blocks.assemble import Assembler
from streamdrift.errors import Fatal, InputProblem
from streamdrift.ports import Partition, Record
from streamdrift.settings import Settings
from streamdrift.transports.files import FileSink, FileSource
from streamdrift.transports.files.lines import line_lists

zstandard = pytest.importorskip("zstandard")
pyarrow = pytest.importorskip("pyarrow")


def read(source: FileSource, records_max: int = 1_000) -> list[Record]:
    records: list[Record] = []
    while not source.exhausted():
        records += source.poll(records_max, 0.0)
    return records


def values(path: Path, line_bytes_max: int = 1_000_000) -> list[bytes | None]:
    return [record.value for record in read(FileSource([str(path)], line_bytes_max))]


def until_it_breaks(source: FileSource) -> tuple[list[Record], str]:
    records: list[Record] = []

    def drain() -> None:
        while not source.exhausted():
            records.extend(source.poll(100, 0.0))

    with pytest.raises(InputProblem) as raised:
        drain()
    assert raised.value.exit_code == 3
    return records, str(raised.value)


def numbered(n: int) -> bytes:
    return b"".join(b'{"n": %d}\n' % i for i in range(n))


def test_lines_are_records_with_place_and_time(tmp_path: Path) -> None:
    path = tmp_path / "events.ndjson"
    path.write_bytes(b"one\ntwo\nthree")
    assert read(FileSource([str(path)])) == [
        Record(b"one", Partition(str(path)), 1, 1_000),
        Record(b"two", Partition(str(path)), 2, 2_000),
        Record(b"three", Partition(str(path)), 3, 3_000),
    ]


def test_files_come_one_after_the_other_each_from_line_1(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("b.ndjson", "a.ndjson", "empty.ndjson")]
    for path, text in zip(paths, (b"1\n2\n", b"3\n", b""), strict=True):
        path.write_bytes(text)
    records = read(FileSource([str(path) for path in paths]), records_max=1)
    assert [(Path(r.partition.name).name, r.offset, r.value) for r in records] == [
        ("b.ndjson", 1, b"1"),
        ("b.ndjson", 2, b"2"),
        ("a.ndjson", 1, b"3"),
    ]


def test_blank_lines_count_but_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "events.ndjson"
    path.write_bytes(b"\none\r\n\n  \ntwo\n\n \n\t\n\n")
    assert values(path) == [b"", b"one\r", b"", b"  ", b"two"]


def test_a_long_line_is_cut_and_the_next_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "events.ndjson"
    with path.open("wb") as file:
        file.write(b"before\n" + b"x" * 5_000_000 + b"\nafter\n" + b"y" * 101 + b"\n" + b"z" * 100)
    assert values(path, 100) == [b"before", b"x" * 101, b"after", b"y" * 101, b"z" * 100]


@given(
    st.lists(st.binary(max_size=12).map(lambda b: b.replace(b"\n", b"")), max_size=30),
    st.lists(st.integers(1, 40), max_size=20),
    st.booleans(),
)
def test_how_the_bytes_are_cut_into_pieces_does_not_matter(lines: list[bytes], cuts: list[int], end: bool) -> None:
    text = b"\n".join(lines) + (b"\n" if end else b"")
    expected = [line[:9] for line in text.split(b"\n")]
    while expected and not expected[-1].strip():
        expected.pop()
    assert [line for batch in line_lists(pieces(text, cuts), 8) for line in batch] == expected


def pieces(text: bytes, cuts: list[int]) -> Any:
    def cut() -> Iterator[bytes]:
        file = io.BytesIO(text)
        for size in cuts:
            if piece := file.read(size):
                yield piece
        if piece := file.read():
            yield piece
        while True:
            yield b""

    return cut().__next__


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_packed_files(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"events.ndjson{suffix}"
    pack = gzip.compress if suffix == ".gz" else zstandard.ZstdCompressor().compress
    path.write_bytes(pack(numbered(20_000)) + pack(b"second member\n"))
    found = values(path)
    assert (len(found), found[0], found[19_999], found[-1]) == (20_001, b'{"n": 0}', b'{"n": 19999}', b"second member")


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_a_truncated_file_gives_what_is_there_and_then_says_so(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"events.ndjson{suffix}"
    noise = b"".join(os.urandom(20).hex().encode() + b"\n" for _ in range(50_000))
    packed = gzip.compress(noise) if suffix == ".gz" else zstandard.ZstdCompressor().compress(noise)
    path.write_bytes(packed[: len(packed) // 2])
    records, said = until_it_breaks(FileSource([str(path)]))
    assert len(records) > 10_000
    assert b"".join(r.value + b"\n" for r in records if r.value is not None) == noise[: 41 * len(records)]
    assert said == (
        f"{path} ends in the middle of its packed data, after line {len(records)}; what came before was used; "
        "it was not written or copied to the end: get it again"
    )


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_a_damaged_file_gives_what_is_there_and_then_says_so(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"events.ndjson{suffix}"
    pack = gzip.compress if suffix == ".gz" else zstandard.ZstdCompressor(write_checksum=True).compress
    path.write_bytes(pack(numbered(500)) + b"\0" * 1 + b"not packed at all" * 10)
    records, said = until_it_breaks(FileSource([str(path)]))
    assert len(records) == 500
    assert "is damaged" in said or "not packed" in said
    assert f"after line {len(records)}" in said


def test_a_packed_name_on_a_plain_file(tmp_path: Path) -> None:
    path = tmp_path / "events.gz"
    path.write_bytes(numbered(5))
    assert until_it_breaks(FileSource([str(path)])) == (
        [],
        f"{path} is not packed with gzip, as its name says, after line 0; what came before was used; rename it, or pack it",
    )


def test_missing_files_are_told_before_anything_is_read(tmp_path: Path) -> None:
    good = tmp_path / "good.ndjson"
    good.write_bytes(b"1\n")
    with pytest.raises(InputProblem, match=r"none\.ndjson does not exist; check the path"):
        FileSource([str(good), str(tmp_path / "none.ndjson")])
    with pytest.raises(InputProblem, match=r"is a directory; name the files in it, as in .*/\*\.ndjson"):
        FileSource([str(tmp_path)])
    with pytest.raises(InputProblem, match="can't be opened"):
        FileSource(["a\0b"])


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "zstandard", None)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    for name, extra in (("a.zst", "zstd"), ("a.parquet", "parquet")):
        (tmp_path / name).write_bytes(b"")
        _, said = until_it_breaks(FileSource([str(tmp_path / name)]))
        assert f"pip install streamdrift[{extra}]" in said


def test_standard_input_is_read_as_it_comes() -> None:
    code = (
        "import sys\n"
        "from streamdrift.transports.files import FileSource\n"
        "source = FileSource(['-'])\n"
        "while not source.exhausted():\n"
        "    print([(r.value, r.partition.name, r.offset) for r in source.poll(10, 0.0)], flush=True)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"one\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"[(b'one', '-', 1)]\n"
        process.stdin.write(b"two\nthree")
        process.stdin.close()
        assert process.stdout.read() == b"[(b'two', '-', 2)]\n[(b'three', '-', 3)]\n[]\n"


def events(path: Path) -> list[tuple[int, Any]]:
    return [(record.offset, json.loads(record.value or b"null")) for record in read(FileSource([str(path)]))]


def test_csv(tmp_path: Path) -> None:
    path = tmp_path / "flight-delay.csv"
    path.write_bytes(
        b"\xef\xbb\xbfprediction_id,timestamp,segments.origin,prediction.score,prediction.label,delay,tail,late,note\n"
        b'17,2013-04-01 08:15:00,EWR,0.5,1,-3,N17,TRUE,"two\nlines"\n'
        b"18,2013-04-01T08:16:00Z,,NaN,,1e999,,false,12345678901234567890\n"
    )
    assert events(path) == [
        (
            3,
            {
                "model": {"name": "flight-delay"},
                "prediction_id": "17",
                "occurred_at": "2013-04-01T08:15:00+00:00",
                "segments": {"origin": "EWR"},
                "prediction": {"score": 0.5, "label": 1},
                "features": {"delay": -3, "tail": "N17", "late": True, "note": "two\nlines"},
            },
        ),
        (
            4,
            {
                "model": {"name": "flight-delay"},
                "prediction_id": "18",
                "occurred_at": "2013-04-01T08:16:00Z",
                "segments": {"origin": None},
                "prediction": {"score": "NaN", "label": None},
                "features": {"delay": "1e999", "tail": None, "late": False, "note": 12345678901234567000.0},
            },
        ),
    ]


def test_csv_with_vectors_and_probabilities(tmp_path: Path) -> None:
    path = tmp_path / "photos.csv"
    path.write_bytes(
        b"embeddings.photo,prediction.probabilities.a.b,prediction.probabilities.c\n"
        b'"[0.5, 1, -2e-3]",0.25,0.75\n'
        b"[0.5 1],,1\n"
    )
    assert [event for _, event in events(path)] == [
        {
            "model": {"name": "photos"},
            "embeddings": {"photo": [0.5, 1, -0.002]},
            "prediction": {"probabilities": {"a.b": 0.25, "c": 0.75}},
        },
        {
            "model": {"name": "photos"},
            "embeddings": {"photo": "[0.5 1]"},
            "prediction": {"probabilities": {"a.b": None, "c": 1}},
        },
    ]


def test_rows_that_are_no_rows_reach_the_decoder_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "shop.csv.gz"
    rows = [b"model,model_version,price", b"shop,2,1.5", b"too,many,fields,here", b"few", b"a,\xff,1", b"shop,2,2.5"]
    path.write_bytes(gzip.compress(b"\n".join(rows) + b"\n"))
    found = read(FileSource([str(path)]))
    assert [record.value for record in found[1:4]] == rows[2:5]
    assert [record.offset for record in found] == [2, 3, 4, 5, 6]
    assembler = Assembler(Settings())
    for record in found:
        assembler.add(record)
    batch = assembler.take()
    assert batch.events == 2
    assert [letter.reason for letter in batch.rejected] == ["not_json"] * 3


def test_a_truncated_csv_gives_its_rows_first(tmp_path: Path) -> None:
    path = tmp_path / "shop.csv.gz"
    packed = gzip.compress(b"price\n" + b"".join(b"%d\n" % i for i in range(5_000)))
    path.write_bytes(packed[:-2_000])
    records, said = until_it_breaks(FileSource([str(path)]))
    assert len(records) > 1_000
    assert f"after line {records[-1].offset}" in said


def test_parquet(tmp_path: Path) -> None:
    from datetime import UTC, datetime
    from decimal import Decimal

    from pyarrow import parquet

    path = tmp_path / "shop.parquet"
    table = pyarrow.table(
        {
            "event_time": [datetime(2024, 5, 1, 12, tzinfo=UTC).replace(tzinfo=None), None],
            "price": [1.5, float("nan")],
            "amount": [Decimal("2.50"), None],
            "raw": [b"\xff", None],
            "flag": [True, None],
            "segments.country": ["DE", None],
            "prediction.score": [0.25, 0.5],
            "embeddings.photo": [[0.5, 1.0], None],
        }
    )
    parquet.write_table(table, path)
    assert events(path) == [
        (
            1,
            {
                "model": {"name": "shop"},
                "occurred_at": "2024-05-01T12:00:00+00:00",
                "features": {"price": 1.5, "amount": 2.5, "raw": "\ufffd", "flag": True},
                "segments": {"country": "DE"},
                "prediction": {"score": 0.25},
                "embeddings": {"photo": [0.5, 1.0]},
            },
        ),
        (
            2,
            {
                "model": {"name": "shop"},
                "occurred_at": None,
                "features": {"price": "nan", "amount": None, "raw": None, "flag": None},
                "segments": {"country": None},
                "prediction": {"score": 0.5},
                "embeddings": {"photo": None},
            },
        ),
    ]


def test_what_is_no_parquet(tmp_path: Path) -> None:
    path = tmp_path / "shop.parquet"
    path.write_bytes(b"PAR1 but nothing else PAR1")
    _, said = until_it_breaks(FileSource([str(path)]))
    assert said.startswith(f"{path} is no sound Parquet file (")
    assert said.endswith("after row 0; what came before was used; get it again")


def test_closing_twice(tmp_path: Path) -> None:
    path = tmp_path / "events.ndjson"
    path.write_bytes(numbered(100_000))
    source = FileSource([str(path)])
    source.poll(10, 0.0)
    source.close()
    source.close()
    assert source.exhausted()
    assert not source.poll(10, 0.0)


LETTER = (("reason", b"not_json"), ("detail", b"at 1"), ("source", b"f/3"), ("stage", b"assemble"))


def test_alerts_and_dead_letters_are_lines(tmp_path: Path) -> None:
    sink = FileSink({"alerts": str(tmp_path / "alerts"), "rejected": str(tmp_path / "rejected")})
    sink.send("alerts", b'{"id":1}', b"model", (("content-type", b"json"),))
    sink.flush(1.0)
    assert (tmp_path / "alerts").read_bytes() == b'{"id":1}\n'
    sink.send("rejected", b"{\xff", None, LETTER)
    sink.send("rejected", b"text", None, LETTER)
    sink.send("elsewhere", b"nowhere")
    sink.close()
    sink.close()
    letters = [json.loads(line) for line in (tmp_path / "rejected").read_bytes().splitlines()]
    told = {"reason": "not_json", "detail": "at 1", "source": "f/3", "stage": "assemble"}
    assert letters == [told | {"value": "{\ufffd", "value_base64": "e/8="}, told | {"value": "text"}]


def test_two_topics_may_share_a_file(tmp_path: Path) -> None:
    path = str(tmp_path / "all")
    sink = FileSink({"a": path, "b": path})
    sink.send("a", b"1")
    sink.send("b", b"2")
    sink.close()
    assert Path(path).read_bytes() == b"1\n2\n"


def test_what_can_not_be_written(tmp_path: Path) -> None:
    with pytest.raises(InputProblem, match=r"can't be written: no such file or directory; name a file in a folder"):
        FileSink({"alerts": str(tmp_path / "none" / "alerts")})
    with pytest.raises(InputProblem, match="is a directory"):
        FileSink({"alerts": str(tmp_path)})


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk() -> None:
    sink = FileSink({"alerts": "/dev/full"})
    sink.send("alerts", b"1")
    with pytest.raises(InputProblem, match="/dev/full can't be written: no space left; free some"):
        sink.flush(1.0)
    sink.close()


def test_a_reader_that_went_away() -> None:
    code = (
        "import sys, time\n"
        "from streamdrift.errors import Fatal\n"
        "from streamdrift.transports.files import FileSink\n"
        "sink = FileSink({'alerts': '-'})\n"
        "try:\n"
        "    for _ in range(100_000):\n"
        "        sink.send('alerts', b'x' * 100)\n"
        "        sink.flush(1.0)\n"
        "except Fatal as e:\n"
        "    print(e, file=sys.stderr)\n"
        "    sink.close()\n"
        "    sys.exit(e.exit_code)\n"
    )
    done = subprocess.run(
        f'{sys.executable} -c "$CODE" | head -1; exit ${{PIPESTATUS[0]}}',
        shell=True,
        executable="/bin/bash",
        env={"CODE": code, "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == Fatal.exit_code + 2
    assert done.stderr == "standard output: whoever read it has gone away; what came after is not written\n"
