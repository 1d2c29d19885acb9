"""The arithmetic of the detectors: arrays in, indices of flags out.

One engine so far: ``reference``, short Python on river and numpy, written to be read beside the papers.
"""

from __future__ import annotations

ENGINE = "reference"
