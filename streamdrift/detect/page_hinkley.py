"""Page-Hinkley on standardised values: a lasting change of the mean, quick where it is large.

``delta`` and ``threshold`` are in reference standard deviations here.
"""

from __future__ import annotations

from streamdrift import kernels
from streamdrift.blocks.column import Ints
from streamdrift.detect.base import Values
from streamdrift.settings import EngineChoice, PageHinkleySettings


class PageHinkley:
    """See ``kernels.reference.PageHinkley``."""

    name = "page_hinkley"

    def __init__(self, settings: PageHinkleySettings, engine: EngineChoice = "auto") -> None:
        self.kernel = kernels.engine(engine).page_hinkley(
            settings.delta,
            settings.threshold,
            settings.min_instances,
            settings.alpha,
        )

    def update(self, values: Values) -> Ints:
        """Return the indices of the values at which the cumulative deviation passed the threshold."""
        return self.kernel.update(values.z)
