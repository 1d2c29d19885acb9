"""Effect sizes that a few wild values don't make: by trimmed means and winsorised standard deviations.

Under heavy tails the plain standard deviation is what the tails make it, so that a shift which moves every single value may be a
tenth of it. Without the outer fifth on either side, location and scale are those of the bulk. On normal values both
ways of counting agree: the winsorised sd of a normal distribution is ``NORMAL`` of its sd.

References
----------
J. Algina, H. J. Keselman, R. D. Penfield: An alternative to Cohen's standardized mean difference effect size, Psychological
Methods 10 (2005).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from streamdrift.blocks.column import Floats
from streamdrift.detect.baseline import LARGEST, apart, moments

TRIM = 0.2
"""Part of the values that is left out on either side."""
NORMAL = 0.642
"""Winsorised sd of normal values, in sd."""
DISTINCT_MIN = 10
"""Distinct values that the bulk must have: of few steps a scale says little."""


@dataclass(frozen=True, slots=True)
class Bulk:
    """Location and scale of the bulk of some values, on the scale of a normal mean and sd."""

    location: float
    scale: float
    is_discrete: bool

    @classmethod
    def of(cls, values: Floats) -> Bulk:
        """Return those of (n,) values, n ≥ 1.

        Examples
        --------
        >>> Bulk.of(np.array([1.0, 2, 3, 4, 1e9])).location
        3.0
        """
        ordered = np.sort(values)
        cut = int(TRIM * len(ordered))
        inner = ordered[cut : len(ordered) - cut]
        scale = min(moments(np.clip(ordered, inner[0], inner[-1]))[1] / NORMAL, LARGEST)
        return cls(moments(inner)[0], scale, 1 + int(np.count_nonzero(inner[1:] != inner[:-1])) < DISTINCT_MIN)


def shift(reference: Floats, window: Floats) -> float | None:
    """Return by how many robust sd of the reference the window's bulk is off; None where the reference's has no scale."""
    then = Bulk.of(reference)
    return (
        None if _is_scaleless(then) or not len(window) else apart(Bulk.of(window).location, then.location, then.scale)
    )


def spread(reference: Floats, window: Floats) -> float | None:
    """Return the window's robust sd relative to the reference's; None where the reference's bulk has no scale."""
    then = Bulk.of(reference)
    return None if _is_scaleless(then) or not len(window) else Bulk.of(window).scale / then.scale


def _is_scaleless(bulk: Bulk) -> bool:
    return bulk.is_discrete or bulk.scale <= 1e-9 * abs(bulk.location)
