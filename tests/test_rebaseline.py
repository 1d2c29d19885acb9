"""Orders to learn a reference anew, by the real command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from jsonschema import Draft202012Validator

from streamdrift.alerts import rfc3339
from tests.command import START, event, read, streamdrift, written
from tests.test_schemas import schema

MOVED = 400
AT = rfc3339(START + 900_000)


@pytest.fixture
def events(tmp_path: Path) -> Path:
    rng = np.random.default_rng(3)
    lines = [event(i, x=float(rng.standard_normal() + 3 * (i > MOVED)), y=float(rng.random())) for i in range(1_600)]
    return written(tmp_path / "events.ndjson", lines)


def test_an_order_in_a_file_is_followed_by_replay(tmp_path: Path, events: Path) -> None:
    changes, alerts = tmp_path / "changes.ndjson", tmp_path / "alerts"
    changes.write_bytes(b'{"change_id": "d", "kind": "deployment", "summary": "s"}')  # its line is not ended
    order = ("rebaseline", "--model", "shop", "--feature", "x", "--segment", "region=eu", "--at", AT)
    done = streamdrift(*order, "--changes", changes)
    assert done.code == 0, done.said
    assert f"new reference for x of shop in region=eu from {AT} on; appended to {changes}" in done.out
    assert streamdrift(*order, "--changes", changes).code == 0  # twice is as once
    written_ = read(changes)
    assert [e["kind"] for e in written_] == ["deployment", "rebaseline", "rebaseline"]
    assert written_[1] == written_[2]
    Draft202012Validator(schema("change-event")).validate(written_[1])
    done = streamdrift("replay", events, "--changes", changes, "--alerts", alerts, "--report", tmp_path / "report.html")
    assert done.code == 0, done.said
    told = [(a["data"]["series_id"], a["data"]["status"]) for a in read(alerts)]
    assert told == [("shop//x", "firing"), ("shop/region=eu/x", "firing"), ("shop/region=eu/x", "resolved")]
    resolved = read(alerts)[-1]["data"]
    assert resolved["detected_at"] == AT
    assert resolved["current"] == {"n": 0, "rebaseline": written_[1]["change_id"]}
    assert f"suspect: {written_[1]['kind']}" not in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_an_order_to_standard_output_is_the_event_alone() -> None:
    done = streamdrift("rebaseline", "--model", "shop", "--at", START, "--changes", "-")
    assert json.loads(done.out) == {
        "change_id": json.loads(done.out)["change_id"],
        "occurred_at": rfc3339(START),
        "kind": "rebaseline",
        "summary": "new reference for every feature of shop",
        "scope": {"models": ["shop"], "features": [], "segments": {}},
    }


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        ([], 2, "--model"),
        (["--model", " "], 2, "--model is empty; name the model"),
        (["--model", "m", "--segment", "EWR"], 2, "--segment EWR is not DIM=VALUE, as in origin=EWR"),
        (["--model", "m", "--at", "noon"], 2, "--at noon: --at is not RFC 3339"),
        (["--model", "m", "--at", "2013-04-01T08:15:00"], 2, "no UTC offset"),
        (["--model", "m", "--changes", "."], 3, ". can't be written: is a directory; name another file"),
    ],
)
def test_a_wrong_order_is_told_in_a_sentence(arguments: list[str], code: int, says: str) -> None:
    done = streamdrift("rebaseline", *arguments)
    assert done.code == code
    assert says in done.said
