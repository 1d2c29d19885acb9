"""Whether a new model version's reference window differs from the old one's: by more than chance, and enough to matter.

The bounds hold for independent values; so each sample counts for as many as its own dependence leaves (``calibration``):

- numbers: P(D > d) ≤ 2·exp(−2·d²·nm/(n+m)) for the KS distance D (Dvoretzky–Kiefer–Wolfowitz);
- categories: the total variation is below ½·√((K−1)·(n+m)/nm) on average (Cauchy–Schwarz), and above that by s with
  P ≤ exp(−2·s²·nm/(n+m)) (McDiarmid: one value moves it by 1/n or 1/m).

References
----------
F. Wei, R. M. Dudley: Two-sample Dvoretzky–Kiefer–Wolfowitz inequalities, 2012. C. McDiarmid: On the method of bounded
differences, 1989.
"""

from __future__ import annotations

import math

import numpy as np

from streamdrift.blocks.column import NUMBER, TEXT, Floats
from streamdrift.detect.baseline import Reference, distance, significant
from streamdrift.detect.explain import MATERIAL, Change
from streamdrift.detect.series import Known


def compared(then: Known, now: Known, threshold: float, since: int) -> Change | None:
    """Return how a new version's reference differs from the old one's; None where it does not, or too little to matter."""
    old, new = then.reference, now.reference
    values = _as_counted(old, new)
    size = then.worth * now.worth / (then.worth + now.worth)
    if old.kind != new.kind:
        effect, unit, evidence = 1.0, "share", 2 * size
    elif old.kind == NUMBER:
        effect, unit = distance(old.ordered, values), "ks"
        evidence = 2 * effect * effect * size - math.log(2)
    else:
        effect, unit, cells = *_total_variation(old, new), len(old.categories.keys() | new.categories.keys())
        by_chance = math.sqrt(max(cells - 1, 1) / size) / 2
        evidence = 2 * max(effect - by_chance, 0.0) ** 2 * size
    if evidence < threshold or effect < MATERIAL[unit]:
        return None
    described = old.describe(values) if old.kind == new.kind else new.describe(new.ordered)
    short = {"short": True} if old.is_short or new.is_short else {}
    return Change(
        "opens",
        "",
        "drift",
        "version_shift",
        ("versions",),
        significant(evidence),
        threshold,
        significant(effect),
        unit,
        0,
        since,
        {**old.summary(), **short},
        {"n": new.n, "null_rate": significant(new.null_rate), **described},
    )


def _as_counted(old: Reference, new: Reference) -> Floats:
    """(m,) the new reference's values as the old one counts them."""
    if old.kind != TEXT or new.kind != TEXT:
        return new.ordered
    places = np.array([old.categories.get(name, len(old.categories)) for name in new.categories], np.float64)
    counted: Floats = places[new.ordered.astype(np.int64)]
    return counted


def _total_variation(old: Reference, new: Reference) -> tuple[float, str]:
    """Half the sum of what the shares of all categories differ by."""
    then, now = _shares(old), _shares(new)
    return sum(abs(then.get(name, 0.0) - now.get(name, 0.0)) for name in sorted(then.keys() | now.keys())) / 2, "share"


def _shares(reference: Reference) -> dict[str, float]:
    names = list(reference.categories) if reference.kind == TEXT else ["false", "true"]
    counts = np.bincount(reference.ordered.astype(np.int64), minlength=len(names))
    return {name: float(counts[i]) / reference.n for i, name in enumerate(names)}
