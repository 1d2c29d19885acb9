"""Kolmogorov-Smirnov: the last ``window_events`` values against the reference, after every event, exact under ties."""

from __future__ import annotations

import numpy as np

from streamdrift import kernels
from streamdrift.blocks.column import Ints
from streamdrift.detect.base import Values
from streamdrift.detect.baseline import Reference
from streamdrift.settings import EngineChoice, KsSettings

REFERENCE_MAX = 1_000
"""Values of the reference that are compared with: more sharpen the test little, and cost memory for each series."""


class Ks:
    """See ``kernels.reference.SlidingKs``."""

    name = "ks"

    def __init__(self, settings: KsSettings, reference: Reference, engine: EngineChoice = "auto") -> None:
        ordered = reference.judged
        if len(ordered) > REFERENCE_MAX:  # evenly spaced order statistics keep the distribution to within 1/1,000
            ordered = ordered[np.linspace(0, len(ordered) - 1, REFERENCE_MAX).round().astype(np.int64)]
        self.kernel = kernels.engine(engine).ks(ordered, settings.window_events, settings.alpha)

    @property
    def distance(self) -> float:
        """D of the current window, 0 to 1; 0 while it is not full."""
        return self.kernel.distance

    def update(self, values: Values) -> Ints:
        """Return the indices of the values at which D rose to its critical value."""
        return self.kernel.update(values.raw)
