"""What a detector is: it takes the clean values of one series, block by block, and says where it flagged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from streamdrift.blocks.column import Floats, Ints


@dataclass(slots=True)
class Values:
    """n clean values of one series, in event order.

    Attributes
    ----------
    raw
        (n,) as they came; categories as their place in the reference, the rare ones as one.
    z
        (n,) standardised against the reference window.
    rank
        (n,) twice the mid-rank in the reference, 0 to twice its size.
    """

    raw: Floats
    z: Floats
    rank: Ints

    def __len__(self) -> int:
        return len(self.raw)


class Detector(Protocol):
    """Anything with a name and an ``update``. ``checks.detectors`` has the suite that each one passes."""

    name: str

    def update(self, values: Values) -> Ints:
        """Take a block; return the indices (0 to n-1, rising) of the values at which it flagged."""
        ...
