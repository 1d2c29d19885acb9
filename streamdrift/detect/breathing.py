"""A spread that breathes: values without memory whose variance has one, as of returns, or of delays on quiet and busy days.

A window's mean then is a mixture: normal, with the variance of its own time. Where that is high, a mean lies far off without
having moved. With a local variance whose logarithm has variance s², a mean that would be T nats off shows as much as::

    min over y of  T·exp(-y) + y²/(2s²)

the likeliest way to get there: part of it by chance, part by a time of high variance. It is T times a factor f(s) at the evidence
that an alert asks for, and f is what the effective sample size of the location score is multiplied with.

s² comes from the windows' means of squares: what these vary beyond what independent values, and the squares of dependent ones,
would (the squares of a Gaussian series have the squares of its autocorrelations). It counts where it is beyond doubt.

References
----------
T. Bollerslev: Generalized autoregressive conditional heteroskedasticity. Journal of Econometrics 31, 1986.
C. W. J. Granger, P. Newbold: Forecasting transformed series. Journal of the Royal Statistical Society B 38, 1976 (the squares).
"""

from __future__ import annotations

import numpy as np

from streamdrift.blocks.column import Floats, Ints
from streamdrift.detect.dependence import autoregression, correlations, inflation, inflation_error

AT = 16.0
"""Evidence at which the factor holds, nats."""
SYMMETRIC_MAX = 0.3
"""Correlation of a value and its square up to which the spread is told apart from the level."""


def breathing(z: Floats, squares: Floats, lengths: Ints) -> Floats:
    """(S,) factor by which windows of these lengths say less of the level than their sample size.

    Parameters
    ----------
    z, squares
        (n,) location score, and its square, of the reference window, standardised.
    """
    if abs(float(np.mean(z * squares))) > SYMMETRIC_MAX:
        return np.ones(len(lengths))
    n = len(z)
    phi, acf = autoregression(squares)
    if not len(phi):
        return np.ones(len(lengths))
    own = correlations(*autoregression(z), int(lengths[-1])) ** 2
    k = np.arange(1, len(own) + 1)
    by_level = np.array([1 + 2 * float(((1 - k / w) * own)[: w - 1].sum()) for w in lengths.tolist()])
    by_fit = inflation(phi, acf, lengths)
    beyond = np.where(by_fit > by_level * inflation_error(phi, acf, n), by_fit - by_level, 0.0)
    return factor(np.log1p(float(np.var(z * z)) * beyond / lengths))


def factor(variance: Floats) -> Floats:
    """(S,) factor f for (S,) variances s² of the local variance's logarithm.

    >>> factor(np.array([0.0, 0.01, 1.0])).round(3).tolist()
    [1.0, 0.926, 0.029]
    """
    some = np.maximum(variance, 1e-9)
    y = np.sqrt(1 + 2 * AT * some) - 1
    found: Floats = np.minimum(AT * some * np.exp(-y) / y, 1.0)
    return found
