"""Unit changes: values that would be what they were, had they only been divided by a well-known factor."""

from __future__ import annotations

import math

from streamdrift.blocks.column import Floats
from streamdrift.detect.baseline import Reference, distance

FACTORS = tuple(f for k in (10.0, 24.0, 60.0, 100.0, 1_000.0, 3_600.0, 1e6) for f in (k, 1 / k))
"""Decimal prefixes and per cent; seconds, minutes, hours and days."""
VALUES_MIN = 5
SEEN_MIN = 0.05
"""Share of the converted reference that must lie where these values do, for a factor to be considered."""
FIT, FIT_MAX = 1.36, 0.4
"""Kolmogorov's 5 % point, over the root of the number of values: as far as values of the same distribution may lie apart."""


def factor(values: Floats, reference: Reference, low: float, high: float) -> float | None:
    """Return the factor by which (n,) values outside ``low`` to ``high`` were multiplied; None where none explains them.

    Values inside are not told apart from the ones that nothing happened to, so each factor is judged by that part of the
    converted reference that lies outside as well. With few values near factors can't be told apart: the best one is named.

    >>> import numpy as np
    >>> from streamdrift.blocks.column import NUMBER
    >>> from streamdrift.detect import baseline
    >>> minutes, _ = baseline.build(NUMBER, np.linspace(50, 150, 1000), [], 0.0)
    >>> factor(np.linspace(50, 150, 20) * 60, minutes, -250, 450)
    60.0
    >>> factor(np.linspace(950, 960, 20), minutes, -250, 450) is None
    True
    """
    if len(values) < VALUES_MIN:
        return None
    ordered = reference.ordered
    near = {}
    for k in FACTORS:
        converted = ordered * k
        outside = converted[(converted < low) | (converted > high)]
        if len(outside) >= SEEN_MIN * len(ordered):
            near[k] = distance(outside, values)
    best = min(near, key=lambda k: near[k], default=1.0)
    return best if near and near[best] <= min(FIT / math.sqrt(len(values)), FIT_MAX) else None
