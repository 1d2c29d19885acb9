from __future__ import annotations

import json
import math
from array import array
from typing import Any

import pytest

from streamdrift.errors import Rejected
from streamdrift.events import inference
from streamdrift.events.derived import OUT_OF_RANGE, WRONG_TYPE
from streamdrift.events.inference import Inference, Limits
from streamdrift.ports import Partition, Record
from streamdrift.settings import Settings


def decode(event: dict[str, Any], **settings: Any) -> Inference:
    value = json.dumps({"model": "m"} | event).replace("Infinity", "1e999").encode()
    limits = Limits.of(Settings.model_validate(settings))
    return inference.decode(Record(value, Partition("inference-events", 0), 0, 0), limits)


def probabilities(value: object) -> dict[str, Any]:
    return decode({"prediction": {"probabilities": value}}).signals


def test_probabilities_become_confidence_and_entropy() -> None:
    assert probabilities({"a": 0.5, "b": 0.25, "c": 0.25}) == {
        "prediction.confidence": 0.5,
        "prediction.entropy": round(1.5 * math.log(2), 9),
    }
    assert probabilities({"a": 1, "b": 0}) == {"prediction.confidence": 1.0, "prediction.entropy": 0.0}


def test_neither_order_nor_absent_zeros_nor_the_rounding_of_the_printed_change_the_entropy() -> None:
    forth = {f"c{i}": p for i, p in enumerate([0.1, 0.2, 0.3, 0.4])}
    back = dict(reversed(forth.items()))
    assert probabilities(forth) == probabilities(back) == probabilities(forth | {"never": 0.0})
    thirds = probabilities({"a": 0.333, "b": 0.333, "c": 0.333})
    assert thirds["prediction.entropy"] == round(math.log(3), 9)


@pytest.mark.parametrize(
    ("value", "read"),
    [
        ({}, OUT_OF_RANGE),
        ({"a": -0.1, "b": 1.1}, OUT_OF_RANGE),
        ({"a": 1.2}, OUT_OF_RANGE),
        ({"a": 0.4, "b": 0.4}, OUT_OF_RANGE),
        ({"a": float("inf")}, OUT_OF_RANGE),
        ({"a": float("inf"), "b": 0.5}, OUT_OF_RANGE),
        ({"a": 1e308, "b": 1e308, "c": 1e308}, OUT_OF_RANGE),
        ({"a": "0.5", "b": 0.5}, WRONG_TYPE),
        ({"a": True, "b": 0.0}, WRONG_TYPE),
        ({"a": None}, WRONG_TYPE),
        ([0.5, 0.5], WRONG_TYPE),
        ("0.5", WRONG_TYPE),
        (0.5, WRONG_TYPE),
        (None, None),
    ],
)
def test_malformed_probabilities_are_one_invalid_value_and_the_event_stays(value: object, read: object) -> None:
    assert probabilities(value) == {"prediction.confidence": read}


def test_free_text_is_described_in_full_and_other_texts_stay() -> None:
    text = "So late! " * 100
    event = decode({"features": {"comment": text, "carrier": "UA"}}, free_text=["comment"])
    assert event.signals == {
        "carrier": "UA",
        "comment.length": 900,
        "comment.words": 200,
        "comment.letters": pytest.approx(600 / 900),
    }
    assert decode({"features": {"comment": text}}).signals == {"comment": text}


@pytest.mark.parametrize(
    ("value", "read"),
    [
        ("", {"comment.length": 0, "comment.words": 0}),
        ("Grüße, 世界_1", {"comment.length": 11, "comment.words": 2, "comment.letters": pytest.approx(7 / 11)}),
        (None, {"comment.length": None}),
        (7, {"comment.length": WRONG_TYPE}),
        (True, {"comment.length": WRONG_TYPE}),
        (["x"], {"comment.length": WRONG_TYPE}),
    ],
)
def test_what_is_no_text_is_one_invalid_value(value: object, read: object) -> None:
    assert decode({"features": {"comment": value}}, free_text=["comment"]).signals == read


@pytest.mark.parametrize(
    ("value", "read"),
    [
        ([1, 0.5], array("d", [1, 0.5])),
        ([1.0] * 9, OUT_OF_RANGE),
        ([1, "2"], WRONG_TYPE),
        ([True, 0.5], WRONG_TYPE),
        ([[1.0], [2.0]], WRONG_TYPE),
        ({"0": 1.0}, WRONG_TYPE),
        ([], WRONG_TYPE),
        (0.5, WRONG_TYPE),
        (None, None),
    ],
)
def test_embeddings_are_vectors_or_invalid_values(value: object, read: object) -> None:
    event = decode({"embeddings": {"photo": value}}, embedding_dimension_max=8)
    assert event.embeddings == {"photo": read}
    assert not event.signals


def test_more_embeddings_than_the_limit_are_refused_with_its_name() -> None:
    with pytest.raises(Rejected, match="embeddings_per_event_max is 2") as e:
        decode({"embeddings": {name: [1.0] for name in "abc"}}, embeddings_per_event_max=2)
    assert e.value.reason == "too_many_embeddings"
