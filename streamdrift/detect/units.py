"""Unit changes: values that would be what they were, had they only been divided by a well-known factor."""

from __future__ import annotations

import math

import numpy as np

from streamdrift.blocks.column import Floats
from streamdrift.detect.baseline import Reference, distance

FACTORS = tuple(f for k in (10.0, 24.0, 60.0, 100.0, 1_000.0, 3_600.0, 1e6) for f in (k, 1 / k))
"""Decimal prefixes and per cent; seconds, minutes, hours and days."""
VALUES_MIN = 3
FIT = 1.36
"""Kolmogorov's 5 % point, over the root of the number of values: as far as values of the same distribution may lie apart."""
BETTER = 2.0
"""By this factor the converted values must be nearer to the reference than the values as they are."""


def factor(values: Floats, reference: Reference) -> float | None:
    """Return the factor by which (n,) values were multiplied; None where none explains them.

    >>> import numpy as np
    >>> from streamdrift.blocks.column import NUMBER
    >>> from streamdrift.detect import baseline
    >>> minutes, _ = baseline.build(NUMBER, np.linspace(50, 150, 1000), [], 0.0)
    >>> factor(np.linspace(50, 150, 20) * 60, minutes)
    60.0
    >>> factor(np.linspace(50, 150, 20) * 0.75, minutes) is None
    True
    """
    if len(values) < VALUES_MIN:
        return None
    ordered = reference.ordered
    near = [distance(ordered, values / k) for k in FACTORS]
    best = int(np.argmin(near))
    fits = near[best] <= FIT / math.sqrt(len(values)) and near[best] * BETTER <= distance(ordered, values)
    return FACTORS[best] if fits else None
