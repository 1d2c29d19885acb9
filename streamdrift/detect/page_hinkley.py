"""Page-Hinkley on standardised values: a lasting change of the mean, quick where it is large.

``delta`` and ``threshold`` are in reference standard deviations here. Clipped at ±10 of them: one wild value may not fire it.
"""

from __future__ import annotations

import numpy as np

from streamdrift.blocks.column import Ints
from streamdrift.detect.base import Values
from streamdrift.kernels import reference
from streamdrift.settings import PageHinkleySettings

Z_MAX = 10.0


class PageHinkley:
    """See ``kernels.reference.PageHinkley``."""

    name = "page_hinkley"

    def __init__(self, settings: PageHinkleySettings) -> None:
        self._kernel = reference.PageHinkley(
            settings.delta,
            settings.threshold,
            settings.min_instances,
            settings.alpha,
        )

    def update(self, values: Values) -> Ints:
        """Return the indices of the values at which the cumulative deviation passed the threshold."""
        return self._kernel.update(np.clip(values.z, -Z_MAX, Z_MAX))
