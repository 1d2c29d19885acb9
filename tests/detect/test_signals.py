"""Class probabilities and free text from events to alerts."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from structlog.testing import capture_logs

from streamdrift.blocks.assemble import Assembler
from streamdrift.detect.bank import UNCATEGORICAL_MAX, Bank
from streamdrift.pipeline import Direct
from streamdrift.ports import Partition, Record
from streamdrift.settings import Settings
from streamdrift.telemetry import Metrics
from tests.detect.test_bank import SMALL, START, detect, names, records

COMMENTS = Settings.model_validate(SMALL.model_dump() | {"free_text": ["comment"]})
WORDS = [
    "the",
    "flight",
    "was",
    "late",
    "again",
    "and",
    "nobody",
    "at",
    "the",
    "gate",
    "said",
    "why",
    "or",
    "when",
    "it",
    "would",
    "go",
]


def predictions(n: int, seed: int, **change: Any) -> list[dict[str, Any]]:
    """Three classes with Dirichlet probabilities; from the middle on ``sharp`` times as sure, or ``wrong`` instead."""
    rng = np.random.default_rng(seed)
    made = []
    for i in range(n):
        late = i >= n // 2
        p = rng.dirichlet([2.0 * (change.get("sharp", 1) if late else 1), 1, 1])
        probabilities: Any = dict(zip("abc", p.round(4).tolist(), strict=True))
        if late and "wrong" in change and rng.random() < 0.3:
            probabilities = change["wrong"]
        made.append({"model": "m", "occurred_at": START + i * 1_000, "prediction": {"probabilities": probabilities}})
    return made


def test_a_model_that_grows_sure_of_itself_is_told() -> None:
    found = names(detect(records(predictions(2_000, 1, sharp=4))))
    assert {series for series, _ in found} == {"m//prediction.confidence", "m//prediction.entropy"}
    assert not names(detect(records(predictions(2_000, 1))))


@pytest.mark.parametrize(
    ("wrong", "reason", "counted"),
    [
        ({"a": 0.9, "b": 0.9}, "invalid_value", "out_of_range"),
        ({}, "invalid_value", "out_of_range"),
        ({"a": "0.9"}, "invalid_value", "wrong_type"),
        ([0.2, 0.8], "invalid_value", "wrong_type"),
        (None, "null_rate", None),
    ],
)
def test_malformed_probabilities_are_told_once_and_blind_nothing(wrong: object, reason: str, counted: str) -> None:
    events = predictions(2_000, 2, wrong=wrong)
    bank, assembler = Bank(SMALL, "config"), Assembler(SMALL)
    for record in records(events):
        assembler.add(record)
    batch = assembler.take()
    assert not batch.rejected
    assert names(bank.update(batch.blocks)) == {("m//prediction.confidence", reason)}
    bad = sum(event["prediction"]["probabilities"] == wrong for event in events)
    assert bank.invalid == ({counted: bad} if counted else {})


def comments(n: int, seed: int, *, late_words: float = 12, late_noise: float = 0.0) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    made = []
    for i in range(n):
        late = i >= n // 2
        picked = rng.choice(WORDS, 1 + rng.poisson(late_words if late else 12))
        text = " ".join(picked) + f" {1_000_000 + i}"
        if late and rng.random() < late_noise:
            text = "".join(rng.choice(list("#$%&!?"), len(text)))
        made.append({"model": "m", "occurred_at": START + i * 1_000, "features": {"comment": text}})
    return made


def test_free_text_is_watched_by_what_describes_it() -> None:
    assert not names(detect(records(comments(2_000, 3)), tree=COMMENTS))
    shorter = names(detect(records(comments(2_000, 3, late_words=6)), tree=COMMENTS))
    assert {("m//comment.length", "mean_shift"), ("m//comment.words", "mean_shift")} <= shorter
    garbled = {series for series, _ in names(detect(records(comments(2_000, 3, late_noise=0.3)), tree=COMMENTS))}
    assert {"m//comment.words", "m//comment.letters"} <= garbled
    assert not any(series.endswith("/comment") for series in garbled)


def test_a_comment_that_is_a_number_is_told_once() -> None:
    events = comments(2_000, 4)
    for event in events[1_000::2]:
        event["features"]["comment"] = 5
    assert names(detect(records(events), tree=COMMENTS)) == {("m//comment.length", "type_change")}


def test_a_text_with_too_many_values_says_where_to_name_it() -> None:
    tree = Settings.model_validate(SMALL.model_dump() | {"categories_max": 50})
    metrics = Metrics()
    stage = Direct(tree, "config", metrics)
    events = comments(600, 5)
    for i, event in enumerate(events):
        event["features"] |= {"gate": f"A{i % 20}", "half": f"h{i % 2}"}
        event["segments"] = {"d": "x"}
    with capture_logs() as logs:
        for begin in range(0, 600, 100):
            stage.process(records(events[begin : begin + 100], begin))
    (told,) = [line for line in logs if line["event"] == "too many categories"]
    assert (told["model"], told["feature"], told["log_level"]) == ("m", "comment", "warning")
    assert "free_text" in told["advice"]
    hits = metrics.registry.get_sample_value("streamdrift_limit_hits_total", {"limit": "categories_max"})
    assert hits == 2  # in all traffic and in the segment


def test_a_text_that_is_mostly_distinct_is_noted_though_no_limit_was_reached() -> None:
    bank, assembler = Bank(SMALL, "config"), Assembler(SMALL)
    for record in records(comments(600, 6)):
        assembler.add(record)
    bank.update(assembler.take().blocks)
    assert bank.uncategorical == [("m", "comment")]
    assert not bank.limits_hit


def test_notes_are_bounded() -> None:
    tree = Settings.model_validate(SMALL.model_dump() | {"reference": {"events": 100}})
    bank, assembler = Bank(tree, "config"), Assembler(tree)
    for i in range(100):
        event = {"model": "m", "features": {f"f{j}": f"{i}" for j in range(UNCATEGORICAL_MAX + 20)}}
        assembler.add(Record(json.dumps(event).encode(), Partition("e", 0), i, START))
    bank.update(assembler.take().blocks)
    assert len(bank.uncategorical) == UNCATEGORICAL_MAX
