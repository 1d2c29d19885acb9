"""The arithmetic of the detectors: arrays in, indices of flags out.

Two engines give the same, to the last bit: ``reference``, short Python on river and numpy, written to be read beside the
papers, and ``compiled``, the same in Rust, which is there where a wheel or a compiler was.
"""

from __future__ import annotations

from streamdrift.kernels.engine import Engine as Engine
from streamdrift.kernels.engine import Handed as Handed
from streamdrift.kernels.engine import Kernel as Kernel
from streamdrift.kernels.engine import KsKernel as KsKernel
from streamdrift.kernels.engine import Ordinary as Ordinary
from streamdrift.kernels.engine import Watches as Watches
from streamdrift.kernels.engine import compiled as compiled
from streamdrift.kernels.engine import engine as engine
from streamdrift.kernels.engine import told as told
