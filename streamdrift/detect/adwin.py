"""ADWIN on standardised values: a change of the mean, of any size, at a confidence that the operator sets.

Its bound has an absolute term, so on raw values it would depend on the unit; standardised, ``delta`` means the same for
every series. It barely sees a change of spread: that is what ``ks`` is for.
"""

from __future__ import annotations

from streamdrift import kernels
from streamdrift.blocks.column import Ints
from streamdrift.detect.base import Values
from streamdrift.settings import AdwinSettings, EngineChoice


class Adwin:
    """See ``kernels.reference.Adwin``."""

    name = "adwin"

    def __init__(self, settings: AdwinSettings, engine: EngineChoice = "auto") -> None:
        self.kernel = kernels.engine(engine).adwin(settings.delta, settings.clock, settings.grace_period)

    def update(self, values: Values) -> Ints:
        """Return the indices of the values at which the window was cut."""
        return self.kernel.update(values.z)
