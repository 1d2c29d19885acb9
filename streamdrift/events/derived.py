"""Signals derived from what one event says, without memory: of class probabilities, of free text; and vectors, checked.

What can't be derived becomes a value that is invalid in any feature, so that it is counted and never fed to a detector:
``WRONG_TYPE`` for what is not what it should be, ``OUT_OF_RANGE`` for numbers that can't be. It stands in the first of the
signals that come of one source, and the others have no value then: one fault is told once.
"""

from __future__ import annotations

import math
import re
from array import array
from collections.abc import Collection
from typing import Any

WRONG_TYPE: dict[str, Any] = {}
OUT_OF_RANGE = math.inf

SUM_TOLERANCE = 0.05
"""How far the sum of printed, hence rounded, probabilities may be from one."""
DECIMALS = 9
"""Of an entropy: logarithms differ between machines in digits far behind these."""
_LETTERS = re.compile(r"[^\W\d_]+")
_NUMBERS = frozenset((int, float))
_SECOND = frozenset({"prediction.entropy"})


def tells_faults(feature: str, free_text: Collection[str] = ()) -> bool:
    """Whether missing and invalid values of a source are told by this of its signals.

    >>> tells_faults("prediction.confidence"), tells_faults("prediction.entropy")
    (True, False)
    >>> tells_faults("comment.words", ["comment"]), tells_faults("comment.words")
    (False, True)
    """
    source, _, measure = feature.rpartition(".")
    return feature not in _SECOND and not (measure in {"words", "letters"} and source in free_text)


def of_probabilities(value: Any) -> dict[str, Any]:
    """Confidence (the largest probability) and entropy in nats.

    Nats, not a share of ln(classes): a producer that leaves out classes of probability zero must not change the value. A
    single class is one of two, as a binary model's positive class is. A sum that rounding put beside one is scaled to it
    for the entropy.

    >>> of_probabilities({"late": 0.25, "on-time": 0.75})
    {'prediction.confidence': 0.75, 'prediction.entropy': 0.562335145}
    >>> of_probabilities({"late": 0.25}) == of_probabilities({"late": 0.25, "on-time": 0.75})
    True
    >>> of_probabilities({"late": 0.7, "on-time": 0.7})
    {'prediction.confidence': inf}
    """
    if value is None:
        return {"prediction.confidence": None}
    if type(value) is not dict or not _NUMBERS.issuperset(map(type, value.values())):
        return {"prediction.confidence": WRONG_TYPE}
    given = list(value.values())
    if len(given) == 1:
        given.append(max(0.0, 1 - given[0]))
    if not given or min(given) < 0 or max(given) > 1 + SUM_TOLERANCE:
        return {"prediction.confidence": OUT_OF_RANGE}
    total = math.fsum(given)  # exactly rounded: the order of the classes is of no matter
    if abs(total - 1) > SUM_TOLERANCE:
        return {"prediction.confidence": OUT_OF_RANGE}
    entropy = -math.fsum(p / total * math.log(p / total) for p in given if p / total > 0)
    return {"prediction.confidence": min(1.0, max(given)), "prediction.entropy": round(abs(entropy), DECIMALS)}


def of_text(name: str, value: Any) -> dict[str, Any]:
    """Length in characters, number of words, and share of letters of a free text; an empty one has no such share.

    >>> of_text("comment", "No. 5 is alive")
    {'comment.length': 14, 'comment.words': 4, 'comment.letters': 0.6428571428571429}
    >>> of_text("comment", 5)
    {'comment.length': {}}
    """
    if type(value) is not str:
        return {f"{name}.length": value if value is None else WRONG_TYPE}
    described: dict[str, Any] = {f"{name}.length": len(value), f"{name}.words": len(value.split())}
    if value:
        described[f"{name}.letters"] = sum(map(len, _LETTERS.findall(value))) / len(value)
    return described


def vector(value: Any, dimension_max: int) -> Any:
    """An embedding as an array of doubles; None, ``WRONG_TYPE`` or ``OUT_OF_RANGE`` where it is no such thing.

    >>> vector([0.5, 1], 10)
    array('d', [0.5, 1.0])
    >>> vector([0.5, 1], 1)
    inf
    >>> vector([0.5, None], 10), vector([True], 10), vector([], 10), vector("x", 10)
    ({}, {}, {}, {})
    """
    if value is None:
        return None
    if type(value) is not list or not value:
        return WRONG_TYPE
    if len(value) > dimension_max:
        return OUT_OF_RANGE
    if not _NUMBERS.issuperset(map(type, value)):
        return WRONG_TYPE
    return array("d", value)
