"""What a prediction was worth, now that the truth is known: error, loss, calibration.

============  ==============================================  ====================================================
measure       of a class (``label``)                          of a number (``value``)
============  ==============================================  ====================================================
error         0 where the predicted class is the true one,    absolute difference to the score
              else 1
loss          minus the logarithm of the true class's         squared difference to the score
              probability, ``LOSS_MAX`` at most
calibration   score minus outcome (0 or 1), or probability    none
              of the predicted class minus whether it is true
============  ==============================================  ====================================================

The probability of a class is read off ``prediction.probabilities``; without them, a score from 0 to 1 is the probability
of a truth that is true or 1. A measure for which the prediction lacks what it takes is left out.
"""

from __future__ import annotations

import math
from typing import Any

ERROR, LOSS, CALIBRATION = MEASURES = ("performance.error", "performance.loss", "performance.calibration")

LOSS_MAX = -math.log(1e-6)
"""A class that the model held for impossible would be an infinite loss: past one in a million it is the same."""
DISTANCE_MAX = 1e150
"""So that a square is no infinity."""
CLASSES_MAX = 32
"""Probabilities kept of one prediction, the largest."""

_BOOLEANS = {"true": "1", "True": "1", "false": "0", "False": "0"}
_NUMBERS = frozenset((int, float))
Prediction = tuple[Any, float | None, dict[str, float]]
"""Label, score, probability by class, as far as they were given."""


def prediction_of(raw: dict[str, Any], text_max: int) -> Prediction | None:
    """Return what a label can be compared with; None where that is nothing.

    >>> prediction_of({"label": "late", "score": 0.7, "probabilities": {"late": 0.7, "lost": "?"}}, 100)
    ('late', 0.7, {'late': 0.7})
    """
    label, score, probabilities = raw.get("label"), raw.get("score"), raw.get("probabilities")
    if type(label) is str:
        label = label[:text_max]
    elif type(label) is not bool and not _is_number(label):
        label = None
    number = None if score is None or not _is_number(score) else float(score)
    shares = _shares(probabilities, text_max) if type(probabilities) is dict and probabilities else {}
    return None if label is None and number is None and not shares else (label, number, shares)


def _shares(probabilities: dict[str, Any], text_max: int) -> dict[str, float]:
    """The largest first."""
    read = [(-p, name[:text_max]) for name, p in probabilities.items() if type(p) in _NUMBERS and 0 <= p <= 1]
    read.sort()
    return {name: -p for p, name in read[:CLASSES_MAX]}


def measures(prediction: Prediction, truth: Any, *, numeric: bool) -> dict[str, float]:
    """Return the measures that this prediction and its truth give, by name; empty where they can't be compared.

    >>> measures(("late", None, {"late": 0.75, "on-time": 0.25}), "late", numeric=False)
    {'performance.error': 0.0, 'performance.loss': 0.2876820724517809, 'performance.calibration': -0.25}
    >>> measures((None, 2.0, {}), 5, numeric=True)
    {'performance.error': 3.0, 'performance.loss': 9.0}
    """
    if numeric:
        return _of_number(prediction[1], float(truth))
    label, score, shares = prediction
    true = class_name(truth)
    told = class_name(label) if label is not None else _likeliest(shares)
    found = {}
    if told is not None:
        found[ERROR] = float(told != true)
    p = _probability(true, shares) if shares else _by_score(score, true)
    if p is not None:
        found[LOSS] = min(-math.log(max(p, 1e-12)), LOSS_MAX) + 0.0
    calibration = _calibration(told, true, score, shares)
    if calibration is not None:
        found[CALIBRATION] = calibration
    return found


def class_name(value: Any) -> str:
    """``"1"``, 1, 1.0, true and ``"true"`` name one class: the label service and the model may write types differently."""
    if type(value) is str:
        return _BOOLEANS.get(value, value)
    if type(value) is bool:
        return str(int(value))
    if type(value) is float and value.is_integer():
        return str(int(value))
    return str(value)


def _of_number(score: float | None, truth: float) -> dict[str, float]:
    if score is None or not math.isfinite(truth):
        return {}
    distance = min(abs(score - truth), DISTANCE_MAX)
    return {ERROR: distance, LOSS: distance * distance}


def _likeliest(shares: dict[str, float]) -> str | None:
    """They are sorted; one alone says nothing of the others."""
    return class_name(next(iter(shares))) if len(shares) > 1 else None


def _probability(true: str, shares: dict[str, float]) -> float:
    for name, p in shares.items():
        if class_name(name) == true:
            return p
    rest = max(0.0, 1.0 - math.fsum(shares.values()))
    return rest if len(shares) == 1 else min(rest, *shares.values())


def _by_score(score: float | None, true: str) -> float | None:
    if score is None or not 0 <= score <= 1 or true not in {"0", "1"}:
        return None
    return score if true == "1" else 1 - score


def _calibration(told: str | None, true: str, score: float | None, shares: dict[str, float]) -> float | None:
    if len(shares) == 1:
        ((name, share),) = shares.items()
        return share - (class_name(name) == true)
    if shares and told is not None:
        return _probability(told, shares) - (told == true)
    p = _by_score(score, "1") if true in {"0", "1"} else None
    return None if p is None else p - (true == "1")


def _is_number(value: Any) -> bool:
    return type(value) in _NUMBERS and math.isfinite(value)
